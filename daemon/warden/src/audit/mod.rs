//! Audit log: nothing runs without a record in it, for the sandbox takes only a [`Recorded`] of [`Audit::intent`].

pub mod chain;
#[cfg(test)]
mod cost;
mod file;
mod history;
mod journald;
pub(crate) mod kernel_audit;
pub(crate) mod rate_limit;
mod record;
pub(crate) mod refusals;
pub(crate) mod reports;
mod undelivered;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
pub(crate) use record::json;
pub use record::{Event, FIELD, Record};
use remit_common::admin::Totals;
use remit_common::refusal::{Code, Refusal};
use remit_trail::Link;

use crate::config::{AuditSink, Sync};
use crate::event_loop::timers;
use crate::job::life;
use crate::request::Plan;
use crate::startup::error::Fatal;

use chain::Chain;
use history::HistoryOutbox;
use rate_limit::Budget;
use undelivered::Undelivered;

/// Time limit at start and at the end for a full sink to take a record.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(5);

/// Something whose record is written. Only this module makes one.
#[derive(Debug)]
pub struct Recorded<T>(T);

impl<T> Recorded<T> {
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

#[derive(Debug)]
pub enum Unwritten {
    Later,
    Failed(io::Error),
    /// It must not run now, so nothing is recorded.
    OutOfOrder(life::OutOfOrder),
}

impl std::fmt::Display for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Later => f.write_str(
                "the audit log does not accept records: journald is stopped or too slow",
            ),
            Self::Failed(error) => write!(f, "the audit log cannot be written: {error}"),
            Self::OutOfOrder(wrong) => wrong.fmt(f),
        }
    }
}

#[derive(Debug)]
enum Open {
    Journald(journald::Journald),
    /// journald was not running; each record tries again.
    NoJournald,
    File(file::JsonLines),
}

#[derive(Debug)]
pub struct Audit {
    sink: Open,
    sync: Sync,
    chain: Chain,
    undelivered: Undelivered,
    /// Records that could be neither written nor kept, since the last record.
    lost: u64,
    /// Without refused requests, most of which a flood leaves out.
    totals: Totals,
    error: Option<String>,
    budget: Budget,
    pub history: HistoryOutbox,
}

impl Audit {
    /// A missing journald is not an error here; the first record fails instead.
    pub fn open(config: &crate::config::AuditConfig, state: &Path) -> Result<Self, Fatal> {
        let head = state.join("warden").join("audit-head");
        let cannot = |path: &Path| Fatal::call(format!("cannot open '{}'", path.display()));
        let boot = chain::boot_id().map_err(Fatal::call("cannot determine the boot id"))?;
        let sink = match config.sink {
            AuditSink::Journald => {
                journald::Journald::open().map_or(Open::NoJournald, Open::Journald)
            }
            AuditSink::File => {
                let path = state.join("audit.jsonl");
                Open::File(file::JsonLines::open(&path).map_err(cannot(&path))?)
            }
        };
        let is_written = |hash: &str| match &sink {
            Open::File(file) => file.ends_with(hash),
            // What journald took cannot be read back here.
            Open::Journald(_) | Open::NoJournald => false,
        };
        let chain = Chain::open(&head, boot, is_written).map_err(cannot(&head))?;
        Ok(Self {
            sink,
            sync: config.sync,
            chain,
            undelivered: Undelivered::default(),
            lost: 0,
            totals: Totals::default(),
            error: None,
            budget: Budget::new(config.per_user),
            history: HistoryOutbox::default(),
        })
    }

    #[cfg(test)]
    fn with_socket(socket: std::os::unix::net::UnixDatagram, state: &Path) -> Self {
        let mut audit = Self::open(&crate::config::AuditConfig::default(), state).unwrap();
        audit.sink = Open::Journald(journald::Journald::with_socket(socket));
        audit
    }

    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    pub fn newest(&self) -> Link {
        self.chain.newest()
    }

    /// Returns true if the machine went down without an orderly stop, until the first record after that is written.
    pub fn went_down(&self) -> bool {
        self.chain.went_down()
    }

    /// Syncs the end of the log, because the next daemon continues after the newest record. Logs what was never written.
    pub fn stop(&mut self) {
        for message in self.undelivered.sentences() {
            say_error!("this is not in the audit log: {message}");
        }
        let synced = match &self.sink {
            Open::File(file) => file.sync(),
            Open::Journald(_) | Open::NoJournald => Ok(()),
        };
        if let Err(error) = synced.and_then(|()| self.chain.stop()) {
            say!("the end of the audit log cannot be written to the disk: {error}");
        }
    }

