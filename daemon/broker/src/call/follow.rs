//! `follow`: streams the output of a job.

use std::time::Duration;

use remit_common::caps;
use remit_common::outcome::{Followed, Stream};
use remit_common::wire::{Follow, Reply};
use tokio::time::timeout;

use super::{Call, CallRefusal};

/// Wait after the first new byte for more, so that a job that writes single bytes causes few answers.
const GATHER: Duration = Duration::from_millis(20);

impl Call {
    pub async fn follow(&self, query: Follow) -> Result<Reply, CallRefusal> {
        let job = self.broker.jobs.of(&self.client.owner, query.job)?;
        let known = [query.stdout, query.stderr];
        let page = u64::try_from(caps::PAGE).unwrap_or(u64::MAX);
        let more = async {
            job.until_shown(&self.broker.spool, known).await;
            // A timeout here is not an error: the answer has what came.
            let _ = timeout(GATHER, job.until_more(known, page)).await;
        };
        self.wait_for(&job, query.wait_ms, more).await;
        let spool = &self.broker.spool;
        self.ready(&job).await;
        let report = job.has_ended().then(|| self.report(&job));
        Ok(Reply::Followed(Box::new(Followed {
            state: report.as_ref().map_or(job.state(), |report| report.state),
            queue_position: self.broker.jobs.queue_position(&job),
            stdout: job.page_after(spool, Stream::Stdout, query.stdout),
            stderr: job.page_after(spool, Stream::Stderr, query.stderr),
            report,
        })))
    }
}
