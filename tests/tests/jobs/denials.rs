//! Who is denied for the same reason again and again is told to stop asking, and waits for it.

use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Bytes, Run};
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b, user_m};
use remit_tests::process::Identity;

use super::scene::resident;

/// Who may connect and has no grant, and is not user M.
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

/// A variable that no grant permits.
fn with(variable: &str) -> Run {
    let text = |text: &str| Bytes::from(text.as_bytes().to_vec());
    Run {
        env: vec![(text(variable), text("x"))],
        ..argv(&["true"])
    }
}

/// It says not to try again, and whom to tell.
fn says_stop(refusal: &Refusal) -> bool {
    let next = refusal.next.clone().unwrap_or_default().to_lowercase();
    next.contains("do not try again") && next.contains("person")
}

#[test]
fn the_third_equal_denial_says_not_to_try_again() {
    let daemon = Daemon::start(Options::default());
    let mut m = Caller::new(&daemon, &user_m());
    let first = denied(&mut m, argv(&["id", "-u"]));
    assert_eq!(first, denied(&mut m, argv(&["id", "-u"])));
    assert!(!says_stop(&first), "{first:?}");
    let third = denied(&mut m, argv(&["id", "-u"]));
    assert!(says_stop(&third), "{third:?}");
    // Nothing else of it changes: rule, object and what would lift it.
    let without_next = |refusal: &Refusal| Refusal {
        next: None,
        ..refusal.clone()
    };
    assert_eq!(without_next(&third), without_next(&first));
    // On another connection it is no first time; for somebody else it is.
    let mut again = Caller::new(&daemon, &user_m());
    assert!(says_stop(&denied(&mut again, argv(&["id", "-u"]))));
    let mut somebody = Caller::new(&daemon, &another());
    assert!(!says_stop(&denied(&mut somebody, argv(&["id", "-u"]))));
    assert_eq!(daemon.records("refusal").len(), 5);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn another_denial_is_another_count_and_what_is_granted_goes_on() {
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
    // What is held back is the denial alone.
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    daemon.is_well();
    daemon.stop();
}

/// While one is held back, others are not, not even on the same connection's other calls.
#[test]
fn who_is_held_back_holds_back_nobody() {
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

/// Whoever asks for thousands of different things costs no memory by it.
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
