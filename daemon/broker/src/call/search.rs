//! Searches the output of a job, on a thread, because it can use its whole time limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_wire::GrepQuery;
use remit_wire::outcome::Matches;

use super::{Call, CallRefusal};
use crate::blocking::run_blocking;
use crate::call::validate;
use crate::job::Job;
use crate::search::{self, Found, Pattern, Range, SearchLimits};

pub const SEARCHES: usize = 2;
const TIME: Duration = Duration::from_millis(80);

impl Call {
    pub async fn grep(&self, job: &Job, query: &GrepQuery) -> Result<Matches, CallRefusal> {
        validate::grep(query)?;
        let turn = self.client.account.search_turn().await;
        let permit = Arc::clone(&self.broker.searches).acquire_owned().await.ok();
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
        let limits = SearchLimits {
            matches: query.limit,
            context: query.context,
        };
        let search = move || {
            // The thread holds the permits until the search ends, even if the client is gone.
            let _permits = (turn, permit);
            let start = Instant::now();
            let pattern = Pattern::new(&pattern).map_err(|reason| bad_pattern(&reason))?;
            let over = || start.elapsed() > TIME;
            let nothing = || Found::nothing(range.end);
            let found = file
                .map(|file| search::search(&file, &pattern, range, limits, search::SIZES, over));
            found
                .unwrap_or_else(|| Ok(nothing()))
                .map_err(|error| failed(&error))
        };
        let found = run_blocking(search).await.ok_or_else(stopping)??;
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
        format!("the pattern is not a valid regular expression: {reason}"),
    )
    .object("pattern")
    .next("escape literal characters with \\; look-around and back-references are not supported")
}

fn failed(error: &search::Error) -> Refusal {
    match error {
        search::Error::Read(error) => {
            tracing::warn!("cannot search a spool file: {error}");
            let message = format!("its output cannot be read: {error}");
            Refusal::new(Code::NotFound, message)
        }
        search::Error::TooHard { number, offset } => Refusal::new(
            Code::InvalidArgs,
            format!("searching line {number}, at byte {offset}, for this pattern takes too long"),
        )
        .object("pattern")
        .next(
            "use a simpler pattern, with fewer counted repetitions and (?-u:\\b) for \\b; or read that line and \
             continue after it",
        ),
    }
}

fn stopping() -> Refusal {
    Refusal::new(Code::DaemonUnavailable, "the daemon is stopping")
}
