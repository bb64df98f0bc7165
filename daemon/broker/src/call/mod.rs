//! What each request does: one file for each kind.

mod host;
mod job;
mod run;
mod wait;

use std::os::fd::OwnedFd;
use std::rc::Rc;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Access, Reply, Request};
use remit_link::{Answer, ToWarden};

use crate::broker::Broker;
use crate::check;
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
}

impl Call {
    /// Does what is asked.
    pub async fn answer(&self, request: Request) -> Result<Reply, Refused> {
        match request {
            Request::Run(run) => self.run(run).await,
            Request::Access(access) => self.access(access).await,
            Request::Host { sections } => self.host(sections).await,
            Request::Jobs { limit } => {
                let cap = caps::ENDED_PER_UID + caps::JOBS_PER_UID;
                let limit = limit.min(u32::try_from(cap).unwrap_or(u32::MAX));
                Ok(Reply::Jobs(self.broker.jobs.list(self.client.uid, limit)))
            }
            Request::Job(query) => self.job(query).await,
            Request::Stop { job, signal } => self.stop(job, signal).await,
        }
    }

    async fn access(&self, access: Access) -> Result<Reply, Refused> {
        check::access(&access)?;
        let session = self.client.session;
        match self
            .ask(
                |ticket| ToWarden::Access {
                    session,
                    ticket,
                    access,
                },
                Vec::new(),
                Vec::new(),
            )
            .await?
        {
            Granted::Answer(Answer::Access(report)) => Ok(Reply::Access(*report)),
            Granted::Answer(Answer::Known(_) | Answer::Stopping(_)) | Granted::Started(_) => {
                Err(wrong_answer())
            }
        }
    }

    async fn ask(
        &self,
        message: impl FnOnce(u64) -> ToWarden,
        fds: Vec<OwnedFd>,
        notes: Vec<&'static str>,
    ) -> Result<Granted, Refused> {
        self.broker.warden.ask(message, fds, notes).await
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
