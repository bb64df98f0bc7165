//! Time: the wall clock for people, the monotonic clock for deadlines, and the queue of them.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970, for records and reports. Never used for deadlines.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

/// Time since the machine was booted, also while it slept (CLOCK_BOOTTIME, clock_gettime(2)): nobody sets
/// it. Where the kernel does not tell, every deadline is over.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// A duration in milliseconds; the largest number for what is longer.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A job's time is over.
    Runtime(u64),
    /// A job should be executed by now.
    Steps(u64),
    /// A job was asked to end and has had its grace.
    Grace(u64),
    /// A job's processes should be gone by now.
    Kill(u64),
    /// The broker has not drained an exited job by itself.
    Exited(u64),
    /// It should have by now.
    Drain(u64),
    /// A parked request has waited long enough for its record.
    Parked,
    /// End records that found no room are tried again.
    Ends,
    /// There was no time to begin all jobs that wait and have a place, or one could not be forked.
    Begin,
    /// What is left of ended jobs should be put away by now.
    Leftovers,
    /// Start the broker again.
    Broker,
    /// A broker that was started should be ready by now.
    Ready,
    /// A policy should have been read by now.
    Policy,
    /// Tell the service manager that the loop turns.
    Watchdog,
    /// The service manager may be told again how we are.
    Note,
    /// All walls should have been tried by now, or what tried them should be gone.
    Trial,
    /// A grant for a time ends.
    Grants,
    /// A request was not approved in time.
    Approval(u64),
    /// The files of a request should be measured by now.
    Measuring(u64),
    /// Accounts should be looked up by now.
    LookUp(u64),
    /// A question about the history should be answered by now.
    History(u64),
    /// Refusals that were not recorded one by one are told.
    LeftOut,
    /// A phase of an orderly stop has taken long enough.
    Stop,
    /// The service manager is asked for more time to stop.
    Extend,
}

/// Deadlines, nearest first; each timer has one at most.
#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    at: HashMap<Timer, Instant>,
}

impl Timers {
    /// Fires `timer` once, `after` from now, and not at the time it had before.
    pub fn add(&mut self, after: Duration, timer: Timer) {
        self.cancel(timer);
        // A deadline that cannot be represented is centuries away.
        if let Some(at) = Instant::now().checked_add(after) {
            self.queue.insert((at, timer));
            self.at.insert(timer, at);
        }
    }

    /// Whether `timer` is set.
    pub fn has(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// Does not fire `timer`. One that is not set is as good.
    pub fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// All timers of a job.
    pub fn cancel_job(&mut self, serial: u64) {
        for timer in [
            Timer::Runtime,
            Timer::Steps,
            Timer::Grace,
            Timer::Kill,
            Timer::Exited,
            Timer::Drain,
        ] {
            self.cancel(timer(serial));
        }
    }

    /// One timer whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    /// How long until the nearest one.
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

    /// proc_uptime(5) tells the same clock: the one that counts while the machine sleeps.
    #[test]
    fn time_since_boot_is_the_uptime() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
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
