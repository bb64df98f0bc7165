//! The audit trail: nothing runs that is not in it.
//!
//! Only [`Audit::intent`] makes a [`Recorded`], and the sandbox takes nothing
//! else: no record, no run.

mod budget;
pub mod chain;
#[cfg(test)]
mod cost;
mod file;
mod journald;
mod record;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
pub use record::{Event, Record};
use remit_common::refusal::{Code, Refusal};
use remit_trail::Link;

use crate::config::{Sink, Sync};
use crate::error::Fatal;
use crate::history::History;
use crate::plan::Plan;

use budget::Budget;
use chain::Chain;

/// For a sink that is full to take a record, at the start.
const ROOM: Duration = Duration::from_secs(5);

/// Something whose record is in the trail. Only this module makes one.
#[derive(Debug)]
pub struct Recorded<T>(T);

impl<T> Recorded<T> {
    /// What was recorded.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> std::ops::Deref for Recorded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Why a record is not in the trail.
#[derive(Debug)]
pub enum Unwritten {
    /// The sink is full just now; it may take it soon.
    Later,
    /// The sink failed.
    Failed(io::Error),
}

impl std::fmt::Display for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Later => f.write_str(
                "the audit trail does not take records: journald is stopped or too slow",
            ),
            Self::Failed(error) => write!(f, "the audit trail cannot be written: {error}"),
        }
    }
}

#[derive(Debug)]
enum Open {
    Journald(journald::Journald),
    /// journald was not there; each record tries again.
    NoJournald,
    File(file::JsonLines),
}

/// The trail.
#[derive(Debug)]
pub struct Audit {
    sink: Open,
    sync: Sync,
    chain: Chain,
    /// Records of refusals that nobody could take; nothing ran for them.
    lost: u64,
    /// Why the newest record is not in the trail, if so.
    error: Option<String>,
    /// What each user's requests may still write.
    budget: Budget,
    /// What of it users may see again.
    pub history: History,
}

impl Audit {
    /// Opens the sink and the chain's head in `state`.
    ///
    /// # Errors
    /// The head or the file cannot be opened. A missing journald is no error here: the first record is.
    pub fn open(config: &crate::config::Audit, state: &Path) -> Result<Self, Fatal> {
        let head = state.join("warden").join("audit-head");
        let cannot = |path: &Path| Fatal::call(format!("cannot open '{}'", path.display()));
        let boot = chain::boot_id().map_err(Fatal::call("cannot tell which boot this is"))?;
        let sink = match config.sink {
            Sink::Journald => journald::Journald::open().map_or(Open::NoJournald, Open::Journald),
            Sink::File => {
                let path = state.join("audit.jsonl");
                Open::File(file::JsonLines::open(&path).map_err(cannot(&path))?)
            }
        };
        let is_written = |hash: &str| match &sink {
            Open::File(file) => file.ends_with(hash),
            // What journald took cannot be looked at.
            Open::Journald(_) | Open::NoJournald => false,
        };
        let chain = Chain::open(&head, boot, is_written).map_err(cannot(&head))?;
        Ok(Self {
            sink,
            sync: config.sync,
            chain,
            lost: 0,
            error: None,
            budget: Budget::new(config.per_user),
            history: History::open(state),
        })
    }

    /// Why the newest record is not in the trail, if so.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The newest record.
    pub fn newest(&self) -> Link {
        self.chain.newest()
    }

    /// Nothing is written any more: the next daemon goes on behind the newest record, which so must be on the disk.
    pub fn stop(&mut self) {
        self.history.keep();
        let synced = match &self.sink {
            Open::File(file) => file.sync(),
            Open::Journald(_) | Open::NoJournald => Ok(()),
        };
        if let Err(error) = synced.and_then(|()| self.chain.stop()) {
            say!("the end of the audit trail cannot be put on the disk: {error}");
        }
    }

