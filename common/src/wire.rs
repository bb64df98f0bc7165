//! Types of the client protocol that the warden uses, too. The crate `remit-wire` has the protocol.

mod access;
mod history;

use serde::{Deserialize, Serialize};
pub use serde_bytes::ByteBuf as Bytes;

use crate::refusal::Refusal;

pub use self::access::{Access, AccessReport, Asked, CommandView, Effect, GrantView, ProfileView};
pub use self::history::{HistoryEntry, HistoryPage, HistoryQuery, Kind};

/// Purpose of a run, which decides what permits it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Read only. The policy must grant it, and a named command must have the effect `read`.
    #[default]
    Use,
    /// Change of the host: a named command with the effect `change` that the policy grants.
    Change {
        /// Reason from the caller: 1 to [`crate::caps::REASON`] bytes.
        reason: String,
    },
    /// Test of a profile by root. No grant is needed, and denials do not apply.
    Try,
}

const VARIANT: u8 = 3;

/// Reason why the warden closes a connection. It has the bytes of `ToClient::Goodbye` in `remit-wire`.
#[derive(Debug, Serialize)]
pub struct Goodbye(u8, Refusal);

impl Goodbye {
    #[must_use]
    pub const fn new(refusal: Refusal) -> Self {
        Self(VARIANT, refusal)
    }
}
