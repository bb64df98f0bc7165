//! What is tried against approvals from outside.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use remit_common::outcome::State;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, change};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};

use super::scene::{POLICY, approve, asks, code, events, options, started};

/// A directory below /run that goes with its value.
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

/// Programs that need an approval.
const RUNS: &str = r##"
[[grant]]
name = "runs"
to = ["#64001"]
allow = ["run"]
approval = { by = ["#64005"] }
"##;

/// A28: root measures what will run, and its eyes see more than those of who asks.
#[test]
fn whoever_names_a_program_learns_nothing_of_files_they_cannot_see() {
    let daemon = Daemon::start(Options {
        policy: RUNS.to_owned(),
        ..options()
    });
    let (hidden, open) = (Dir::new(0o700), Dir::new(0o755));
    let mut caller = Caller::new(&daemon, &user_a());
    let mut said = |path: &Path| {
        let path = path.to_str().expect("it is text");
        let told = caller.run(at_once(argv(&[path])));
        let refusal = told.expect_err("it cannot be approved");
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
    // Of a file that they can see but not read, nothing of its content.
    let other = said(&open.file("program", 0o711, "\x7fELF"));
    assert_eq!(said(&open.file("script", 0o711, "#!secret\n")), other);
    daemon.stop();
}

/// The command that tells people, and who asks.
const TOLD: &str = r##"
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

/// How many jobs of the daemon's own tell people, once their number and that of requests nobody was told
/// of are as wanted: the program is measured first, and who asks has their answer before that.
fn told_when(daemon: &Daemon, wanted: impl Fn(usize, usize) -> bool) -> usize {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        // One that waits for a place has two records.
        let told: BTreeSet<String> = ["intent", "queued"]
            .iter()
            .flat_map(|event| daemon.records(event))
            .filter(|record| record["REMIT_USER"] == "remitd")
            .map(|record| record["REMIT_JOB"].to_string())
            .collect();
        let untold = daemon.records("refusal");
        if wanted(told.len(), untold.len()) {
            return told.len();
        }
        assert!(Instant::now() < end, "{told:?} {untold:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whoever asks and takes it back, again and again, neither floods people nor takes the places of others.
#[test]
fn taking_back_and_asking_again_does_not_make_a_flood_of_words_to_people() {
    let daemon = Daemon::start(Options {
        policy: TOLD.to_owned(),
        config: "[approval]\nnotify = \"people.tell\"\n".to_owned(),
        ..options()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..40 {
        let (job, _) = asks(&mut caller, "site.wait", &[]);
        caller.stop(job).expect("it is theirs");
    }
    // Each request was told, or it is not forgotten that it was not.
    let told = told_when(&daemon, |told, untold| told + untold == 40);
    assert!((1..=16).contains(&told), "{told} times");
    let untold = daemon.records("refusal");
    assert!(
        untold
            .iter()
            .any(|record| record.to_string().contains("nobody was told")),
        "{untold:?}"
    );
    // Another user's request is told, and root has places.
    let mut other = Caller::new(&daemon, &user_b());
    let _ = asks(&mut other, "site.wait", &[]);
    told_when(&daemon, |now, _| now == told + 1);
    daemon.stop();
}

/// Each request is a record before anybody has granted anything.
#[test]
fn who_asks_and_takes_back_without_end_does_not_fill_the_trail() {
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
    // Nobody else's requests are fewer for it.
    let _ = asks(&mut Caller::new(&daemon, &user_b()), "site.wait", &[]);
    daemon.stop();
}

/// Who asks says when their places are free: not so when what was approved begins, hours later.
#[test]
fn an_approval_that_found_no_place_expires_too() {
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
    assert!(done.contains("waits for a place"), "{done}");
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
