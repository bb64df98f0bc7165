use std::thread;
use std::time::Duration;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_link::{ToBroker, ToWarden};
use remit_wire::outcome::{Matches, Stream};

use crate::output::job;
use crate::stage::{Broker, Client, Dir, FakeJob};

fn ended(broker: &Broker, client: &mut Client, number: u8, out: &[u8], err: &[u8]) -> JobId {
    let mut job = job(broker, client, number);
    job.write(out, err);
    let id = job.id;
    drop(job);
    broker.drained(id);
    broker.end(id);
    client.job(id, 1000);
    id
}

fn lines(matches: &Matches) -> Vec<String> {
    let line = |line: &remit_wire::outcome::Line| {
        let mark = if line.matches { ':' } else { '-' };
        let text = String::from_utf8_lossy(&line.text).into_owned();
        format!("{}{mark}{text}", line.number)
    };
    matches.lines.iter().map(line).collect()
}

#[test]
fn matches_have_numbers_context_and_pages() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let text: String = (1..=20_000).map(|n| format!("line {n}\r\n")).collect();
    let id = ended(&broker, &mut client, 1, text.as_bytes(), b"oh line 7");
    let found = client
        .grep(id, |query| {
            query.pattern = "^line 1?999$".into();
            query.context = 1;
        })
        .unwrap();
    assert_eq!(
        lines(&found),
        [
            "998-line 998",
            "999:line 999",
            "1000-line 1000",
            "1998-line 1998",
            "1999:line 1999",
            "2000-line 2000"
        ]
    );
    let all = text.len() as u64;
    assert_eq!(
        (found.matching, found.offset, found.next, found.total),
        (2, 0, all, all)
    );
    assert!(found.eof && found.stream == Stream::Stdout);
    assert_eq!(
        found.lines[1].offset,
        text.find("line 999\r").unwrap() as u64
    );
    let (mut offset, mut numbers) = (0, Vec::new());
    loop {
        let page = client
            .grep(id, |query| {
                query.pattern = "0{3}$".into();
                query.limit = 7;
                query.offset = offset;
            })
            .unwrap();
        assert!(page.lines.len() <= 7 && page.offset == offset && page.next > offset);
        numbers.extend(page.lines.iter().map(|line| line.number));
        offset = page.next;
        if page.eof {
            break;
        }
    }
    assert_eq!(numbers, (1..=20).map(|n| n * 1000).collect::<Vec<_>>());
    // An offset inside a line: the search starts at the next one.
    let found = client.grep(id, |query| query.offset = 3).unwrap();
    assert_eq!((found.offset, found.lines[0].number), (8, 2));
    assert!(!found.eof && found.lines.len() == caps::GREP_MATCHES as usize);
    let found = client
        .grep(id, |query| query.stream = Stream::Stderr)
        .unwrap();
    assert_eq!(lines(&found), ["1:oh line 7"]);
}

#[test]
fn what_is_no_search_is_refused() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let (mut client, mut other) = (broker.client(1000), broker.client(1001));
    let id = ended(&broker, &mut client, 1, b"a\n", b"");
    let refused = client
        .grep(id, |query| query.pattern = "a(b".into())
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.object.as_deref()),
        (Code::InvalidArgs, Some("pattern"))
    );
    assert!(
        refused.message.ends_with("unclosed group, at byte 1"),
        "{}",
        refused.message
    );
    assert!(matches!(broker.hear(), ToWarden::Refused { .. }));
    for (limit, context, length) in [
        (0, 0, 1),
        (caps::GREP_MATCHES + 1, 0, 1),
        (1, caps::GREP_CONTEXT + 1, 1),
        (1, 0, caps::PATTERN + 1),
    ] {
        let refused = client.grep(id, |query| {
            query.limit = limit;
            query.context = context;
            query.pattern = "a".repeat(length);
        });
        let code = if limit == 0 {
            Code::InvalidArgs
        } else {
            Code::TooLarge
        };
        assert_eq!(refused.unwrap_err().code, code);
    }
    assert_eq!(other.grep(id, |_| {}), Err(Refusal::no_such_job()));
    let id = ended(&broker, &mut client, 2, b"", b"");
    let found = client.grep(id, |_| {}).unwrap();
    assert_eq!((found.lines.len(), found.next, found.eof), (0, 0, true));
}

