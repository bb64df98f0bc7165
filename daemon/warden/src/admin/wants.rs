//! What connections of administrators wait for.

use remit_common::names::JobId;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// The policy that was asked for.
    Policy,
    /// The walls, tried.
    Checkup,
    /// A job's end, after a stop.
    End(JobId),
    /// A job's end, whatever brings it.
    Job(JobId),
    /// Another list of what waits for an approval.
    Pending,
    /// What becomes of an approval.
    Approval(JobId),
    /// What becomes of a grant that is given.
    Grant(u64),
    /// The history, read.
    History(u64),
}
