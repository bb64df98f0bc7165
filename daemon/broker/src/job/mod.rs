//! One job: its state as the warden reported it, and its output.

pub(crate) mod redacted_view;
pub(crate) mod registry;
pub(crate) mod report;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::calendar::utc;
use remit_common::denial::ProfileVisibility;
use remit_common::names::JobId;
use remit_link::{JobMeta, Owner, Totals, WaitReason};
use remit_wire::Bytes;
use remit_wire::outcome::{ApprovalView, Ending, Enforced, FollowUp, State, Stream};
use tokio::sync::Notify;

use crate::hints::notes::About;
use crate::hints::{self, Commands, Seen};
use crate::job::redacted_view::adopted;
pub use crate::job::redacted_view::note;
use crate::job::report::{Facts, StoredFacts};
use crate::output::Output;
use crate::output::spool::{Lost, LostRange, Spool};
use crate::redact::{RecentRedactors, Secrets};

pub const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub owner: Owner,
    pub number: u64,
    pub taking: Cell<u64>,
    /// Its pipes are read, or were left before they were empty.
    pub is_unread: Cell<bool>,
    command: String,
    times: Cell<Times>,
    waiting: RefCell<Option<WaitReason>>,
    /// The order among queued jobs.
    pub queued_as: Cell<u64>,
    stdout: Output,
    stderr: Output,
    latest: Cell<Stream>,
    /// Shown in messages of progress, with the time when it was read.
    last_line: RefCell<Option<(Instant, String)>>,
    reported: RefCell<StoredFacts>,
    end: Cell<Option<EndSummary>>,
    then: RefCell<Vec<FollowUp>>,
    lost: RefCell<Option<Lost>>,
    about: RefCell<About>,
    seen: RefCell<Vec<Seen>>,
    secrets: Secrets,
    exited: Cell<bool>,
    ended: Cell<bool>,
    over: Notify,
    has_files: Cell<bool>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug)]
struct EndSummary {
    state: State,
    exit: Option<i32>,
}

impl EndSummary {
    const fn of(ending: &Ending) -> Self {
        Self {
            state: ending.state,
            exit: ending.exit,
        }
    }
}

/// Start times, or request times before the start.
#[derive(Clone, Copy, Debug)]
struct Times {
    started_ms: u64,
    /// Same as `started_ms`, by a monotonic clock.
    since: Instant,
    waited_ms: u64,
}

impl Job {
    pub fn new(meta: JobMeta, about: About) -> Self {
        Self::with(meta, about, BOTH.map(|_| Output::new()))
    }

    pub fn adopted(meta: JobMeta, about: About, spool: &Spool) -> Self {
        let gaps = spool.gaps(meta.job);
        let [out, err] = *gaps.as_ref().unwrap_or(&[LostRange::default(); 2]);
        let streams = [(Stream::Stdout, out), (Stream::Stderr, err)];
        let streams = streams.map(|(stream, gap)| adopted(meta.job, stream, gap, spool));
        let missing = streams.iter().any(|output| output.left().missing);
        let lost = streams.iter().any(Output::has_lost);
        let job = Self::with(meta, about, streams);
        job.has_files.set(true);
        if gaps.is_err() {
            job.lose(Lost::Damaged);
        } else if missing {
            job.lose(Lost::Missing);
        } else if lost {
            job.lose(Lost::Unknown);
        }
        job
    }

