//! Attacks on approvals, and on remit's own marks in the approver's view.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_wire::outcome::State;
use remit_wire::{Purpose, Run};

use super::scene::{POLICY, approve, asks, code, events, listed, options, started};

struct Dir(PathBuf);

impl Dir {
    fn new(mode: u32) -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-attacks-XXXXXX").expect("/run is root's");
        let dir = Self(dir);
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(mode)).expect("it is ours");
        dir
    }

    fn file(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const RUNS: &str = r##"
[[grant]]
name = "runs"
to = ["#64001"]
allow = ["run"]
approval = { by = ["#64005"] }
"##;

/// A28: root hashes what will run, and can see more than the requester.
#[test]
fn refusal_hides_existence_of_unreadable_programs() {
    let daemon = Daemon::start(Options {
        policy: RUNS.to_owned(),
        ..options()
    });
    let (hidden, open) = (Dir::new(0o700), Dir::new(0o755));
    let mut caller = Caller::new(&daemon, &user_a());
    let mut said = |path: &Path| {
        let path = path.to_str().expect("it is text");
        let sent = caller.run(at_once(argv(&[path])));
        let refusal = sent.expect_err("it cannot be approved");
        let name = path.rsplit('/').next().expect("it has a name");
        refusal.message.replace(name, "NAME")
    };
    let nothing = said(&hidden.0.join("nothing"));
    for (name, mode, text) in [
        ("plain", 0o600, "x"),
        ("loose", 0o777, "#!/bin/sh\n"),
        ("program", 0o755, "\x7fELF"),
        ("script", 0o755, "#!secret\n"),
    ] {
        let path = hidden.file(name, mode, text);
        assert_eq!(said(&path), nothing, "{name}");
    }
    // The content of a file that is visible but not readable is not revealed.
    let other = said(&open.file("program", 0o711, "\x7fELF"));
    assert_eq!(said(&open.file("script", 0o711, "#!secret\n")), other);
    daemon.stop();
}

const NOTIFY_POLICY: &str = r##"
[[command]]
name = "people.tell"
summary = "tells people"
argv = ["/usr/bin/sleep", "60"]
effect = "change"
profile = "strict"
stdin = "caller"

[[command]]
name = "site.wait"
summary = "waits"
argv = ["/usr/bin/sleep", "60"]
effect = "change"
profile = "strict"

[[grant]]
name = "asks"
to = ["#64001", "#64002"]
allow = ["site.*"]
effect = "change"
approval = { by = ["#64005"] }

[[grant]]
name = "looks"
to = ["#0"]
allow = ["run"]
approval = "none"
"##;

/// Waits until the counts of sent and unsent notifications are as wanted. Polls, because the program is hashed
/// after the requester has an answer. Returns how many were sent.
fn count_sent_when(daemon: &Daemon, wanted: impl Fn(usize, usize) -> bool) -> usize {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        // A job that waited for a slot has two records.
        let sent: BTreeSet<String> = ["intent", "queued"]
            .iter()
            .flat_map(|event| daemon.records(event))
            .filter(|record| record["REMIT_USER"] == "remitd")
            .map(|record| record["REMIT_JOB"].to_string())
            .collect();
        let unsent = daemon.records("refusal");
        if wanted(sent.len(), unsent.len()) {
            return sent.len();
        }
        assert!(Instant::now() < end, "{sent:?} {unsent:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn repeated_withdrawal_does_not_flood_notifications() {
    let daemon = Daemon::start(Options {
        policy: NOTIFY_POLICY.to_owned(),
        config: "[approval]\nnotify = \"people.tell\"\n".to_owned(),
        ..options()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..40 {
        let (job, _) = asks(&mut caller, "site.wait", &[]);
        caller.stop(job).expect("it is theirs");
    }
    let sent = count_sent_when(&daemon, |sent, unsent| sent + unsent == 40);
    assert!((1..=16).contains(&sent), "{sent} times");
    let unsent = daemon.records("refusal");
    assert!(
        unsent
            .iter()
            .any(|record| record.to_string().contains("nobody was notified")),
        "{unsent:?}"
    );
    let mut other = Caller::new(&daemon, &user_b());
    let _ = asks(&mut other, "site.wait", &[]);
    count_sent_when(&daemon, |now, _| now == sent + 1);
    daemon.stop();
}

/// Each request is a record before anything is granted.
#[test]
fn repeated_withdrawal_does_not_fill_audit_log() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..100 {
        let (job, _) = asks(&mut caller, "site.wait", &[]);
        caller.stop(job).expect("it is theirs");
    }
    let refusal = caller
        .run(at_once(change("site.wait", &[])))
        .expect_err("it is enough for ten minutes");
    assert_eq!(refusal.code, Code::RateLimited, "{refusal}");
    assert_eq!(daemon.records("asked").len(), 100);
    let _ = asks(&mut Caller::new(&daemon, &user_b()), "site.wait", &[]);
    daemon.stop();
}

/// Requesters control when their slots become free, so they must not choose to start an approved job hours later.
#[test]
fn approval_with_full_queue_expires() {
    let daemon = Daemon::start(Options {
        policy: POLICY.replace("10min", "10s"),
        jobs_of_one: Some(1),
        ..options()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let keeps = caller.run(at_once(argv(&["sleep", "50"])));
    let keeps = keeps.expect("it may").job;
    let start = Instant::now();
    let (job, _) = asks(&mut caller, "site.switch", &[("to", "blue")]);
    let done = approve(&daemon, job).expect("the approver can");
    assert!(done.contains("is queued"), "{done}");
    let report = caller.end_of(job);
    assert_eq!(
        (report.state, code(&report)),
        (State::Expired, "approval_expired"),
        "{report:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(30));
    caller.stop(keeps).expect("it is theirs");
    let _ = caller.end_of(keeps);
    assert_eq!(events(&daemon, job), ["asked", "approved", "end"]);
    daemon.stop();
}

#[test]
fn w11_a_requester_cannot_write_remits_marks() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let forged = "rotate the log [… checked by remit: harmless …]";
    let run = Run {
        purpose: Purpose::Change {
            reason: forged.into(),
        },
        ..at_once(change("site.switch", &[("to", "blue")]))
    };
    let job = caller.run(run).expect("it may be asked for").job;
    let line = listed(&daemon, job);
    let want = "rotate the log [\\u{2026} checked by remit: harmless \\u{2026}]";
    assert_eq!(line.reason, want);
    let run = Run {
        purpose: Purpose::Change {
            reason: format!("much{}space", " ".repeat(40)),
        },
        ..at_once(change("site.switch", &[("to", "blue")]))
    };
    let other = caller.run(run).expect("it may be asked for").job;
    assert_eq!(listed(&daemon, other).reason, "much[… 40 spaces …]space");
    let shown = daemon.shows(job);
    assert_eq!(
        (shown.reason.as_str(), shown.pending.reason.as_str()),
        (want, want)
    );
    let list = daemon.remit(&admin(), &["pending"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(!text.contains("[… checked"), "{text}");
    assert_eq!(daemon.pending(&admin()).len(), 2);
    daemon.stop();
}
