//! Named places where a test ends a process, to see that nothing is lost.
//!
//! Without the feature `mutate`, which no shipped binary has, this is empty.

use crate::warden::Warden;

/// A place in the life of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Nothing is written yet.
    BeforeLedger,
    /// The ledger has the job, the trail does not.
    AfterLedger,
    /// The ledger and the trail know of a job that waits, the broker does not.
    AfterQueue,
    /// The ledger and the trail know of a request that waits for an approval, the broker does not.
    AfterAsk,
    /// The trail has the approval, nothing else.
    AfterApproval,
    /// A job that waited has its place, nothing says so yet.
    BeforeBegin,
    /// The trail has the intent, nothing is forked.
    AfterRecord,
    /// The child exists, the broker does not know.
    AfterFork,
    /// The broker was told.
    AfterSend,
    /// The job's processes are gone, no end record.
    BeforeEnd,
    /// The ledger knows the end, the trail does not.
    EndNoted,
    /// The trail has the end, the ledger does not know that.
    EndRecorded,
    /// The end is recorded, the broker does not know.
    AfterEnd,
}

/// Passes a point. Under test, `REMIT_FAULT=broker@after-fork` kills the broker
/// here once, `warden@…` the warden itself.
#[cfg(not(feature = "mutate"))]
pub const fn point(_: &mut Warden, _: Point) {}

#[cfg(feature = "mutate")]
pub use armed::point;

#[cfg(feature = "mutate")]
mod armed {
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::{Point, Warden};

    static DONE: AtomicBool = AtomicBool::new(false);

    /// See the other `point`.
    pub fn point(warden: &mut Warden, at: Point) {
        let Ok(wanted) = std::env::var("REMIT_FAULT") else {
            return;
        };
        let Some((who, place)) = wanted.split_once('@') else {
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
            Point::EndNoted => "end-noted",
            Point::EndRecorded => "end-recorded",
            Point::AfterEnd => "after-end",
        };
        if place != name || DONE.swap(true, Ordering::Relaxed) {
            return;
        }
        let pid = match who {
            "broker" => warden.broker.pid(),
            _ => i32::try_from(std::process::id()).unwrap_or_default(),
        };
        if pid > 0 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