    fn with(meta: JobMeta, about: About, [stdout, stderr]: [Output; 2]) -> Self {
        let ended = meta.ending.is_some();
        let enforced = meta.enforced.as_ref();
        let is_read = enforced.is_some_and(|enforced| enforced.profile == "read");
        let visibility = (ended && is_read).then(hints::visibility_of_read);
        let end = meta.ending.as_ref().map(EndSummary::of);
        let mut reported = StoredFacts::from(Facts {
            enforced: meta.enforced,
            ending: meta.ending,
            visibility,
        });
        if ended {
            reported.pack();
        }
        let now = Instant::now();
        let since = now.checked_sub(Duration::from_millis(meta.age_ms));
        Self {
            id: meta.job,
            owner: meta.owner,
            number: meta.number,
            taking: Cell::new(0),
            is_unread: Cell::new(meta.is_unread),
            command: meta.command,
            times: Cell::new(Times {
                started_ms: meta.started_ms,
                since: since.unwrap_or(now),
                waited_ms: meta.waited_ms,
            }),
            waiting: RefCell::new(meta.waiting),
            queued_as: Cell::new(0),
            stdout,
            stderr,
            latest: Cell::new(Stream::Stdout),
            last_line: RefCell::new(None),
            reported: RefCell::new(reported),
            end: Cell::new(end),
            then: RefCell::new(meta.then),
            lost: RefCell::new(None),
            about: RefCell::new(about),
            seen: RefCell::default(),
            secrets: Secrets::without_values(meta.has_secrets),
            exited: Cell::new(ended),
            ended: Cell::new(ended),
            over: Notify::new(),
            has_files: Cell::new(false),
            changed: Notify::new(),
        }
    }

    #[must_use]
    pub fn with_secrets(self, secrets: Vec<Bytes>, recent: &Rc<RecentRedactors>) -> Self {
        match secrets.is_empty() {
            true => self,
            false => Self {
                secrets: Secrets::known(secrets, recent),
                ..self
            },
        }
    }

    pub fn output(&self, stream: Stream) -> &Output {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    pub fn note_output(&self, stream: Stream) {
        self.latest.set(stream);
        self.changed.notify_waiters();
    }

    pub fn kept(&self) -> u64 {
        self.stdout.kept().saturating_add(self.stderr.kept())
    }

    pub fn written(&self) -> [u64; 2] {
        BOTH.map(|stream| self.output(stream).written())
    }

    pub fn totals(&self, sha256: [u8; 32]) -> Totals {
        let [stdout_bytes, stderr_bytes] = self.written();
        Totals {
            stdout_bytes,
            stderr_bytes,
            sha256,
            is_unread: self.is_unread.get(),
        }
    }

    pub fn set_started(&self, started_ms: u64, waited_ms: u64) {
        self.waiting.replace(None);
        self.times.set(Times {
            started_ms,
            since: Instant::now(),
            waited_ms,
        });
    }

    pub fn approved(&self) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_some() {
            *waiting = Some(WaitReason::QueuePosition);
        }
        drop(waiting);
        self.changed.notify_waiters();
    }

    /// Notes who has approved it, while others have not.
    pub fn counted(&self, by: Vec<String>, still: u8) {
        if let Some(WaitReason::Approval(waiting)) = &mut *self.waiting.borrow_mut() {
            (waiting.approved_by, waiting.missing) = (by, still);
        }
        self.changed.notify_waiters();
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting.borrow().is_some()
    }

    pub fn is_queued(&self) -> bool {
        matches!(*self.waiting.borrow(), Some(WaitReason::QueuePosition))
    }

    pub fn approval(&self) -> Option<ApprovalView> {
        match &*self.waiting.borrow() {
            Some(WaitReason::Approval(waiting)) => Some(waiting.view.clone()),
            Some(WaitReason::QueuePosition) | None => None,
        }
    }

    /// Returns who has approved it and how many have not. `None` if nobody has, or nobody has to.
    pub fn approved_so_far(&self) -> Option<String> {
        match &*self.waiting.borrow() {
            Some(WaitReason::Approval(waiting)) if !waiting.approved_by.is_empty() => {
                let others = match waiting.missing {
                    1 => "1 other person has".to_owned(),
                    more => format!("{more} other people have"),
                };
                let by = waiting.approved_by.join(", ");
                Some(format!("approved by {by}; {others} to approve it, too"))
            }
            Some(WaitReason::Approval(_) | WaitReason::QueuePosition) | None => None,
        }
    }

