//! What bounds a temporary grant: the commands that its pattern matched when it was given, and two clocks. The giver
//! approves what exists: nobody approves a command that is added or changed later. The sooner clock ends a grant. The
//! wall clock can be set. CLOCK_BOOTTIME cannot, and counts while the machine sleeps (clock_gettime(2)), but restarts
//! at each boot.

use remit_common::admin::NewGrant;
use remit_policy::{Glob, Policy};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event_loop::timers;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    pub name: String,
    definition: [u8; 32],
}

impl Covered {
    pub fn by(new: &NewGrant, policy: &Policy) -> Vec<Self> {
        let commits = !new.paths.is_empty();
        let names = Glob::parse(&new.what).map(|glob| policy.covered(&glob, commits));
        let one = |name: String| {
            let definition = digest(policy, &name)?;
            Some(Self { name, definition })
        };
        names.into_iter().flatten().filter_map(one).collect()
    }

    pub fn is_same(&self, policy: &Policy) -> bool {
        digest(policy, &self.name) == Some(self.definition)
    }
}

fn digest(policy: &Policy, name: &str) -> Option<[u8; 32]> {
    let definition = policy.definition(name)?;
    Some(Sha256::digest(definition).into())
}

pub fn names(covered: &[Covered]) -> Vec<String> {
    covered.iter().map(|one| one.name.clone()).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub realtime_ms: u64,
    /// Milliseconds since the boot.
    pub boot_ms: u64,
}

impl Moment {
    /// If the kernel does not report the time, it is later than any end.
    pub fn now() -> Self {
        Self {
            realtime_ms: timers::unix_ms(),
            boot_ms: timers::millis(timers::since_boot()),
        }
    }

    pub const fn after(self, ms: u64) -> Self {
        Self {
            realtime_ms: self.realtime_ms.saturating_add(ms),
            boot_ms: self.boot_ms.saturating_add(ms),
        }
    }

    /// Returns milliseconds from `now` until this, by the sooner clock.
    pub fn left(self, now: Self) -> u64 {
        let realtime = self.realtime_ms.saturating_sub(now.realtime_ms);
        realtime.min(self.boot_ms.saturating_sub(now.boot_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_clock_counts() {
        let at = |realtime_ms, boot_ms| Moment {
            realtime_ms,
            boot_ms,
        };
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
        assert!(now.boot_ms > 0 && now.boot_ms < u64::MAX && now.realtime_ms > now.boot_ms);
        assert_eq!(timers::boot_id().unwrap().len(), 36);
    }
}
