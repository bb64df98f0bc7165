//! All that the broker knows, and what it does with each message of the warden.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::Ending;
use remit_common::wire::Bytes;
use remit_link::{Closer, ForeignSocket, JobMeta, Link, LinkError, Owner, ToBroker, ToWarden};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{coop, spawn_local};

use crate::account::Accounts;
use crate::aside::{self, aside};
use crate::call::SEARCHES;
use crate::drain;
use crate::job::Job;
use crate::jobs::Jobs;
use crate::kernel_audit::KernelAudit;
use crate::notes::{self, About};
use crate::pace::Pace;
use crate::pulse::Pulse;
use crate::session;
use crate::spool::Spool;
use crate::warden::{Granted, Warden, Watched};

/// The end of a file of more bytes takes too long for the one thread that serves.
const LARGE: u64 = 256 << 10;

/// Everything shared by the tasks of the one thread.
#[derive(Debug)]
pub struct Broker {
    /// The link.
    pub warden: Warden,
    /// Output on disk.
    pub spool: Spool,
    /// Jobs.
    pub jobs: Jobs,
    /// Use by uid.
    pub accounts: Accounts,
    /// Host facts under way.
    pub host: Arc<Semaphore>,
    /// Questions to the service manager under way. Not those of host: a file system that hangs
    /// must not keep anybody from asking why.
    pub manager: Semaphore,
    /// Searches of output under way.
    pub searches: Arc<Semaphore>,
    /// What the kernel's audit says was refused to jobs.
    pub kernel_audit: KernelAudit,
    /// Files that are hashed or counted.
    pub background: Semaphore,
    /// While calls come.
    pub pulse: Pulse,
    /// How fast output is taken.
    pub pace: Pace,
    /// Whose turn it is to remove output.
    pub removing: Semaphore,
    sessions: RefCell<HashMap<u64, oneshot::Sender<()>>>,
    /// Where clients' sockets are closed.
    closer: Closer,
}

