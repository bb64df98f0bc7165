//! State of the broker, and the handling of each message from the warden.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_closer::{Closer, ForeignPipe};
use remit_common::caps;
use remit_common::names::JobId;
use remit_link::{Delivery, ForeignSocket, JobMeta, Link, LinkError, Owner, ToBroker, ToWarden};
use remit_wire::Bytes;
use remit_wire::outcome::Ending;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{coop, spawn_local};
use tokio::time::sleep;

use crate::call::SEARCHES;
use crate::call::history::History;
use crate::hints::notes::{self, About};
use crate::job::Job;
use crate::job::registry::Jobs;
use crate::kernel_audit::KernelAudit;
use crate::output::pump;
use crate::output::splice::Pace;
use crate::output::spool::Spool;
use crate::runtime::blocking;
use crate::runtime::threads::run_blocking;
use crate::session;
use crate::session::usage::{Accounts, SlowLimit};
use crate::snapshots::{Snapshots, boottime_ms};
use crate::uploads::{UploadStore, pack};
use crate::warden_link::{Granted, Warden, Watched};

/// The removal of a larger file blocks too long for the one thread that serves. Unit: bytes.
const LARGE: u64 = 256 << 10;

/// Descriptors of a job's output. An extraction has one more, of the contents of its plan.
const OUTPUTS: usize = 2;

#[derive(Debug)]
pub struct Broker {
    pub warden: Warden,
    pub spool: Spool,
    pub history: History,
    pub snapshots: Snapshots,
    pub uploads: UploadStore,
    pub jobs: Jobs,
    pub accounts: Accounts,
    pub host: Arc<Semaphore>,
    /// Permits of questions about snapshots. Each has its own, because a hanging file system can block all of one kind.
    pub snapshot_calls: Arc<Semaphore>,
    /// Permits of questions to the service manager. Separate from `host`, which a hanging file system can block.
    pub manager: Semaphore,
    pub searches: Arc<Semaphore>,
    pub kernel_audit: KernelAudit,
    pub background: Semaphore,
    pub timer_anchor: TimerAnchor,
    pub pace: Pace,
    pub removing: Semaphore,
    sessions: RefCell<HashMap<u64, oneshot::Sender<()>>>,
    closer: Closer,
}

#[derive(Debug)]
pub struct Prepared {
    pub link: Link,
    pub spool: Spool,
    pub history: History,
    pub snapshots: Snapshots,
    pub uploads: UploadStore,
    pub slow: SlowLimit,
}

