//! One job: what the warden said of it, and its output.

mod files;
mod shown;
mod told;
mod veil;

use self::files::adopted;
use self::told::{Facts, Told};
pub use self::veil::note;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use remit_common::denial::Sight;
use remit_common::names::JobId;
use remit_common::outcome::{ApprovalView, Ending, Enforced, State, Stream};
use remit_common::wire::Bytes;
use remit_link::{JobMeta, Owner, Totals, Waits};
use tokio::sync::Notify;

use crate::explain::{self, Commands, Seen};
use crate::lost::Lost;
use crate::notes::About;
use crate::output::Output;
use crate::redact::Secrets;
use crate::spool::{Gap, Spool};

/// Both streams, in the order of everything that holds one thing for each.
pub const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// A job of somebody's.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Who asked for it.
    pub owner: Owner,
    /// Grows from job to job.
    pub number: u64,
    /// Bytes that are just being moved from its pipes, at most.
    pub taking: Cell<u64>,
    command: String,
    times: Cell<Times>,
    waits: RefCell<Option<Waits>>,
    stdout: Output,
    stderr: Output,
    /// The stream that wrote last.
    latest: Cell<Stream>,
    told: RefCell<Told>,
    end: Cell<Option<End>>,
    lost: RefCell<Option<Lost>>,
    about: RefCell<About>,
    /// What the kernel's audit saw refused to it.
    seen: RefCell<Vec<Seen>>,
    secrets: Secrets,
    exited: Cell<bool>,
    ended: Cell<bool>,
    /// Told when one of these two comes.
    over: Notify,
    /// Something of it may be in the spool.
    has_files: Cell<bool>,
    /// Told whenever it wrote something, and when it ends.
    changed: Notify,
}

/// How it ended, in short.
#[derive(Clone, Copy, Debug)]
struct End {
    state: State,
    exit: Option<i32>,
}

impl End {
    const fn of(ending: &Ending) -> Self {
        Self {
            state: ending.state,
            exit: ending.exit,
        }
    }
}

/// When it started; before that, when it was asked for.
#[derive(Clone, Copy, Debug)]
struct Times {
    started_ms: u64,
    /// The same by a clock that nobody sets.
    since: Instant,
    waited_ms: u64,
}

impl Job {
    /// A job that has just started, or waits for its start.
    pub fn new(meta: JobMeta, about: About) -> Self {
        Self::with(meta, about, BOTH.map(|_| Output::new()))
    }

