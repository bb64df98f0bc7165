//! Reading a job while it writes: each view is a prefix. Following it in ways that remit's own clients do not use.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use remit_common::{caps, frame::encode, names::JobId};
use remit_tests::caller::{Caller, argv, at_once, script, writes};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a};
use remit_tests::random::Random;
use remit_wire::outcome::{Captured, JobReport, State, Stream};
use remit_wire::{Follow, FromClient, GrepQuery, Hello, PROTOCOL, PageQuery, Request, Run};

use super::scene::{kept, noise, resident};

fn followed(caller: &mut Caller, job: JobId) -> ([Vec<u8>; 2], usize) {
    let mut known = [Vec::new(), Vec::new()];
    for answers in 1.. {
        let at = [known[0].len() as u64, known[1].len() as u64];
        let followed = caller
            .follow(job, at, caps::WAIT_MS)
            .expect("the job is ours");
        assert_eq!([followed.stdout.offset, followed.stderr.offset], at);
        known[0].extend_from_slice(&followed.stdout.bytes);
        known[1].extend_from_slice(&followed.stderr.bytes);
        let all = followed.stdout.eof && followed.stderr.eof;
        if followed.report.is_some() && all {
            return (known, answers);
        }
        assert!(answers < 100_000, "no end of it");
    }
    unreachable!("it counts on for ever")
}

fn start(caller: &mut Caller, text: &str) -> JobId {
    caller
        .run(at_once(script(text)))
        .expect("user A has a grant")
        .job
}

#[test]
fn bytewise_writer_costs_few_replies() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "i=0; while [ $i -lt 20000 ]; do printf a; printf b >&2; i=$((i+1)); done";
    let start_at = Instant::now();
    let job = start(&mut caller, text);
    let (written, answers) = followed(&mut caller, job);
    assert_eq!(written.map(|bytes| bytes.len()), [20_000, 20_000]);
    // An answer waits 20 ms for more bytes after the first.
    let most = start_at.elapsed().as_millis() / 20 + 3;
    assert!(answers as u128 <= most, "{answers} answers, {most} at most");
    daemon.stop();
}