/// Errors: Returns the reason if the link fails or carries an invalid message.
pub async fn serve(prepared: Prepared) -> Result<(), String> {
    let Prepared {
        link,
        spool,
        history,
        snapshots,
        uploads,
        slow,
    } = prepared;
    let link = Watched::new(link).map_err(|error| format!("cannot watch the link: {error}"))?;
    let link = Rc::new(link);
    let mut broker = Broker::new(spool);
    broker.history = history;
    broker.snapshots = snapshots;
    broker.uploads = uploads;
    broker.accounts = Accounts::new(slow);
    let broker = Rc::new(broker);
    broker.warden.connect(Rc::clone(&link));
    let open_history = |broker: &Broker| {
        let newest = broker.history.newest();
        broker.warden.tell(&ToWarden::HistoryOpened { newest });
    };
    match broker.history.is_open() {
        true => open_history(&broker),
        false => {
            let opening = Rc::clone(&broker);
            spawn_local(async move {
                opening.history.until_open().await;
                open_history(&opening);
            });
        }
    }
    broker.warden.tell(&ToWarden::Ready);
    let taking = Rc::clone(&broker);
    spawn_local(async move { taking.snapshots.serve().await });
    let keeping = Rc::clone(&broker);
    spawn_local(async move { keeping.uploads.serve().await });
    let listen = async {
        loop {
            let (Delivery { entry, message }, fds) = link.receive().await?;
            if let Some(entry) = entry {
                broker.store(&entry);
            }
            if let Some(message) = message {
                broker.take(message, fds);
            }
            coop::consume_budget().await;
        }
    };
    let lost = tokio::select! {
        lost = listen => lost,
        lost = broker.warden.transmit(&link) => lost,
    };
    match lost {
        // The warden has ended, and with it all its jobs.
        Ok(()) | Err(LinkError::Closed) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

impl Broker {
    pub fn new(spool: Spool) -> Self {
        Self {
            warden: Warden::default(),
            spool,
            history: History::open(None),
            snapshots: Snapshots::open(None),
            uploads: UploadStore::default(),
            jobs: Jobs::default(),
            accounts: Accounts::default(),
            host: Arc::new(Semaphore::new(caps::HOST_CALLS)),
            snapshot_calls: Arc::new(Semaphore::new(caps::HOST_CALLS)),
            manager: Semaphore::new(caps::HOST_CALLS),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            kernel_audit: KernelAudit::default(),
            background: Semaphore::new(blocking::BACKGROUND_TASKS),
            timer_anchor: TimerAnchor::default(),
            pace: Pace::default(),
            removing: Semaphore::new(1),
            sessions: RefCell::default(),
            closer: Closer::default(),
        }
    }

    fn take(self: &Rc<Self>, message: ToBroker, fds: Vec<OwnedFd>) {
        match message {
            ToBroker::Session { session, owner } => self.open(session, owner, fds),
            // The send wakes the session. A session that has ended has no entry.
            ToBroker::SessionGone { session } => drop(self.sessions.borrow_mut().remove(&session)),
            ToBroker::Job {
                ticket,
                meta,
                secrets,
            } => self.job(ticket, *meta, secrets, fds),
            ToBroker::Answer { ticket, answer } => {
                if let Some(waiting) = self.warden.take(ticket) {
                    let _ = waiting.answer.send(answer.map(Granted::Answer));
                }
            }
            ToBroker::Counted {
                job,
                approved_by,
                missing,
            } => self.with(job, |job| job.counted(approved_by, missing)),
            ToBroker::Approved { job } => self.jobs.approved(job),
            ToBroker::Started {
                job,
                started_ms,
                waited_ms,
            } => match self.jobs.get(job).filter(|job| job.is_waiting()) {
                Some(job) => {
                    self.pace.note_activity(job.id, Instant::now());
                    job.set_started(started_ms, waited_ms);
                    self.snapshots.started(job.id);
                    self.drain(&job, fds);
                }
                None => tracing::error!(%job, "job {job} started and was not queued"),
            },
            ToBroker::Running { job, enforced } => self.with(job, |job| job.running(*enforced)),
            ToBroker::Exited { job } => self.with(job, Job::exited),
            ToBroker::Ended {
                job,
                enforced,
                ending,
                visibility,
                then,
            } => {
                self.with(job, |job| {
                    job.follow_ups(then);
                    if let Some(enforced) = enforced {
                        job.running(*enforced);
                    }
                    if let Some(visibility) = visibility {
                        job.set_visibility(*visibility);
                    }
                    // Its note can change later, when another job has its uid.
                    if !job.has_ended() {
                        self.was_refused(job, &ending);
                    }
                });
                self.pace.note_activity(job, Instant::now());
                self.snapshots.ended(job);
                self.jobs.end(job, *ending);
            }
            ToBroker::Forgotten { job } => {
                if self.jobs.forget(job) {
                    let broker = Rc::clone(self);
                    spawn_local(async move { broker.remove(job).await });
                }
            }
            ToBroker::KernelAudit {
                uid_first,
                uid_count,
            } => self.hear(uid_first..uid_first.saturating_add(uid_count), fds),
            ToBroker::Adopted => self.spool.sweep(|job| self.jobs.get(job).is_some()),
            ToBroker::HistoryQuestion {
                question,
                user,
                query,
            } => {
                let broker = Rc::clone(self);
                spawn_local(async move {
                    let _permit = broker.background.acquire().await;
                    let page = broker.history.any_page(user, query).await;
                    let page = page.map(Box::new);
                    let answer = ToWarden::HistoryAnswer { question, page };
                    broker.warden.tell(&answer);
                });
            }
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
            tracing::error!(session, "session {session} came without its socket");
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
            // The sender is dropped when the socket is closed. Until then the connection counts, so the threads that
            // a client can block are limited by its connections.
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
        if meta.may_change && meta.ending.is_none() {
            let has_started = meta.waiting.is_none();
            let started_ms = has_started.then(|| boottime_ms().saturating_sub(meta.age_ms));
            self.snapshots.changing(meta.job, &meta.owner, started_ms);
        }
        let job = match (ticket, &waiting) {
            (Some(_), Some(waiting)) => Job::new(meta, waiting.about.clone()),
            // A job of the daemon, or its client has disconnected.
            (Some(_), None) => Job::new(meta, About::default()),
            (None, _) => {
                let about = notes::of_line(&meta);
                Job::adopted(meta, about, &self.spool)
            }
        };
        let job = Rc::new(job.with_secrets(secrets, &self.jobs.redactors));
        self.jobs.add(Rc::clone(&job));
        if ticket.is_some() {
            self.pace.note_activity(job.id, Instant::now());
        }
        self.drain(&job, fds);
        if let Some(waiting) = waiting {
            // The client can have disconnected; the job continues.
            let _ = waiting.answer.send(Ok(Granted::Started(job)));
        }
    }

    async fn remove(&self, job: JobId) {
        // Free-space checks wait for this lock, because the removal frees space.
        let _turn = self.removing.acquire().await;
        let files = self.spool.forget(job);
        let is_large = |file: &File| file.metadata().is_ok_and(|meta| meta.len() > LARGE);
        if files.iter().flatten().any(is_large) {
            run_blocking(move || drop(files)).await;
        }
    }

    fn was_refused(&self, job: &Job, ending: &Ending) {
        if let Some(uid) = job.uid() {
            let ran = Duration::from_millis(ending.runtime_ms);
            job.was_refused(self.kernel_audit.of_ended(uid, ran));
        }
    }

    fn hear(self: &Rc<Self>, uids: Range<u32>, mut fds: Vec<OwnedFd>) {
        match fds.pop() {
            Some(socket) if fds.is_empty() => {
                let broker = Rc::clone(self);
                spawn_local(async move { broker.kernel_audit.listen(socket, uids).await });
            }
            _ => tracing::error!("the kernel's audit came without its socket"),
        }
    }

    fn drain(self: &Rc<Self>, job: &Rc<Job>, mut fds: Vec<OwnedFd>) {
        if fds.len() > OUTPUTS
            && let Some(socket) = fds.pop()
        {
            let (closer, (closed, _)) = (self.closer.clone(), oneshot::channel::<()>());
            let socket = ForeignSocket::new(socket, move |fd| closer.close(fd, closed));
            let (broker, uid) = (Rc::clone(self), job.owner.uid);
            spawn_local(async move { pack::receive(&broker.uploads, uid, socket).await });
        }
        let guarded = |fd| ForeignPipe::new(fd, &self.closer);
        let pipes: Vec<_> = fds.into_iter().map(guarded).collect();
        match <[ForeignPipe; 2]>::try_from(pipes) {
            Ok(pipes) => drop(spawn_local(pump::drain(
                Rc::clone(self),
                Rc::clone(job),
                pipes,
            ))),
            Err(pipes) if pipes.is_empty() => {}
            Err(_) => {
                job.is_unread.set(true);
                tracing::error!(job = %job.id, "job {} came with unexpected descriptors", job.id)
            }
        }
    }
}

/// Not longer than any timer of a call.
const ANCHOR_PERIOD: Duration = Duration::from_secs(1);

/// A timer that runs while calls arrive. The runtime wakes itself by a write and a read if a new timer is due before all
/// others; each call sets one. With an earlier one set, theirs are never first. It stops without calls, so an idle broker is
/// never woken.
#[derive(Debug, Default)]
pub struct TimerAnchor {
    is_running: Cell<bool>,
    wanted: Cell<bool>,
}

impl TimerAnchor {
    pub fn touch(&self, broker: &Rc<Broker>) {
        self.wanted.set(true);
        if !self.is_running.replace(true) {
            let broker = Rc::clone(broker);
            spawn_local(async move {
                while broker.timer_anchor.wanted.replace(false) {
                    sleep(ANCHOR_PERIOD).await;
                }
                broker.timer_anchor.is_running.set(false);
            });
        }
    }
}
