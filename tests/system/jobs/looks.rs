//! Reading a job while it writes: each view is a prefix of what it wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use remit_common::names::JobId;
use remit_tests::caller::{Caller, at_once, script, writes};
use remit_tests::daemon::{Daemon, user_a};
use remit_tests::random::Random;
use remit_wire::outcome::{Captured, JobReport, State, Stream};
use remit_wire::{GrepQuery, PageQuery, Run};

use super::scene::{kept, noise};

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
                    // Stays within a user's rate limit.
                    std::thread::sleep(std::time::Duration::from_millis(15));
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
        assert!(looks > 5 && lines > 0, "{looks} looks, {lines} lines");
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
