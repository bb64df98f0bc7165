//! Time for what outlives the daemon: two clocks, of which the one that is sooner ends a grant.
//!
//! The wall clock can be set; the time since boot cannot, and counts while the machine sleeps
//! (CLOCK_BOOTTIME, clock_gettime(2)), but begins anew with each boot.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::clock;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Milliseconds since the machine was booted.
    pub boot_ms: u64,
}

impl Moment {
    /// Now. Where the kernel does not tell, it is later than any end.
    pub fn now() -> Self {
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME);
        Self {
            wall_ms: clock::unix_ms(),
            boot_ms: since_boot.map_or(u64::MAX, |time| clock::millis(Duration::from(time))),
        }
    }

    /// So many milliseconds later.
    pub const fn after(self, ms: u64) -> Self {
        Self {
            wall_ms: self.wall_ms.saturating_add(ms),
            boot_ms: self.boot_ms.saturating_add(ms),
        }
    }

    /// Milliseconds from `now` until this, by the clock that is sooner.
    pub fn left(self, now: Self) -> u64 {
        let wall = self.wall_ms.saturating_sub(now.wall_ms);
        wall.min(self.boot_ms.saturating_sub(now.boot_ms))
    }
}

/// What every boot has of its own (random(4)).
///
/// # Errors
/// /proc is not as it should be.
pub fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_clock_counts() {
        let at = |wall_ms, boot_ms| Moment { wall_ms, boot_ms };
        let end = at(1000, 100).after(50);
        assert_eq!(end, at(1050, 150));
        for (now, left) in [
            (at(1000, 100), 50),
            (at(1030, 100), 20),
            (at(1000, 130), 20),
            (at(0, 130), 20),
            (at(0, 150), 0),
            (at(1050, 0), 0),
            (at(u64::MAX, u64::MAX), 0),
        ] {
            assert_eq!(end.left(now), left, "{now:?}");
        }
        let now = Moment::now();
        assert!(now.boot_ms > 0 && now.boot_ms < u64::MAX && now.wall_ms > now.boot_ms);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
