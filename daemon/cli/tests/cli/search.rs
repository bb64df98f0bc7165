//! Tests `remit job --grep`.

use remit_wire::outcome::{Line, Matches, OutputPart, Stream};
use remit_wire::{Bytes, GrepQuery, PartQuery, Reply, Request};

use crate::fake::{Answer, Fake, exited, job, reply};

/// Lines that the fake daemon searches for one answer.
const AT_ONCE: usize = 4;

/// Searches lines of four bytes, `l00`, `l01` …; lines with an even number match.
fn search(lines: usize, query: &GrepQuery) -> Matches {
    let first = (query.offset as usize).div_ceil(4);
    let mut found = Vec::new();
    let (mut matching, mut next) = (0, first);
    while next < lines && next < first + AT_ONCE && matching < query.limit {
        let matches = next % 2 == 1;
        matching += u32::from(matches);
        if matches || query.context > 0 {
            found.push(Line {
                number: next as u64 + 1,
                offset: next as u64 * 4,
                matches,
                text: Bytes::from(format!("l{next:02}").into_bytes()),
                omitted: 0,
            });
        }
        next += 1;
    }
    Matches {
        stream: query.stream,
        lines: found,
        matching,
        offset: first as u64 * 4,
        next: next as u64 * 4,
        total: lines as u64 * 4,
        eof: next == lines,
    }
}

fn fake(lines: usize) -> Fake {
    Fake::new(move |request| match request {
        Request::Job(query) => match &query.part {
            Some(PartQuery::Grep(query)) => Answer::Reply(Reply::Job {
                report: Box::new(exited(0, b"", b"")),
                part: Some(OutputPart::Matches(search(lines, query))),
            }),
            _ => reply(exited(0, b"", b"")),
        },
        _ => Answer::HangUp,
    })
}

fn queries(fake: &Fake) -> Vec<GrepQuery> {
    let grep = |request| match request {
        Request::Job(query) => match query.part {
            Some(PartQuery::Grep(query)) => Some(query),
            _ => None,
        },
        _ => None,
    };
    fake.all_heard().into_iter().filter_map(grep).collect()
}

#[test]
fn match_numbers_hold_across_pages() {
    let fake = fake(10);
    let said = fake.output(&["job", &job(), "--grep", "-x"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(said.text(), "2:l01\n4:l03\n6:l05\n8:l07\n10:l09\n");
    let asked = queries(&fake);
    let expect = GrepQuery {
        stream: Stream::Stdout,
        pattern: "-x".into(),
        offset: 0,
        limit: 1000,
        context: 0,
    };
    assert_eq!(asked[0], expect);
    assert_eq!(
        asked.iter().map(|query| query.offset).collect::<Vec<_>>(),
        [0, 16, 32]
    );
}

#[test]
fn a_limit_counts_lines_that_match() {
    let fake = fake(10);
    let said = fake.output(&[
        "job",
        &job(),
        "--grep",
        "x",
        "--limit",
        "3",
        "--stderr",
        "--offset",
        "5",
    ]);
    assert_eq!(said.text(), "4:l03\n6:l05\n8:l07\n");
    let asked = queries(&fake);
    assert_eq!(
        asked.iter().map(|query| query.limit).collect::<Vec<_>>(),
        [3, 1]
    );
    assert_eq!((asked[0].stream, asked[0].offset), (Stream::Stderr, 5));
}

#[test]
fn context_lines_are_requested_and_marked() {
    let fake = fake(2);
    let said = fake.output(&["job", &job(), "--grep", "x", "--context", "1"]);
    assert_eq!(said.text(), "1-l00\n2:l01\n");
    assert_eq!(queries(&fake)[0].context, 1);
}

#[test]
fn nothing_found_is_status_1() {
    for args in [&["--grep", "x"][..], &["--json", "--grep", "x"]] {
        let id = job();
        let said = fake(1).output(&[&["job", &id], args].concat());
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(1), ""),
            "{said:?}"
        );
    }
    assert_eq!(
        fake(1)
            .output(&["job", &job(), "--grep", "x", "--wait"])
            .status,
        Some(1)
    );
}

#[test]
fn json_joins_the_pages() {
    let json = fake(10)
        .output(&["job", &job(), "--json", "--grep", "x", "--limit", "4"])
        .json();
    assert_eq!(
        json["lines"],
        serde_json::json!(["2:l01", "4:l03", "6:l05", "8:l07"])
    );
    assert_eq!((&json["matching"], &json["next"]), (&4.into(), &32.into()));
    assert_eq!((&json["total"], &json["eof"]), (&40.into(), &false.into()));
    assert_eq!(json["stream"], "stdout");
}

#[test]
fn search_of_lost_output_is_inconclusive() {
    let fake = Fake::new(|request| match request {
        Request::Job(query) => match &query.part {
            Some(PartQuery::Grep(query)) => Answer::Reply(Reply::Job {
                report: Box::new(exited(0, b"", b"")),
                part: Some(OutputPart::Matches(Matches {
                    total: 100,
                    ..search(2, query)
                })),
            }),
            _ => reply(exited(0, b"", b"")),
        },
        _ => Answer::HangUp,
    });
    let said = fake.output(&["job", &job(), "--grep", "x"]);
    assert_eq!((said.status, said.text()), (Some(0), "2:l01\n"));
    assert_eq!(
        said.stderr,
        "remit: the last 92 bytes are not kept, and were not searched\n"
    );
}