    pub fn sink(&self) -> &'static str {
        match self.sink {
            Open::Journald(_) | Open::NoJournald => "journald",
            Open::File(_) => "file",
        }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.sink {
            Open::Journald(journald) => Some(journald.as_fd()),
            Open::NoJournald | Open::File(_) => None,
        }
    }

    /// Returns whether a record can be written now, as far as is known before it is tried.
    pub fn is_writable(&self) -> bool {
        self.is_writable_within(PollTimeout::ZERO)
    }

    fn is_writable_within(&self, patience: PollTimeout) -> bool {
        let Some(fd) = self.fd() else { return true };
        poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], patience) != Ok(0)
    }

    /// Fails with [`Unwritten`] if there is no record. Then the recorded action must not happen.
    pub fn write(&mut self, record: Record) -> Result<(), Unwritten> {
        let written = self.append(record);
        self.error = written.as_ref().err().map(ToString::to_string);
        written
    }

    /// Writes a record while no client is served: a full sink gets time. Fails like [`Self::write`].
    pub fn write_patiently(&mut self, record: Record) -> Result<(), Unwritten> {
        let end = Instant::now() + JOURNAL_PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            self.is_writable_within(PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
            match self.write(record.clone()) {
                // Others have filled it again.
                Err(Unwritten::Later) if !left.is_zero() && self.fd().is_some() => {}
                written => return written,
            }
        }
    }

    /// Writes a record, after those that have to come first.
    fn append(&mut self, record: Record) -> Result<(), Unwritten> {
        self.put_earlier()?;
        let record = match self.lost {
            0 => record,
            lost => record.number("LOST", lost),
        };
        self.put(record, timers::unix_ms())?;
        self.lost = 0;
        Ok(())
    }

    /// Writes a record about a disturbance of the log itself, if there was one, and what [`Self::note`] has kept.
    fn put_earlier(&mut self) -> Result<(), Unwritten> {
        let of_file = match &mut self.sink {
            Open::File(file) => file.incidents().map_err(Unwritten::Failed)?,
            Open::Journald(_) | Open::NoJournald => None,
        };
        let incidents: Vec<String> = of_file.into_iter().chain(self.chain.doubts()).collect();
        if !incidents.is_empty() {
            let message = format!("the audit log: {}", incidents.join("; "));
            self.put(Record::new(Event::AuditLog, message), timers::unix_ms())?;
            if let Open::File(file) = &mut self.sink {
                file.clear_incidents();
            }
        }
        while let Some((record, at_ms)) = self.undelivered.first() {
            match self.put(record, at_ms) {
                // A record longer than a datagram would be before all others for good.
                Err(Unwritten::Failed(why)) if why.raw_os_error() == Some(libc::EMSGSIZE) => {
                    self.lose(&Unwritten::Failed(why));
                }
                written => written?,
            }
            self.undelivered.remove_first();
        }
        Ok(())
    }

    fn put(&mut self, record: Record, at_ms: u64) -> Result<(), Unwritten> {
        let sync = match self.sync {
            Sync::Always => true,
            Sync::Changes => record.is_change,
            Sync::Never => false,
        };
        let linked = self.chain.link(record, at_ms).map_err(Unwritten::Failed)?;
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
                linked.record.count(&mut self.totals);
                self.history.add(&linked.record, linked.seq(), at_ms);
                // The record is written, so its action happens even if the head cannot be kept.
                (self.chain.commit(&linked, is_on_disk), Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (self.chain.withdraw(), Err(Unwritten::Later))
            }
            Err(error) => (self.chain.withdraw(), Err(Unwritten::Failed(error))),
        };
        if let Err(error) = kept {
            say!("the head of the audit log cannot be saved: {error}");
        }
        written
    }

    /// Charges a record to its user. Refusals have a separate bound.
    fn charge(&mut self, record: &Record) {
        if let Some(history) = &record.history
            && record.event != Event::Refusal
        {
            self.budget
                .take(history.owner.uid, record.weight(), Instant::now());
        }
    }

    /// Fails with `rate_limited` if this user wrote as much as one user may in an hour.
    pub fn may_write(&self, uid: u32) -> Result<(), Refusal> {
        let Err(wait) = self.budget.ask(uid, Instant::now()) else {
            return Ok(());
        };
        let (bytes, seconds) = (self.budget.hour(), wait.as_secs() + 1);
        let text = format!(
            "the records of your requests have used the {bytes} bytes of the audit log that one user has in an \
             hour"
        );
        Err(Refusal::new(Code::RateLimited, text)
            .lift("raise per_user in [audit] of remit.toml")
            .next(format!(
                "wait {seconds} s; make fewer calls, with shorter arguments"
            )))
    }

    /// Writes a record of what has happened. If it cannot be written now, it is kept, and written before any other. If too
    /// many are kept, the next record reports how many were lost.
    pub fn note(&mut self, record: Record) {
        let at_ms = timers::unix_ms();
        let Err(why) = self.write(record.clone()) else {
            return;
        };
        if self.undelivered.is_empty() {
            say!("a record has to be written later: {why}");
        }
        if !self.undelivered.keep(record, at_ms) {
            self.lose(&why);
        }
    }

    fn lose(&mut self, why: &Unwritten) {
        if self.lost == 0 {
            say_error!("a record was lost: {why}");
        }
        self.lost = self.lost.saturating_add(1);
        self.totals.lost_records += 1;
    }

    pub fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// Writes what [`Self::note`] has kept. Returns false if some of it is left.
    pub fn deliver(&mut self) -> bool {
        if self.has_undelivered() {
            let written = self.put_earlier();
            self.error = written.err().map(|why| why.to_string());
        }
        !self.has_undelivered()
    }

    /// Records that a plan is about to run. On failure, returns the unrecorded plan and the reason.
    pub fn intent(
        &mut self,
        mut plan: Box<Plan>,
    ) -> Result<Recorded<Box<Plan>>, (Box<Plan>, Unwritten)> {
        let recorded = match plan.life.foresee(life::Event::Recorded) {
            Ok(recorded) => recorded,
            Err(wrong) => return Err((plan, Unwritten::OutOfOrder(wrong))),
        };
        match self.write(plan.record()) {
            Ok(()) => {
                plan.life.follow(recorded);
                Ok(Recorded(plan))
            }
            Err(why) => Err((plan, why)),
        }
    }
}

/// Builds the refusal, because nothing may run without its audit record.
pub fn unrecorded(why: &Unwritten) -> Refusal {
    Refusal::new(
        Code::NotStarted,
        format!("not started, because it cannot be recorded: {why}"),
    )
    .by("audit")
    .lift("check systemctl status systemd-journald and the disk of the state directory")
    .next("try again later, or tell the person you work for")
}
