//! Progress notifications of one waiting call, if the client gave a token.
//!
//! They are sent for news of the daemon, and every two seconds to show that the call is alive.

use std::time::{Duration, Instant};

use remit_common::text;
use remit_wire::Progress;
use rmcp::model::{ProgressNotification, ProgressNotificationParam, ProgressToken};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::stdio::Output;
use crate::transport;

const TICK: Duration = Duration::from_secs(2);
const MESSAGE: usize = 200;
const WROTE: &str = "it wrote: ";

pub struct Reporter {
    token: ProgressToken,
    output: Output,
    news: mpsc::UnboundedReceiver<Progress>,
    started: Instant,
    tick: Interval,
    last: u128,
    known: Option<(Progress, Instant)>,
}

impl Reporter {
    pub fn new(
        token: ProgressToken,
        output: Output,
        news: mpsc::UnboundedReceiver<Progress>,
    ) -> Self {
        let mut tick = interval_at(tokio::time::Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            token,
            output,
            news,
            started: Instant::now(),
            tick,
            last: 0,
            known: None,
        }
    }

    /// Waits for the next time to report. Dropping the future loses nothing.
    pub async fn next(&mut self) {
        tokio::select! {
            Some(news) = self.news.recv() => {
                self.known = Some((news, Instant::now()));
                self.tick.reset();
            }
            _ = self.tick.tick() => {}
        }
    }

    /// Sends a notification. Returns when it is in the output queue, so none can follow the answer.
    pub async fn report(&mut self) {
        let elapsed = self.started.elapsed();
        // The value must strictly increase, but the daemon may send news twice in a millisecond.
        self.last = elapsed.as_millis().max(self.last + 1);
        let message = match &self.known {
            Some((news, came)) => message(news, came.elapsed()),
            None => running(elapsed),
        };
        let seconds = Duration::from_millis(u64::try_from(self.last).unwrap_or(u64::MAX));
        let param = ProgressNotificationParam::new(self.token.clone(), seconds.as_secs_f64())
            .with_message(message);
        let line = transport::notification(ProgressNotification::new(param).into());
        // If the client is gone, other code ends the session.
        if let Ok(permit) = self.output.permit().await {
            permit.put(line);
        }
    }
}

fn message(news: &Progress, later: Duration) -> String {
    if let Some(queue_position) = news.queue_position {
        return format!(
            "waiting for a slot: number {} of your {}",
            queue_position.position, queue_position.of
        );
    }
    match news.last_line.is_empty() {
        true => running(Duration::from_millis(news.elapsed_ms).saturating_add(later)),
        // The daemon's own text, about a job that has not started.
        false if news.output_bytes == 0 => text::line(news.last_line.as_bytes(), MESSAGE),
        // The job's text comes last, so it cannot imitate text of the shim.
        false => {
            let line = format!("{WROTE}{}", news.last_line);
            text::line(line.as_bytes(), MESSAGE)
        }
    }
}

fn running(time: Duration) -> String {
    format!("running for {} s", time.as_secs())
}

#[cfg(test)]
mod tests {
    use remit_wire::outcome::QueuePosition;

    use super::*;

    #[test]
    fn message_is_queue_position_last_line_or_time() {
        let news = |queue_position, elapsed_ms, line: &str| Progress {
            elapsed_ms,
            queue_position,
            output_bytes: u64::from(line.contains('a')),
            last_line: line.to_owned(),
        };
        let third = Some(QueuePosition { position: 3, of: 7 });
        for (news, expect) in [
            (news(third, 0, ""), "waiting for a slot: number 3 of your 7"),
            (news(None, 61_500, ""), "running for 63 s"),
            (news(None, u64::MAX, "a\x1bb"), "it wrote: a\\x1bb"),
            (news(None, 0, "our words"), "our words"),
        ] {
            assert_eq!(message(&news, Duration::from_millis(2000)), expect);
        }
    }
}
