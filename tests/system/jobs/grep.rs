//! Searches in output: invalid patterns, slow patterns, and lines at every edge.

use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, script, writes};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_wire::GrepQuery;
use remit_wire::outcome::{Line, Matches, State, Stream};

use super::scene::{Holder, noise, one_slot, queued};

fn grep(pattern: &str) -> GrepQuery {
    GrepQuery {
        stream: Stream::Stdout,
        pattern: pattern.into(),
        offset: 0,
        limit: caps::GREP_MATCHES,
        context: 0,
    }
}

fn written(caller: &mut Caller, text: &[u8]) -> JobId {
    let report = caller.run(writes(text)).expect("user A has a grant");
    assert_eq!(
        (report.state, report.stdout.total),
        (State::Exited, text.len() as u64)
    );
    report.job
}

fn texts(found: &Matches) -> Vec<String> {
    let text = |line: &Line| String::from_utf8_lossy(&line.text).into_owned();
    found.lines.iter().map(text).collect()
}

#[test]
fn invalid_pattern_is_refused_with_reason() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let job = written(&mut caller, b"one\ntwo\n");
    let long = |length| "a".repeat(length);
    for (name, pattern, code) in [
        ("an unclosed group", "(a".to_owned(), Code::InvalidArgs),
        (
            "a group that was not opened",
            "a)".into(),
            Code::InvalidArgs,
        ),
        ("an unclosed class", "[a".into(), Code::InvalidArgs),
        ("a repetition of nothing", "*a".into(), Code::InvalidArgs),
        ("a range upside down", "a{3,2}".into(), Code::InvalidArgs),
        ("a back-reference", r"(a)\1".into(), Code::InvalidArgs),
        ("a look ahead", "a(?=b)".into(), Code::InvalidArgs),
        ("a look behind", "(?<!a)b".into(), Code::InvalidArgs),
        ("a lone backslash", "\\".into(), Code::InvalidArgs),
        (
            "an unknown class",
            r"\p{Nonsense}".into(),
            Code::InvalidArgs,
        ),
        (
            "a million of them",
            "(a{1000}){1000}".into(),
            Code::InvalidArgs,
        ),
        (
            "ten to the eighteenth of them",
            "((((((a{1000}){1000}){1000}){1000}){1000}){1000})".into(),
            Code::InvalidArgs,
        ),
        (
            "all letters of the world, often",
            r"(\w{100}){100}".into(),
            Code::InvalidArgs,
        ),
        (
            "groups in groups",
            "(".repeat(500) + &")".repeat(500),
            Code::InvalidArgs,
        ),
        ("one byte too long", long(caps::PATTERN + 1), Code::TooLarge),
        ("a megabyte", long(1 << 20), Code::TooLarge),
        (
            "many bytes in few characters",
            "\u{20ac}".repeat(caps::PATTERN / 3 + 1),
            Code::TooLarge,
        ),
    ] {
        let start = Instant::now();
        let refusal = match caller.grep(job, grep(&pattern)) {
            Err(refusal) => refusal,
            Ok(found) => panic!("{name}: {found:?}"),
        };
        assert_eq!(refusal.code, code, "{name}: {refusal}");
        assert!(
            !refusal.message.is_empty() && refusal.message.len() < 1000,
            "{name}: {refusal}"
        );
        assert!(
            !refusal.message.contains('\n'),
            "{name}: more than a sentence: {refusal}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{name}: {:?}",
            start.elapsed()
        );
    }
    let found = caller.grep(job, grep("^t.o$")).expect("it is a pattern");
    assert_eq!(texts(&found), ["two"]);
    let found = caller
        .grep(job, grep(&long(caps::PATTERN)))
        .expect("it is not too long");
    assert_eq!((found.matching, found.eof), (0, true));
    daemon.is_well();
    daemon.stop();
}

#[test]
fn output_of_ended_jobs_is_searched_line_by_line() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for search in [
        numbers_over_their_caps_are_refused_or_cut,
        offsets_anywhere_begin_at_the_next_line,
        streams_are_searched_separately_and_empty_has_none,
        lines_of_dos_are_matched_to_their_end,
        match_does_not_cross_line_end,
        contexts_that_overlap_show_each_line_once,
    ] {
        search(&mut caller);
    }
    daemon.is_well();
    daemon.stop();
}

