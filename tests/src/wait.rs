//! Waits for what other processes do, for a bounded time.

use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and returns it.
#[track_caller]
pub fn seen<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < LONG, "not seen: {what}");
        thread::sleep(PAUSE);
    }
}

#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    seen(what, || is_so().then_some(()));
}
