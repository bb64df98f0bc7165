//! Points at which a test kills a process. Empty without the feature `mutate`, which no shipped binary has.

use crate::service::broker_process::Broker;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    BeforeLedger,
    /// The ledger has the job, the audit log does not.
    AfterLedger,
    /// Ledger and audit log have a waiting job, the broker does not.
    AfterQueue,
    /// Ledger and audit log have a draft, the broker does not.
    AfterAsk,
    /// Only the audit log has the approval.
    AfterApproval,
    /// A waiting job has its slot, but nothing records that.
    BeforeBegin,
    /// The audit log has the intent, nothing is forked.
    AfterRecord,
    AfterFork,
    AfterSend,
    /// The job's processes are gone, nothing records that.
    BeforeEnd,
    /// The ledger has the end, the audit log does not.
    EndWritten,
    /// The audit log has the end, the ledger does not know that.
    EndRecorded,
    /// Ledger and audit log have the end, the broker does not.
    AfterEnd,
}

/// Under test, `REMIT_FAULT=broker@after-fork` kills the broker here once, `warden@…` the daemon itself.
#[cfg(not(feature = "mutate"))]
pub const fn point(_: &Broker, _: Point) {}

#[cfg(feature = "mutate")]
pub use armed::point;

#[cfg(feature = "mutate")]
mod armed {
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::{Broker, Point};

    static DONE: AtomicBool = AtomicBool::new(false);

    pub fn point(broker: &Broker, at: Point) {
        let Ok(wanted) = std::env::var("REMIT_FAULT") else {
            return;
        };
        let Some((process, wanted_point)) = wanted.split_once('@') else {
            return;
        };
        let name = match at {
            Point::BeforeLedger => "before-ledger",
            Point::AfterLedger => "after-ledger",
            Point::AfterQueue => "after-queue",
            Point::AfterAsk => "after-ask",
            Point::AfterApproval => "after-approval",
            Point::BeforeBegin => "before-begin",
            Point::AfterRecord => "after-record",
            Point::AfterFork => "after-fork",
            Point::AfterSend => "after-send",
            Point::BeforeEnd => "before-end",
            Point::EndWritten => "end-noted",
            Point::EndRecorded => "end-recorded",
            Point::AfterEnd => "after-end",
        };
        if wanted_point != name || DONE.swap(true, Ordering::Relaxed) {
            return;
        }
        let pid = match process {
            "broker" => broker.pid(),
            _ => i32::try_from(std::process::id()).unwrap_or_default(),
        };
        if pid > 0 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
