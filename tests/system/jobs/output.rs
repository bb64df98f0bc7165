//! Output that is too long, is not text, or never ends a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::caps;
use remit_common::names::JobId;
use remit_tests::caller::{Caller, argv, at_once, script, stdout, writes};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::ends_within;
use remit_wire::outcome::{Captured, State, Stream};
use remit_wire::{GrepQuery, PageQuery, Request, Run};
use serde_json::{Value, json};

use super::scene::{kept, noise, resident};

const MIB: u64 = 1 << 20;
/// Bytes that the broker moves at a time.
const TURN: u64 = 64 << 10;

fn numbers(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 16);
    for number in 1_u64.. {
        text.extend_from_slice(format!("{number}\n").as_bytes());
        if text.len() >= bytes {
            break;
        }
    }
    text.truncate(bytes);
    text
}

fn length_to(last: u64) -> u64 {
    let mut length = 0;
    let (mut first, mut digits) = (1, 1);
    while first <= last {
        let end = last.min(first * 10 - 1);
        length += (end - first + 1) * (digits + 1);
        (first, digits) = (first * 10, digits + 1);
    }
    length
}

#[test]
fn lengths_of_numbers_are_counted_right() {
    for last in [0, 1, 9, 10, 11, 99, 100, 12_345] {
        let written: usize = (1..=last).map(|n: u64| n.to_string().len() + 1).sum();
        assert_eq!(length_to(last), written as u64, "{last}");
    }
}

