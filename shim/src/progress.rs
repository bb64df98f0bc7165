//! Progress notifications of one waiting call.
//!
//! Sent only where the client gave a token: when the daemon has news, and every
//! two seconds of our own clock, so that a client sees that the call is alive.

use std::time::{Duration, Instant};

use remit_common::text;
use remit_common::wire::Progress;
use rmcp::model::{ProgressNotification, ProgressNotificationParam, ProgressToken};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::stdio::Output;
use crate::transport;

/// Our own clock's step.
const TICK: Duration = Duration::from_secs(2);
/// Bytes of a message.
const MESSAGE: usize = 200;
/// Stands before what a job wrote.
const WROTE: &str = "it wrote: ";

/// Tells a client how far its call is.
pub struct Reporter {
    token: ProgressToken,
    output: Output,
    news: mpsc::UnboundedReceiver<Progress>,
    started: Instant,
    tick: Interval,
    last: u128,
    /// The newest, and when it came.
    known: Option<(Progress, Instant)>,
}

impl Reporter {
    /// A reporter of `news` to `output`, under the token that the client gave.
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

    /// Waits for the next occasion to report. Dropping the wait loses nothing.
    pub async fn next(&mut self) {
        tokio::select! {
            Some(news) = self.news.recv() => {
                self.known = Some((news, Instant::now()));
                self.tick.reset();
            }
            _ = self.tick.tick() => {}
        }
    }

    /// Reports. Returns when the notification has its place in the output, so that none follows the answer.
    pub async fn report(&mut self) {
        let elapsed = self.started.elapsed();
        // It must strictly increase; the daemon may have more news within a millisecond.
        self.last = elapsed.as_millis().max(self.last + 1);
        let message = match &self.known {
            Some((news, came)) => message(news, came.elapsed()),
            None => running(elapsed),
        };
        let seconds = Duration::from_millis(u64::try_from(self.last).unwrap_or(u64::MAX));
        let param = ProgressNotificationParam::new(self.token.clone(), seconds.as_secs_f64())
            .with_message(message);
        let line = transport::notification(ProgressNotification::new(param).into());
        // A client that is gone ends the session elsewhere.
        if let Ok(room) = self.output.room().await {
            room.put(line);
        }
    }
}

/// What `news` says, some time `later`.
fn message(news: &Progress, later: Duration) -> String {
    if let Some(place) = news.place {
        return format!(
            "waiting for a place: number {} of your {}",
            place.position, place.of
        );
    }
    match news.last_line.is_empty() {
        true => running(Duration::from_millis(news.elapsed_ms).saturating_add(later)),
        // The daemon's own words, about a job that has not begun.
        false if news.output_bytes == 0 => text::line(news.last_line.as_bytes(), MESSAGE),
        // The rest of the message is the job's: nothing of ours follows that it could imitate.
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
    use remit_common::outcome::Place;

    use super::*;

    #[test]
    fn a_message_is_the_place_the_last_line_or_the_time() {
        let news = |place, elapsed_ms, line: &str| Progress {
            elapsed_ms,
            place,
            output_bytes: u64::from(line.contains('a')),
            last_line: line.to_owned(),
        };
        let third = Some(Place { position: 3, of: 7 });
        for (news, expect) in [
            (
                news(third, 0, ""),
                "waiting for a place: number 3 of your 7",
            ),
            (news(None, 61_500, ""), "running for 63 s"),
            (news(None, u64::MAX, "a\x1bb"), "it wrote: a\\x1bb"),
            (news(None, 0, "our words"), "our words"),
        ] {
            assert_eq!(message(&news, Duration::from_millis(2000)), expect);
        }
    }
}
