//! A caller who repeats the same denied request is asked to stop, and is delayed.

use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b, user_m};
use remit_tests::process::Identity;
use remit_wire::{Bytes, Run};

use super::scene::resident;

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
    assert!(
        start.elapsed() < Duration::from_secs(3),
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