/// All kept output is read and more keeps coming that is not kept: the call waits instead of looping.
#[test]
fn follow_blocks_after_end_of_kept_output() {
    let daemon = Daemon::start(Options {
        spool: Some(1 << 20),
        ..Options::default()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "head -c 2M /dev/zero | tr '\\0' x; \
                i=0; while [ $i -lt 50 ]; do echo more; sleep 0.02; i=$((i+1)); done; exit 6";
    let job = start(&mut caller, text);
    let ([written, _], answers) = followed(&mut caller, job);
    assert!(
        (512 << 10..1025 << 10).contains(&written.len()),
        "{} bytes",
        written.len()
    );
    assert!(answers <= 60, "{answers} answers");
    let report = caller.end_of(job);
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!((report.state, exit), (State::Exited, Some(6)));
    assert_eq!(report.stdout.total, (2 << 20) + 50 * 5);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn follow_beyond_end_blocks_until_job_end() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let job = start(&mut caller, "echo one; sleep 4; echo two; exit 2");
    for known in [[4, 0], [1 << 40, 1 << 40], [u64::MAX, u64::MAX]] {
        let started = Instant::now();
        let now = caller.follow(job, known, 0).expect("the job is ours");
        assert!(now.stderr.bytes.is_empty(), "{now:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "it waited");
    }
    let last = caller
        .follow(job, [u64::MAX, u64::MAX], u32::MAX)
        .expect("the job is ours");
    assert!(
        last.stdout.bytes.is_empty() && last.stderr.bytes.is_empty(),
        "{last:?}"
    );
    let report = last.report.expect("it has ended");
    assert_eq!((report.state, report.stdout.total), (State::Exited, 8));
    let ([written, _], answers) = followed(&mut caller, job);
    assert_eq!((written.as_slice(), answers), (&b"one\ntwo\n"[..], 1));
    daemon.stop();
}

#[test]
fn followers_of_one_flood_get_equal_output() {
    const SHARE: usize = 4 << 20;
    let daemon = Daemon::start(kept(SHARE as u64, 16 << 20, 64 << 20));
    let broker = daemon.broker().expect("there is a broker");
    let mut caller = Caller::new(&daemon, &user_a());
    let job = start(&mut caller, "yes | head -c 100M");
    let followers: Vec<_> = (0..12)
        .map(|_| {
            let mut caller = Caller::new(&daemon, &user_a());
            std::thread::spawn(move || followed(&mut caller, job).0)
        })
        .collect();
    daemon_serves(&daemon);
    let expected: Vec<u8> = b"y\n".iter().copied().cycle().take(SHARE).collect();
    for follower in followers {
        let [out, err] = follower.join().expect("it is served to the end");
        assert!(out == expected, "{} bytes", out.len());
        assert!(err.is_empty());
    }
    assert_eq!(caller.end_of(job).state, State::OutputLimit);
    assert!(
        resident(broker) < 64 << 10,
        "the broker holds {} KiB",
        resident(broker)
    );
    daemon.is_well();
    daemon.stop();
}

/// Checks that another user is served during floods. Unlike `is_well`, allows running jobs.
fn daemon_serves(daemon: &Daemon) {
    let report = Caller::new(daemon, &remit_tests::daemon::user_b())
        .run(argv(&["true"]))
        .expect("user B has a grant");
    assert_eq!(report.state, State::Exited, "{report:?}");
}

#[test]
fn followers_that_vanish_leave_nothing() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    let mut caller = Caller::new(&daemon, &user_a());
    let job = start(&mut caller, "while :; do echo more; sleep 0.01; done");
    daemon_serves(&daemon);
    let before = (open_descriptors(daemon.pid()), open_descriptors(broker));
    let hello = FromClient::Hello(Hello {
        protocol: PROTOCOL,
        client: "gone soon".into(),
    });
    for _ in 0..8 {
        let mut streams = Vec::new();
        for _ in 0..4 {
            let mut stream = daemon.connect(&user_a()).expect("user A may connect");
            let mut bytes = encode(&hello, caps::FRAME).expect("it is short");
            for id in 0..caps::CALLS_PER_SESSION as u32 / 4 {
                let call = FromClient::Call {
                    id,
                    request: Request::Follow(Follow {
                        job,
                        stdout: u64::MAX,
                        stderr: 0,
                        wait_ms: caps::WAIT_MS,
                    }),
                };
                bytes.extend(encode(&call, caps::FRAME).expect("it is short"));
            }
            stream.write_all(&bytes).expect("the daemon reads");
            streams.push(stream);
        }
        daemon_serves(&daemon);
    }
    let _ = caller.stop(job).expect("the job is ours");
    daemon.is_well();
    let after = (
        descriptors_left(daemon.pid(), before.0 + 2),
        descriptors_left(broker, before.1 + 2),
    );
    assert!(
        after.0 <= before.0 + 2 && after.1 <= before.1 + 2,
        "from {before:?} to {after:?}"
    );
    daemon.stop();
}

struct Text([Vec<u8>; 2]);

impl Text {
    fn of(&self, stream: Stream) -> &[u8] {
        match stream {
            Stream::Stdout => &self.0[0],
            Stream::Stderr => &self.0[1],
        }
    }

    fn is_true(&self, stream: Stream, seen: &Captured) {
        let all = self.of(stream);
        let total = seen.total as usize;
        assert!(total <= all.len(), "{stream:?}: {total} bytes");
        let written = &all[..total];
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(seen.lines, lines as u64, "{stream:?}: of {total} bytes");
        assert!(written.starts_with(&seen.head), "{stream:?}: head");
        assert!(written.ends_with(&seen.tail), "{stream:?}: tail");
        assert!(seen.head.len() + seen.tail.len() <= total, "{stream:?}");
    }
}

struct Looker {
    caller: Caller,
    job: JobId,
    text: Arc<Text>,
    random: Random,
    /// Bytes seen of each stream; they never decrease.
    seen: [u64; 2],
    lines: usize,
}

impl Looker {
    fn look(&mut self) {
        let stream = match self.random.once_in(3) {
            true => Stream::Stderr,
            false => Stream::Stdout,
        };
        match self.random.below(4) {
            0 => {
                let report = self.caller.job(self.job, 0).expect("the job is ours");
                self.reported(&report);
            }
            1 => self.page(stream, false),
            2 => self.page(stream, true),
            _ => self.grep(stream),
        }
    }

    fn reported(&mut self, report: &JobReport) {
        self.text.is_true(Stream::Stdout, &report.stdout);
        self.text.is_true(Stream::Stderr, &report.stderr);
        self.never_fewer(Stream::Stdout, report.stdout.total);
        self.never_fewer(Stream::Stderr, report.stderr.total);
    }

    fn never_fewer(&mut self, stream: Stream, total: u64) {
        let seen = &mut self.seen[usize::from(stream == Stream::Stderr)];
        assert!(total >= *seen, "{stream:?}: {total} after {seen}");
        *seen = total;
    }

    fn page(&mut self, stream: Stream, tail: bool) {
        let all = self.text.of(stream).len() as u32;
        let query = PageQuery {
            stream,
            offset: u64::from(self.random.below(all + 100)),
            limit: 1 + self.random.below(100_000),
            tail,
            whole_characters: self.random.once_in(2),
        };
        let page = self
            .caller
            .paged(self.job, query.clone())
            .expect("the job is ours");
        let (begin, end) = (
            page.offset as usize,
            page.offset as usize + page.bytes.len(),
        );
        assert_eq!(
            page.bytes.as_slice(),
            &self.text.of(stream)[begin..end],
            "{query:?}"
        );
        assert!(
            end as u64 <= page.total,
            "{query:?}: {end} of {}",
            page.total
        );
        self.never_fewer(stream, page.total);
    }

    fn grep(&mut self, stream: Stream) {
        let query = GrepQuery {
            stream,
            pattern: "word$|^[a-m]{3}".into(),
            offset: u64::from(self.random.below(self.text.of(stream).len() as u32)),
            limit: 1 + self.random.below(50),
            context: self.random.below(4),
        };
        let found = self
            .caller
            .grep(self.job, query.clone())
            .expect("the job is ours");
        let all = self.text.of(stream);
        for line in &found.lines {
            let begin = line.offset as usize;
            let end = begin + line.text.len();
            assert_eq!(line.text.as_slice(), &all[begin..end], "{query:?}");
            assert!(begin == 0 || all[begin - 1] == b'\n', "{query:?}: {line:?}");
            assert!(all.get(end).is_none_or(|byte| *byte == b'\n'), "{query:?}");
            let before = all[..begin].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(line.number, before as u64 + 1, "{query:?}");
        }
        self.lines += found.lines.len();
        self.never_fewer(stream, found.total);
    }
}

fn lines(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = noise(seed);
    let mut text = Vec::new();
    while text.len() < length {
        match bytes.next().unwrap_or_default() {
            0..=40 => text.push(b'\n'),
            41..=80 => text.extend_from_slice(b"word"),
            81..=90 => text.extend_from_slice("\u{20ac}".as_bytes()),
            byte => text.push(b'a' + byte % 26),
        }
    }
    text.push(b'\n');
    text
}

#[test]
fn observed_output_of_writing_job_is_exact() {
    let daemon = Daemon::start(kept(8 << 20, 64 << 20, 128 << 20));
    let text = Arc::new(Text([lines(11, 500_000), lines(12, 200_000)]));
    let all = [text.0[0].as_slice(), text.0[1].as_slice()].concat();
    let program = format!(
        "import os, sys\nfrom time import sleep\n\
         text = sys.stdin.buffer.read()\n\
         streams = [[1, text[:{0}]], [2, text[{0}:]]]\n\
         turn = 0\n\
         while streams:\n\
         \x20   stream = streams[turn % len(streams)]\n\
         \x20   size = 1 + turn * 7919 % 3000\n\
         \x20   os.write(stream[0], stream[1][:size])\n\
         \x20   stream[1] = stream[1][size:]\n\
         \x20   streams = [stream for stream in streams if stream[1]]\n\
         \x20   turn += 1\n\
         \x20   if turn % 4 == 0:\n\
         \x20       sleep(0.01)\n",
        text.0[0].len()
    );
    let run = Run {
        what: remit_wire::What::Script {
            text: remit_wire::Bytes::from(program.into_bytes()),
            interpreter: Some(remit_wire::Bytes::from(b"python3".to_vec())),
        },
        stdin: writes(&all).stdin,
        ..at_once(script(""))
    };
    let mut caller = Caller::new(&daemon, &user_a());
    let job = caller.run(run).expect("user A has a grant").job;
    let over = Arc::new(AtomicBool::new(false));
    let lookers: Vec<_> = (1..=3)
        .map(|seed| {
            let mut looker = Looker {
                caller: Caller::new(&daemon, &user_a()),
                job,
                text: Arc::clone(&text),
                random: Random::new(seed),
                seen: [0, 0],
                lines: 0,
            };
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut looks = 0;
                while !over.load(Ordering::Relaxed) {
                    looker.look();
                    looks += 1;
                    std::thread::sleep(Duration::from_millis(15));
                }
                looker.look();
                (looks, looker.lines)
            })
        })
        .collect();
    let report = caller.end_of(job);
    over.store(true, Ordering::Relaxed);
    for looker in lookers {
        let (looks, lines) = looker.join().expect("what it saw was true");
        // How many fit beside the job is the machine's affair.
        assert!(looks > 0 && lines > 0, "{looks} looks, {lines} lines");
    }
    assert_eq!(report.state, State::Exited, "{report:?}");
    text.is_true(Stream::Stdout, &report.stdout);
    text.is_true(Stream::Stderr, &report.stderr);
    assert_eq!(
        [report.stdout.total, report.stderr.total],
        [text.0[0].len() as u64, text.0[1].len() as u64]
    );
    daemon.is_well();
    daemon.stop();
}