fn numbers_over_their_caps_are_refused_or_cut(caller: &mut Caller) {
    let text: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    let job = written(caller, text.as_bytes());
    for (limit, context) in [
        (0, 0),
        (u32::MAX, 0),
        (caps::GREP_MATCHES + 1, 0),
        (1, caps::GREP_CONTEXT + 1),
        (1, u32::MAX),
        (u32::MAX, u32::MAX),
    ] {
        let query = GrepQuery {
            limit,
            context,
            ..grep("line")
        };
        match caller.grep(job, query) {
            Ok(found) => {
                assert!(
                    found.matching <= caps::GREP_MATCHES,
                    "{limit}: {}",
                    found.matching
                );
                let around = 2 * (caps::GREP_CONTEXT as usize) + 1;
                let most = (found.matching as usize) * around;
                assert!(found.lines.len() <= most, "{limit}, {context}");
            }
            Err(refusal) => assert!(
                matches!(refusal.code, Code::InvalidArgs | Code::TooLarge),
                "{refusal}"
            ),
        }
    }
}

/// Searches page by page to the end. Returns how many lines, or parts of lines, matched.
fn search(caller: &mut Caller, job: JobId, pattern: &str) -> u32 {
    let mut query = grep(pattern);
    let mut matching = 0;
    loop {
        let found = caller.grep(job, query.clone()).expect("it is a pattern");
        matching += found.matching;
        if found.eof {
            return matching;
        }
        assert!(found.next > query.offset, "no progress: {found:?}");
        query.offset = found.next;
    }
}