    /// A job that an earlier broker knew: its output is what lies in the spool.
    pub fn adopted(meta: JobMeta, about: About, spool: &Spool) -> Self {
        let gaps = spool.gaps(meta.job);
        let [out, err] = *gaps.as_ref().unwrap_or(&[Gap::default(); 2]);
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
        let sight = (ended && is_read).then(explain::sight_of_read);
        let end = meta.ending.as_ref().map(End::of);
        let mut told = Told::from(Facts {
            enforced: meta.enforced,
            ending: meta.ending,
            sight,
        });
        if ended {
            told.pack();
        }
        let now = Instant::now();
        let since = now.checked_sub(Duration::from_millis(meta.age_ms));
        Self {
            id: meta.job,
            owner: meta.owner,
            number: meta.number,
            taking: Cell::new(0),
            command: meta.command,
            times: Cell::new(Times {
                started_ms: meta.started_ms,
                // Before the machine was up it did not start.
                since: since.unwrap_or(now),
                waited_ms: meta.waited_ms,
            }),
            waits: RefCell::new(meta.waits),
            stdout,
            stderr,
            latest: Cell::new(Stream::Stdout),
            told: RefCell::new(told),
            end: Cell::new(end),
            lost: RefCell::new(None),
            about: RefCell::new(about),
            seen: RefCell::default(),
            secrets: Secrets::of(meta.has_secrets, Vec::new()),
            exited: Cell::new(ended),
            ended: Cell::new(ended),
            over: Notify::new(),
            has_files: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// The same, which was given these secrets.
    #[must_use]
    pub fn knowing(self, secrets: Vec<Bytes>) -> Self {
        match secrets.is_empty() {
            true => self,
            false => Self {
                secrets: Secrets::of(true, secrets),
                ..self
            },
        }
    }

    /// One of its streams.
    pub fn output(&self, stream: Stream) -> &Output {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// A stream has just moved.
    pub fn wrote(&self, stream: Stream) {
        self.latest.set(stream);
        self.changed.notify_waiters();
    }

    /// Bytes kept of both streams.
    pub fn kept(&self) -> u64 {
        self.stdout.kept().saturating_add(self.stderr.kept())
    }

    /// Bytes written to stdout and stderr.
    pub fn written(&self) -> [u64; 2] {
        BOTH.map(|stream| self.output(stream).written())
    }

    /// The counts for the warden.
    pub fn totals(&self, sha256: [u8; 32]) -> Totals {
        let [stdout_bytes, stderr_bytes] = self.written();
        Totals {
            stdout_bytes,
            stderr_bytes,
            sha256,
        }
    }

    /// It got its place, after so long.
    pub fn begun(&self, started_ms: u64, waited_ms: u64) {
        self.waits.replace(None);
        self.times.set(Times {
            started_ms,
            since: Instant::now(),
            waited_ms,
        });
    }

    /// It was approved, and waits for a place.
    pub fn approved(&self) {
        let mut waits = self.waits.borrow_mut();
        if waits.is_some() {
            *waits = Some(Waits::Place);
        }
        drop(waits);
        self.changed.notify_waiters();
    }

    /// Whether it has not begun yet.
    pub fn is_waiting(&self) -> bool {
        self.waits.borrow().is_some()
    }

    /// Whether it waits for a place.
    pub fn is_queued(&self) -> bool {
        matches!(*self.waits.borrow(), Some(Waits::Place))
    }

    /// Who is asked, where it waits for an approval.
    pub fn approval(&self) -> Option<ApprovalView> {
        match &*self.waits.borrow() {
            Some(Waits::Approval(view)) => Some(view.as_ref().clone()),
            Some(Waits::Place) | None => None,
        }
    }

    /// The exec happened.
    pub fn running(&self, enforced: Enforced) {
        let mut told = self.told.borrow_mut();
        told.tell(|facts| facts.enforced = Some(enforced));
    }

    /// No process of it is left.
    pub fn exited(&self) {
        self.exited.set(true);
        self.over.notify_waiters();
    }

    /// What its profile lets it do; told before its end.
    pub fn sees(&self, sight: Sight) {
        let mut told = self.told.borrow_mut();
        told.tell(|facts| facts.sight = Some(sight));
    }

    /// The uid that it runs as, once the exec has happened.
    pub fn uid(&self) -> Option<u32> {
        match &*self.told.borrow() {
            Told::Open(facts) => facts.enforced.as_ref().map(|enforced| enforced.uid),
            Told::Packed(_) => None,
        }
    }

    /// What the kernel's audit saw refused to it; told before its end. A path may hold a secret of the
    /// request, cut or written in another way: of a job that has some none is told.
    pub fn was_refused(&self, mut seen: Vec<Seen>) {
        if !matches!(self.secrets, Secrets::None) {
            seen.iter_mut().for_each(|seen| seen.object = None);
        }
        self.seen.replace(seen);
    }

    /// Its end is recorded.
    pub fn end(&self, ending: Ending) {
        if self.waits.replace(None).is_some() {
            // It never began: it waited until now.
            let waited_ms = self.elapsed_ms();
            self.times.set(Times {
                waited_ms,
                ..self.times.get()
            });
        }
        let end = End::of(&ending);
        self.end.set(Some(end));
        if (end.state, end.exit) == (State::Exited, Some(0)) {
            // Nothing is explained of a job that succeeded.
            self.about.borrow_mut().commands = Commands::default();
        }
        let mut told = self.told.borrow_mut();
        told.tell(|facts| facts.ending = Some(ending));
        told.pack();
        drop(told);
        self.exited.set(true);
        self.ended.set(true);
        self.over.notify_waiters();
        self.changed.notify_waiters();
    }

    /// Whether its end is recorded.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Waits until no process of it is left.
    pub async fn until_exited(&self) {
        self.until(&self.exited).await;
    }

    /// Waits until its end is recorded.
    pub async fn until_ended(&self) {
        self.until(&self.ended).await;
    }

    async fn until(&self, fact: &Cell<bool>) {
        loop {
            // Made before the look, so that nothing in between is missed.
            let told = self.over.notified();
            if fact.get() {
                return;
            }
            told.await;
        }
    }

    /// Waits until one of its streams has `least` bytes kept behind those `known`, or its end is recorded.
    pub async fn until_more(&self, known: [u64; 2], least: u64) {
        loop {
            // Made before the look, so that nothing in between is missed.
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

    /// Some output is lost; the first reason stays, unless all is removed.
    pub fn lose(&self, why: Lost) {
        let mut lost = self.lost.borrow_mut();
        if lost.is_none() || why == Lost::Removed {
            *lost = Some(why);
        }
    }

    /// Its share of the spool, of so many bytes, is used and more came; true the first time.
    pub fn lose_share(&self, share: u64) -> bool {
        let why = Some(Lost::OverLimit(share));
        self.lost.replace(why.clone()) != why
    }

    /// Where it is.
    pub fn state(&self) -> State {
        match self.end.get() {
            Some(end) => end.state,
            None => match &*self.waits.borrow() {
                Some(Waits::Approval(_)) => State::AwaitingApproval,
                Some(Waits::Place) => State::Queued,
                None => State::Running,
            },
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.times.get().since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
