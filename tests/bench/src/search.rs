//! Measures page by page how fast a large output is searched: `job` with `grep`.

use std::time::Instant;

use remit_common::caps;
use remit_common::names::JobId;
use remit_wire::client::Client;
use remit_wire::outcome::{Matches, OutputPart, State, Stream};
use remit_wire::{GrepQuery, JobQuery, PartQuery, Reply, Request};
use serde::Serialize;

use crate::Failure;
use crate::lanes;
use crate::section::{Section, ms};
use crate::series::{Series, Summary};
use crate::stage::Stage;

/// A log line as a format of seq(1).
const LINE: &str = "Nov 20 14:00:00 web-1 nginx[812]: GET /item/%09.0f took 12 ms, status 200";
/// Bytes of a line with its newline. The number has nine digits.
const LINE_BYTES: u64 = LINE.len() as u64 - "%09.0f".len() as u64 + 9 + 1;
/// The maximum of lines that one job may leave.
const LINES: u64 = caps::SPOOL_PER_JOB / LINE_BYTES;
/// Pages of each search. All together stay below one user's burst limit.
const PAGES: usize = 60;

struct Search {
    key: &'static str,
    pattern: &'static str,
    context: u32,
    /// The first line searched.
    from: u64,
    /// Total matches from that line on.
    matching: u64,
}

const SEARCHES: &[Search] = &[
    Search {
        key: "nowhere",
        pattern: "status 500",
        context: 0,
        from: 0,
        matching: 0,
    },
    Search {
        key: "nowhere, any case",
        pattern: "(?i)STATUS [45][0-9]{2}",
        context: 0,
        from: 0,
        matching: 0,
    },
    Search {
        key: "nowhere, no literal",
        pattern: r"^\w+( \S+){3} .*[^0]$",
        context: 0,
        from: 0,
        matching: 0,
    },
    Search {
        key: "rarely",
        pattern: "item/[0-9]{4}00000 ",
        context: 2,
        from: 0,
        matching: LINES / 100_000,
    },
    Search {
        key: "rarely, from far inside",
        pattern: "item/[0-9]{4}00000 ",
        context: 2,
        from: LINES / 4 * 3,
        matching: LINES / 100_000 - LINES / 4 * 3 / 100_000,
    },
    Search {
        key: "every line",
        pattern: "GET",
        context: 0,
        from: 0,
        matching: LINES,
    },
    Search {
        key: "every line, far inside",
        pattern: "GET",
        context: 0,
        from: LINES / 4 * 3,
        matching: LINES - LINES / 4 * 3,
    },
];

#[derive(Clone, Debug, Serialize)]
pub struct Searches {
    pub bytes: u64,
    pub lines: u64,
    pub searches: Vec<Pages>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pages {
    pub key: &'static str,
    pub pattern: &'static str,
    /// Microseconds per answer.
    #[serde(flatten)]
    pub time: Summary,
    pub bytes_per_page: f64,
    pub matching_per_page: f64,
}

pub fn take(stage: &mut Stage) -> Result<Searches, Failure> {
    let mut client = stage.client()?;
    let job = fill(&mut client)?;
    let searches = SEARCHES
        .iter()
        .map(|search| pages(&mut client, job, search));
    Ok(Searches {
        bytes: LINES * LINE_BYTES,
        lines: LINES,
        searches: searches.collect::<Result<_, _>>()?,
    })
}

pub fn section(all: &Searches) -> Section {
    let unit = f64::from(1 << 20);
    let columns = ["search for", "p50 ms", "p95 ms", "MiB a page", "matches"];
    let title = format!(
        "Searching an output of {:.1} MiB, {} lines",
        all.bytes as f64 / unit,
        all.lines
    );
    let mut section = Section::new(title, &columns);
    for pages in &all.searches {
        section.row(
            pages.key,
            [
                ms(pages.time.p50),
                ms(pages.time.p95),
                format!("{:.2}", pages.bytes_per_page / unit),
                format!("{:.1}", pages.matching_per_page),
            ],
        );
    }
    section
}

fn fill(client: &mut Client) -> Result<JobId, Failure> {
    let seq = ["/usr/bin/seq", "-f", LINE, "1", &LINES.to_string()];
    match client.call(lanes::run(&seq), drop)? {
        Reply::Job { report, .. }
            if report.state == State::Exited && report.stdout.total == LINES * LINE_BYTES =>
        {
            Ok(report.job)
        }
        other => Err(format!("the output to search is not there: {other:?}").into()),
    }
}

/// Requests one page after the other. Restarts at the first page after the last one.
fn pages(client: &mut Client, job: JobId, search: &Search) -> Result<Pages, Failure> {
    let begin = search.from * LINE_BYTES;
    let mut series = Series::default();
    let (mut offset, mut bytes, mut matching, mut found) = (begin, 0, 0, 0);
    for _ in 0..PAGES {
        let start = Instant::now();
        let reply = client.call(query(job, search, offset), drop)?;
        series.push(start.elapsed());
        let page = matches(reply)?;
        bytes += page.next - offset;
        matching += u64::from(page.matching);
        found += u64::from(page.matching);
        offset = page.next;
        if page.eof {
            if found != search.matching {
                let (key, right) = (search.key, search.matching);
                return Err(format!("'{key}': {found} lines match instead of {right}").into());
            }
            (offset, found) = (begin, 0);
        }
    }
    Ok(Pages {
        key: search.key,
        pattern: search.pattern,
        time: series.summary(),
        bytes_per_page: bytes as f64 / PAGES as f64,
        matching_per_page: matching as f64 / PAGES as f64,
    })
}

fn query(job: JobId, search: &Search, offset: u64) -> Request {
    Request::Job(JobQuery {
        job,
        wait_ms: 0,
        part: Some(PartQuery::Grep(GrepQuery {
            stream: Stream::Stdout,
            pattern: search.pattern.to_owned(),
            offset,
            limit: caps::GREP_MATCHES,
            context: search.context,
        })),
    })
}

fn matches(reply: Reply) -> Result<Matches, Failure> {
    match reply {
        Reply::Job {
            part: Some(OutputPart::Matches(page)),
            ..
        } if page.next > page.offset => Ok(page),
        other => Err(format!("nothing was searched: {other:?}").into()),
    }
}
