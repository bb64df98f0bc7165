//! The loop: one thread, poll(2), no call that may block but a report to the warden. What a job can delay is done by other
//! threads ([`crate::listener`], [`crate::ends`]).

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use remit_closer::Closer;
use remit_common::bus::{Order, Report, VERSION};

use crate::account::Lookup;
use crate::connection::{CHUNK, Connection};
use crate::ends::JobEnd;
use crate::limits::{Jobs, OpenConnections, QuestionRates};
use crate::listener::{self, Asked, ToLoop};
use crate::orders;
use crate::table::Table;

/// Listeners: one for each profile that has run jobs.
const LISTENERS: usize = 256;
/// Reads of one connection before its job is forgotten: what the job has said before its end counts.
const LAST_READS: usize = 16;

#[derive(Clone, Debug)]
pub struct Settings {
    pub bus: PathBuf,
    pub patience: Duration,
    /// Uids below this one are refused: no job has them.
    pub least_uid: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bus: "/run/dbus/system_bus_socket".into(),
            patience: Duration::from_secs(30),
            least_uid: 1,
        }
    }
}

#[derive(Debug)]
pub struct Server {
    warden: OwnedFd,
    settings: Settings,
    table: Table,
    jobs: Jobs,
    connections: Vec<Connection>,
    lookups: Vec<Lookup>,
    connections_of_lookups: OpenConnections,
    questions: QuestionRates,
    asked: Receiver<Asked>,
    asking: ToLoop,
    closer: Closer,
    scratch: Vec<u8>,
}

enum Source {
    Warden,
    Asked,
    Job(usize),
    Lookup(usize),
    Bus(usize),
}

impl Server {
    pub fn begin(warden: OwnedFd, settings: Settings) -> Result<Option<Self>, String> {
        let calls = match orders::receive(warden.as_fd())? {
            None => return Ok(None),
            Some((Order::Begin { version, calls }, fds)) if fds.is_empty() => match version {
                VERSION => calls,
                _ => {
                    return Err(format!(
                        "the daemon speaks version {version}, this program {VERSION}; restart it: \
                         systemctl restart remitd"
                    ));
                }
            },
            Some(_) => return Err("the first order does not begin".to_owned()),
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_flags(flags)
            .map_err(|error| format!("cannot make an event descriptor: {error}"))?;
        let (to, asked) = channel();
        let wake = Arc::new(wake);
        Ok(Some(Self {
            warden,
            settings,
            table: Table::new(calls),
            jobs: Jobs::default(),
            connections: Vec::new(),
            lookups: Vec::new(),
            connections_of_lookups: OpenConnections::default(),
            questions: QuestionRates::default(),
            asked,
            asking: ToLoop { to, wake },
            closer: Closer::default(),
            scratch: vec![0; CHUNK],
        }))
    }

    pub fn serve(mut self) -> Result<(), String> {
        let mut is_connected = orders::report(&self.warden, &Report::Ready)?;
        while is_connected {
            is_connected = self.turn()?;
        }
        Ok(())
    }

    /// Handles what poll(2) reports. Returns false if the warden is gone.
    fn turn(&mut self) -> Result<bool, String> {
        // Before poll(2): a job may connect again after it has closed, which is then reported.
        let asked: Vec<Asked> = self.asked.try_iter().collect();
        let ready = self.ready(!asked.is_empty())?;
        let now = Instant::now();
        let mut is_warden_ready = false;
        for (source, events) in ready {
            match source {
                Source::Job(at) => self.on_connection(at, Some(events), now),
                Source::Bus(at) => self.on_connection(at, None, now),
                Source::Lookup(at) => {
                    if let Some(lookup) = self.lookups.get_mut(at) {
                        lookup.on_job(&mut self.questions, now);
                    }
                }
                Source::Asked => drop(self.asking.wake.read()),
                Source::Warden => is_warden_ready = true,
            }
        }
        self.remove_ended();
        for asked in asked {
            if !self.on_asked(&asked, now)? {
                return Ok(false);
            }
        }
        if is_warden_ready && !self.on_warden(now)? {
            return Ok(false);
        }
        let patience = self.settings.patience;
        for connection in &mut self.connections {
            let since = connection.greets_since();
            connection.is_over |= since.is_some_and(|since| now >= since + patience);
        }
        for lookup in &mut self.lookups {
            lookup.is_over |= now >= lookup.since + patience;
        }
        self.remove_ended();
        Ok(true)
    }

    /// Waits for events, unless there is other work.
    fn ready(&self, is_busy: bool) -> Result<Vec<(Source, PollFlags)>, String> {
        let mut sources = Vec::new();
        let mut fds = Vec::new();
        for (at, connection) in self.connections.iter().enumerate() {
            let ((job, bus), (from_job, from_bus)) = (connection.ends(), connection.wants());
            sources.push(Source::Job(at));
            fds.push(PollFd::new(job, from_job));
            if !from_bus.is_empty() {
                sources.push(Source::Bus(at));
                fds.push(PollFd::new(bus, from_bus));
            }
        }
        for (at, lookup) in self.lookups.iter().enumerate() {
            sources.push(Source::Lookup(at));
            fds.push(PollFd::new(lookup.end(), PollFlags::POLLIN));
        }
        for (source, fd) in [
            (Source::Asked, self.asking.wake.as_fd()),
            (Source::Warden, self.warden.as_fd()),
        ] {
            sources.push(source);
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        let timeout = match is_busy {
            true => PollTimeout::ZERO,
            false => self.timeout(),
        };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(format!("cannot poll: {error}")),
        }
        let events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::POLLERR));
        let ready = sources.into_iter().zip(events);
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn timeout(&self) -> PollTimeout {
        let greeting = self.connections.iter().filter_map(Connection::greets_since);
        let asking = self.lookups.iter().map(|lookup| lookup.since);
        let Some(since) = greeting.chain(asking).min() else {
            return PollTimeout::NONE;
        };
        let rest = (since + self.settings.patience).saturating_duration_since(Instant::now());
        // One more, because milliseconds are rounded down.
        let rest = rest.saturating_add(Duration::from_millis(1));
        PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
    }

