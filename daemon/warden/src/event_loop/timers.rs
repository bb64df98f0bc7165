//! Wall clock for people, monotonic clock for deadlines, and the queue of deadlines.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// After this time in a turn, no further message is handled and no waiting job is started.
pub const TURN: Duration = Duration::from_millis(10);

/// For records and reports. Never used for deadlines.
pub use remit_common::calendar::now_ms as unix_ms;

/// Returns the time since boot, with suspend (CLOCK_BOOTTIME, clock_gettime(2)). Nobody can set it.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// Returns the random id of this boot (random(4)).
pub fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim_end().to_owned())
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    Runtime(u64),
    /// The job should have executed its program by now. From now on its end is watched for.
    Steps(u64),
    Grace(u64),
    Kill(u64),
    /// Kills again: a fork during the kill may have left a process in the cgroup.
    KillAgain(u64),
    /// The broker has not drained an exited job by itself.
    Exited(u64),
    /// The broker should have drained it after the notice.
    Drain(u64),
    Parked,
    /// Retries end records that the audit log did not accept.
    Ends,
    /// Starts waiting jobs that have a slot: a turn had no time for them, or a fork failed.
    Begin,
    /// The same, after the audit log did not accept an intent.
    LogFull,
    Leftovers,
    Broker,
    /// A killed broker has not ended.
    BrokerEnd,
    /// A client was handed to the broker, whose main thread may have ended meanwhile.
    MainThread,
    Bus,
    BusAnswer,
    Ready,
    Policy,
    Watchdog,
    /// The service manager may get the status again.
    Note,
    /// Timeout of the self-test or of its clean-up, or the pause before the next one.
    SelfTestRun,
    Grants,
    Approval(u64),
    Measuring(u64),
    LookUp(u64),
    History(u64),
    LeftOut,
    Commits,
    KeptViews,
    /// Undoes commits that nobody has confirmed.
    Unconfirmed,
    Stop,
    Extend,
}

/// Deadlines, nearest first. Each timer has at most one.
#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    at: HashMap<Timer, Instant>,
}

impl Timers {
    /// Fires `timer` once, `after` from now. Replaces its earlier deadline.
    pub fn add(&mut self, after: Duration, timer: Timer) {
        self.cancel(timer);
        // A deadline that cannot be represented is centuries away.
        if let Some(at) = Instant::now().checked_add(after) {
            self.queue.insert((at, timer));
            self.at.insert(timer, at);
        }
    }

    pub fn has(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    pub fn cancel_job(&mut self, serial: u64) {
        for timer in [
            Timer::Runtime,
            Timer::Steps,
            Timer::Grace,
            Timer::Kill,
            Timer::KillAgain,
            Timer::Exited,
            Timer::Drain,
        ] {
            self.cancel(timer(serial));
        }
    }

    pub fn due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    pub fn next(&self, now: Instant) -> Option<Duration> {
        let (at, _) = self.queue.first()?;
        Some(at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first_and_the_cancelled_never() {
        let mut timers = Timers::default();
        let now = Instant::now();
        timers.add(Duration::from_secs(9), Timer::Runtime(1));
        timers.add(Duration::from_secs(3), Timer::Grace(1));
        timers.add(Duration::from_secs(5), Timer::Runtime(2));
        timers.add(Duration::from_secs(7), Timer::Runtime(2));
        assert!(timers.next(now).unwrap() > Duration::from_secs(2));
        assert_eq!(timers.due(now), None);
        timers.cancel_job(1);
        let later = now + Duration::from_secs(60);
        assert_eq!(timers.due(later), Some(Timer::Runtime(2)));
        assert_eq!(timers.due(later), None);
        assert!(timers.next(now).is_none() && timers.at.is_empty());
    }

    /// proc_uptime(5) reports the same clock, which includes suspend.
    #[test]
    fn time_since_boot_is_the_uptime() {
        let uptime = || {
            let text = fs::read_to_string("/proc/uptime").unwrap();
            let seconds = text.split(' ').next().unwrap().parse().unwrap();
            Duration::from_secs_f64(seconds)
        };
        let (before, now, after) = (uptime(), since_boot(), uptime());
        let rounded = Duration::from_millis(10);
        assert!(
            before <= now && now <= after + rounded,
            "{before:?} {now:?} {after:?}"
        );
    }
}