fn follow_slowly(mut caller: Caller, job: JobId) -> Vec<u8> {
    let mut text = Vec::new();
    loop {
        let known = [text.len() as u64, 0];
        let followed = caller.follow(job, known, 50_000).expect("the job is ours");
        assert_eq!(followed.stdout.offset, known[0]);
        text.extend_from_slice(&followed.stdout.bytes);
        if followed.report.is_some() && followed.stdout.eof {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Unstopped, this would write more than 10 GB. Counts are exact to the byte.
#[test]
fn output_flood_ends_at_share_and_is_counted() {
    const SHARE: u64 = 8 * MIB;
    let daemon = Daemon::start(kept(SHARE, 64 * MIB, 128 * MIB));
    let broker = daemon.broker().expect("there is a broker");
    daemon.is_well();
    let before = resident(daemon.pid());
    let mut caller = Caller::new(&daemon, &user_a());
    let job = caller
        .run(at_once(argv(&["seq", "1", "1200000000"])))
        .expect("user A has a grant")
        .job;
    let slow = Caller::new(&daemon, &user_a());
    let slow = std::thread::spawn(move || follow_slowly(slow, job));
    let report = caller.end_of(job);
    assert_eq!(report.state, State::OutputLimit, "{report:?}");

    let written = &report.stdout;
    is_counted_exactly(written);
    assert!(written.total > SHARE, "{} bytes", written.total);

    let expected = numbers(SHARE as usize);
    let kept = caller.whole(job, Stream::Stdout, caps::PAGE as u32);
    assert!(kept == expected, "{} bytes are kept", kept.len());
    let followed = slow.join().expect("it is served to the end");
    assert!(followed == expected, "{} bytes", followed.len());

    let ends = daemon.records("end");
    let end = ends
        .iter()
        .find(|end| end["REMIT_JOB"] == job.to_string().as_str())
        .expect("its end is recorded");
    assert_eq!(end["REMIT_OUTPUT_BYTES"], written.total.to_string());
    assert!(
        resident(broker) < 48 << 10,
        "the broker holds {} KiB",
        resident(broker)
    );
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 2 << 10, "the warden grew by {grown} KiB");
    daemon.is_well();
    daemon.stop();
}

fn is_counted_exactly(written: &Captured) {
    let tail = String::from_utf8(written.tail.to_vec()).expect("numbers");
    let (whole_lines, partial_line) = tail.rsplit_once('\n').expect("many lines");
    let last: u64 = whole_lines
        .rsplit('\n')
        .next()
        .and_then(|line| line.parse().ok())
        .expect("a number");
    assert_eq!(written.total, length_to(last) + partial_line.len() as u64);
    assert_eq!(written.lines, last);
    assert!(
        (last + 1).to_string().starts_with(partial_line),
        "{partial_line}"
    );
}

#[test]
fn floods_on_both_streams_are_counted_separately() {
    const SHARE: u64 = 1 << 20;
    let daemon = Daemon::start(kept(SHARE, 16 * MIB, 64 * MIB));
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "seq 1 1200000000 >&2 & seq 1 1200000000; wait";
    let report = caller.run(script(text)).expect("user A has a grant");
    assert_eq!(report.state, State::OutputLimit, "{report:?}");
    is_counted_exactly(&report.stdout);
    is_counted_exactly(&report.stderr);
    let mut sum = 0;
    for (stream, written) in [
        (Stream::Stdout, &report.stdout),
        (Stream::Stderr, &report.stderr),
    ] {
        let kept = caller.whole(report.job, stream, caps::PAGE as u32);
        assert!(kept == numbers(kept.len()), "{stream:?}");
        assert!(kept.len() as u64 <= written.total);
        sum += kept.len() as u64;
    }
    // Two streams that are moved at once may each take the last free space.
    assert!(
        (SHARE..=SHARE + TURN).contains(&sum),
        "{sum} bytes are kept"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn counts_stay_exact_over_deaths_of_the_broker() {
    const LAST: u64 = 6_000_000;
    let daemon = Daemon::start(Options::default());
    let text = format!("seq 1 {LAST}; echo end >&2; exit 9");
    let job = Caller::new(&daemon, &user_a())
        .run(at_once(script(&text)))
        .expect("user A has a grant")
        .job;
    let mut in_the_middle = 0;
    for mib in [1, 8, 16, 24] {
        // A client that connects while no broker lives waits for the next one.
        let followed = Caller::new(&daemon, &user_a())
            .follow(job, [mib * MIB, 0], caps::WAIT_MS)
            .expect("the job is ours");
        in_the_middle += u32::from(followed.state == State::Running);
        let broker = daemon.broker().expect("there is a broker");
        kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
        assert!(ends_within(broker, 20_000));
    }
    assert!(in_the_middle > 0, "the job was too quick");
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller.end_of(job);
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!((report.state, exit), (State::Exited, Some(9)), "{report:?}");
    let length = length_to(LAST);
    assert_eq!(
        (report.stdout.total, report.stdout.lines),
        (length, LAST),
        "{report:?}"
    );
    assert_eq!((report.stderr.total, report.stderr.lines), (4, 1));
    let kept = caller.whole(job, Stream::Stdout, caps::PAGE as u32);
    assert!(kept == numbers(length as usize), "{} bytes", kept.len());
    daemon.is_well();
    daemon.stop();
}

#[test]
fn output_flood_of_user_does_not_slow_others() {
    let daemon = Daemon::start(kept(4 * MIB, 16 * MIB, 64 * MIB));
    let enough = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let mut caller = Caller::new(&daemon, &user_a());
            let enough = Arc::clone(&enough);
            std::thread::spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let report = caller.run(argv(&["yes"])).expect("user A has a grant");
                    assert_eq!(report.state, State::OutputLimit, "{report:?}");
                }
            })
        })
        .collect();
    let mut other = Caller::new(&daemon, &user_b());
    let mut slow = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let report = other
            .run(argv(&["echo", "served"]))
            .expect("user B has a grant");
        assert_eq!(stdout(&report), "served\n", "{report:?}");
        slow.push(start.elapsed());
    }
    enough.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().expect("each is ended at its share");
    }
    // A busy machine causes a few pauses. A blocked broker would cause only pauses.
    slow.retain(|took| *took > Duration::from_secs(5));
    assert!(slow.len() <= 5, "over five seconds: {slow:?}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn output_limit_is_inclusive() {
    const LIMIT: usize = 64 << 10;
    let daemon = Daemon::start(kept(LIMIT as u64, 1 << 20, 2 << 20));
    let mut caller = Caller::new(&daemon, &user_a());
    let text: Vec<u8> = noise(1).take(LIMIT + 1).collect();
    // The job lives on, so that it can be ended.
    let run = |length: usize| Run {
        stdin: writes(&text[..length]).stdin,
        ..script("cat; sleep 0.2; echo after >&2")
    };
    let report = caller.run(run(LIMIT - 6)).expect("user A has a grant");
    assert_eq!(
        (report.state, report.stderr.head.as_slice()),
        (State::Exited, &b"after\n"[..])
    );
    assert_eq!(
        caller.whole(report.job, Stream::Stdout, 1000),
        &text[..LIMIT - 6]
    );
    assert_eq!(report.notes, [""; 0]);

    let report = caller.run(run(LIMIT + 1)).expect("user A has a grant");
    assert_eq!(report.state, State::OutputLimit, "{report:?}");
    assert_eq!(report.stdout.total, LIMIT as u64 + 1);
    assert_eq!(
        caller.whole(report.job, Stream::Stdout, 4096),
        &text[..LIMIT]
    );
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("more than 65536 bytes")),
        "{:?}",
        report.notes
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn non_text_bytes_are_returned_unchanged() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let every: Vec<u8> = (0..=255).collect();
    let random: Vec<u8> = noise(2).take(300_000).collect();
    let broken: Vec<u8> = noise(3)
        .take(20_000)
        .flat_map(|byte| match byte % 4 {
            0 => "\u{20ac}".as_bytes().to_vec(),
            1 => "\u{1f600}".as_bytes()[..1 + usize::from(byte >> 2) % 4].to_vec(),
            2 => vec![0x80 | byte],
            _ => vec![byte & 0x7f],
        })
        .collect();
    for (name, bytes) in [
        ("nothing", vec![]),
        ("every byte", every),
        ("NUL alone", vec![0; 70_000]),
        ("random bytes", random),
        ("broken characters", broken),
    ] {
        let report = caller.run(writes(&bytes)).expect("user A has a grant");
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(
            (report.state, report.stdout.total, report.stdout.lines),
            (State::Exited, bytes.len() as u64, lines as u64),
            "{name}"
        );
        assert!(bytes.starts_with(&report.stdout.head), "{name}");
        assert!(bytes.ends_with(&report.stdout.tail), "{name}");
        for limit in [4093, 65_536] {
            let got = caller.whole(report.job, Stream::Stdout, limit);
            assert!(got == bytes, "{name}: by pages of {limit}");
        }
        let got = in_whole_characters(&mut caller, report.job);
        assert!(got == bytes, "{name}: by whole characters");
        followed_by_other_ways(&daemon, &mut caller, report.job, name);
    }
    daemon.is_well();
    daemon.stop();
}

