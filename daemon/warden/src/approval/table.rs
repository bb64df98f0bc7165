//! Requests that need an approval: being measured, waiting, or ended and not recorded yet.

use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_policy::Pending;
use remit_spawn::Measured;

use crate::approval::file_hash::{AsFound, Measuring};
use crate::identity::peer::Subject;
use crate::request::Draft;

pub const ASK_AGAIN: &str = "ask again, if it is still wanted: a person decides again";

#[derive(Debug)]
pub struct MeasuringRequest {
    pub draft: Box<Draft>,
    pub pending: Pending,
    pub measuring: Measuring,
}

#[derive(Debug)]
pub struct Approving {
    pub by: Subject,
    pub measuring: Measuring,
}

#[derive(Debug)]
pub struct Request {
    pub draft: Box<Draft>,
    pub pending: Pending,
    pub found: AsFound,
    pub encoded: Vec<u8>,
    /// SHA-256 of `encoded`, which an approver signs.
    pub digest: [u8; 32],
    pub asked_ms: u64,
    /// Milliseconds since 1970, for display only.
    pub expires_ms: u64,
    /// The same time on the boot clock, which nobody can set. This one decides.
    pub deadline: Duration,
    pub since: Instant,
    pub approving: Option<Approving>,
}

impl Request {
    /// Bytes that it keeps in memory while it waits.
    pub fn held(&self) -> usize {
        let found = self.found.held();
        self.draft
            .held
            .saturating_add(self.encoded.len())
            .saturating_add(found)
    }

    /// Files to compare again just before the exec.
    pub fn measured(&self) -> Vec<Measured> {
        self.found.checked()
    }
}

/// Returns the same answer for an unknown id and for a request that no longer waits.
pub fn no_such_request() -> Refusal {
    Refusal::new(
        Code::NotFound,
        "no request with this id is waiting for an approval",
    )
    .next("remit pending lists waiting requests, remit jobs lists decided ones")
}
