//! A reload is all or nothing, and reports its changes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use remit_common::admin::AdminRequest;
use remit_tests::caller::{Caller, argv, named, stdout};
use remit_tests::daemon::{BROKER, Daemon, SOCKET_GROUP, admin, user_a, user_b};
use remit_tests::process::Identity;
use remit_wire::{Request, Run};

use super::scene::{FILE, GRANTS, asked, prints, reload, with};

fn policy(word: &str) -> String {
    prints("site.look", &format!("\"{word}\""), "") + GRANTS
}

#[test]
fn reload_reports_gained_and_lost_access() {
    let daemon = with(&prints("site.look", "\"x\"", ""));
    let same = reload(&daemon).expect("it is right");
    assert_eq!((same.changes, same.more_changes), (Vec::new(), 0));
    let more = policy("x") + "[[grant]]\nto = [\"#64002\"]\nallow = [\"site.look\"]\n";
    daemon.set_file(FILE, &more);
    let gains = reload(&daemon).expect("it is right").changes;
    let gains = gains.join("\n");
    assert!(
        gains.contains("64002") && gains.contains("site.look"),
        "{gains}"
    );
    assert!(!gains.contains("64001"), "{gains}");
    // Comments, order and blank lines are no changes.
    daemon.set_file(FILE, &format!("# a comment\n\n\n{more}"));
    assert_eq!(reload(&daemon).expect("it is right").changes, [""; 0]);
    daemon.set_file(FILE, &policy("y"));
    let output = daemon.remit(&Identity::new(0, &[0]), &["policy", "reload"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("64002") && text.contains("site.look"),
        "{text}"
    );
    daemon.stop();
}

#[test]
fn two_changed_files_load_together_or_not() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let digest = daemon.status().policy;
    daemon.set_file(FILE, &policy("new"));
    daemon.set_file(
        "config/policy.d/60-half.toml",
        "[[grant]]\nto = [\"#64002\"]\nallow = [\"site.lo",
    );
    assert!(reload(&daemon).is_err());
    assert_eq!(daemon.status().policy, digest);
    let look = || asked(&daemon, &user_a(), named("site.look", &[])).expect("it is granted");
    assert_eq!(stdout(&look()), "[old]");
    daemon.set_file(
        "config/policy.d/60-half.toml",
        "[[grant]]\nto = [\"#64002\"]\nallow = [\"site.look\"]\n",
    );
    let _ = reload(&daemon).expect("both are right");
    assert_ne!(daemon.status().policy, digest);
    assert_eq!(stdout(&look()), "[new]");
    assert!(asked(&daemon, &user_b(), named("site.look", &[])).is_ok());
    daemon.stop();
}

/// A profile's user must not be a job uid or the broker's uid. A new range in remit.toml applies only after the
/// next start.
#[test]
fn profile_with_job_or_broker_uid_is_refused() {
    let daemon = with("");
    let digest = daemon.status().policy;
    let first = daemon.first_job_uid();
    let refused = |uid: u32| {
        let profile = format!("[profile.p]\nbase = \"strict\"\nuser = \"#{uid}\"\n");
        daemon.set_file("config/policy.d/60-user.toml", &profile);
        let why = reload(&daemon).map_or_else(|why| why.message, |_| String::new());
        let is_explained = [uid.to_string().as_str(), "'p'"]
            .iter()
            .all(|part| why.contains(part));
        assert!(why.is_empty() || is_explained, "{uid}: {why}");
        !why.is_empty()
    };
    let taken = [first - 1, first, first + daemon.job_uids() - 1, BROKER];
    for uid in taken {
        assert!(refused(uid), "{uid}");
    }
    assert_eq!(daemon.status().policy, digest);
    assert!(!refused(64_077));

    let config = daemon.path().join("config/remit.toml");
    let text = fs::read_to_string(config).expect("it is ours");
    let other = 1_500_000_000;
    let moved = text.replace(
        &format!("uid_first = {}", first - 1),
        &format!("uid_first = {other}"),
    );
    assert_ne!(text, moved);
    daemon.set_file("config/remit.toml", &moved);
    for uid in [first, other] {
        assert!(refused(uid), "{uid}");
    }
    assert!(!refused(64_077));
    daemon.stop();
}

