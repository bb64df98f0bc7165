//! Bases with a sandbox, each with a self-test of its own.

use std::sync::Arc;

use remit_policy::{Base, Profile};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfinedBase {
    Read,
    Strict,
    Plan,
}

impl ConfinedBase {
    pub const ALL: [Self; 3] = [Self::Read, Self::Strict, Self::Plan];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Strict => "strict",
            Self::Plan => "plan",
        }
    }

    pub const fn of(base: Base) -> Option<Self> {
        match base {
            // `extract` prepares as `read` does, and can do no more in the copy that it reads.
            Base::Read | Base::Extract => Some(Self::Read),
            Base::Strict => Some(Self::Strict),
            Base::Plan => Some(Self::Plan),
            Base::Host => None,
        }
    }

    pub fn profile(self) -> Arc<Profile> {
        Arc::new(match self {
            Self::Read => Profile::read(),
            Self::Strict => Profile::strict(),
            Self::Plan => Profile::plan(),
        })
    }
}
