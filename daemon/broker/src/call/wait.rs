//! Waits for a job and sends a progress message each second.

use std::pin::pin;
use std::time::Duration;

use remit_common::caps;
use remit_common::wire::ToClient;
use tokio::time::{Instant, sleep_until};

use super::Call;
use crate::job::Job;

const SECOND: Duration = Duration::from_secs(1);

impl Call {
    /// Waits for the end of the job, at most `wait_ms` (limited to [`caps::WAIT_MS`]).
    pub async fn wait(&self, job: &Job, wait_ms: u32) {
        self.wait_for(job, wait_ms, job.until_ended()).await;
    }

    pub async fn wait_for(&self, job: &Job, wait_ms: u32, what: impl Future<Output = ()>) {
        let now = Instant::now();
        let end = now + Duration::from_millis(u64::from(wait_ms.min(caps::WAIT_MS)));
        let mut next = now + SECOND;
        let mut what = pin!(what);
        self.broker.timer_anchor.touch(&self.broker);
        loop {
            // A timeout is not an error: the caller gets the present state.
            tokio::select! {
                biased;
                () = &mut what => return,
                () = until(next.min(end)) => {}
            }
            let now = Instant::now();
            if now >= end {
                return;
            }
            let queue_position = self.broker.jobs.queue_position(job);
            let progress = job.progress(&self.broker.spool, queue_position);
            self.client.outbox.send(&ToClient::Progress {
                id: self.id,
                progress,
            });
            // After a suspension of this process one message is sent, not one for each missed second.
            next = now + SECOND;
        }
    }
}

async fn until(then: Instant) {
    if then > Instant::now() {
        sleep_until(then).await;
    }
}
