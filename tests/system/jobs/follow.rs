//! Following a job in ways that remit's own clients do not use.

use std::io::Write;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::frame::encode;
use remit_common::names::JobId;
use remit_tests::caller::{Caller, argv, at_once, script};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a};
use remit_wire::outcome::State;
use remit_wire::{Follow, FromClient, Hello, PROTOCOL, Request, Run};

use super::scene::{kept, resident};

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
    let run = Run {
        max_runtime_s: Some(60),
        ..at_once(script(text))
    };
    caller.run(run).expect("user A has a grant").job
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
    let job = start(&mut caller, "echo one; sleep 0.5; echo two; exit 2");
    for known in [[4, 0], [1 << 40, 1 << 40], [u64::MAX, u64::MAX]] {
        let started = Instant::now();
        let now = caller.follow(job, known, 0).expect("the job is ours");
        assert!(now.stderr.bytes.is_empty(), "{now:?}");
        assert!(started.elapsed() < Duration::from_millis(400), "it waited");
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

/// A client sends as many requests as it may, reads nothing, and disconnects.
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
