//! A spool that is full, by quota or by its disk, while two users write. A caller who repeats the same denied request is
//! asked to stop, and is delayed.

use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, argv, at_once, script, stdout, writes};
use remit_tests::daemon::{Daemon, Options, user_a, user_b, user_m};
use remit_tests::process::Identity;
use remit_wire::outcome::{JobReport, State, Stream};
use remit_wire::{Bytes, Run};

use super::scene::{kept, noise, resident};

const KIB: usize = 1 << 10;

fn written(caller: &mut Caller, kib: usize, seed: u64) -> (JobId, Vec<u8>) {
    let bytes: Vec<u8> = noise(seed).take(kib * KIB).collect();
    let report = caller.run(writes(&bytes)).expect("it is granted");
    assert_eq!(
        (report.state, report.stdout.total),
        (State::Exited, bytes.len() as u64),
        "{report:?}"
    );
    (report.job, bytes)
}

/// Returns true if a job's output is whole. Otherwise it is gone, but its counts and the reason are still
/// reported.
fn is_kept(caller: &mut Caller, (job, bytes): &(JobId, Vec<u8>)) -> bool {
    let report = caller.job(*job, 0).expect("the job is known");
    assert_eq!(report.stdout.total, bytes.len() as u64);
    let page = caller
        .page(*job, Stream::Stdout, 0, 1000)
        .expect("the job is known");
    assert_eq!(page.total, bytes.len() as u64);
    if page.bytes.is_empty() {
        assert!(page.eof, "{page:?}");
        assert_eq!(report.stdout.omitted(), bytes.len() as u64, "{report:?}");
        assert!(
            report.notes.iter().any(|note| note.contains("removed")),
            "{:?}",
            report.notes
        );
        return false;
    }
    let got = caller.whole(*job, Stream::Stdout, 1 << 18);
    assert!(got == *bytes, "{} bytes are kept", got.len());
    true
}

fn which_are_kept(caller: &mut Caller, jobs: &[(JobId, Vec<u8>)]) -> Vec<bool> {
    jobs.iter().map(|job| is_kept(caller, job)).collect()
}

