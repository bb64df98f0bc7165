//! The life of a job as one table: at this stage, this event leads to that stage, and that has to be done. Pure. A
//! stage changes only here: whoever handles an event gives it to the job's [`Life`], and obeys. An event that a stage
//! does not know changes nothing, and is an error on the way to a start. The test walks all orders of events.

#[cfg(test)]
mod tests;

use std::fmt;

use remit_common::refusal::{Code, Refusal};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Decided and bound, but not written anywhere.
    New,
    /// The same, and a use of a temporary grant is spent for it.
    Spent,
    /// A child hashes its files before an approver is asked.
    Examined,
    Asked,
    /// A child hashes its files again, because somebody approves it.
    Approving,
    /// Waits for a slot.
    Queued(Files),
    /// Its turn has come, and a child hashes its files or looks its people up once more. It has its slot.
    Rehashed,
    /// The ledger and the audit log are asked to take it. It has its slot.
    Starting(Origin),
    /// Waits for the audit log. It has its slot.
    Parked,
    /// The audit log has its intent. It is being forked.
    Recorded(Origin),
    Running,
    /// The first process has ended. The others are being ended.
    Emptying,
    Draining(End),
    /// Its end is being recorded, or waits for the audit log.
    Ending(End),
    /// Its end is recorded, but a process cannot be killed. It keeps its slot and its uid.
    Stuck,
    Over,
}

/// What a queued job knows of the files and the people that its approval or its temporary grant rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Files {
    /// It rests on a rule alone.
    NotApproved,
    /// They were compared in this turn of the loop.
    Compared,
    /// They have to be compared before the start.
    Unknown,
}

/// Who hears that a job cannot start: the client who waits for the answer, or the broker, which has it as a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    Request,
    Queue(Files),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    NeverRan,
    /// No process is left.
    Empty,
    Unkillable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A temporary grant allows it.
    Lifted,
    NeedsApproval,
    /// Ledger and audit log have the request for approval.
    Asked,
    Approve,
    /// The approval failed. Others may approve it.
    NotApproved,
    /// The audit log has the approval.
    Approved,
    /// Ledger and audit log have it as a job that waits for a slot.
    Queued,
    /// The same, and it follows a commit that an approver approved.
    Follows,
    /// A slot is free, or the audit log can be written again.
    Turn,
    Unchanged,
    /// It got no slot in the turn of the loop in which its files were compared.
    Delayed,
    /// The audit log has its intent.
    Recorded,
    /// The audit log takes nothing for now.
    LogFull,
    /// The audit log may take something again.
    LogReady,
    Forked,
    /// It must not run, or cannot.
    Refused,
    Kill,
    /// The time between SIGTERM and SIGKILL is over.
    GraceOver,
    /// The first process is reaped, and others may be left.
    Exited,
    /// The first process is reaped, and it was the last one.
    ExitedLast,
    /// No process is left.
    Empty,
    /// Killed processes have not ended in time.
    KillTimeout,
    /// The broker has all of the output, or has had its time.
    Drained,
    EndRecorded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Wait,
    Spend,
    Hash,
    RecordIntent,
    Fork,
    Kill,
    /// Kill the other processes, and watch the cgroup.
    KillOthers,
    AwaitOutput,
    RecordEnd,
    /// Free its uid, and report the end.
    Release,
    /// Report the end, but keep the slot and the uid.
    Keep,
    /// Free its uid, and remove it from the ledger: it never was a job.
    Forget,
    /// The same after a record of its end, because the audit log has its intent.
    RecordAndForget,
}

/// A line of the table that was looked up. It is followed once what the event tells of is done.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Line {
    to: Stage,
    action: Action,
}

/// The table has no line for the event at this stage: a bug of the daemon. The job does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder {
    stage: Stage,
    event: Event,
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, event } = self;
        write!(
            f,
            "the table of a job's life has no line for {event:?} at {stage:?}"
        )
    }
}

impl From<OutOfOrder> for Refusal {
    fn from(wrong: OutOfOrder) -> Self {
        Self::new(Code::NotStarted, format!("not started: {wrong}"))
            .next("report this bug of remit, with its lines of the journal")
    }
}

/// Where a job is in its life. Not clonable: a job has one.
#[derive(Debug)]
pub struct Life(Stage);

impl Life {
    pub const fn new() -> Self {
        Self(Stage::New)
    }

    /// Takes an event that may come at any time, and returns the action; `None` and no change if it means nothing here.
    #[must_use]
    pub fn on(&mut self, event: Event) -> Option<Action> {
        self.advance(event).ok()
    }

    /// Takes an event that comes only at some stages to the next one, and returns what has to be done.
    /// Errors: `OutOfOrder`: this is none of these stages. The caller gives the job up.
    pub fn advance(&mut self, event: Event) -> Result<Action, OutOfOrder> {
        Ok(self.follow(self.foresee(event)?))
    }

