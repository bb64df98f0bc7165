//! Files that change between approval and exec: only what was approved runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use nix::unistd::User;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::hex::hex;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, change, stdout};
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP, admin, user_a};
use remit_tests::process::Identity;
use remit_tests::test_dir::TestDir;
use remit_wire::outcome::{JobReport, State};

struct Stage(TestDir);

impl Stage {
    fn new() -> Self {
        let stage = Self(TestDir::new());
        stage.lay();
        stage
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.to_str().expect("a plain path").to_owned()
    }

    fn lay(&self) {
        self.tool(&[
            "rm",
            "-f",
            "tool",
            "other",
            "interpreter",
            "script",
            "data",
            "link",
        ]);
        self.tool(&["cp", "/bin/cat", "tool"]);
        self.tool(&["cp", "/bin/echo", "other"]);
        self.tool(&["cp", "/bin/sh", "interpreter"]);
        symlink("tool", self.path("link")).expect("the directory is writable");
        let text = format!("#!{}\necho approved\n", self.path("interpreter"));
        self.file("script", 0o755, &text);
        self.file("data", 0o644, "approved\n");
    }

    fn file(&self, name: &str, mode: u32, text: &str) {
        fs::write(self.path(name), text).expect("the directory is writable");
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(name), mode).expect("the file is ours");
    }

    /// Runs in a separate process, because a file that is open for writing cannot be executed.
    fn tool(&self, words: &[&str]) {
        let mut command = Command::new(words[0]);
        let done = command.args(&words[1..]).current_dir(self.0.path());
        assert!(
            done.status().is_ok_and(|status| status.success()),
            "{words:?}"
        );
    }

    /// One job slot, so that an approved request can be made to wait.
    fn options(&self, options: Options) -> Options {
        let test_dir = self.0.path().display();
        let command = |name: &str, words: String| {
            format!(
                "[[command]]\nname = \"site.{name}\"\nsummary = \"s\"\nargv = [{words}]\n\
                 effect = \"change\"\nprofile = \"site\"\n\n"
            )
        };
        let policy = format!(
            "[profile.site]\nbase = \"strict\"\nexec = [\"{test_dir}\"]\n\n{}{}{}\
             [[grant]]\nname = \"asks\"\nto = [\"#{}\"]\nallow = [\"site.*\"]\neffect = \"change\"\n\
             approval = {{ by = [\"#64005\"], expires = \"10min\" }}\n\n\
             [[grant]]\nname = \"others\"\nto = [\"#64001\"]\nallow = [\"run\"]\n\
             profile = \"read\"\napproval = \"none\"\n",
            command("tool", format!("\"{test_dir}/tool\", \"{test_dir}/data\"")),
            command("link", format!("\"{test_dir}/link\", \"{test_dir}/data\"")),
            command("script", format!("\"{test_dir}/script\"")),
            requester().uid,
        );
        Options {
            jobs: 1,
            waiting: 4,
            policy,
            ..options
        }
    }
}

/// An account that exists on every machine, because the right to ask ends with the account.
fn requester() -> Identity {
    let user = User::from_name("daemon").expect("accounts can be looked up");
    let user = user.expect("every machine has this account");
    Identity {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: vec![SOCKET_GROUP],
    }
}

type Change = fn(&Stage);

/// Command, change, and the file that the refusal names.
const CHANGES: &[(&str, Change, &str)] = &[
    ("tool", |stage| stage.tool(&["mv", "other", "tool"]), "tool"),
    (
        "tool",
        |stage| {
            stage.tool(&[
                "sh",
                "-c",
                "cp -p tool old; printf X >> tool; touch -r old tool",
            ])
        },
        "tool",
    ),
    (
        "tool",
        |stage| stage.file("data", 0o644, "deprived\n"),
        "data",
    ),
    (
        "link",
        |stage| stage.tool(&["ln", "-sfn", "other", "link"]),
        "link",
    ),
    (
        "script",
        |stage| stage.tool(&["sed", "-i", "s/approved/deprived/", "script"]),
        "script",
    ),
    (
        "script",
        |stage| stage.tool(&["mv", "other", "interpreter"]),
        "interpreter",
    ),
];

fn asks(daemon: &Daemon, name: &str) -> (Caller, JobReport) {
    let mut caller = Caller::new(daemon, &requester());
    let run = at_once(change(&format!("site.{name}"), &[]));
    let report = caller.run(run).expect("it may ask");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    (caller, report)
}

