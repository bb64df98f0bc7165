//! Following a job in ways that no client of ours does.

use std::io::Write;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::frame::encode;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::wire::{Follow, FromClient, Hello, PROTOCOL, Request, Run};
use remit_tests::caller::{Caller, argv, at_once, script};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a};

use super::scene::{kept, resident};

/// Follows a job from its first byte; what it wrote, and how many answers that took.
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
fn a_job_that_writes_byte_by_byte_costs_few_answers() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "i=0; while [ $i -lt 20000 ]; do printf a; printf b >&2; i=$((i+1)); done";
    let start_at = Instant::now();
    let job = start(&mut caller, text);
    let (written, answers) = followed(&mut caller, job);
    assert_eq!(written.map(|bytes| bytes.len()), [20_000, 20_000]);
    // An answer waits 20 ms for more than its first byte.
    let most = start_at.elapsed().as_millis() / 20 + 3;
    assert!(answers as u128 <= most, "{answers} answers, {most} at most");
    daemon.stop();
}

/// It has all that is kept, and more keeps coming that is not: it waits, and does not turn in circles.
#[test]
fn what_is_no_longer_kept_is_not_asked_for_again_and_again() {
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
fn who_claims_to_know_more_than_there_is_waits_for_the_end() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let job = start(&mut caller, "echo one; sleep 0.5; echo two; exit 2");
    for known in [[4, 0], [1 << 40, 1 << 40], [u64::MAX, u64::MAX]] {
        let begun = Instant::now();
        let now = caller.follow(job, known, 0).expect("the job is ours");
        assert!(now.stderr.bytes.is_empty(), "{now:?}");
        assert!(begun.elapsed() < Duration::from_millis(400), "it waited");
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
    // Of what has ended, everything comes at once.
    let ([written, _], answers) = followed(&mut caller, job);
    assert_eq!((written.as_slice(), answers), (&b"one\ntwo\n"[..], 1));
    daemon.stop();
}

#[test]
fn many_followers_of_one_flood_all_have_the_same() {
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

/// Somebody is served while floods go on; unlike `is_well` it asks for no empty house.
fn daemon_serves(daemon: &Daemon) {
    let report = Caller::new(daemon, &remit_tests::daemon::user_b())
        .run(argv(&["true"]))
        .expect("user B has a grant");
    assert_eq!(report.state, State::Exited, "{report:?}");
}

/// A client that asks as much as it may at once, reads nothing, and is gone.
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
