//! One job: what the warden said of it, and its output.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::{
    Captured, Ending, Enforced, JobReport, JobSummary, Page, State, Stream,
};
use remit_common::text;
use remit_common::wire::{PageQuery, Progress};
use remit_link::{JobMeta, Owner, Totals};
use tokio::sync::watch;

use crate::notes;
use crate::output::{self, Output};
use crate::page;
use crate::spool::Spool;

/// Bytes of the last line in a progress message.
const LAST_LINE: usize = 200;
const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// Why some output is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The job wrote more than its share.
    OverLimit,
    /// The spool took no more.
    Full(String),
    /// Removed after the end, to make room.
    Removed,
    /// An earlier broker knew.
    Unknown,
}

/// A job of somebody's.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Who asked for it.
    pub owner: Owner,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    command: String,
    stdout: Output,
    stderr: Output,
    /// The stream that wrote last.
    latest: Cell<Stream>,
    enforced: RefCell<Option<Enforced>>,
    ending: RefCell<Option<Ending>>,
    lost: RefCell<Option<Lost>>,
    notes: Vec<&'static str>,
    exited: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

impl Job {
    /// A job that has just started.
    pub fn started(meta: JobMeta, notes: Vec<&'static str>) -> Self {
        Self::with(meta, notes, [Output::default(), Output::default()])
    }

    /// A job that an earlier broker knew: its output is what lies in the spool.
    pub fn adopted(meta: JobMeta, notes: Vec<&'static str>, spool: &Spool) -> Self {
        let noted = spool.noted_lost(meta.job);
        let size = |stream| {
            let file = spool.find(meta.job, stream).ok().flatten();
            file.and_then(|file| file.metadata().ok())
                .map_or(0, |meta| meta.len())
        };
        let [kept_out, kept_err] = BOTH.map(size);
        spool.grew(kept_out.saturating_add(kept_err));
        let [out, err] = noted.unwrap_or([kept_out, kept_err]);
        let streams = [
            Output::resumed(kept_out, out),
            Output::resumed(kept_err, err),
        ];
        let job = Self::with(meta, notes, streams);
        if noted.is_some() {
            job.lose(Lost::Unknown);
        }
        job
    }