/// Catastrophic patterns for a backtracking engine, on 64 MiB. Others are served meanwhile.
#[test]
fn patterns_made_to_last_are_answered_in_time() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let [long, short] = [64, 8].map(|mib| {
        let text = format!("head -c {} /dev/zero | tr '\\0' a; echo", (mib << 20) - 1);
        let report = caller.run(script(&text)).expect("user A has a grant");
        assert_eq!((report.state, report.stdout.lines), (State::Exited, 1));
        report.job
    });
    let start = Instant::now();
    for (pattern, job) in [
        ("(a+)+$", long),
        ("^(.*a){20}b", long),
        ("(a|aa)+$", short),
        ("(a*)*b", short),
        ("a.{0,200}b", short),
        ("(x+x+)+y", short),
    ] {
        let mut other = Caller::new(&daemon, &user_a());
        let searching = std::thread::spawn(move || search(&mut other, job, pattern));
        daemon.is_well();
        let matching = searching.join().expect("it is answered");
        // So long a line is searched in parts, and each part has an end.
        assert_eq!(matching > 0, pattern.ends_with('$'), "{pattern}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn concurrent_searches_do_not_delay_other_users() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller
        .run(script("seq 1 2000000"))
        .expect("user A has a grant");
    let searches: Vec<_> = (0..12)
        .map(|_| {
            let mut caller = Caller::new(&daemon, &user_a());
            let job = report.job;
            std::thread::spawn(move || caller.grep(job, grep("(9+)+x")).map(|found| found.matching))
        })
        .collect();
    daemon.is_well();
    for search in searches {
        match search.join().expect("it is answered") {
            Ok(matching) => assert_eq!(matching, 0),
            Err(refusal) => assert_eq!(refusal.code, Code::Busy, "{refusal}"),
        }
    }
    daemon.is_well();
    daemon.stop();
}

fn offsets_anywhere_begin_at_the_next_line(caller: &mut Caller) {
    let text = "a\u{20ac}b\nc\u{1f600}d\n\ne\nlast";
    let job = written(caller, text.as_bytes());
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let offsets = (0..text.len() as u64 + 3).chain([1 << 32, u64::MAX]);
    for offset in offsets {
        let query = GrepQuery {
            offset,
            ..grep(".*")
        };
        let found = caller.grep(job, query).expect("the job is ours");
        let expected: Vec<u64> = starts
            .iter()
            .map(|start| *start as u64)
            .filter(|start| *start >= offset)
            .collect();
        let begins: Vec<u64> = found.lines.iter().map(|line| line.offset).collect();
        assert_eq!(begins, expected, "from {offset}: {found:?}");
        assert_eq!(
            (found.matching as usize, found.eof, found.total),
            (expected.len(), true, text.len() as u64),
            "from {offset}"
        );
        let numbers: Vec<u64> = found.lines.iter().map(|line| line.number).collect();
        let expected: Vec<u64> = (1..=starts.len() as u64)
            .skip(starts.len() - expected.len())
            .collect();
        assert_eq!(numbers, expected, "from {offset}");
    }
}

fn streams_are_searched_separately_and_empty_has_none(caller: &mut Caller) {
    let report = caller
        .run(script("echo out; echo err >&2"))
        .expect("user A has a grant");
    for (stream, lines) in [(Stream::Stdout, ["out"]), (Stream::Stderr, ["err"])] {
        let query = GrepQuery { stream, ..grep("") };
        let found = caller.grep(report.job, query);
        match found {
            Ok(found) => assert_eq!(
                (found.stream, texts(&found)),
                (stream, lines.map(String::from).to_vec())
            ),
            Err(refusal) => assert_eq!(refusal.code, Code::InvalidArgs, "{refusal}"),
        }
        let query = GrepQuery {
            stream,
            ..grep("out|err")
        };
        let found = caller.grep(report.job, query).expect("the job is ours");
        assert_eq!(texts(&found), lines);
    }
    let silent = caller.run(script("exit 0")).expect("user A has a grant");
    let found = caller
        .grep(silent.job, grep(".*"))
        .expect("the job is ours");
    assert_eq!((found.lines.len(), found.total, found.eof), (0, 0, true));
}

fn lines_of_dos_are_matched_to_their_end(caller: &mut Caller) {
    let job = written(caller, b"one\r\ntwo\r\n\r\nno end\r");
    for (pattern, numbers) in [
        ("one$", vec![1]),
        ("^two$", vec![2]),
        ("^$", vec![3]),
        // A CR without a newline after it is an ordinary byte.
        ("end$", vec![]),
        (r"end\r$", vec![4]),
        (r"\r", vec![4]),
        ("o", vec![1, 2, 4]),
    ] {
        let found = caller.grep(job, grep(pattern)).expect("the job is ours");
        let got: Vec<u64> = found.lines.iter().map(|line| line.number).collect();
        assert_eq!(got, numbers, "{pattern}: {found:?}");
    }
}

fn match_does_not_cross_line_end(caller: &mut Caller) {
    let job = written(caller, b"one\ntwo\0three\n\xff\xfe\nOne \xe2\x82\xac\n");
    for (pattern, numbers) in [
        ("(?s)one.two", vec![]),
        (r"one\s+two", vec![]),
        ("one[^x]two", vec![]),
        (r"one\ntwo", vec![]),
        ("\n", vec![]),
        ("(?m)^two", vec![2]),
        ("(?m)one$", vec![1]),
        (r"\Aone\z", vec![1]),
        ("(?i)^ONE", vec![1, 4]),
        ("two\0three", vec![2]),
        (r"\x00", vec![2]),
        (r"(?-u)\xff\xfe", vec![3]),
        (r"(?-u)^[^a-z]*$", vec![3]),
        ("\u{20ac}", vec![4]),
        (r"\p{Currency_Symbol}", vec![4]),
        ("(?x) o n e # not a comment of the line", vec![1]),
        ("()", vec![1, 2, 3, 4]),
        ("x*", vec![1, 2, 3, 4]),
    ] {
        let found = caller
            .grep(job, grep(pattern))
            .unwrap_or_else(|refusal| panic!("{pattern:?}: {refusal}"));
        let got: Vec<u64> = found.lines.iter().map(|line| line.number).collect();
        assert_eq!(got, numbers, "{pattern:?}: {found:?}");
    }
}

#[test]
fn job_without_output_has_no_matches() {
    let daemon = Daemon::start(one_slot());
    let mut caller = Caller::new(&daemon, &user_a());
    let holder = Holder::of(&daemon, &user_a());
    let waiting = queued(&mut caller, script("echo ran")).job;
    for job in [holder.job, waiting] {
        for offset in [0, 5, u64::MAX] {
            let query = GrepQuery {
                offset,
                ..grep(".*")
            };
            let found = caller.grep(job, query).expect("the job is ours");
            assert_eq!(
                (found.lines.len(), found.total, found.eof),
                (0, 0, false),
                "{found:?}"
            );
        }
    }
    holder.leave();
    let _ = caller.end_of(waiting);
    let found = caller.grep(waiting, grep(".*")).expect("the job is ours");
    assert_eq!((texts(&found), found.eof), (vec!["ran".to_owned()], true));
    daemon.stop();
}

#[test]
fn running_job_is_searched_up_to_current_end() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let go = daemon.path().join("go");
    let text = format!(
        "echo one; echo two; printf thr; until [ -e {} ]; do sleep 0.05; done; echo ee; echo four",
        go.display()
    );
    let started = caller
        .run(remit_wire::Run {
            wait_ms: Some(300),
            ..script(&text)
        })
        .expect("user A has a grant");
    let mut query = grep("^[a-z]+$");
    assert_eq!(started.state, State::Running, "{started:?}");
    let found = caller
        .grep(started.job, query.clone())
        .expect("the job is ours");
    assert!(!found.eof, "{found:?}");
    // Half a line is not skipped.
    assert!(found.next <= 8, "{found:?}");
    let mut seen: Vec<String> = texts(&found).into_iter().take(2).collect();
    query.offset = found.next.min(8);
    std::fs::write(&go, "").expect("it is ours");
    let _ = caller.end_of(started.job);
    let found = caller.grep(started.job, query).expect("the job is ours");
    seen.extend(texts(&found));
    assert_eq!(seen, ["one", "two", "three", "four"], "{found:?}");
    assert!(found.eof);
    daemon.stop();
}

struct Real<'a> {
    offset: u64,
    text: &'a [u8],
    matches: bool,
}