/// A user over quota loses only the user's own oldest output.
#[test]
fn full_user_quota_removes_own_oldest_output() {
    let daemon = Daemon::start(kept(256 << 10, 512 << 10, 2 << 20));
    let mut a = Caller::new(&daemon, &user_a());
    let mut b = Caller::new(&daemon, &user_b());
    let of_b = [written(&mut b, 200, 1)];
    let mut of_a: Vec<_> = (2..5).map(|seed| written(&mut a, 150, seed)).collect();
    assert_eq!(which_are_kept(&mut a, &of_a), [true; 3]);
    of_a.push(written(&mut a, 100, 6));
    assert_eq!(which_are_kept(&mut a, &of_a), [false, true, true, true]);
    of_a.push(written(&mut a, 250, 7));
    assert_eq!(
        which_are_kept(&mut a, &of_a),
        [false, false, true, true, true]
    );
    assert_eq!(which_are_kept(&mut b, &of_b), [true]);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn full_spool_removes_oldest_output() {
    let daemon = Daemon::start(kept(256 << 10, 512 << 10, 600 << 10));
    let mut a = Caller::new(&daemon, &user_a());
    let mut b = Caller::new(&daemon, &user_b());
    let of_a: Vec<_> = (1..3).map(|seed| written(&mut a, 250, seed)).collect();
    let mut of_b = vec![written(&mut b, 90, 3)];
    assert_eq!(which_are_kept(&mut a, &of_a), [true; 2]);
    of_b.push(written(&mut b, 100, 4));
    assert_eq!(which_are_kept(&mut a, &of_a), [false, true]);
    assert_eq!(which_are_kept(&mut b, &of_b), [true; 2]);
    of_b.push(written(&mut b, 250, 5));
    assert_eq!(which_are_kept(&mut a, &of_a), [false, false]);
    assert_eq!(which_are_kept(&mut b, &of_b), [true; 3]);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn concurrent_spool_filling_users_both_progress() {
    let daemon = Daemon::start(kept(128 << 10, 256 << 10, 300 << 10));
    let writers: Vec<_> = [user_a(), user_b(), user_a(), user_b()]
        .into_iter()
        .enumerate()
        .map(|(number, user)| {
            let mut caller = Caller::new(&daemon, &user);
            std::thread::spawn(move || {
                let mut jobs: Vec<(JobId, Vec<u8>)> = Vec::new();
                for turn in 0..12 {
                    jobs.push(written(&mut caller, 100, number as u64 * 100 + turn + 1));
                    // Read while others free space: the bytes are right, or there are none.
                    for (job, bytes) in jobs.iter().rev().take(2) {
                        let got = caller.whole(*job, Stream::Stdout, 8 << 10);
                        assert!(bytes.starts_with(&got), "other bytes than were written");
                    }
                }
                jobs
            })
        })
        .collect();
    let jobs: Vec<_> = writers
        .into_iter()
        .map(|writer| writer.join().expect("each job ends as it would"))
        .collect();
    let mut kept_bytes = 0;
    for (number, jobs) in jobs.iter().enumerate() {
        let user = [user_a(), user_b()][number % 2].clone();
        let mut caller = Caller::new(&daemon, &user);
        for (job, bytes) in jobs {
            let report = caller.job(*job, 0).expect("the job is known");
            assert_eq!(report.stdout.total, bytes.len() as u64);
            let got = caller.whole(*job, Stream::Stdout, 1 << 18);
            assert!(bytes.starts_with(&got), "other bytes than were written");
            kept_bytes += got.len();
        }
    }
    // Concurrent writers may each take the last free space.
    let most = (300 + 4 * 64) * KIB;
    assert!(kept_bytes <= most, "{kept_bytes} bytes are kept");
    assert!(kept_bytes >= 100 * KIB, "{kept_bytes} bytes are kept");
    daemon.is_well();
    daemon.stop();
}

/// The disk is full long before any quota.
fn on_a_full_disk() -> (Daemon, JobReport) {
    let daemon = Daemon::start(Options {
        spool: Some(1 << 20),
        ..Options::default()
    });
    let text = "head -c 4194304 /dev/zero | tr '\\0' x; echo end; echo problem >&2; exit 3";
    let report = Caller::new(&daemon, &user_a())
        .run(script(text))
        .expect("user A has a grant");
    (daemon, report)
}

#[test]
fn full_disk_truncates_output_and_ends_no_job() {
    let (daemon, report) = on_a_full_disk();
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!((report.state, exit), (State::Exited, Some(3)), "{report:?}");
    assert_eq!(
        (report.stdout.total, report.stdout.lines),
        ((4 << 20) + 4, 1)
    );
    assert!(report.stdout.head.starts_with(b"xxxx"));
    assert!(report.stdout.tail.ends_with(b"xend\n"), "{report:?}");
    assert_eq!(report.stderr.total, 8);
    assert!(
        report.notes.iter().any(|note| note.contains("spool")),
        "{:?}",
        report.notes
    );
    let mut caller = Caller::new(&daemon, &user_a());
    let text = caller.whole(report.job, Stream::Stdout, 1 << 18);
    assert!(
        (512 * KIB..1025 * KIB).contains(&text.len()),
        "{} bytes are kept",
        text.len()
    );
    assert!(text.iter().all(|byte| *byte == b'x'), "a hole");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn full_disk_leaves_results_of_others() {
    let (daemon, _) = on_a_full_disk();
    for user in [user_a(), user_b()] {
        let mut caller = Caller::new(&daemon, &user);
        for _ in 0..3 {
            let report = caller
                .run(script("echo out; echo err >&2"))
                .expect("it is granted");
            assert_eq!(
                (stdout(&report).as_str(), report.stderr.head.as_slice()),
                ("out\n", &b"err\n"[..]),
                "{report:?}"
            );
        }
    }
    let broker = daemon.broker().expect("there is a broker");
    daemon.is_well();
    assert_eq!(daemon.broker(), Some(broker), "the broker died of it");
    daemon.stop();
}

#[test]
fn output_kept_on_full_disk_survives_restart() {
    let (mut daemon, report) = on_a_full_disk();
    let broker = daemon.broker().expect("there is a broker");
    let before = Caller::new(&daemon, &user_a())
        .job(report.job, 0)
        .expect("the job is known");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(broker),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("it lives");
    assert!(remit_tests::process::ends_within(broker, 20_000));
    let after = Caller::new(&daemon, &user_a())
        .job(report.job, 0)
        .expect("the job is known");
    assert_eq!(
        (after.state, after.stdout.total, after.stderr.total),
        (before.state, before.stdout.total, before.stderr.total)
    );
    // The disk ends with its mount namespace, but the job table persists.
    daemon.restart_cleanly();
    let after = Caller::new(&daemon, &user_a())
        .job(report.job, 0)
        .expect("the job is known");
    assert_eq!(after.state, before.state, "{after:?}");
    assert!(
        after.stdout.head.is_empty() && after.stdout.tail.is_empty(),
        "{after:?}"
    );
    daemon.is_well();
    daemon.stop();
}

fn another() -> Identity {
    Identity {
        uid: 64_009,
        gid: 64_009,
        ..user_m()
    }
}

fn denied(caller: &mut Caller, run: Run) -> Refusal {
    let refusal = caller.run(at_once(run)).expect_err("there is no grant");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal}");
    refusal
}

fn with(variable: &str) -> Run {
    let text = |text: &str| Bytes::from(text.as_bytes().to_vec());
    Run {
        env: vec![(text(variable), text("x"))],
        ..argv(&["true"])
    }
}

fn says_stop(refusal: &Refusal) -> bool {
    let next = refusal.next.clone().unwrap_or_default().to_lowercase();
    next.contains("do not try again") && next.contains("person")
}

#[test]
fn third_equal_denial_advises_stop() {
    let daemon = Daemon::start(Options::default());
    let mut m = Caller::new(&daemon, &user_m());
    let first = denied(&mut m, argv(&["id", "-u"]));
    assert_eq!(first, denied(&mut m, argv(&["id", "-u"])));
    assert!(!says_stop(&first), "{first:?}");
    let third = denied(&mut m, argv(&["id", "-u"]));
    assert!(says_stop(&third), "{third:?}");
    let without_next = |refusal: &Refusal| Refusal {
        next: None,
        ..refusal.clone()
    };
    assert_eq!(without_next(&third), without_next(&first));
    // The count is per user, not per connection.
    let mut again = Caller::new(&daemon, &user_m());
    assert!(says_stop(&denied(&mut again, argv(&["id", "-u"]))));
    let mut somebody = Caller::new(&daemon, &another());
    assert!(!says_stop(&denied(&mut somebody, argv(&["id", "-u"]))));
    assert_eq!(daemon.records("refusal").len(), 5);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn other_denial_is_counted_separately_and_grants_work() {
    let daemon = Daemon::start(Options::default());
    let mut a = Caller::new(&daemon, &user_a());
    for _ in 0..3 {
        let _ = denied(&mut a, with("LD_PRELOAD"));
    }
    assert!(says_stop(&denied(&mut a, with("LD_PRELOAD"))));
    assert!(!says_stop(&denied(&mut a, with("LD_AUDIT"))));
    let start = Instant::now();
    for _ in 0..5 {
        let report = a.run(argv(&["echo", "granted"])).expect("it is granted");
        assert_eq!(stdout(&report), "granted\n");
    }
    // Delayed as refusals are, they would take 25 s.
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn delayed_user_does_not_delay_others() {
    let daemon = Daemon::start(Options::default());
    let mut m = Caller::new(&daemon, &user_m());
    for _ in 0..2 {
        assert!(!says_stop(&denied(&mut m, argv(&["id"]))));
    }
    let insistent: Vec<_> = (0..16)
        .map(|_| {
            let mut caller = Caller::new(&daemon, &user_m());
            std::thread::spawn(move || {
                let start = Instant::now();
                assert!(says_stop(&denied(&mut caller, argv(&["id"]))));
                start.elapsed()
            })
        })
        .collect();
    for _ in 0..5 {
        daemon.is_well();
        let report = Caller::new(&daemon, &user_b()).run(argv(&["true"]));
        assert!(report.is_ok(), "{report:?}");
    }
    for caller in insistent {
        let took = caller.join().expect("each is answered");
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn denials_without_number_are_forgotten() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    daemon.is_well();
    let before = [resident(daemon.pid()), resident(broker)];
    let floods: Vec<_> = (0..8)
        .map(|connection| {
            let mut caller = Caller::new(&daemon, &user_a());
            std::thread::spawn(move || {
                for number in 0..250 {
                    let name = format!("V{connection}_{number}_{}", "x".repeat(5000));
                    let refusal = caller
                        .run(at_once(with(&name)))
                        .expect_err("there is no grant");
                    assert!(
                        matches!(refusal.code, Code::DeniedRule | Code::RateLimited),
                        "{refusal}"
                    );
                }
            })
        })
        .collect();
    for flood in floods {
        flood.join().expect("each is answered");
    }
    daemon.is_well();
    let after = [resident(daemon.pid()), resident(broker)];
    for (before, after) in before.into_iter().zip(after) {
        let grown = after.saturating_sub(before);
        assert!(grown < 4 << 10, "grown by {grown} KiB");
    }
    daemon.stop();
}