/// Serves until the link ends.
///
/// # Errors
/// When the link carries what is no message, or fails.
pub async fn serve(link: Link, spool: Spool) -> Result<(), String> {
    let link = Watched::new(link).map_err(|error| format!("cannot watch the link: {error}"))?;
    let link = Rc::new(link);
    let broker = Rc::new(Broker::new(spool));
    broker.warden.connect(Rc::clone(&link));
    broker.warden.tell(&ToWarden::Ready);
    let listen = async {
        loop {
            let (message, fds) = link.receive().await?;
            broker.take(message, fds);
            coop::consume_budget().await;
        }
    };
    let lost = tokio::select! {
        lost = listen => lost,
        lost = broker.warden.transmit(&link) => lost,
    };
    match lost {
        // The warden has ended, and its jobs with it.
        Ok(()) | Err(LinkError::Closed) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

impl Broker {
    /// One that knows nothing yet.
    pub fn new(spool: Spool) -> Self {
        Self {
            warden: Warden::default(),
            spool,
            jobs: Jobs::default(),
            accounts: Accounts::default(),
            host: Arc::new(Semaphore::new(caps::HOST_CALLS)),
            manager: Semaphore::new(caps::HOST_CALLS),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            kernel_audit: KernelAudit::default(),
            background: Semaphore::new(aside::PLACES),
            pulse: Pulse::default(),
            pace: Pace::default(),
            removing: Semaphore::new(1),
            sessions: RefCell::default(),
            closer: Closer::default(),
        }
    }

    fn take(self: &Rc<Self>, message: ToBroker, fds: Vec<OwnedFd>) {
        match message {
            ToBroker::Session { session, owner } => self.open(session, owner, fds),
            // Sending wakes the session; a session that ended has no entry.
            ToBroker::SessionGone { session } => drop(self.sessions.borrow_mut().remove(&session)),
            ToBroker::Job {
                ticket,
                meta,
                secrets,
            } => self.job(ticket, *meta, secrets, fds),
            ToBroker::Answer { ticket, answer } => {
                if let Some(waiting) = self.warden.take(ticket) {
                    // Whoever asked may be gone.
                    let _ = waiting.answer.send(answer.map(Granted::Answer));
                }
            }
            ToBroker::Approved { job } => self.with(job, Job::approved),
            ToBroker::Begun {
                job,
                started_ms,
                waited_ms,
            } => match self.jobs.get(job).filter(|job| job.is_waiting()) {
                Some(job) => {
                    self.pace.stirred(job.id, Instant::now());
                    job.begun(started_ms, waited_ms);
                    self.drain(&job, fds);
                }
                None => tracing::error!(%job, "a job began that did not wait"),
            },
            ToBroker::Running { job, enforced } => self.with(job, |job| job.running(*enforced)),
            ToBroker::Exited { job } => self.with(job, Job::exited),
            ToBroker::Ended {
                job,
                enforced,
                ending,
                sight,
            } => {
                self.with(job, |job| {
                    if let Some(enforced) = enforced {
                        job.running(*enforced);
                    }
                    if let Some(sight) = sight {
                        job.sees(*sight);
                    }
                    self.was_refused(job, &ending);
                });
                self.pace.stirred(job, Instant::now());
                self.jobs.end(job, *ending);
            }
            ToBroker::Forgotten { job } => {
                if self.jobs.forget(job) {
                    let broker = Rc::clone(self);
                    spawn_local(async move { broker.remove(job).await });
                }
            }
            // Said only where remit.toml asks for it.
            ToBroker::KernelAudit {
                uid_first,
                uid_count,
            } => self.hear(uid_first..uid_first.saturating_add(uid_count), fds),
            ToBroker::Adopted => self.spool.sweep(|job| self.jobs.get(job).is_some()),
        }
    }

    fn with(&self, job: JobId, tell: impl FnOnce(&Job)) {
        if let Some(job) = self.jobs.get(job) {
            tell(&job);
        }
    }

    fn open(self: &Rc<Self>, session: u64, owner: Owner, mut fds: Vec<OwnedFd>) {
        let socket = fds.pop().filter(|_| fds.is_empty());
        let Some(socket) = socket else {
            tracing::error!(session, "a session came without its socket");
            return self.warden.tell(&ToWarden::Closed { session });
        };
        let (alive, gone) = oneshot::channel();
        self.sessions.borrow_mut().insert(session, alive);
        let (closer, (closed, until_closed)) = (self.closer.clone(), oneshot::channel::<()>());
        let socket = ForeignSocket::new(socket, move |fd| closer.close(fd, closed));
        let broker = Rc::clone(self);
        spawn_local(async move {
            session::serve(&broker, session, owner, socket, gone).await;
            broker.sessions.borrow_mut().remove(&session);
            // Its sender is dropped when the socket is closed. Until then the connection counts: what hangs because of
            // a client is as bounded as its connections.
            let _ = until_closed.await;
            broker.warden.tell(&ToWarden::Closed { session });
        });
    }

    fn job(
        self: &Rc<Self>,
        ticket: Option<u64>,
        meta: JobMeta,
        secrets: Vec<Bytes>,
        fds: Vec<OwnedFd>,
    ) {
        let waiting = ticket.and_then(|ticket| self.warden.take(ticket));
        let job = match (ticket, &waiting) {
            (Some(_), Some(waiting)) => Job::new(meta, waiting.about.clone()),
            (Some(_), None) => Job::new(meta, About::default()),
            (None, _) => {
                let about = notes::of_line(&meta);
                Job::adopted(meta, about, &self.spool)
            }
        };
        let job = Rc::new(job.knowing(secrets));
        self.jobs.add(Rc::clone(&job));
        if ticket.is_some() {
            self.pace.stirred(job.id, Instant::now());
        }
        self.drain(&job, fds);
        if let Some(waiting) = waiting {
            // Whoever asked may be gone; the job goes on.
            let _ = waiting.answer.send(Ok(Granted::Started(job)));
        }
    }

    /// Removes what is left of a forgotten job: after the answers that are due.
    async fn remove(&self, job: JobId) {
        // Who finds no room waits for what is just being removed.
        let _turn = self.removing.acquire().await;
        let files = self.spool.forget(job);
        let is_large = |file: &File| file.metadata().is_ok_and(|meta| meta.len() > LARGE);
        if files.iter().flatten().any(is_large) {
            aside(move || drop(files)).await;
        }
    }

    /// Tells a job that ends what the kernel says was refused to it.
    fn was_refused(&self, job: &Job, ending: &Ending) {
        if let Some(uid) = job.uid() {
            let ran = Duration::from_millis(ending.runtime_ms);
            job.was_refused(self.kernel_audit.of_ended(uid, ran));
        }
    }

    /// Listens to the kernel's audit, for jobs with these uids.
    fn hear(self: &Rc<Self>, uids: Range<u32>, mut fds: Vec<OwnedFd>) {
        match fds.pop() {
            Some(socket) if fds.is_empty() => {
                let broker = Rc::clone(self);
                spawn_local(async move { broker.kernel_audit.listen(socket, uids).await });
            }
            _ => tracing::error!("the kernel's audit came without its socket"),
        }
    }

    /// Reads a job's pipes, if they came.
    fn drain(self: &Rc<Self>, job: &Rc<Job>, fds: Vec<OwnedFd>) {
        match <[OwnedFd; 2]>::try_from(fds) {
            Ok(pipes) => drop(spawn_local(drain::drain(
                Rc::clone(self),
                Rc::clone(job),
                pipes,
            ))),
            Err(fds) if fds.is_empty() => {}
            Err(_) => tracing::error!(job = %job.id, "a job came with odd descriptors"),
        }
    }
}
