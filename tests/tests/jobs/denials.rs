//! Who is denied the same again and again is told to stop asking.

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Run;
use remit_tests::caller::{Caller, argv, at_once, script};
use remit_tests::daemon::{Daemon, Options, user_a, user_m};
use remit_tests::process::Identity;

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

/// It says not to try again, and whom to ask.
fn says_stop(refusal: &Refusal) -> bool {
    let next = refusal.next.clone().unwrap_or_default().to_lowercase();
    next.contains("do not") && (next.contains("person") || next.contains("human"))
}

#[test]
fn the_third_equal_denial_says_not_to_try_again() {
    let daemon = Daemon::start(Options::default());
    let mut m = Caller::new(&daemon, &user_m());
    let first = denied(&mut m, argv(&["id", "-u"]));
    let second = denied(&mut m, argv(&["id", "-u"]));
    assert_eq!(first, second, "the second says something else");
    let third = denied(&mut m, argv(&["id", "-u"]));
    assert!(!says_stop(&first), "{first:?}");
    assert!(says_stop(&third), "{third:?}");
    // Over another connection it is no first time.
    let mut again = Caller::new(&daemon, &user_m());
    assert!(says_stop(&denied(&mut again, argv(&["id", "-u"]))));
    // Something else is.
    for other in [argv(&["id", "-g"]), argv(&["id"]), script("id -u")] {
        assert!(!says_stop(&denied(&mut again, other)));
    }
    // So it is for somebody else.
    let mut somebody = Caller::new(&daemon, &another());
    assert!(!says_stop(&denied(&mut somebody, argv(&["id", "-u"]))));
    // Who has a grant does not notice.
    let report = Caller::new(&daemon, &user_a())
        .run(argv(&["id", "-u"]))
        .expect("user A has a grant");
    assert_eq!(report.stdout.lines, 1);
    daemon.is_well();
    daemon.stop();
}

/// Whoever asks for thousands of different things costs no memory by it.
#[test]
fn denials_without_number_are_forgotten() {
    let daemon = Daemon::start(Options::default());
    let before = super::scene::resident(daemon.pid());
    let floods: Vec<_> = (0..8)
        .map(|connection| {
            let mut caller = Caller::new(&daemon, &user_m());
            std::thread::spawn(move || {
                for number in 0..250 {
                    let wanted = format!("{connection}.{number}");
                    let refusal = caller
                        .run(at_once(argv(&["echo", &wanted, &"x".repeat(10_000)])))
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
    let grown = super::scene::resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 4 << 10, "the warden grew by {grown} KiB");
    daemon.stop();
}
