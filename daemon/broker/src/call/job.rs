//! `job` and `stop`, only for jobs of the caller's uid.

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::OutputPart;
use remit_common::wire::{JobQuery, PartQuery, Reply};
use remit_link::{Answer, ToWarden};

use super::{Call, CallRefusal, wrong_answer};
use crate::call::validate;
use crate::job::note;

impl Call {
    pub async fn job(&self, query: JobQuery) -> Result<Reply, CallRefusal> {
        let job = self.broker.jobs.of(&self.client.owner, query.job)?;
        if query.wait_ms > 0 {
            self.wait(&job, query.wait_ms).await;
        }
        let matches = match &query.part {
            Some(PartQuery::Grep(query)) => Some(self.grep(&job, query).await?),
            Some(PartQuery::Page(_)) | None => None,
        };
        self.ready(&job).await;
        let (mut report, inline) = self.bare_report(&job);
        let (part, secret) = match &query.part {
            Some(PartQuery::Page(page)) => {
                let (page, secret) = job.page(&self.broker.spool, page);
                (Some(OutputPart::Page(page)), note(secret))
            }
            Some(PartQuery::Grep(_)) => (matches.map(OutputPart::Matches), job.search_note()),
            None => (None, note(inline)),
        };
        report.notes.extend(secret);
        Ok(Reply::Job { report, part })
    }

    pub async fn stop(&self, id: JobId, signal: Option<i32>) -> Result<Reply, CallRefusal> {
        validate::signal(signal)?;
        let job = self.broker.jobs.of(&self.client.owner, id)?;
        if !job.has_ended() {
            let session = self.client.session;
            let message = |ticket| ToWarden::Stop {
                session,
                ticket,
                job: id,
                signal,
            };
            match self.question(message).await {
                Ok(Answer::Stopping(_)) => self.wait(&job, caps::WAIT_MS_DEFAULT).await,
                Ok(Answer::Known(_) | Answer::Access(_) | Answer::History(_)) => {
                    return Err(wrong_answer());
                }
                // The job can have ended during the question.
                Err(_) if job.has_ended() => {}
                Err(refused) => return Err(refused),
            }
        }
        self.ready(&job).await;
        let report = self.report(&job);
        Ok(Reply::Job { report, part: None })
    }
}
