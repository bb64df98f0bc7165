//! `remit job --grep`: searches a job's output and shows lines as `grep -n` does.

use std::ops::ControlFlow;

use remit_common::caps;
use remit_common::names::JobId;
use remit_wire::GrepQuery;
use remit_wire::outcome::{Line, Matches, Stream};
use remit_wire::result::{MatchResult, numbered};

use crate::args::JobArgs;
use crate::client::user_socket::Daemon;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Form};
use crate::render::units;

/// Matching lines in one JSON object by default.
const JSON_MATCHES: u64 = 1000;

/// Searches the output written so far. The exit status is that of grep(1): 0 if found, otherwise 1.
pub fn grep(
    daemon: &mut Daemon,
    job: JobId,
    args: &JobArgs,
    pattern: &str,
    form: Form,
) -> Result<Exit, Failure> {
    let query = GrepQuery {
        stream: args.stream().unwrap_or(Stream::Stdout),
        pattern: pattern.to_owned(),
        offset: args.offset.unwrap_or(0),
        limit: 0,
        context: args.context.unwrap_or(0),
    };
    let found = match form {
        Form::Text => print(daemon, job, query, args.limit.unwrap_or(u64::MAX))?,
        Form::Json => {
            let limit = args.limit.unwrap_or(JSON_MATCHES);
            let found = joined(daemon, job, query, limit)?;
            output::json(&found)?;
            found.matching > 0
        }
    };
    Ok(match found {
        true => Exit::OK,
        false => Exit::NO_MATCH,
    })
}

fn print(daemon: &mut Daemon, job: JobId, query: GrepQuery, limit: u64) -> Result<bool, Failure> {
    let mut listing = Listing::new(query.context > 0);
    let (mut found, mut unsearched) = (false, 0);
    pages(daemon, job, query, limit, |page| {
        found |= page.matching > 0;
        unsearched = match page.eof {
            true => page.total.saturating_sub(page.next),
            false => 0,
        };
        output::part(&listing.text(&page.lines))
    })?;
    if unsearched > 0 {
        let bytes = units::count(unsearched, "byte");
        output::note(&format!(
            "the last {bytes} are not kept, and were not searched"
        ));
    }
    Ok(found)
}

fn joined(
    daemon: &mut Daemon,
    job: JobId,
    query: GrepQuery,
    limit: u64,
) -> Result<MatchResult, Failure> {
    let mut all: Option<MatchResult> = None;
    let mut listing = Listing::new(false);
    pages(daemon, job, query, limit, |page| {
        let more = MatchResult {
            lines: listing.fresh(&page.lines).map(numbered).collect(),
            ..MatchResult::from(page)
        };
        match &mut all {
            None => all = Some(more),
            Some(all) => {
                all.lines.extend(more.lines);
                all.matching = all.matching.saturating_add(more.matching);
                (all.next, all.total, all.eof) = (more.next, more.total, more.eof);
            }
        }
        Ok(())
    })?;
    all.ok_or_else(Failure::off_protocol)
}

fn pages(
    daemon: &mut Daemon,
    job: JobId,
    mut query: GrepQuery,
    limit: u64,
    mut each: impl FnMut(&Matches) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut left, mut end) = (limit, None);
    loop {
        query.limit =
            u32::try_from(left).map_or(caps::GREP_MATCHES, |left| left.min(caps::GREP_MATCHES));
        let page = daemon.matches(job, query.clone())?;
        each(&page)?;
        left = left.saturating_sub(page.matching.into());
        match go_on(&page, query.offset, left, *end.get_or_insert(page.total)) {
            ControlFlow::Continue(offset) => query.offset = offset,
            ControlFlow::Break(()) => return Ok(()),
        }
    }
}

fn go_on(page: &Matches, asked: u64, left: u64, end: u64) -> ControlFlow<(), u64> {
    // An unfinished last line of a running job is not searched, so the offset does not advance.
    match page.eof || left == 0 || page.next <= asked || page.next >= end {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(page.next),
    }
}

/// Shows context lines of matches on different pages only once.
struct Listing {
    with_separators: bool,
    last: Option<u64>,
}

impl Listing {
    fn new(with_separators: bool) -> Self {
        Self {
            with_separators,
            last: None,
        }
    }

    /// Returns the lines not shown yet. A context line that is a match itself is shown again.
    fn fresh<'a>(&mut self, lines: &'a [Line]) -> impl Iterator<Item = &'a Line> {
        let last = self.last;
        self.last = lines.last().map(|line| line.number).max(last);
        let is_fresh =
            move |line: &&Line| last.is_none_or(|last| line.number > last || line.matches);
        lines.iter().filter(is_fresh)
    }

    fn text(&mut self, lines: &[Line]) -> String {
        let (with_separators, mut last) = (self.with_separators, self.last);
        let mut text = String::new();
        for line in self.fresh(lines) {
            if with_separators && last.is_some_and(|last| line.number > last + 1) {
                text += "--\n";
            }
            last = Some(line.number);
            text += &numbered(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use remit_wire::Bytes;

    use super::*;

    fn line(number: u64, matches: bool) -> Line {
        Line {
            number,
            offset: 0,
            matches,
            text: Bytes::from(b"x".to_vec()),
            omitted: 0,
        }
    }

    #[test]
    fn groups_are_separated_and_lines_shown_once() {
        let first = [line(1, false), line(2, true), line(3, false), line(7, true)];
        let second = [line(7, false), line(8, true), line(20, true)];
        let mut listing = Listing::new(true);
        assert_eq!(listing.text(&first), "1-x\n2:x\n3-x\n--\n7:x\n");
        assert_eq!(listing.text(&second), "8:x\n--\n20:x\n");
        let mut plain = Listing::new(false);
        assert_eq!(plain.text(&second), "7-x\n8:x\n20:x\n");
    }

    #[test]
    fn a_search_ends_where_nothing_new_can_come() {
        let page = |next, eof| Matches {
            stream: Stream::Stdout,
            lines: Vec::new(),
            matching: 0,
            offset: 0,
            next,
            total: 1000,
            eof,
        };
        for (page, asked, left, expect) in [
            (page(100, false), 0, 1, ControlFlow::Continue(100)),
            (page(100, true), 0, 1, ControlFlow::Break(())),
            (page(100, false), 0, 0, ControlFlow::Break(())),
            (page(100, false), 100, 1, ControlFlow::Break(())),
            (page(500, false), 100, 1, ControlFlow::Break(())),
        ] {
            assert_eq!(go_on(&page, asked, left, 500), expect, "{page:?} {asked}");
        }
    }
}
