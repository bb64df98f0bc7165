//! Waiting for a job, with a sign of life each second.

use std::pin::pin;
use std::time::Duration;

use remit_common::caps;
use remit_common::wire::ToClient;
use tokio::time::{Instant, sleep_until};

use super::Call;
use crate::job::Job;

const SECOND: Duration = Duration::from_secs(1);

impl Call {
    /// Waits until the job has ended, at most `wait_ms` (itself cut to [`caps::WAIT_MS`]).
    pub async fn wait(&self, job: &Job, wait_ms: u32) {
        self.wait_for(job, wait_ms, job.until_ended()).await;
    }

    /// Waits for `what` comes of the job, as long as [`Self::wait`].
    pub async fn wait_for(&self, job: &Job, wait_ms: u32, what: impl Future<Output = ()>) {
        let now = Instant::now();
        let end = now + Duration::from_millis(u64::from(wait_ms.min(caps::WAIT_MS)));
        let mut next = now + SECOND;
        let mut what = pin!(what);
        self.broker.pulse.beat(&self.broker);
        loop {
            // Over or not, the caller gets the job as it then is.
            tokio::select! {
                biased;
                () = &mut what => return,
                () = until(next.min(end)) => {}
            }
            let now = Instant::now();
            if now >= end {
                return;
            }
            let place = self.broker.jobs.place(job);
            let progress = job.progress(&self.broker.spool, place);
            self.client.outbox.send(&ToClient::Progress {
                id: self.id,
                progress,
            });
            // After a pause of this process: one message, not all that were missed.
            next = now + SECOND;
        }
    }
}

/// Waits until then; not at all if that is now.
async fn until(then: Instant) {
    if then > Instant::now() {
        sleep_until(then).await;
    }
}
