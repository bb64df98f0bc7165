//! Searching a job's output. On a thread of its own: it takes what time it is given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_common::outcome::Matches;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::GrepQuery;

use super::{Call, Refused};
use crate::aside::aside;
use crate::check;
use crate::grep::{self, Found, Limits, Pattern, Range};
use crate::job::Job;

/// Searches at once, one of each uid.
pub const SEARCHES: usize = 2;
/// How long one page is searched for.
const TIME: Duration = Duration::from_millis(80);

impl Call {
    /// A page of lines that match.
    pub async fn grep(&self, job: &Job, query: &GrepQuery) -> Result<Matches, Refused> {
        check::grep(query)?;
        let turn = self.client.account.search_turn().await;
        let place = Arc::clone(&self.broker.searches).acquire_owned().await.ok();
        let (stream, pattern) = (query.stream, query.pattern.clone());
        let output = job.output(stream);
        let file = job.file(&self.broker.spool, stream);
        let end = output.there(file.as_ref());
        let (ended, total) = (job.has_ended(), output.written());
        let file = file.and_then(|file| job.to_search(stream, file, end));
        let range = Range {
            offset: query.offset,
            end,
            ended,
        };
        let limits = Limits {
            matches: query.limit,
            context: query.context,
        };
        let search = move || {
            // They are free again when the search is over, also when nobody waits for it any more.
            let _places = (turn, place);
            let start = Instant::now();
            let pattern = Pattern::new(&pattern).map_err(|reason| bad_pattern(&reason))?;
            let over = || start.elapsed() > TIME;
            let nothing = || Found::nothing(range.end);
            let found =
                file.map(|file| grep::search(&file, &pattern, range, limits, grep::SIZES, over));
            found
                .unwrap_or_else(|| Ok(nothing()))
                .map_err(|error| failed(&error))
        };
        let found = aside(search).await.ok_or_else(stopping)??;
        Ok(Matches {
            stream,
            lines: found.lines,
            matching: found.matching,
            offset: found.from,
            next: found.next,
            total,
            eof: ended && found.next >= end,
        })
    }
}

fn bad_pattern(reason: &str) -> Refusal {
    Refusal::new(
        Code::InvalidArgs,
        format!("the pattern is no regular expression that can be searched for: {reason}"),
    )
    .object("pattern")
    .next(
        "escape what is meant literally with \\; look-around and back-references do not exist here",
    )
}

fn failed(error: &grep::Error) -> Refusal {
    match error {
        grep::Error::Read(error) => {
            tracing::warn!(%error, "cannot search a spool file");
            let message = format!("its output cannot be read: {error}");
            Refusal::new(Code::NotFound, message)
        }
        grep::Error::TooHard { number, offset } => Refusal::new(
            Code::InvalidArgs,
            format!("to search line {number}, at byte {offset}, for this pattern takes too long"),
        )
        .object("pattern")
        .next(
            "use a simpler pattern, with fewer repetitions that are counted and (?-u:\\b) for \\b; or read that \
             line, and search on behind it",
        ),
    }
}

fn stopping() -> Refusal {
    Refusal::new(Code::DaemonUnavailable, "the daemon is stopping")
}