    fn on_connection(&mut self, at: usize, of_job: Option<PollFlags>, now: Instant) {
        let (table, scratch) = (&self.table, &mut self.scratch);
        let Some(connection) = self.connections.get_mut(at).filter(|one| !one.is_over) else {
            return;
        };
        let job = self.jobs.get(connection.uid, now);
        let result = match of_job {
            Some(events) => connection.on_job(events, job, table, scratch, now),
            None => connection.on_bus(job, table, scratch, now),
        };
        connection.is_over = result.is_err();
    }

    /// Returns false if the warden is gone.
    fn on_asked(&mut self, asked: &Asked, now: Instant) -> Result<bool, String> {
        let uid = asked.uid;
        let end = match uid >= self.settings.least_uid {
            true if asked.is_for_accounts => self.open_lookup(uid, now),
            true => self.open(uid, now),
            false => None,
        };
        let is_first = end.is_some() && !asked.is_for_accounts && self.jobs.is_new(uid);
        if is_first && !orders::report(&self.warden, &Report::Connected { uid })? {
            return Ok(false);
        }
        if end.is_some() && !asked.is_for_accounts {
            self.jobs.get(uid, now).opens(now);
        }
        // A listener's thread ends after its answer, never before.
        let _ = asked.answer.send(end);
        Ok(true)
    }

    fn open(&mut self, uid: u32, now: Instant) -> Option<JobEnd> {
        let counted = self.jobs.admit(uid, now)?;
        let opened = Connection::open(uid, &self.settings.bus, now, &self.closer, &counted);
        let (connection, end) = opened.ok()?;
        self.connections.push(connection);
        Some(end)
    }

    fn open_lookup(&mut self, uid: u32, now: Instant) -> Option<JobEnd> {
        if !self.questions.count(uid, now) {
            return None;
        }
        let counted = self.connections_of_lookups.add(uid)?;
        let (lookup, end) = Lookup::open(uid, now, &self.closer, &counted).ok()?;
        self.lookups.push(lookup);
        Some(end)
    }

    fn on_warden(&mut self, now: Instant) -> Result<bool, String> {
        let Some((order, mut fds)) = orders::receive(self.warden.as_fd())? else {
            return Ok(false);
        };
        match (order, fds.pop(), fds.is_empty()) {
            (Order::Listener, Some(listener), true) => {
                // One is of the loop itself.
                if Arc::strong_count(&self.asking.wake) <= LISTENERS
                    && let Err(error) = listener::serve(listener, self.asking.clone())
                {
                    eprintln!(
                        "remit-bus: jobs of a worker have no bus: no thread for them: {error}"
                    );
                }
                Ok(true)
            }
            (Order::End { uid }, None, _) => {
                let ended = self.end(uid, now);
                orders::report(&self.warden, &ended)
            }
            (Order::Begin { .. }, ..) => Err("a second order to begin".to_owned()),
            (Order::Listener | Order::End { .. }, ..) => {
                Err("an order has another number of descriptors".to_owned())
            }
        }
    }

    /// Counts what the job has said last, and forgets it.
    fn end(&mut self, uid: u32, now: Instant) -> Report {
        for at in 0..self.connections.len() {
            if self.connections.get(at).is_some_and(|one| one.uid == uid) {
                for _ in 0..LAST_READS {
                    self.on_connection(at, Some(PollFlags::POLLIN), now);
                }
                if let Some(connection) = self.connections.get_mut(at) {
                    connection.is_over = true;
                }
            }
        }
        self.remove_ended();
        self.lookups.retain(|one| one.uid != uid);
        self.connections_of_lookups.forget(uid);
        self.questions.forget(uid);
        let (calls, refused, first) = match self.jobs.forget(uid) {
            Some(job) => (job.calls, job.refused, job.first),
            None => (0, 0, Vec::new()),
        };
        Report::Ended {
            uid,
            calls,
            refused,
            first,
        }
    }

    fn remove_ended(&mut self) {
        self.connections.retain(|connection| !connection.is_over);
        self.lookups.retain(|lookup| !lookup.is_over);
    }
}