    fn with(meta: JobMeta, notes: Vec<&'static str>, [stdout, stderr]: [Output; 2]) -> Self {
        let ended = meta.ending.is_some();
        Self {
            id: meta.job,
            owner: meta.owner,
            started_ms: meta.started_ms,
            command: meta.command,
            stdout,
            stderr,
            latest: Cell::new(Stream::Stdout),
            enforced: RefCell::new(meta.enforced),
            ending: RefCell::new(meta.ending),
            lost: RefCell::new(None),
            notes,
            exited: watch::Sender::new(ended),
            ended: watch::Sender::new(ended),
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

    /// The exec happened.
    pub fn running(&self, enforced: Enforced) {
        self.enforced.replace(Some(enforced));
    }

    /// No process of it is left.
    pub fn exited(&self) {
        self.exited.send_replace(true);
    }

    /// Its end is recorded.
    pub fn end(&self, ending: Ending) {
        self.ending.replace(Some(ending));
        self.exited.send_replace(true);
        self.ended.send_replace(true);
    }

    /// Whether its end is recorded.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until no process of it is left.
    pub async fn until_exited(&self) {
        // The sender lives as long as `self`.
        let _ = self.exited.subscribe().wait_for(|exited| *exited).await;
    }

    /// Waits until its end is recorded.
    pub async fn until_ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Some output is lost; the first reason stays, unless all is removed.
    pub fn lose(&self, why: Lost) {
        let mut lost = self.lost.borrow_mut();
        if lost.is_none() || why == Lost::Removed {
            *lost = Some(why);
        }
    }

    /// Its share of the spool is used and more came; true the first time.
    pub fn lose_share(&self) -> bool {
        let first = *self.lost.borrow() != Some(Lost::OverLimit);
        self.lost.replace(Some(Lost::OverLimit));
        first
    }

    fn file(&self, spool: &Spool, stream: Stream) -> Option<File> {
        if self.output(stream).kept() == 0 {
            return None;
        }
        spool.find(self.id, stream).unwrap_or_else(|error| {
            tracing::warn!(job = %self.id, %error, "cannot open a spool file");
            None
        })
    }

    fn captured(&self, spool: &Spool, stream: Stream) -> Captured {
        self.output(stream)
            .captured(self.file(spool, stream).as_ref())
    }

    fn state(&self) -> State {
        self.ending
            .borrow()
            .as_ref()
            .map_or(State::Running, |ending| ending.state)
    }

    /// The job as it is now.
    pub fn report(&self, spool: &Spool) -> JobReport {
        let mut notes: Vec<String> = self.notes.iter().map(ToString::to_string).collect();
        notes.extend(self.lost.borrow().as_ref().map(Lost::sentence));
        let stderr = self.captured(spool, Stream::Stderr);
        notes.extend(notes::of_errors(&stderr.head).map(ToString::to_string));
        JobReport {
            job: self.id,
            command: self.command.clone(),
            state: self.state(),
            ending: self.ending.borrow().clone(),
            started_ms: self.started_ms,
            waited_ms: 0,
            place: None,
            enforced: self.enforced.borrow().clone(),
            stdout: self.captured(spool, Stream::Stdout),
            stderr,
            notes,
        }
    }

    /// The job in a list.
    pub fn summary(&self) -> JobSummary {
        let [out, err] = self.written();
        JobSummary {
            job_id: self.id,
            command: self.command.clone(),
            state: self.state(),
            exit: self.ending.borrow().as_ref().and_then(|ending| ending.exit),
            started_ms: self.started_ms,
            output_bytes: out.saturating_add(err),
        }
    }

    /// A page of its output.
    pub fn page(&self, spool: &Spool, query: &PageQuery) -> Page {
        let output = self.output(query.stream);
        let (mut offset, length) = page::range(query, output.kept());
        let file = self.file(spool, query.stream);
        let mut bytes = output::read(file.as_ref(), offset, length);
        let at_end = |bytes: &[u8]| offset.saturating_add(size(bytes)) >= output.kept();
        if query.whole_characters {
            // What a job that ended left unfinished will not be finished any more.
            if !(self.has_ended() && at_end(&bytes)) {
                let whole = page::whole_end(&bytes);
                if whole > 0 || (at_end(&bytes) && bytes.len() < 4) {
                    bytes.truncate(whole);
                }
            }
            if query.tail && offset > 0 {
                let skip = page::whole_start(&bytes);
                bytes.drain(..skip);
                offset = offset.saturating_add(u64::try_from(skip).unwrap_or(0));
            }
        }
        let end = offset.saturating_add(size(&bytes));
        let gone = file.is_none() && output.kept() > 0;
        Page {
            stream: query.stream,
            offset,
            bytes: bytes.into(),
            total: output.written(),
            eof: self.has_ended() && (gone || end >= output.kept()),
        }
    }

    /// How far it is.
    pub fn progress(&self, spool: &Spool) -> Progress {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let [out, err] = self.written();
        let latest = self.latest.get();
        let line = self
            .output(latest)
            .last_line(self.file(spool, latest).as_ref());
        let mut last_line = text::line(&line, LAST_LINE);
        last_line.truncate(last_line.floor_char_boundary(LAST_LINE));
        Progress {
            place: None,
            elapsed_ms: now.saturating_sub(self.started_ms),
            output_bytes: out.saturating_add(err),
            last_line,
        }
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Lost {
    fn sentence(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = match self {
            Self::OverLimit => write!(
                text,
                "the job wrote more than {} MiB: what came after that was counted, only its end is shown",
                caps::SPOOL_PER_JOB >> 20
            ),
            Self::Full(why) => write!(
                text,
                "the spool took no more output ({why}): the rest was counted, only its end is shown"
            ),
            Self::Removed => write!(
                text,
                "the output was removed to make room for newer jobs; only its size is known"
            ),
            Self::Unknown => write!(text, "not all output was kept"),
        };
        text
    }
}