#[test]
fn file_replaced_during_load_is_old_or_new() {
    let daemon = with(&prints("site.look", "\"a\"", ""));
    let texts = ["a", "b"].map(policy);
    let digests: Vec<String> = texts
        .iter()
        .map(|text| {
            daemon.set_file(FILE, text);
            let _ = reload(&daemon).expect("it is right");
            daemon.status().policy
        })
        .collect();
    assert_ne!(digests[0], digests[1]);
    let stop = Arc::new(AtomicBool::new(false));
    let path = daemon.path().join(FILE);
    let writer = std::thread::spawn({
        let (stop, texts) = (Arc::clone(&stop), texts);
        move || {
            let next = path.with_extension("new~");
            while !stop.load(Ordering::Relaxed) {
                for text in &texts {
                    fs::write(&next, text).expect("it is ours");
                    fs::rename(&next, &path).expect("it is ours");
                }
            }
        }
    });
    let mut live = [0, 0];
    for _ in 0..40 {
        let before = daemon.status().policy;
        if let Err(refusal) = reload(&daemon) {
            // The file was removed or renamed when it was checked, and this is reported.
            assert!(refusal.message.contains("10-test.toml"), "{refusal:?}");
            assert_eq!(daemon.status().policy, before);
        }
        let now = daemon.status().policy;
        let at = digests
            .iter()
            .position(|digest| *digest == now)
            .expect("it is one of the two");
        live[at] += 1;
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("it does not panic");
    assert!(live[0] + live[1] == 40, "{live:?}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn reload_keeps_running_jobs_and_rechecks_connected_users() {
    let daemon = with(&prints("site.look", "\"x\"", ""));
    let mut a = Caller::new(&daemon, &user_a());
    let job = a
        .run(remit_tests::caller::at_once(argv(&["sleep", "60"])))
        .expect("it is granted")
        .job;
    daemon.set_file(
        FILE,
        "[[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n",
    );
    let _ = reload(&daemon).expect("it is right");
    assert!(a.run(named("site.look", &[])).is_err());
    assert!(a.run(argv(&["true"])).is_err());
    let report = a.stop(job).expect("it is still theirs");
    assert_eq!(report.state, remit_wire::outcome::State::Cancelled);
    daemon.is_well();
    daemon.stop();
}

fn signalled(daemon: &Daemon, times: usize) {
    for _ in 0..times {
        daemon.signal(Signal::SIGHUP);
    }
}

#[test]
fn reload_storm_ends_with_newest_policy() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    daemon.set_file(FILE, &policy("newest"));
    signalled(&daemon, 100);
    let _ = reload(&daemon).expect("it is right");
    let report = asked(&daemon, &user_a(), named("site.look", &[])).expect("it is granted");
    assert_eq!(stdout(&report), "[newest]");
    signalled(&daemon, 100);
    daemon.is_well();
    daemon.stop();
}

/// A second request during a load is done by a load of its own, under the name of whoever asked.
#[test]
fn each_load_names_its_administrator() {
    let daemon = with(&prints("site.look", "\"old\"", ""));
    let root = Identity::new(0, &[]);
    std::thread::scope(|scope| {
        for user in [&root, &admin()] {
            let (daemon, user) = (&daemon, user.clone());
            scope.spawn(move || daemon.administers(&user, AdminRequest::Reload));
        }
    });
    let loads = daemon.records("policy");
    let mut by: Vec<&str> = loads
        .iter()
        .filter_map(|record| record["REMIT_UID"].as_str())
        .collect();
    by.sort_unstable();
    assert_eq!(by, ["0", admin().uid.to_string().as_str()], "{loads:?}");
    daemon.stop();
}

#[test]
fn broken_policy_prevents_start_not_operation() {
    let mut daemon = with(&prints("site.look", "\"old\"", ""));
    daemon.set_file("config/policy.d/60-bad.toml", "[[command]]\n");
    assert!(reload(&daemon).is_err());
    daemon.is_well();
    fs::remove_file(daemon.path().join("config/policy.d/60-bad.toml")).expect("it is ours");
    daemon.restart_cleanly();
    let report = asked(&daemon, &user_a(), named("site.look", &[])).expect("it is granted");
    assert_eq!(stdout(&report), "[old]");
    daemon.stop();
}

/// Grant and denial alternate while users run the command. Between a denying policy and the next granting one the
/// audit log has no intent. Each intent names the policy that granted it.
#[test]
fn nothing_starts_after_denial_is_in_force() {
    const TURNS: usize = 14;
    let many = "[[grant]]\nto = [\"%#64777\"]\nallow = [\"site.*\"]\n";
    let deny = "[[deny]]\nto = [\"%#64777\"]\ndeny = [\"site.*\"]\n";
    let daemon = Arc::new(with(&(prints("site.look", "\"x\"", "") + many)));
    let granted = daemon.status().policy;
    let [open, shut] =
        ["", deny].map(|deny| prints("site.look", "\"x\"", "") + many + "\n" + GRANTS + deny);
    let stop = Arc::new(AtomicBool::new(false));
    // A new user each time, because repeated refusals are delayed.
    let runners = [66_000, 67_000].map(|first| {
        let (daemon, stop) = (Arc::clone(&daemon), Arc::clone(&stop));
        std::thread::spawn(move || {
            let people = (first..first + 200)
                .cycle()
                .map(|uid| Identity::new(uid, &[SOCKET_GROUP, 64_777]));
            for user in people.take_while(|_| !stop.load(Ordering::Relaxed)) {
                let run = Run {
                    wait_ms: Some(0),
                    ..named("site.look", &[])
                };
                // The user database does not have their group, so a reload ends their sessions.
                if let Ok(mut client) = daemon.client(&user) {
                    let _ = client.call(Request::Run(run), |_| {});
                }
            }
        })
    });
    for _ in 0..TURNS {
        for text in [&shut, &open] {
            daemon.set_file(FILE, text);
            let _ = reload(&daemon).expect("it is right");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for runner in runners {
        runner.join().expect("it does not panic");
    }
    let (mut live, mut started, mut loads) = (granted.clone(), 0, 0);
    for record in daemon.audit() {
        let digest = record["REMIT_POLICY"].as_str().unwrap_or_default();
        if record["REMIT_EVENT"] == "policy" {
            live = digest.to_owned();
            loads += 1;
        }
        if record["REMIT_EVENT"] == "intent" && record["REMIT_COMMAND"] == "site.look" {
            assert_eq!(
                (live.as_str(), digest),
                (granted.as_str(), granted.as_str()),
                "{record}"
            );
            started += 1;
        }
    }
    assert!(
        loads >= 2 * TURNS && started > 0,
        "{loads} loads, {started} started"
    );
    eprintln!("{started} started between {loads} loads");
}