fn in_whole_characters(caller: &mut Caller, job: JobId) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let query = PageQuery {
            stream: Stream::Stdout,
            offset: bytes.len() as u64,
            limit: 3001,
            tail: false,
            whole_characters: true,
        };
        let page = caller.paged(job, query).expect("the job is ours");
        assert!(page.eof || !page.bytes.is_empty(), "no progress");
        bytes.extend_from_slice(&page.bytes);
        if page.eof {
            return bytes;
        }
    }
}

fn followed_by_other_ways(daemon: &Daemon, caller: &mut Caller, job: JobId, name: &str) {
    let answer = daemon.remit(&user_a(), &["--json", "job", &job.to_string()]);
    let answer: Value = serde_json::from_slice(&answer.stdout)
        .unwrap_or_else(|error| panic!("{name}: {error}: {answer:?}"));
    let shown = answer["stdout"].as_str().expect("text").to_owned();
    let control = |char: &char| char.is_control() && !"\n\t".contains(*char);
    assert_eq!(shown.chars().find(control), None, "{name}");
    let grep = GrepQuery {
        stream: Stream::Stdout,
        pattern: "a".into(),
        offset: 0,
        limit: 10,
        context: 2,
    };
    let found = caller.grep(job, grep).expect("the job is ours");
    for line in found.lines {
        assert!(!line.text.contains(&b'\n'), "{name}: {line:?}");
        assert!(
            !line.matches || line.text.contains(&b'a'),
            "{name}: {line:?}"
        );
    }
}

