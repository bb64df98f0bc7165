//! Whether the daemon takes work, and how far its start or its stop is.

use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};

use crate::event_loop::timers::{Timer, Timers};
use crate::service::sd_notify::Notify;
use crate::state_dir::lock::Locked;

/// Interval between requests for more time to the service manager, and the time of each (sd_notify(3)).
const EXTEND: Duration = Duration::from_secs(10);
const EXTEND_BY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionState {
    Open,
    Stopping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Changes without a sandbox may run for `jobs.stop_wait_s`. Everything else was asked to end.
    WaitingForChanges,
    Asked,
    Killed,
}

#[derive(Debug)]
pub struct Lifecycle {
    pub gate: AdmissionState,
    /// Also while the daemon stops, because the lock holds after the next start.
    pub locked: Option<Locked>,
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
            gate: AdmissionState::Open,
            locked,
            announced: false,
            stopped_by: None,
            shutdown: None,
            leaving: false,
            failed: None,
            since: Instant::now(),
            notify: Notify::from_env(),
        }
    }

    /// Returns true if new jobs may start: remit is neither locked nor stopping.
    pub const fn is_open(&self) -> bool {
        matches!(self.gate, AdmissionState::Open) && self.locked.is_none()
    }

    /// Fails if remit is locked or stopping. The refusal names the lock first: it lasts longer.
    pub fn check_open(&self) -> Result<(), Refusal> {
        match &self.locked {
            Some(locked) => Err(Refusal::new(
                Code::Locked,
                format!("an administrator has locked remit: {}", locked.why),
            )
            .lift("remit unlock")
            .next("stop, and tell the person you work for")),
            None => self.check_not_stopping(),
        }
    }

    fn check_not_stopping(&self) -> Result<(), Refusal> {
        match self.gate {
            AdmissionState::Open => Ok(()),
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
            true => self.check_not_stopping(),
            false => Ok(()),
        }
    }

    /// Clients are still answered during this wait, which may take minutes.
    pub const fn is_waiting_for_changes(&self) -> bool {
        matches!(self.shutdown, Some(Shutdown::WaitingForChanges))
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
    fn lock_or_stop_refuses_jobs_and_a_stop_that_ends_jobs_what_the_daemon_does_itself() {
        use AdmissionState::{Open, Stopping};
        let waiting = Some(Shutdown::WaitingForChanges);
        let (asked, killed) = (Some(Shutdown::Asked), Some(Shutdown::Killed));
        let stops = Some(Code::DaemonUnavailable);
        for (gate, shutdown, unlocked, goes_on) in [
            (Open, None, None, true),
            (Stopping, None, stops, true),
            (Stopping, waiting, stops, true),
            (Stopping, asked, stops, false),
            (Stopping, killed, stops, false),
        ] {
            let locked = Locked {
                why: "an incident".to_owned(),
                by: None,
            };
            for (locked, refused) in [(None, unlocked), (Some(locked), Some(Code::Locked))] {
                let life = Lifecycle {
                    gate,
                    shutdown,
                    ..Lifecycle::new(locked)
                };
                let seen = life.check_open().err().map(|refusal| refusal.code);
                let own = life.check_own().err().map(|refusal| refusal.code);
                let about = format!("{gate:?} {shutdown:?} {:?}", life.locked);
                assert_eq!(
                    (seen, life.is_open()),
                    (refused, refused.is_none()),
                    "{about}"
                );
                assert_eq!(
                    own,
                    (!goes_on).then_some(Code::DaemonUnavailable),
                    "{about}"
                );
            }
        }
    }
}
