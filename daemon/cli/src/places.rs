//! Where a waiting job stands, told on stderr while a person watches.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use remit_common::outcome::Place;

use crate::human;
use crate::output;

/// At most one line in so long.
const EVERY: Duration = Duration::from_secs(1);

/// What was told of a job's place in the queue.
pub struct Places {
    /// Somebody reads stderr on a terminal; a log has no use for such lines.
    watched: bool,
    told: Option<(Place, Instant)>,
}

impl Places {
    /// Nothing was told yet.
    pub fn new() -> Self {
        Self {
            watched: io::stderr().is_terminal(),
            told: None,
        }
    }

    /// Tells a place that is news.
    pub fn tell(&mut self, place: Option<Place>) {
        if self.watched
            && let Some(place) = place
            && self.is_news(place, Instant::now())
        {
            output::note(&format!("waiting for a place: {}", shown(place)));
        }
    }

    fn is_news(&mut self, place: Place, now: Instant) -> bool {
        let is_news = self
            .told
            .is_none_or(|(told, at)| told != place && now.saturating_duration_since(at) >= EVERY);
        if is_news {
            self.told = Some((place, now));
        }
        is_news
    }
}

/// `3rd of 7`.
pub fn shown(place: Place) -> String {
    format!("{} of {}", human::ordinal(place.position), place.of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_when_it_changes_and_not_too_often() {
        let mut places = Places {
            watched: true,
            told: None,
        };
        let begin = Instant::now();
        let at = |position| Place { position, of: 7 };
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
            assert_eq!(places.is_news(at(position), now), is_news, "{ms}");
        }
        assert_eq!(shown(at(3)), "3rd of 7");
    }
}
