//! The loop: one thread, poll(2), no call that may block but a report to the warden.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::bus::{Order, Report, VERSION};

use crate::account::Lookup;
use crate::connection::{CHUNK, Connection};
use crate::limits::{Jobs, QuestionRates};
use crate::listener;
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
    questions: QuestionRates,
    listeners: Vec<OwnedFd>,
    scratch: Vec<u8>,
}

enum Source {
    Warden,
    Listener(usize),
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
        Ok(Some(Self {
            warden,
            settings,
            table: Table::new(calls),
            jobs: Jobs::default(),
            connections: Vec::new(),
            lookups: Vec::new(),
            questions: QuestionRates::default(),
            listeners: Vec::new(),
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
        let ready = self.ready()?;
        let now = Instant::now();
        let mut lost = Vec::new();
        for (source, events) in ready {
            let is_connected = match source {
                Source::Job(at) => {
                    self.on_connection(at, Some(events), now);
                    true
                }
                Source::Bus(at) => {
                    self.on_connection(at, None, now);
                    true
                }
                Source::Lookup(at) => {
                    if let Some(lookup) = self.lookups.get_mut(at) {
                        lookup.on_job(&mut self.questions, now);
                    }
                    true
                }
                Source::Listener(at) => {
                    let (is_connected, is_open) = self.on_listener(at, events, now)?;
                    if !is_open {
                        lost.push(at);
                    }
                    is_connected
                }
                Source::Warden => self.on_warden(now)?,
            };
            if !is_connected {
                return Ok(false);
            }
        }
        // A listener that is closed answers all who ask there with ENOSYS.
        for at in lost.into_iter().rev() {
            self.listeners.swap_remove(at);
        }
        let patience = self.settings.patience;
        for connection in &mut self.connections {
            let since = connection.greets_since();
            connection.is_over |= since.is_some_and(|since| now >= since + patience);
        }
        self.lookups
            .retain(|one| !one.is_over && now < one.since + patience);
        self.remove_ended();
        Ok(true)
    }

    /// Waits for events. The warden comes last: new listeners have the highest index, and connections do not move.
    fn ready(&self) -> Result<Vec<(Source, PollFlags)>, String> {
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
        for (at, listener) in self.listeners.iter().enumerate() {
            sources.push(Source::Listener(at));
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        sources.push(Source::Warden);
        fds.push(PollFd::new(self.warden.as_fd(), PollFlags::POLLIN));
        match poll(&mut fds, self.timeout()) {
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

    /// Returns whether the warden is connected, and whether the listener is of use.
    fn on_listener(
        &mut self,
        at: usize,
        events: PollFlags,
        now: Instant,
    ) -> Result<(bool, bool), String> {
        // No event of a connection comes after those of listeners. A job may connect again after it has closed.
        self.remove_ended();
        let Some(listener) = self.listeners.get(at) else {
            return Ok((true, true));
        };
        if !events.contains(PollFlags::POLLIN) {
            return Ok((true, false));
        }
        let asked = match listener::receive(listener) {
            Ok(Some(asked)) => asked,
            Ok(None) => return Ok((true, true)),
            Err(_) => return Ok((true, false)),
        };
        let uid = asked.uid;
        if asked.is_for_accounts() && uid >= self.settings.least_uid {
            let opened = match self.questions.count(uid, now) {
                true => Lookup::open(&self.lookups, uid, now),
                false => None,
            };
            match opened {
                Some((lookup, end)) => {
                    if asked.connect(&end) {
                        self.lookups.push(lookup);
                    }
                }
                None => asked.refuse(),
            }
            return Ok((true, true));
        }
        let opened = match uid >= self.settings.least_uid && self.jobs.admits(uid, now) {
            true => Connection::open(uid, &self.settings.bus, now).ok(),
            false => None,
        };
        let Some((connection, end)) = opened else {
            asked.refuse();
            return Ok((true, true));
        };
        if self.jobs.is_new(uid) && !orders::report(&self.warden, &Report::Connected { uid })? {
            return Ok((false, true));
        }
        let job = self.jobs.get(uid, now);
        job.opens(now);
        if asked.connect(&end) {
            job.connections += 1;
            self.connections.push(connection);
        }
        Ok((true, true))
    }

    fn on_warden(&mut self, now: Instant) -> Result<bool, String> {
        let Some((order, mut fds)) = orders::receive(self.warden.as_fd())? else {
            return Ok(false);
        };
        match (order, fds.pop(), fds.is_empty()) {
            (Order::Listener, Some(listener), true) => {
                if self.listeners.len() < LISTENERS {
                    self.listeners.push(listener);
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
        let jobs = &mut self.jobs;
        self.connections.retain(|connection| {
            if connection.is_over {
                jobs.disconnected(connection.uid);
            }
            !connection.is_over
        });
    }
}