    /// The sink's name.
    pub fn sink(&self) -> &'static str {
        match self.sink {
            Open::Journald(_) | Open::NoJournald => "journald",
            Open::File(_) => "file",
        }
    }

    /// What to watch for room to write, where a sink can be full.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.sink {
            Open::Journald(journald) => Some(journald.as_fd()),
            Open::NoJournald | Open::File(_) => None,
        }
    }

    /// Writes a record.
    ///
    /// # Errors
    /// [`Unwritten`]: the record is not in the trail, and what it is about must not happen.
    pub fn write(&mut self, record: Record) -> Result<(), Unwritten> {
        let written = self.append(record);
        self.error = written.as_ref().err().map(ToString::to_string);
        written
    }

    /// Writes a record while nobody is served yet: a sink that is full gets time.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_at_start(&mut self, record: Record) -> Result<(), Unwritten> {
        if let Some(fd) = self.fd() {
            let patience = PollTimeout::try_from(ROOM).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], patience);
        }
        let written = self.write(record);
        self.history.keep();
        written
    }

    /// Writes a record behind one about what befell the trail itself, if anything did.
    fn append(&mut self, record: Record) -> Result<(), Unwritten> {
        let of_file = match &mut self.sink {
            Open::File(file) => file.befell().map_err(Unwritten::Failed)?,
            Open::Journald(_) | Open::NoJournald => None,
        };
        let befell: Vec<String> = of_file.into_iter().chain(self.chain.doubts()).collect();
        if !befell.is_empty() {
            let message = format!("the audit trail: {}", befell.join("; "));
            self.put(Record::new(Event::Trail, message))?;
            if let Open::File(file) = &mut self.sink {
                file.told();
            }
        }
        let record = match self.lost {
            0 => record,
            lost => record.number("LOST", lost),
        };
        self.put(record)?;
        self.lost = 0;
        Ok(())
    }

    fn put(&mut self, record: Record) -> Result<(), Unwritten> {
        let now = crate::clock::unix_ms();
        let sync = match self.sync {
            Sync::Always => true,
            Sync::Changes => record.is_change,
            Sync::Never => false,
        };
        let linked = self.chain.link(record, now).map_err(Unwritten::Failed)?;
        let written = match &mut self.sink {
            Open::File(file) => file.write(&linked, sync),
            Open::Journald(journald) => journald.write(&linked),
            Open::NoJournald => journald::Journald::open().and_then(|mut journald| {
                let written = journald.write(&linked);
                self.sink = Open::Journald(journald);
                written
            }),
        };
        let is_on_disk = sync && matches!(self.sink, Open::File(_));
        let (kept, written) = match written {
            Ok(()) => {
                self.charge(&linked.record);
                self.history.add(&linked.record, linked.seq(), now);
                // The record is out, and what it says is to be done.
                (self.chain.commit(&linked, is_on_disk), Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (self.chain.withdraw(), Err(Unwritten::Later))
            }
            Err(error) => (self.chain.withdraw(), Err(Unwritten::Failed(error))),
        };
        if let Err(error) = kept {
            say!("the head of the audit trail cannot be kept: {error}");
        }
        written
    }

    /// Counts a record to whom it is about. Refusals have a bound of their own.
    fn charge(&mut self, record: &Record) {
        if let Some(told) = &record.told
            && record.event != Event::Refusal
        {
            self.budget
                .take(told.owner.uid, record.weight(), Instant::now());
        }
    }

    /// Whether another request of this user may be recorded.
    ///
    /// # Errors
    /// `rate_limited`: they have written as much into the trail as one user may in an hour.
    pub fn may_write(&self, uid: u32) -> Result<(), Refusal> {
        let Err(wait) = self.budget.ask(uid, Instant::now()) else {
            return Ok(());
        };
        let (bytes, seconds) = (self.budget.hour(), wait.as_secs() + 1);
        let text = format!(
            "the records of your requests have taken the {bytes} bytes of the audit trail that one user has in an \
             hour"
        );
        Err(Refusal::new(Code::RateLimited, text)
            .lift("raise per_user in [audit] of remit.toml")
            .next(format!(
                "wait {seconds} s; make fewer calls, with shorter arguments"
            )))
    }

    /// Writes a record about something that did not happen anyway. One that
    /// cannot be written is counted, and the next record tells the count.
    pub fn note(&mut self, record: Record) {
        if let Err(why) = self.write(record) {
            if self.lost == 0 {
                say!("a record was lost: {why}");
            }
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Records that a plan is about to be executed.
    ///
    /// # Errors
    /// The plan back, unrecorded, and why.
    pub fn intent(
        &mut self,
        plan: Box<Plan>,
    ) -> Result<Recorded<Box<Plan>>, (Box<Plan>, Unwritten)> {
        match self.write(plan.record()) {
            Ok(()) => Ok(Recorded(plan)),
            Err(why) => Err((plan, why)),
        }
    }
}
