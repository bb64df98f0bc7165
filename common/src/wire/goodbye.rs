//! The one message that the warden itself sends to a client.

use serde::Serialize;

use crate::refusal::Refusal;

const VARIANT: u8 = 3;

/// Reason why the warden closes a connection. It has the bytes of `ToClient::Goodbye` in `remit-wire`.
#[derive(Debug, Serialize)]
pub struct Goodbye(u8, Refusal);

impl Goodbye {
    /// Says that a connection is refused.
    #[must_use]
    pub const fn new(refusal: Refusal) -> Self {
        Self(VARIANT, refusal)
    }
}