#[test]
fn endless_line_is_paged_searched_and_truncated() {
    const LENGTH: u64 = 64 * MIB;
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    let mut caller = Caller::new(&daemon, &user_a());
    let text = format!("head -c {LENGTH} /dev/zero | tr '\\0' x");
    let report = caller.run(script(&text)).expect("user A has a grant");
    let job = report.job;
    assert_eq!(
        (report.state, report.stdout.total, report.stdout.lines),
        (State::Exited, LENGTH, 0),
        "{report:?}"
    );
    let shown = report.stdout.head.len() + report.stdout.tail.len();
    assert!(shown <= caps::INLINE_OUTPUT, "{shown}");

    let page = caller
        .page(job, Stream::Stdout, LENGTH / 2, 1000)
        .expect("the job is ours");
    assert_eq!((page.bytes.len(), page.eof), (1000, false));
    let tail = PageQuery {
        stream: Stream::Stdout,
        offset: 0,
        limit: 1000,
        tail: true,
        whole_characters: true,
    };
    let tail = caller.paged(job, tail).expect("the job is ours");
    assert_eq!(
        (tail.offset, tail.bytes.len(), tail.eof),
        (LENGTH - 1000, 1000, true)
    );

    let grep = |pattern: &str, offset| GrepQuery {
        stream: Stream::Stdout,
        pattern: pattern.into(),
        offset,
        limit: 10,
        context: 3,
    };
    // So long a line is searched and shown in parts that cover all of it. Each part has its number.
    let start = Instant::now();
    let (mut next, mut counted) = (0, 0);
    while next < LENGTH {
        let found = caller.grep(job, grep("x", next)).expect("it is searched");
        assert!(!found.lines.is_empty() && found.next > next, "{found:?}");
        for line in &found.lines {
            assert_eq!((line.number, line.offset, line.matches), (1, counted, true));
            assert!(line.text.len() <= caps::GREP_LINE, "{}", line.text.len());
            counted += line.text.len() as u64 + line.omitted;
        }
        next = found.next;
        assert_eq!((found.total, found.eof), (LENGTH, next == LENGTH));
    }
    assert_eq!(counted, LENGTH);
    // A search without a match also takes several pages, because a page ends when its time is over.
    for (pattern, offset) in [("y", 0), ("x", LENGTH), ("x", u64::MAX)] {
        let mut next = offset;
        loop {
            let found = caller
                .grep(job, grep(pattern, next))
                .expect("it is searched");
            assert_eq!((found.matching, found.lines.len()), (0, 0), "{found:?}");
            if found.eof {
                break;
            }
            assert!(found.next > next, "{pattern} from {offset}: {found:?}");
            next = found.next;
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    assert!(
        resident(broker) < 48 << 10,
        "the broker holds {} KiB",
        resident(broker)
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn progress_line_is_short_for_any_output() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for (text, line) in [
        ("head -c 1M /dev/zero | tr '\\0' x", ""),
        ("head -c 3000 /dev/zero | tr '\\0' y; echo", "yyy"),
        ("printf 'a\\033[2J\\377\\000\\nrest'", "a"),
    ] {
        let mut seen = Vec::new();
        // Progress messages come once a second, so two come before the script ends.
        let run = Request::Run(script(&format!("{text}; sleep 2.5")));
        let reply = caller.0.call(run, |progress| seen.push(progress));
        assert!(reply.is_ok(), "{text}: {reply:?}");
        let progress = seen.last().expect("a sign of life");
        assert!(progress.last_line.starts_with(line), "{text}: {progress:?}");
        assert!(progress.last_line.len() <= 200, "{text}: {progress:?}");
        assert!(progress.output_bytes > 0, "{text}: {progress:?}");
        assert!(
            !progress.last_line.contains(|char: char| char.is_control()),
            "{text}: {progress:?}"
        );
    }
    daemon.stop();
}

#[test]
fn raw_bytes_come_through_the_shim_in_base64() {
    let daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    let result = session.run(&json!({ "script": "printf '\\000\\377\\n\\303'" }));
    let detail = json!({ "job_id": result["job_id"], "detail": true });
    let detail = &session.tool("job", &detail)["structuredContent"];
    assert_eq!(
        (&detail["stdout_bytes"], &detail["stdout_lines"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(result["encoding"], "escaped");
    let page = session.tool(
        "job",
        &json!({ "job_id": result["job_id"], "stream": "stdout", "encoding": "base64" }),
    );
    assert!(page.to_string().contains("AP8Kww=="), "{page}");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}
