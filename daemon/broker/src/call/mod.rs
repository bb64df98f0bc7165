//! Handles requests. Longer ones have a file of their own.

mod find;
pub(crate) mod history;
mod job;
mod typed_name;
mod upload;
pub(crate) mod validate;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use remit_common::builtin::Builtin;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_facts::{Decoding, Sources};
use remit_link::{Answer, ToWarden};
use remit_wire::host::{Section, Since};
use remit_wire::outcome::JobReport;
use remit_wire::{Access, Bytes, HistoryQuery, Purpose, Reply, Request, What};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::hints::MayUse;
use crate::hints::notes::About;
use crate::job::{Job, note};
use crate::runtime::threads::{run_blocking, start_blocking};
use crate::session::Client;
use crate::session::usage::Buffered;
use crate::state::Broker;
use crate::warden_link::Granted;

pub use job::SEARCHES;

/// Origin of a refusal. The warden has already recorded its own refusals.
pub enum CallRefusal {
    Here(Refusal),
    ByWarden(Refusal),
}

impl From<Refusal> for CallRefusal {
    fn from(refusal: Refusal) -> Self {
        Self::Here(refusal)
    }
}

pub struct Call {
    pub broker: Rc<Broker>,
    pub client: Rc<Client>,
    pub id: u32,
    pub reservation: Cell<Option<Buffered>>,
    pub turn: Cell<Option<OwnedSemaphorePermit>>,
}

impl Call {
    pub async fn answer(&self, request: Request) -> Result<Reply, CallRefusal> {
        match request {
            Request::Run(run) => {
                let (mut named, mut instead) = (None, None);
                match (&run.what, &run.purpose) {
                    // Values of an administrator's own command can be secrets: these are not copied.
                    (What::Named { name, args }, _) if remit_programs::shipped(name).is_some() => {
                        named = Some((name.clone(), args.clone()));
                    }
                    (What::Named { name, .. }, _) => named = Some((name.clone(), Vec::new())),
                    (What::Argv(argv), Purpose::Change { .. }) => instead = find::instead_of(argv),
                    (What::Argv(_) | What::Script { .. }, _) => {}
                }
                let answer = self.run(run).await;
                answer.map_err(|refused| match (named, instead, refused) {
                    (Some((name, args)), _, refused) => self.explained(refused, &name, &args),
                    (None, Some(call), CallRefusal::ByWarden(refusal)) => {
                        CallRefusal::ByWarden(find::with_instead(refusal, &call))
                    }
                    (None, _, refused) => refused,
                })
            }
            Request::Access(access) => self.access(access).await,
            Request::Host { sections } => self.host(sections).await,
            Request::HostChanges(since) => self.host_changes(since).await,
            Request::Snapshots => self.snapshots().await,
            Request::Upload(part) => upload::upload(self, part).await,
            Request::Jobs { limit } => {
                self.take_turn().await;
                Ok(Reply::Jobs(
                    self.broker.jobs.list(&self.client.owner, limit),
                ))
            }
            Request::Job(query) => self.job(query).await,
            Request::Follow(query) => self.follow(query).await,
            Request::Stop { job, signal } => self.stop(job, signal).await,
            Request::DropCopy { job } => self.drop_copy(job).await,
            Request::History(query) => self.history(query).await,
        }
    }

    /// Waits until no other call of this uid reads output: a thousand answers of 512 KiB each can be due at once.
    async fn take_turn(&self) {
        self.turn.set(self.client.account.answer_turn().await);
    }

    async fn ready(&self, job: &Job) {
        self.broker.until_counted(job).await;
        self.take_turn().await;
    }

    fn report(&self, job: &Job) -> Box<JobReport> {
        let (mut report, secret) = self.bare_report(job);
        report.notes.extend(note(secret));
        report
    }

    /// Same as `report` without the note about redacted secrets; returns their number instead.
    fn bare_report(&self, job: &Job) -> (Box<JobReport>, usize) {
        let queue_position = self.broker.jobs.queue_position(job);
        let (report, secret) = job.report(&self.broker.spool, queue_position);
        (Box::new(report), secret)
    }

    async fn access(&self, mut access: Access) -> Result<Reply, CallRefusal> {
        validate::access(&access)?;
        let query = access.query.take();
        let (name, argv) = (access.name.clone(), access.argv.clone());
        let is_read = matches!(access.profile.as_deref(), None | Some("read"));
        let session = self.client.session;
        let message = |ticket| ToWarden::Access {
            session,
            ticket,
            access,
        };
        let answer = self.question(message).await;
        match answer.map_err(|refused| match &name {
            Some(name) => self.explained(refused, name, &[]),
            None => refused,
        })? {
            Answer::Access(mut report, starts) => {
                if let Some(argv) = argv {
                    find::name_alternative(&mut report, starts, &argv, is_read);
                }
                if let Some(query) = query {
                    find::keep_found(&mut report, starts, &query);
                }
                Ok(Reply::Access(*report))
            }
            Answer::Known(_) | Answer::Stopping(_) | Answer::Upload | Answer::Dropped(_) => {
                Err(wrong_answer())
            }
        }
    }

    fn explained(
        &self,
        refused: CallRefusal,
        name: &str,
        args: &[(String, String)],
    ) -> CallRefusal {
        match refused {
            CallRefusal::ByWarden(refusal) => {
                let user = &self.client.owner.user;
                CallRefusal::ByWarden(find::explained(refusal, name, args, user))
            }
            CallRefusal::Here(_) => refused,
        }
    }

