//! `follow`: what a job writes, as it comes.

use std::time::Duration;

use remit_common::caps;
use remit_common::outcome::{Followed, Stream};
use remit_common::wire::{Follow, Reply};
use tokio::time::timeout;

use super::{Call, Refused};

/// After the first new byte: how long more is waited for, so that a job that writes single bytes costs few answers.
const GATHER: Duration = Duration::from_millis(20);

impl Call {
    /// Waits until there is more output than is known, or the job has ended, or the time is over.
    pub async fn follow(&self, query: Follow) -> Result<Reply, Refused> {
        let job = self.broker.jobs.of(&self.client.owner, query.job)?;
        let known = [query.stdout, query.stderr];
        let page = u64::try_from(caps::PAGE).unwrap_or(u64::MAX);
        let more = async {
            job.until_shown(&self.broker.spool, known).await;
            // Over or not, what came is answered.
            let _ = timeout(GATHER, job.until_more(known, page)).await;
        };
        self.wait_for(&job, query.wait_ms, more).await;
        let spool = &self.broker.spool;
        self.ready(&job).await;
        let report = job.has_ended().then(|| self.report(&job));
        Ok(Reply::Followed(Box::new(Followed {
            state: report.as_ref().map_or(job.state(), |report| report.state),
            place: self.broker.jobs.place(&job),
            stdout: job.news(spool, Stream::Stdout, query.stdout),
            stderr: job.news(spool, Stream::Stderr, query.stderr),
            report,
        })))
    }
}