fn real<'a>(text: &'a [u8], needle: &[u8]) -> Vec<Real<'a>> {
    let mut offset = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let bare = match line.strip_suffix(b"\n") {
            Some(bare) => bare.strip_suffix(b"\r").unwrap_or(bare),
            None => line,
        };
        lines.push(Real {
            offset,
            text: bare,
            matches: bare.windows(needle.len()).any(|window| window == needle),
        });
        offset += line.len() as u64;
    }
    lines
}

fn is_true(found: &Matches, lines: &[Real<'_>], needle: &[u8], context: u32, case: &str) {
    let mut before = 0;
    for line in &found.lines {
        assert!(line.number > before, "{case}: out of order or twice");
        before = line.number;
        let real = &lines[line.number as usize - 1];
        assert_eq!(
            (line.offset, line.matches),
            (real.offset, real.matches),
            "{case}"
        );
        assert!(line.text.len() <= caps::GREP_LINE, "{case}");
        assert_eq!(
            line.text.len() as u64 + line.omitted,
            real.text.len() as u64,
            "{case}"
        );
        let shown: &[u8] = &line.text;
        assert!(
            shown.is_empty() || real.text.windows(shown.len()).any(|window| window == shown),
            "{case}: line {} is not what was written",
            line.number
        );
        let has_needle = shown.windows(needle.len()).any(|window| window == needle);
        assert!(
            !line.matches || has_needle,
            "{case}: the match is not shown"
        );
        let near = found
            .lines
            .iter()
            .any(|other| other.matches && other.number.abs_diff(line.number) <= u64::from(context));
        assert!(near, "{case}: line {} is near no match", line.number);
    }
    let matching = found.lines.iter().filter(|line| line.matches).count();
    assert_eq!(found.matching as usize, matching, "{case}");
}

/// Compares with a naive search: for any limit and context, each matching line comes once over all pages, with
/// correct context.
#[test]
fn paged_search_returns_each_match_once() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    // Mixed content: empty lines, CR, multibyte characters, broken characters, very long lines.
    let mut bytes = noise(7);
    let mut text = Vec::new();
    while text.len() < 200_000 {
        match bytes.next().unwrap_or_default() % 32 {
            0..=5 => text.extend_from_slice(b"\n"),
            6 => text.extend_from_slice(b"\r\n"),
            7..=9 => text.extend_from_slice(b"needle"),
            10 => text.extend_from_slice("\u{20ac}".as_bytes()),
            11 => text.extend_from_slice(b"\xff\xe2\x82"),
            12 => text.extend_from_slice(b"need"),
            13 => text.extend(std::iter::repeat_n(b'z', 700)),
            _ => text.extend_from_slice(b"some words "),
        }
    }
    let job = written(&mut caller, &text);
    let lines = real(&text, b"needle");
    let expected: Vec<u64> = (1..)
        .zip(&lines)
        .filter(|(_, line)| line.matches)
        .map(|(number, _)| number)
        .collect();
    assert!(expected.len() > 300, "{}", expected.len());
    for (limit, context) in [(1000, 0), (1000, 3), (97, 10), (7, 1), (200, 2)] {
        let case = format!("limit {limit}, context {context}");
        let mut got = Vec::new();
        let mut query = GrepQuery {
            limit,
            context,
            ..grep("needle")
        };
        loop {
            let found = caller.grep(job, query.clone()).expect("the job is ours");
            is_true(&found, &lines, b"needle", context, &case);
            assert!(found.matching <= limit, "{case}: {}", found.matching);
            let numbers = found.lines.iter().filter(|line| line.matches);
            got.extend(numbers.map(|line| line.number));
            if found.eof {
                assert_eq!(found.next, text.len() as u64, "{case}");
                break;
            }
            assert!(found.next > query.offset, "{case}: no progress");
            query.offset = found.next;
        }
        assert!(
            got == expected,
            "{case}: {} of {}",
            got.len(),
            expected.len()
        );
    }
    daemon.is_well();
    daemon.stop();
}

fn contexts_that_overlap_show_each_line_once(caller: &mut Caller) {
    let text: String = (1..=20)
        .map(|number| match number {
            1 | 5 | 7 | 20 => format!("{number} hit\n"),
            _ => format!("{number}\n"),
        })
        .collect();
    let job = written(caller, text.as_bytes());
    for (context, expected) in [
        (0, vec![1, 5, 7, 20]),
        (1, vec![1, 2, 4, 5, 6, 7, 8, 19, 20]),
        (2, vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 18, 19, 20]),
        (10, (1..=20).collect()),
    ] {
        let query = GrepQuery {
            context,
            ..grep("hit")
        };
        let found = caller.grep(job, query).expect("the job is ours");
        let numbers: Vec<u64> = found.lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, expected, "context {context}");
        assert_eq!((found.matching, found.eof), (4, true), "context {context}");
    }
}