    /// Looks up the line for an event before what it tells of is done, because a record or a fork cannot be undone.
    pub fn foresee(&self, event: Event) -> Result<Line, OutOfOrder> {
        let stage = self.0;
        match next(stage, event).filter(|_| !is_left_out(stage, event)) {
            Some((to, action)) => Ok(Line { to, action }),
            None => Err(OutOfOrder { stage, event }),
        }
    }

    pub const fn follow(&mut self, line: Line) -> Action {
        self.0 = line.to;
        line.action
    }

    /// The first process has ended by itself, or all were killed.
    pub const fn has_exited(&self) -> bool {
        matches!(self.0, Stage::Draining(_) | Stage::Ending(_))
    }

    /// Its end waits for the audit log, which has not taken it.
    pub const fn is_unrecorded(&self) -> bool {
        matches!(self.0, Stage::Ending(_))
    }

    /// Verified: no process is left.
    pub const fn is_empty(&self) -> bool {
        matches!(
            self.0,
            Stage::Draining(End::Empty) | Stage::Ending(End::Empty) | Stage::Over
        )
    }

    pub const fn is_running(&self) -> bool {
        matches!(self.0, Stage::Running)
    }
}

/// The table. One line for each event that means something at a stage.
const fn next(stage: Stage, event: Event) -> Option<(Stage, Action)> {
    use Event as E;
    use Files::{Compared, NotApproved, Unknown};
    use Origin::{Queue, Request};
    use Stage::{
        Approving, Asked, Draining, Emptying, Ending, Examined, New, Over, Parked, Queued,
        Recorded, Rehashed, Running, Spent, Starting, Stuck,
    };
    Some(match (stage, event) {
        (New, E::Lifted) => (Spent, Action::Spend),
        (New | Spent, E::Turn) => (Starting(Request), Action::RecordIntent),
        (New, E::Queued) => (Queued(NotApproved), Action::Wait),
        // Hours can pass until a slot is free.
        (Spent, E::Queued) | (New, E::Follows) => (Queued(Unknown), Action::Wait),
        (New, E::NeedsApproval) => (Examined, Action::Hash),

        (Examined, E::Asked) => (Asked, Action::Wait),
        (Asked, E::Approve) => (Approving, Action::Hash),
        (Approving, E::NotApproved) => (Asked, Action::Wait),
        (Approving, E::Approved) => (Queued(Compared), Action::Wait),

        (Queued(Compared), E::Delayed) => (Queued(Unknown), Action::Wait),
        (Queued(Unknown), E::Turn) => (Rehashed, Action::Hash),
        (Queued(files), E::Turn) => (Starting(Queue(files)), Action::RecordIntent),
        (Rehashed, E::Unchanged) => (Queued(Compared), Action::Wait),
        (Parked, E::Turn) => (Starting(Request), Action::RecordIntent),

        (Starting(Request), E::LogFull) => (Parked, Action::Wait),
        (Starting(Queue(NotApproved)), E::LogFull) => (Queued(NotApproved), Action::Wait),
        (Starting(Queue(_)), E::LogFull) => (Queued(Unknown), Action::Wait),
        (Starting(origin), E::Recorded) => (Recorded(origin), Action::Fork),
        (Recorded(_), E::Forked) => (Running, Action::Wait),

        (New | Spent | Examined | Parked | Starting(Request), E::Refused) => (Over, Action::Forget),
        (Recorded(Request), E::Refused) => (Over, Action::RecordAndForget),
        (
            Asked | Approving | Queued(_) | Rehashed | Starting(Queue(_)) | Recorded(Queue(_)),
            E::Refused,
        ) => (Ending(End::NeverRan), Action::RecordEnd),

        (Running | Emptying, E::Kill) => (stage, Action::Kill),
        (Running, E::GraceOver) => (Running, Action::Kill),
        (Running, E::Exited) => (Emptying, Action::KillOthers),
        (Running, E::ExitedLast) | (Emptying, E::Empty) => {
            (Draining(End::Empty), Action::AwaitOutput)
        }
        (Running | Emptying, E::KillTimeout) => (Draining(End::Unkillable), Action::AwaitOutput),
        (Draining(end), E::Drained) => (Ending(end), Action::RecordEnd),

        (Ending(_), E::LogFull) => (stage, Action::Wait),
        (Ending(_), E::LogReady) => (stage, Action::RecordEnd),
        (Ending(End::Unkillable), E::EndRecorded) => (Stuck, Action::Keep),
        (Ending(_), E::EndRecorded) => (Over, Action::Release),
        (Stuck, E::Empty) => (Over, Action::Release),
        _ => return None,
    })
}

/// Under test, `REMIT_MUTATE_LIFE='New Turn'` leaves this line out once.
#[cfg(feature = "mutate")]
fn is_left_out(stage: Stage, event: Event) -> bool {
    use std::sync::atomic::{AtomicBool, Ordering};
    static DONE: AtomicBool = AtomicBool::new(false);
    std::env::var("REMIT_MUTATE_LIFE").is_ok_and(|line| line == format!("{stage:?} {event:?}"))
        && !DONE.swap(true, Ordering::Relaxed)
}

#[cfg(not(feature = "mutate"))]
const fn is_left_out(_: Stage, _: Event) -> bool {
    false
}
