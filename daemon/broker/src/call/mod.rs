//! Handles requests. Longer ones have a file of their own.

pub(crate) mod history;
mod host;
mod job;
mod run;
pub(crate) mod search;
pub(crate) mod validate;

use std::cell::Cell;
use std::rc::Rc;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, ToWarden};
use remit_wire::outcome::JobReport;
use remit_wire::{Access, HistoryQuery, Reply, Request};
use tokio::sync::OwnedSemaphorePermit;

use crate::hints::notes::About;
use crate::job::{Job, note};
use crate::session::Client;
use crate::session::usage::Buffered;
use crate::state::Broker;
use crate::warden_link::Granted;

pub use search::SEARCHES;

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
            Request::Run(run) => self.run(run).await,
            Request::Access(access) => self.access(access).await,
            Request::Host { sections } => self.host(sections).await,
            Request::Jobs { limit } => {
                let cap = caps::ENDED_PER_UID + caps::JOBS_PER_UID + caps::QUEUED_PER_UID;
                let limit = limit.min(u32::try_from(cap).unwrap_or(u32::MAX));
                self.take_turn().await;
                Ok(Reply::Jobs(
                    self.broker.jobs.list(&self.client.owner, limit),
                ))
            }
            Request::Job(query) => self.job(query).await,
            Request::Follow(query) => self.follow(query).await,
            Request::Stop { job, signal } => self.stop(job, signal).await,
            Request::History(query) => self.history(query).await,
        }
    }

    /// Waits until no other call of this uid reads output for an answer: a thousand answers of 512 KiB each can be
    /// due at once. The turn ends after the answer is sent and the other tasks have run.
    async fn take_turn(&self) {
        self.turn.set(self.client.account.answer_turn().await);
    }

    async fn ready(&self, job: &Job) {
        self.broker.until_counted(job).await;
        self.take_turn().await;
    }

    /// Reports the present state of a job. [`Self::ready`] must run first.
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

    async fn access(&self, access: Access) -> Result<Reply, CallRefusal> {
        validate::access(&access)?;
        let session = self.client.session;
        let message = |ticket| ToWarden::Access {
            session,
            ticket,
            access,
        };
        match self.question(message).await? {
            Answer::Access(report) => Ok(Reply::Access(*report)),
            Answer::Known(_) | Answer::Stopping(_) => Err(wrong_answer()),
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