    /// Asks what this caller may use. Nothing of that is known if the warden refuses to say it.
    async fn may_use(&self, wanted: &BTreeSet<String>) -> MayUse {
        let session = self.client.session;
        let access = Access {
            argv: None,
            profile: None,
            name: None,
            query: None,
        };
        let message = |ticket| {
            let question = ToWarden::Access {
                session,
                ticket,
                access,
            };
            Ok((question, Vec::new()))
        };
        let _turn = self.client.account.turn().await;
        // Not by `ask`: it frees what is reserved for the contents of the request, which follow.
        match self.broker.warden.ask(About::default(), message).await {
            Ok(Granted::Answer(Answer::Access(report, starts))) => {
                MayUse::new(&report, starts, wanted)
            }
            Ok(_) | Err(_) => MayUse::default(),
        }
    }

    async fn question(&self, message: impl FnOnce(u64) -> ToWarden) -> Result<Answer, CallRefusal> {
        match self
            .ask(About::default(), |ticket| Ok((message(ticket), Vec::new())))
            .await?
        {
            Granted::Answer(answer) => Ok(answer),
            Granted::Started(_) => Err(wrong_answer()),
        }
    }

    /// Asks the warden at the turn of this uid. `message` is built only then, because it copies what it sends.
    async fn ask(
        &self,
        about: About,
        message: impl FnOnce(u64) -> Result<(ToWarden, Vec<Vec<u8>>), Refusal>,
    ) -> Result<Granted, CallRefusal> {
        let _turn = self.client.account.turn().await;
        let reservation = self.reservation.take();
        let answer = self.broker.warden.ask(about, message).await;
        drop(reservation);
        answer
    }
}

fn wrong_answer() -> CallRefusal {
    tracing::error!("the warden's answer does not fit the request");
    Refusal::new(
        Code::DaemonUnavailable,
        "the daemon gave an answer that does not fit the request",
    )
    .into()
}

impl Call {
    pub async fn history(&self, query: HistoryQuery) -> Result<Reply, CallRefusal> {
        query.check()?;
        let _turn = self.client.account.background_turn().await;
        let _permit = self.broker.background.acquire().await;
        let owner = self.client.owner.clone();
        let page = self.broker.history.own_page(owner, query).await?;
        Ok(Reply::History(page))
    }
}

impl Call {
    /// Gathers facts on a thread, because a dead file system can block it. Its permit bounds blocked threads.
    pub async fn host(&self, mut sections: Vec<Section>) -> Result<Reply, CallRefusal> {
        validate::sections(&sections)?;
        sections.sort_unstable();
        sections.dedup();
        let report = self.host_call(&self.broker.host, async |permit| {
            let at = Sources::host();
            let bus = remit_facts::ask_bus(&sections, &at).await;
            let gather = move || {
                let _permit = permit;
                remit_facts::gather(&sections, &at, bus)
            };
            run_blocking(gather).await.ok_or_else(late)
        });
        let report = report.await?;
        Ok(Reply::Host(Box::new(report)))
    }

    async fn host_changes(&self, since: Since) -> Result<Reply, CallRefusal> {
        let changes = self.host_call(&self.broker.snapshot_calls, async |permit| {
            if let Since::Job(job) = since {
                self.broker.snapshots.until_kept(job).await;
            }
            let caller = self.client.owner.clone();
            self.broker.snapshots.changes(since, caller, permit).await
        });
        Ok(Reply::HostChanges(Box::new(changes.await?)))
    }

    async fn snapshots(&self) -> Result<Reply, CallRefusal> {
        let marks = self.host_call(&self.broker.snapshot_calls, async |_permit| {
            self.broker.snapshots.marks().await
        });
        Ok(Reply::Snapshots(marks.await?))
    }

    /// Runs `gather` at the turn of this uid, with one of the few `permits`, and within the deadline.
    async fn host_call<T>(
        &self,
        permits: &Arc<Semaphore>,
        gather: impl AsyncFnOnce(OwnedSemaphorePermit) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let gathered = async {
            let _turn = self.client.account.host_turn().await;
            let permit = Arc::clone(permits).acquire_owned();
            gather(permit.await.map_err(|_| late())?).await
        };
        let deadline = Duration::from_millis(caps::HOST_DEADLINE_MS);
        timeout(deadline, gathered)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Returns the standard input of a built-in command, if it needs one. A failure is a fact that the job prints.
    pub async fn facts(&self, command: &Builtin) -> Result<Option<Bytes>, CallRefusal> {
        if !command.asks_manager() {
            return Ok(None);
        }
        let decode = |decoding: Decoding| start_blocking(decoding);
        let ask = async {
            // The warden decides only afterwards, so users without a grant ask, too.
            let _rate = self.client.account.manager_turn().await;
            let _turn = self.client.account.host_turn().await;
            let _permit = self.broker.manager.acquire().await.map_err(|_| no_turn())?;
            Ok(remit_facts::service_json(command, &Sources::host(), decode).await)
        };
        let deadline = Duration::from_millis(caps::HOST_DEADLINE_MS);
        let facts: Result<_, Refusal> = timeout(deadline, ask)
            .await
            .unwrap_or_else(|_| Err(no_turn()));
        Ok(Some(facts?.into()))
    }
}

fn late() -> Refusal {
    let seconds = caps::HOST_DEADLINE_MS / 1000;
    Refusal::new(
        Code::Busy,
        format!("gathering the facts took more than {seconds} s"),
    )
    .next("ask for fewer sections, or run commands that show the same")
}

fn no_turn() -> Refusal {
    let seconds = caps::HOST_DEADLINE_MS / 1000;
    Refusal::new(
        Code::Busy,
        format!("it was not this request's turn to ask the service manager within {seconds} s"),
    )
    .next("try again later")
}
