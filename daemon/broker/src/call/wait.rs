//! Waiting for a job, with a sign of life each second.

use std::time::Duration;

use remit_common::caps;
use remit_common::wire::ToClient;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

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
        let limit = Duration::from_millis(u64::from(wait_ms.min(caps::WAIT_MS)));
        let progress = async {
            let mut tick = interval_at(Instant::now() + SECOND, SECOND);
            // After a pause of this process: one message, not all that were missed.
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let place = self.broker.jobs.place(job);
                let progress = job.progress(&self.broker.spool, place);
                self.client.outbox.send(&ToClient::Progress {
                    id: self.id,
                    progress,
                });
            }
        };
        let ended = async {
            tokio::select! {
                () = what => {}
                () = progress => {}
            }
        };
        // Over or not, the caller gets the job as it then is.
        let _ = timeout(limit, ended).await;
    }
}
