//! Whether the daemon takes work, and how far its start or its stop is.

use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};

use crate::event_loop::timers::{Timer, Timers};
use crate::service::sd_notify::Notify;
use crate::state_dir::lock::Locked;

/// Interval between requests for more time to the service manager, and the time of each (sd_notify(3)).
const EXTEND: Duration = Duration::from_secs(10);
const EXTEND_BY: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionState {
    Open,
    Locked(Locked),
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Changes without a sandbox may run until then. Everything else was asked to end.
    WaitingForChanges(Instant),
    Asked,
    Killed,
}

#[derive(Debug)]
pub struct Lifecycle {
    pub gate: AdmissionState,
    /// Clients are served, so the service manager may be notified.
    pub announced: bool,
    pub stopped_by: Option<String>,
    pub shutdown: Option<Shutdown>,
    /// The loop ends at its next turn.
    pub leaving: bool,
    pub failed: Option<String>,
    pub since: Instant,
    pub notify: Notify,
}

impl Lifecycle {
    pub fn new(locked: Option<Locked>) -> Self {
        Self {
            gate: locked.map_or(AdmissionState::Open, AdmissionState::Locked),
            announced: false,
            stopped_by: None,
            shutdown: None,
            leaving: false,
            failed: None,
            since: Instant::now(),
            notify: Notify::from_env(),
        }
    }

    pub fn check_open(&self) -> Result<(), Refusal> {
        match &self.gate {
            AdmissionState::Open => Ok(()),
            AdmissionState::Locked(locked) => Err(Refusal::new(
                Code::Locked,
                format!("an administrator has locked remit: {}", locked.why),
            )
            .lift("remit unlock")
            .next("stop, and tell the person you work for")),
            AdmissionState::Stopping => {
                let (text, when) = match self.is_waiting_for_changes() {
                    true => (
                        "remitd is stopping, and waits for running changes",
                        "try again when they have ended: remit jobs lists yours",
                    ),
                    false => ("remitd is stopping", "try again in a minute"),
                };
                Err(Refusal::new(Code::DaemonUnavailable, text).next(when))
            }
        }
    }

    /// Fails if what the daemon itself does about commits may not go on. A lock does not matter.
    pub fn check_own(&self) -> Result<(), Refusal> {
        match self.ends_jobs() {
            true => self.check_open(),
            false => Ok(()),
        }
    }

    /// Clients are still answered during this wait, which may take minutes.
    pub const fn is_waiting_for_changes(&self) -> bool {
        matches!(self.shutdown, Some(Shutdown::WaitingForChanges(_)))
    }

    pub const fn ends_jobs(&self) -> bool {
        matches!(self.shutdown, Some(Shutdown::Asked | Shutdown::Killed))
    }

    pub fn announce(&mut self, timers: &mut Timers) {
        if !std::mem::replace(&mut self.announced, true) {
            self.pat_watchdog(timers);
        }
    }

    /// Sends the watchdog message and sets the timer for the next one.
    pub fn pat_watchdog(&self, timers: &mut Timers) {
        if let Some(interval) = self.notify.watchdog() {
            self.notify.alive();
            timers.add(interval / 2, Timer::Watchdog);
        }
    }

    pub fn extend_shutdown(&self, timers: &mut Timers) {
        if self.shutdown.is_some() {
            self.notify.extend(EXTEND_BY);
            timers.add(EXTEND, Timer::Extend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stop_that_ends_jobs_ends_what_the_daemon_does_itself() {
        let locked = AdmissionState::Locked(Locked {
            why: "an incident".to_owned(),
            by: None,
        });
        let until = Instant::now();
        for (gate, shutdown, is_open, goes_on) in [
            (AdmissionState::Open, None, true, true),
            (locked, None, false, true),
            (AdmissionState::Stopping, None, false, true),
            (
                AdmissionState::Stopping,
                Some(Shutdown::WaitingForChanges(until)),
                false,
                true,
            ),
            (
                AdmissionState::Stopping,
                Some(Shutdown::Asked),
                false,
                false,
            ),
            (
                AdmissionState::Stopping,
                Some(Shutdown::Killed),
                false,
                false,
            ),
        ] {
            let life = Lifecycle {
                gate,
                shutdown,
                ..Lifecycle::new(None)
            };
            let seen = (life.check_open().is_ok(), life.check_own().is_ok());
            assert_eq!(seen, (is_open, goes_on), "{:?} {shutdown:?}", life.gate);
        }
    }
}
