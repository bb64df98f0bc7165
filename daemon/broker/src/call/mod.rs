//! What each request does: one file for each kind.

mod facts;
mod follow;
mod grep;
mod history;
mod host;
mod job;
mod run;
mod wait;

pub use self::grep::SEARCHES;

use std::cell::Cell;
use std::rc::Rc;

use remit_common::caps;
use remit_common::outcome::JobReport;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Access, Reply, Request};
use remit_link::{Answer, ToWarden};
use tokio::sync::OwnedSemaphorePermit;

use crate::account::Buffered;
use crate::broker::Broker;
use crate::check;
use crate::job::{Job, note};
use crate::notes::About;
use crate::session::Client;
use crate::warden::Granted;

/// Who refused: the warden has recorded its own refusals already.
pub enum Refused {
    /// The broker, by a limit of its own.
    Here(Refusal),
    /// The warden.
    ByWarden(Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Here(refusal)
    }
}

/// One call of a client.
pub struct Call {
    pub broker: Rc<Broker>,
    pub client: Rc<Client>,
    pub id: u32,
    /// What the request takes of its uid's buffers, until the warden has it.
    pub room: Cell<Option<Buffered>>,
    /// Its uid's turn to answer, once it has that.
    pub turn: Cell<Option<OwnedSemaphorePermit>>,
}

impl Call {
    /// Does what is asked.
    pub async fn answer(&self, request: Request) -> Result<Reply, Refused> {
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

    /// Waits until no other call of this uid reads what it answers: a thousand may be due at once, each for half a
    /// mebibyte. The turn is over when the answer is sent and everybody else had a look in.
    async fn take_turn(&self) {
        self.turn.set(self.client.account.answer_turn().await);
    }

    /// Waits until `job` can be shown, and for the turn to do so.
    async fn ready(&self, job: &Job) {
        self.broker.until_counted(job).await;
        self.take_turn().await;
    }

    /// A job as it is now. Not before [`Self::ready`].
    fn report(&self, job: &Job) -> Box<JobReport> {
        let (mut report, secret) = self.bare_report(job);
        report.notes.extend(note(secret));
        report
    }

    /// The same without a note of the secrets that stand as stars in it, so many.
    fn bare_report(&self, job: &Job) -> (Box<JobReport>, usize) {
        let place = self.broker.jobs.place(job);
        let (report, secret) = job.report(&self.broker.spool, place);
        (Box::new(report), secret)
    }

    async fn access(&self, access: Access) -> Result<Reply, Refused> {
        check::access(&access)?;
        let session = self.client.session;
        let message = |ticket| ToWarden::Access {
            session,
            ticket,
            access,
        };
        match self.question(message).await? {
            Answer::Access(report) => Ok(Reply::Access(*report)),
            Answer::Known(_) | Answer::Stopping(_) | Answer::History(_) => Err(wrong_answer()),
        }
    }

    /// Asks the warden what starts nothing. `message` gets the ticket.
    async fn question(&self, message: impl FnOnce(u64) -> ToWarden) -> Result<Answer, Refused> {
        match self
            .ask(About::default(), |ticket| Ok((message(ticket), Vec::new())))
            .await?
        {
            Granted::Answer(answer) => Ok(answer),
            Granted::Started(_) => Err(wrong_answer()),
        }
    }

    /// Asks the warden when it is this uid's turn. `message` is made only then: it holds a copy of what it sends.
    async fn ask(
        &self,
        about: About,
        message: impl FnOnce(u64) -> Result<(ToWarden, Vec<Vec<u8>>), Refusal>,
    ) -> Result<Granted, Refused> {
        let _turn = self.client.account.turn().await;
        let room = self.room.take();
        let answer = self.broker.warden.ask(about, message).await;
        drop(room);
        answer
    }
}

/// The warden answered another question: a defect, told as such.
fn wrong_answer() -> Refused {
    tracing::error!("the warden's answer does not fit the request");
    Refusal::new(
        Code::DaemonUnavailable,
        "the daemon gave an answer that does not fit the request",
    )
    .into()
}