fn approves(daemon: &Daemon, report: &JobReport) {
    let digest = daemon.pending_request(report.job).digest;
    let done = daemon.approve(&admin(), report.job, digest);
    assert!(matches!(done, Ok(AdminReply::Done(_))), "{done:?}");
}

/// Asks and is approved while no slot is free. The slot becomes free after the files have changed.
fn run_late(daemon: &Daemon, stage: &Stage, name: &str, change: Option<Change>) -> JobReport {
    stage.lay();
    let mut blocker = Caller::new(daemon, &user_a());
    let blocking = blocker.run(at_once(argv(&["sleep", "60"])));
    let blocking = blocking.expect("the slot is free").job;
    let (mut caller, report) = asks(daemon, name);
    approves(daemon, &report);
    let report = caller.job(report.job, 0).expect("it is its own");
    assert_eq!(report.state, State::Queued, "{report:?}");
    if let Some(change) = change {
        change(stage);
    }
    let stop = AdminRequest::Stop {
        job: blocking,
        signal: Some(9),
    };
    daemon.administer(stop).expect("it runs");
    caller.end_of(report.job)
}

#[test]
fn queued_approved_job_with_changed_file_never_runs() {
    let stage = Stage::new();
    let daemon = Daemon::start(stage.options(Options::default()));
    for name in ["tool", "link", "script"] {
        let report = run_late(&daemon, &stage, name, None);
        assert_eq!(stdout(&report), "approved\n", "{name}: {report:?}");
    }
    each_change_is_refused(&daemon, &stage, "has changed");
    daemon.stop();
}

/// A change after the check at dequeue is refused by the job's own check, just before the exec.
#[test]
fn what_changes_after_the_turn_does_not_run() {
    let Some(options) = Options::mutated("REMIT_MUTATE_TURN", "off") else {
        return;
    };
    let stage = Stage::new();
    let daemon = Daemon::start(stage.options(options));
    each_change_is_refused(&daemon, &stage, "is not what was approved");
    daemon.stop();
}

fn each_change_is_refused(daemon: &Daemon, stage: &Stage, why: &str) {
    for (name, change, file) in CHANGES {
        let report = run_late(daemon, stage, name, Some(*change));
        let ending = report.ending.as_ref().expect("it has ended");
        let cause = format!("'{}' {why}", stage.path(file));
        assert!(ending.cause.contains(&cause), "{name}, {file}: {report:?}");
        assert_eq!(ending.code, Some(Code::ApprovalVoid), "{report:?}");
        assert!(ending.next.is_some(), "{report:?}");
        assert_eq!((stdout(&report), ending.exit), (String::new(), None));
    }
}

/// Without both checks the changed file runs, so these two are what prevents it.
#[test]
fn without_the_last_look_it_would_run() {
    let Some(mut options) = Options::mutated("REMIT_MUTATE", "strict.Measured") else {
        return;
    };
    options.env.push(("REMIT_MUTATE_TURN".into(), "off".into()));
    let stage = Stage::new();
    let daemon = Daemon::start(stage.options(options));
    for (name, change, file) in CHANGES {
        let report = run_late(&daemon, &stage, name, Some(*change));
        assert_eq!(report.state, State::Exited, "{name}, {file}: {report:?}");
    }
    daemon.stop();
}

#[test]
fn what_changes_before_the_approval_is_void() {
    let stage = Stage::new();
    let daemon = Daemon::start(stage.options(Options::default()));
    for (name, change, file) in CHANGES {
        stage.lay();
        let (mut caller, report) = asks(&daemon, name);
        change(&stage);
        let digest = report.approval.as_ref().expect("it waits").digest.clone();
        let request = daemon.pending_request(report.job);
        assert_eq!(hex(&request.digest), digest);
        let answer = daemon.approve(&admin(), report.job, request.digest);
        assert!(!matches!(answer, Ok(AdminReply::Done(_))), "{answer:?}");
        let report = caller.end_of(report.job);
        let ending = report.ending.as_ref().expect("it has ended");
        assert_eq!(ending.code, Some(Code::ApprovalVoid), "{report:?}");
        assert!(ending.cause.contains(&stage.path(file)), "{report:?}");
    }
    assert_eq!(daemon.records("intent").len(), 0);
    daemon.stop();
}
