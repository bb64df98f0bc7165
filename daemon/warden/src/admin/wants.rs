//! Events that an administrator's connection waits for.

use remit_common::names::JobId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Policy,
    Checkup,
    /// A job's end, after a stop.
    End(JobId),
    /// A job's end, for any cause.
    Job(JobId),
    Show(u64),
    /// The next change of the list of requests.
    Pending,
    Approval(JobId),
    Grant(u64),
    History(u64),
}
