//! Counts calls to the daemon, and reports when there was none for a while. It must not wake a shim that is idle or has one
//! long call in flight: a timer runs only for a step after a call, and once after the last call in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Time without a call after which the shim is idle.
pub const IDLE: Duration = Duration::from_secs(60);
/// Time for which the clock runs after a call. It is shorter than any wait of a call.
const STEP: Duration = Duration::from_secs(1);

/// A timer that runs during calls, so theirs is never the next: the runtime would wake itself for each call.
#[derive(Debug, Default)]
pub struct CallClock {
    runs: AtomicBool,
    /// All calls so far.
    calls: AtomicU32,
    in_flight: AtomicU32,
    /// A call began, or the last one in flight ended.
    changed: Notify,
}

/// A call in flight, until this is dropped.
#[derive(Debug)]
pub struct CountedCall(Arc<CallClock>);

impl Drop for CountedCall {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.changed.notify_one();
        }
    }
}

impl CallClock {
    /// Counts a call.
    pub fn begin(self: &Arc<Self>) -> CountedCall {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        CountedCall(Arc::clone(self))
    }

    /// Returns true if the clock did not run. It runs then, up to [`Self::stop`].
    pub fn start(&self) -> bool {
        !self.runs.swap(true, Ordering::Relaxed)
    }

    /// Lets the next call start the clock.
    pub fn stop(&self) {
        self.runs.store(false, Ordering::Relaxed);
    }

    /// Returns true if no call is in flight.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Returns once no call was in flight for [`IDLE`].
    pub async fn idle(&self) {
        loop {
            let calls = self.calls.load(Ordering::Relaxed);
            sleep(STEP).await;
            if calls != self.calls.load(Ordering::Relaxed) {
                continue;
            }
            let is_quiet = self.is_quiet();
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep(IDLE), if is_quiet => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// The runtime's time is paused: it goes on by itself once nothing else is left to do.
    #[tokio::test(start_paused = true)]
    async fn clock_is_idle_a_minute_after_the_last_call_in_flight() {
        let clock = Arc::new(CallClock::default());
        let first = clock.begin();
        let idle = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move {
                clock.idle().await;
                Instant::now()
            }
        });
        sleep(10 * IDLE).await;
        drop(clock.begin());
        sleep(10 * IDLE).await;
        assert!(!idle.is_finished(), "the first call is in flight");
        drop(first);
        sleep(IDLE / 2).await;
        drop(clock.begin());
        let last = Instant::now();
        let time = idle.await.unwrap() - last;
        assert!((IDLE..IDLE + 4 * STEP).contains(&time), "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn clock_without_calls_has_one_timer() {
        let clock = CallClock::default();
        let start = Instant::now();
        clock.idle().await;
        assert_eq!(start.elapsed(), STEP + IDLE);
        assert!(clock.start() && !clock.start());
        clock.stop();
        assert!(clock.start());
    }
}