/// A line that was masked would never be searched as it is.
#[test]
fn search_of_a_running_job_ends_before_a_possible_secret() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let (mut job, pipes) = FakeJob::new(1, 1000);
    let message = ToBroker::Job {
        secrets: vec![b"ab\ncd".to_vec().into()],
        ticket: Some(99),
        meta: Box::new(job.meta.clone()),
    };
    broker.tell(&message, &[&pipes[0], &pipes[1]]);
    for (text, total, offset, expect, next) in [
        ("x\nab\n", 5, 0, &["1:x"][..], 2),
        ("xx\n", 8, 2, &["2:ab", "3:xx"], 8),
    ] {
        job.write(text.as_bytes(), b"");
        while client.job(job.id, 0).stdout.total < total {
            thread::sleep(Duration::from_millis(5));
        }
        let found = client.grep(job.id, |query| {
            query.pattern = ".".into();
            query.offset = offset;
        });
        let found = found.unwrap();
        assert_eq!(
            (lines(&found), found.next),
            (expect.iter().map(|line| (*line).to_owned()).collect(), next)
        );
    }
}

#[test]
fn unfinished_line_is_found_once_complete() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut job = job(&broker, &mut client, 1);
    let id = job.id;
    job.write(b"x1\nx2", b"");
    while client.job(id, 0).stdout.total < 5 {
        // Each question is one of the user's requests, which have a rate.
        thread::sleep(Duration::from_millis(5));
    }
    let found = client.grep(id, |query| query.pattern = "x".into()).unwrap();
    assert_eq!(
        (lines(&found), found.next, found.eof),
        (vec!["1:x1".to_owned()], 3, false)
    );
    job.write(b"3\nx", b"");
    drop(job);
    broker.drained(id);
    broker.end(id);
    client.job(id, 1000);
    let found = client
        .grep(id, |query| {
            query.pattern = "x".into();
            query.offset = 3;
        })
        .unwrap();
    assert_eq!(lines(&found), ["2:x23", "3:x"]);
    assert!(found.eof);
}

#[test]
fn endless_line_and_binary_output_are_searched() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let mut client = broker.client(1000);
    let mut text = vec![b'a'; 5 << 20];
    text[3_000_000..3_000_006].copy_from_slice(b"needle");
    text.extend(b"\n\0\xff\xfe\x1b[31m\n");
    let before = broker.memory();
    let id = ended(&broker, &mut client, 1, &text, b"");
    let mut first = |pattern: &str| {
        let mut offset = 0;
        loop {
            let found = client.grep(id, |query| {
                query.pattern = pattern.into();
                query.offset = offset;
            });
            let found = found.unwrap();
            if found.eof || !found.lines.is_empty() {
                break found;
            }
            offset = found.next;
        }
    };
    let found = first("needle");
    let line = &found.lines[0];
    assert_eq!(
        (line.number, line.offset, line.text.len()),
        (1, 2 << 20, caps::GREP_LINE)
    );
    assert!(line.text.windows(6).any(|part| part == b"needle"));
    assert_eq!(line.omitted, (1 << 20) - caps::GREP_LINE as u64);
    let found = first(r"(?-u)\xfe");
    assert_eq!(found.lines[0].text.as_slice(), b"\0\xff\xfe\x1b[31m");
    assert_eq!(found.lines[0].number, 2);
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 12 << 10, "{grown} KiB");
}

/// Each page has its own time limit, and other users do not wait.
#[test]
fn slow_search_ends_without_delaying_others() {
    let dir = Dir::new();
    let mut broker = Broker::fresh(&dir);
    let (mut client, mut other) = (broker.client(1000), broker.client(1001));
    let FakeJob {
        id, mut out, err, ..
    } = job(&broker, &mut client, 1);
    drop(err);
    let mut random = 1_u32;
    let letters = (1..100_000).map(|number| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match (number % 500, random >> 31) {
            (0, _) => b'\n',
            (_, 0) => b'a',
            _ => b'b',
        }
    });
    let text: Vec<u8> = letters.collect();
    std::io::Write::write_all(&mut out, &text).unwrap();
    drop(out);
    broker.drained(id);
    broker.end(id);
    client.job(id, 1000);
    let mut second = broker.client(1000);
    let (done, over) = std::sync::mpsc::channel();
    let searching = thread::spawn(move || {
        let mut pages = 0;
        let mut offset = 0;
        loop {
            let page = client
                .grep(id, |query| {
                    query.pattern = "[ab]*a[ab]{300}c".into();
                    query.offset = offset;
                })
                .unwrap();
            pages += 1;
            assert!(page.next > offset && page.lines.is_empty());
            offset = page.next;
            if page.eof {
                break;
            }
        }
        done.send(()).unwrap();
        pages
    });
    let mut answers = 0;
    while over.try_recv().is_err() {
        other.job_list();
        second.job_list();
        answers += 2;
        thread::sleep(Duration::from_millis(10));
    }
    let pages = searching.join().unwrap();
    assert!(pages > 1, "it is slow");
    // If a page delayed others, both would get one answer for each page.
    assert!(answers > 4 * pages, "{answers} answers, {pages} pages");
}
