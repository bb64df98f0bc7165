//! Prints the queue position of a waiting job on stderr.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use remit_wire::outcome::QueuePosition;

use crate::render::output;
use crate::render::units;

/// Shortest time between two lines.
const EVERY: Duration = Duration::from_secs(1);

pub struct QueueNotifier {
    /// stderr is a terminal. Logs do not get such lines.
    watched: bool,
    last_reported: Option<(QueuePosition, Instant)>,
}

impl QueueNotifier {
    pub fn new() -> Self {
        Self {
            watched: io::stderr().is_terminal(),
            last_reported: None,
        }
    }

    pub fn tell(&mut self, in_queue: Option<QueuePosition>) {
        if self.watched
            && let Some(in_queue) = in_queue
            && self.is_news(in_queue, Instant::now())
        {
            output::note(&format!("waiting for a job slot: {}", shown(in_queue)));
        }
    }

    fn is_news(&mut self, in_queue: QueuePosition, now: Instant) -> bool {
        let is_news = self.last_reported.is_none_or(|(last_reported, at)| {
            last_reported != in_queue && now.saturating_duration_since(at) >= EVERY
        });
        if is_news {
            self.last_reported = Some((in_queue, now));
        }
        is_news
    }
}

/// `3rd of 7`.
pub fn shown(in_queue: QueuePosition) -> String {
    format!("{} of {}", units::ordinal(in_queue.position), in_queue.of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_reported_on_change_once_a_second() {
        let mut notifier = QueueNotifier {
            watched: true,
            last_reported: None,
        };
        let begin = Instant::now();
        let at = |position| QueuePosition { position, of: 7 };
        for (ms, position, is_news) in [
            (0, 5, true),
            (900, 4, false),
            (1000, 3, true),
            (5000, 3, false),
            (5001, 2, true),
            (5002, 1, false),
            (6001, 1, true),
        ] {
            let now = begin + Duration::from_millis(ms);
            assert_eq!(notifier.is_news(at(position), now), is_news, "{ms}");
        }
        assert_eq!(shown(at(3)), "3rd of 7");
    }
}