    /// Names the request for the same that was there before. Asking again makes no answer come earlier.
    pub fn asked_before(&self) -> Option<String> {
        let waiting = self.waiting.borrow();
        let same = match &*waiting {
            Some(WaitReason::Approval(waiting)) => waiting.same?,
            Some(WaitReason::QueuePosition) | None => return None,
        };
        Some(format!(
            "when this was asked for, the same was waiting for an approval as {}, since {}",
            same.job,
            utc(same.asked_ms)
        ))
    }

    pub fn running(&self, enforced: Enforced) {
        let mut reported = self.reported.borrow_mut();
        reported.update(|facts| facts.enforced = Some(enforced));
    }

    pub fn exited(&self) {
        self.exited.set(true);
        self.over.notify_waiters();
    }

    pub fn follow_ups(&self, then: Vec<FollowUp>) {
        self.then.replace(then);
    }

    pub fn set_visibility(&self, visibility: ProfileVisibility) {
        let mut reported = self.reported.borrow_mut();
        reported.update(|facts| facts.visibility = Some(visibility));
    }

    pub fn uid(&self) -> Option<u32> {
        match &*self.reported.borrow() {
            StoredFacts::Open(facts) => facts.enforced.as_ref().map(|enforced| enforced.uid),
            StoredFacts::Packed(_) => None,
        }
    }

    /// Notes refusals of the kernel audit, before `end`. If there are secrets, paths are removed: they can contain one.
    pub fn was_refused(&self, mut seen: Vec<Seen>) {
        if !matches!(self.secrets, Secrets::None) {
            seen.iter_mut().for_each(|seen| seen.object = None);
        }
        self.seen.replace(seen);
    }

    pub fn end(&self, ending: Ending) {
        if self.waiting.replace(None).is_some() {
            // It never started: its whole age was waiting time.
            let waited_ms = self.elapsed_ms();
            self.times.set(Times {
                waited_ms,
                ..self.times.get()
            });
        }
        let end = EndSummary::of(&ending);
        self.end.set(Some(end));
        let [_, errors] = self.written();
        if (end.state, end.exit) == (State::Exited, Some(0)) && errors == 0 {
            // Nothing can have been refused by name.
            self.about.borrow_mut().commands = Commands::default();
        }
        let mut reported = self.reported.borrow_mut();
        reported.update(|facts| facts.ending = Some(ending));
        reported.pack();
        drop(reported);
        self.last_line.replace(None);
        self.exited.set(true);
        self.ended.set(true);
        self.over.notify_waiters();
        self.changed.notify_waiters();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    pub async fn until_exited(&self) {
        self.until(&self.exited).await;
    }

    pub async fn until_ended(&self) {
        self.until(&self.ended).await;
    }

    async fn until(&self, fact: &Cell<bool>) {
        loop {
            // Register before the check, so that no notification is missed.
            let notified = self.over.notified();
            if fact.get() {
                return;
            }
            notified.await;
        }
    }

    /// Waits until a stream has at least `least` kept bytes after `known`, or the end is recorded.
    pub async fn until_more(&self, known: [u64; 2], least: u64) {
        loop {
            let changed = self.changed.notified();
            let more = |(stream, known): (Stream, u64)| {
                self.output(stream).kept().saturating_sub(known) >= least
            };
            if self.has_ended() || BOTH.into_iter().zip(known).any(more) {
                return;
            }
            changed.await;
        }
    }

    /// Notes lost output. The first reason stays, except that [`Lost::Removed`] replaces it.
    pub fn lose(&self, why: Lost) {
        let mut lost = self.lost.borrow_mut();
        if lost.is_none() || why == Lost::Removed {
            *lost = Some(why);
        }
    }

    /// Notes that the share of the spool is used up and more output came. Returns true the first time.
    pub fn lose_share(&self, share: u64) -> bool {
        let why = Some(Lost::OverLimit(share));
        self.lost.replace(why.clone()) != why
    }

    pub fn state(&self) -> State {
        match self.end.get() {
            Some(end) => end.state,
            None => match &*self.waiting.borrow() {
                Some(WaitReason::Approval(_)) => State::AwaitingApproval,
                Some(WaitReason::QueuePosition) => State::Queued,
                None => State::Running,
            },
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.times.get().since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
