//! One-off changes: any program or script, only as another person has seen it, once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use remit_common::admin::{AdminRequest, Grantee, NewGrant};
use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Access;
use remit_tests::caller::{Caller, argv, at_once, cause, script, stdout};
use remit_tests::daemon::{Daemon, Options, admin, other_admin, user_a, user_b};
use remit_tests::process::Identity;
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Purpose, Reply, Request, Run, What};

use super::scene::{about, approve, approve_as, code, deny, does, events, listed, options};

const POLICY: &str = r##"
[[grant]]
name = "one-off"
to = ["#0", "#64001"]
allow = ["change"]
env = ["TZ"]
approval = { by = ["#64005", "#64001"], expires = "10min" }

[[grant]]
name = "all-but-one-offs"
to = ["#64002"]
allow = ["*"]
effect = "change"
unconfined = true

[profile.as-b]
base = "host"
user = "#64002"
"##;

struct OneOffFixture {
    dir: PathBuf,
    daemon: Daemon,
}

impl Drop for OneOffFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl OneOffFixture {
    fn lay(jobs: usize) -> Self {
        Self::with(jobs, POLICY)
    }

    fn with(jobs: usize, policy: &str) -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-one-off-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let daemon = Daemon::start(Options {
            policy: policy.to_owned(),
            jobs,
            ..options()
        });
        Self { dir, daemon }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        path.display().to_string()
    }

    fn asks(&self, caller: &mut Caller, run: Run) -> JobId {
        let report = caller
            .run(at_once(change(run)))
            .expect("it may be asked for");
        assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
        report.job
    }

    fn refused(&self, user: &Identity, run: Run) -> Refusal {
        let mut caller = Caller::new(&self.daemon, user);
        caller.run(at_once(change(run))).expect_err("it is refused")
    }

    /// Asks, changes something, approves, and returns how the job ended.
    fn approved_after(&self, run: Run, meanwhile: impl FnOnce()) -> (JobReport, Vec<String>) {
        let mut caller = Caller::new(&self.daemon, &user_a());
        let job = self.asks(&mut caller, run);
        meanwhile();
        let _ = approve(&self.daemon, job);
        let report = caller.end_of(job);
        (report, events(&self.daemon, job))
    }

    /// Like [`Self::approved_after`] on a machine with one slot: changes something while the approved job is queued.
    fn at_its_turn(&self, run: Run, meanwhile: impl FnOnce()) -> (JobReport, Vec<String>) {
        let mut other = Caller::new(&self.daemon, &user_b());
        let holder = other.run(at_once(argv(&["sleep", "50"])));
        let holder = holder.expect("B may run");
        let mut caller = Caller::new(&self.daemon, &user_a());
        let job = self.asks(&mut caller, run);
        let done = approve(&self.daemon, job).expect("the approver can");
        assert!(done.contains("is queued"), "{done}");
        meanwhile();
        other.stop(holder.job).expect("it is B's");
        let report = caller.end_of(job);
        (report, events(&self.daemon, job))
    }
}

fn change(run: Run) -> Run {
    let reason = "ticket 7".to_owned();
    Run {
        purpose: Purpose::Change { reason },
        ..run
    }
}

fn is_void(ended: &(JobReport, Vec<String>), why: &str, kinds: &[&str]) {
    let (report, events) = ended;
    assert_eq!(
        (report.state, code(report)),
        (State::Denied, "approval_void"),
        "{report:?}"
    );
    assert!(cause(report).contains(why), "{report:?}");
    assert_eq!(events, kinds, "{report:?}");
}

fn write(path: &str, text: &str) {
    fs::write(Path::new(path), text).expect("it is ours");
}

#[test]
fn program_runs_as_root_once_as_it_was_shown() {
    let fixture = OneOffFixture::lay(16);
    let text = "id -u; pwd; echo $TZ; cat; echo ran >>ran";
    let run = Run {
        cwd: Some(fixture.dir.display().to_string().into_bytes().into()),
        env: vec![(b"TZ".to_vec().into(), b"Asia/Tokyo".to_vec().into())],
        stdin: Some(b"from the requester".to_vec().into()),
        ..argv(&["sh", "-c", text])
    };
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, run);
    let shown = fixture.daemon.shows(job);
    assert_eq!(shown.argv, ["sh", "-c", text]);
    assert_eq!(shown.cwd, fixture.dir.display().to_string());
    assert!(shown.env.contains(&"TZ=Asia/Tokyo".to_owned()), "{shown:?}");
    let stdin = shown.stdin.clone().expect("it has standard input");
    assert!(stdin.ends_with(": from the requester"), "{stdin}");
    assert_eq!(
        shown.risks[0],
        "no sandbox: it runs as root and can do anything on this machine"
    );
    assert!(
        shown.profile[0].contains("root (uid 0, gid 0), without a sandbox"),
        "{shown:?}"
    );
    assert!(shown.files[0].what.starts_with("program"), "{shown:?}");
    let digest = listed(&fixture.daemon, job).digest;
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    let expect = format!(
        "0\n{}\nAsia/Tokyo\nfrom the requester",
        fixture.dir.display()
    );
    assert_eq!(stdout(&report), expect, "{report:?}");
    let again = approve_as(&fixture.daemon, &admin(), job, digest);
    assert!(again.is_err(), "{again:?}");
    let ran = fs::read_to_string(fixture.dir.join("ran")).expect("it ran");
    assert_eq!(ran, "ran\n");
    assert_eq!(
        events(&fixture.daemon, job),
        ["asked", "approved", "intent", "end"]
    );
    assert_eq!(about(&fixture.daemon, job)[0]["REMIT_REASON"], "ticket 7");
    let digest = hex(&digest);
    for record in about(&fixture.daemon, job) {
        assert_eq!(record["REMIT_EFFECT"], "change", "{record}");
        assert_eq!(record["REMIT_PROFILE"], "host", "{record}");
        assert_eq!(record["REMIT_DIGEST"], digest.as_str(), "{record}");
        let argv = record["REMIT_ARGV"].as_str().expect("it has the argv");
        assert!(argv.starts_with("sh -c 'id -u; pwd"), "{record}");
    }
    fixture.daemon.is_well();
}

#[test]
fn script_is_shown_whole_and_its_bytes_run() {
    let fixture = OneOffFixture::lay(16);
    let text = "echo $BASH_VERSION | cut -c1\nid -u\n";
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let mut run = script(text);
    if let What::Script { interpreter, .. } = &mut run.what {
        *interpreter = Some(b"bash".to_vec().into());
    }
    let job = fixture.asks(&mut caller, run);
    let shown = fixture.daemon.shows(job);
    assert_eq!(shown.argv, ["bash", "/proc/self/fd/3"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(shown.script[1..], lines, "{shown:?}");
    assert!(shown.script[0].ends_with(", all of it:"), "{shown:?}");
    let risks = shown.risks.join("\n");
    assert!(
        risks.contains("a script of 35 bytes that the requester wrote is executed by 'bash'"),
        "{risks}"
    );
    // Its path is remit's own.
    assert!(!risks.contains("argument 1"), "{risks}");
    approve(&fixture.daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(stdout(&report), "5\n0\n", "{report:?}");
    let hash = |record: &serde_json::Value| record["REMIT_SCRIPT_SHA256"].as_str().map(str::len);
    let records = about(&fixture.daemon, job);
    assert_eq!(hash(&records[0]), Some(64), "{records:?}");

    // One byte more is another request with another digest.
    let digest = |text: &str| {
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let job = fixture.asks(&mut caller, script(text));
        let digest = listed(&fixture.daemon, job).digest;
        let refused = approve_as(&fixture.daemon, &admin(), job, [7; 32]).expect_err("another");
        assert_eq!(refused.code, Code::InvalidArgs);
        digest
    };
    assert_ne!(digest("true\n"), digest("true\n\n"));
}

#[test]
fn long_script_and_many_arguments_are_counted_and_hashed() {
    let fixture = OneOffFixture::lay(16);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, script(&"echo line\n".repeat(5_000)));
    let shown = fixture.daemon.shows(job);
    assert!(
        shown.script[0].contains("bytes more …]"),
        "{}",
        shown.script[0]
    );
    assert!(shown.script[0].contains(", sha256 "), "{}", shown.script[0]);
    let many: Vec<String> = (0..3_000).map(|at| format!("argument-{at}")).collect();
    let words: Vec<&str> = ["true"]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    let job = fixture.asks(&mut caller, argv(&words));
    let shown = fixture.daemon.shows(job);
    assert!(shown.more_argv > 0, "{}", shown.argv.len());
    let risks = shown.risks.join("\n");
    assert!(
        risks.contains("arguments are not shown; sha256 of all"),
        "{risks}"
    );
}

#[test]
fn named_profile_says_user_and_sandbox() {
    let fixture = OneOffFixture::lay(16);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let mut run = |profile: &str| {
        let run = Run {
            profile: Some(profile.to_owned()),
            ..argv(&["sh", "-c", "id -u; cat /etc/shadow >/dev/null && echo read"])
        };
        let job = fixture.asks(&mut caller, run);
        let shown = fixture.daemon.shows(job);
        approve(&fixture.daemon, job).expect("the approver can");
        (shown, stdout(&caller.end_of(job)))
    };
    let (shown, output) = run("as-b");
    assert_eq!(output, "64002\n");
    assert!(
        shown.profile[0].starts_with("#64002 (uid 64002, gid 64002), without"),
        "{shown:?}"
    );
    let (shown, output) = run("strict");
    assert!(
        !output.starts_with("0\n") && !output.contains("read"),
        "{output}"
    );
    assert!(
        shown.profile[0].contains("in sandbox 'strict'"),
        "{shown:?}"
    );
    let run = Run {
        profile: Some("no-such".to_owned()),
        ..argv(&["true"])
    };
    let refusal = fixture.refused(&user_a(), run);
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(
        refusal.message.contains("no profile 'no-such'"),
        "{refusal:?}"
    );
}

#[test]
fn ungranted_caller_reads_what_would_grant_it() {
    let fixture = OneOffFixture::lay(16);
    // The pattern '*' of their rule does not include it.
    let refusal = fixture.refused(&user_b(), argv(&["dpkg", "--configure", "-a"]));
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(
        refusal
            .message
            .contains("no rule grants uid 64002 a one-off"),
        "{refusal:?}"
    );
    let lift = refusal.lift.expect("it says what would");
    assert!(lift.contains("examples/one-off.toml"), "{lift}");
    let refusal = fixture.refused(&user_b(), argv(&["systemctl", "restart", "nginx"]));
    let next = refusal.next.expect("it says what to do");
    assert!(next.contains("service.restart"), "{next}");
    let refusal = fixture.refused(&user_b(), script("true\n"));
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert_eq!(fixture.daemon.status().pending, 0);

    let access = |user: &Identity| {
        let access = Access {
            argv: None,
            profile: None,
            name: None,
            query: None,
        };
        match Caller::new(&fixture.daemon, user).ask(Request::Access(access)) {
            Ok(Reply::Access(report)) => report.grants,
            other => panic!("{other:?}"),
        }
    };
    let grants = access(&user_a());
    let grant = grants.iter().find(|grant| grant.allow == ["change"]);
    let grant = grant.expect("access lists it");
    assert_eq!(
        (grant.profile.as_str(), &grant.env[..]),
        ("host", &["TZ".to_owned()][..])
    );
    assert!(grant.approval.is_some(), "{grant:?}");
    let grants = access(&user_b());
    assert!(
        !grants
            .iter()
            .any(|grant| grant.allow.contains(&"change".to_owned())),
        "{grants:?}"
    );
}

#[test]
fn access_advises_no_change_under_a_lock() {
    let fixture = OneOffFixture::lay(1);
    let why = || {
        let words = ["useradd", "x"].map(|word| word.as_bytes().to_vec().into());
        let access = Access {
            argv: Some(words.to_vec()),
            profile: None,
            name: None,
            query: None,
        };
        match Caller::new(&fixture.daemon, &user_a()).ask(Request::Access(access)) {
            Ok(Reply::Access(report)) => report.asked.expect("it was asked about").why,
            other => panic!("{other:?}"),
        }
    };
    let lock = AdminRequest::Lock {
        why: "a drill".into(),
        kill: false,
    };
    for (request, is_advised) in [
        (None, true),
        (Some(lock), false),
        (Some(AdminRequest::Unlock), true),
    ] {
        if let Some(request) = request {
            fixture
                .daemon
                .administer(request)
                .expect("an administrator may");
        }
        let why = why();
        assert_eq!(why.contains("or change {"), is_advised, "{why}");
    }
}

#[test]
fn no_user_approves_their_own_or_in_advance() {
    let fixture = OneOffFixture::lay(16);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, argv(&["true"]));
    let digest = listed(&fixture.daemon, job).digest;
    // The rule names the requester. It names neither the other administrator nor root.
    for user in [
        Identity::new(64_001, &admin().groups),
        other_admin(),
        Identity::new(0, &[0]),
    ] {
        let refused = approve_as(&fixture.daemon, &user, job, digest);
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!(fixture.daemon.status().pending, 1);
    for what in ["change", "*"] {
        let new = NewGrant {
            to: Grantee::User {
                name: String::new(),
                uid: 64_001,
            },
            what: what.to_owned(),
            args: Vec::new(),
            for_s: 600,
            uses: None,
            across_reboot: false,
            paths: Vec::new(),
        };
        let refusal = fixture.daemon.administers(
            &admin(),
            AdminRequest::Grant {
                new,
                accepts_paths: false,
            },
        );
        let refusal = refusal.expect_err("nobody approves it in advance");
        assert!(
            [Code::DeniedRule, Code::InvalidArgs].contains(&refusal.code),
            "{refusal:?}"
        );
    }
    deny(&fixture.daemon, &admin(), job, "not today").expect("the approver can");
    assert_eq!(code(&caller.end_of(job)), "approval_denied");
    assert_eq!(events(&fixture.daemon, job), ["asked", "denied"]);
}

#[test]
fn change_before_approval_voids_request() {
    let fixture = OneOffFixture::lay(16);
    let kinds = &["asked", "void"][..];
    let tool = fixture.file("tool", "#!/bin/sh\necho good\n");
    let data = fixture.file("data", "good=1\n");
    let good = fixture.approved_after(argv(&[&tool, &data]), || {});
    assert_eq!(stdout(&good.0), "good\n", "{good:?}");
    let void = fixture.approved_after(argv(&[&tool]), || {
        write(&tool, "#!/bin/sh\necho evil\n");
    });
    is_void(&void, "tool", kinds);
    let void = fixture.approved_after(argv(&["cat", &data]), || write(&data, "evil=1\n"));
    is_void(&void, "data", kinds);
    // Relative to its working directory, which others may change from now on.
    let run = Run {
        cwd: Some(fixture.dir.display().to_string().into_bytes().into()),
        ..argv(&["cat", "none"])
    };
    let void = fixture.approved_after(run, || {
        fs::set_permissions(&fixture.dir, fs::Permissions::from_mode(0o777)).expect("it is ours");
    });
    is_void(&void, "directory", kinds);
}

#[test]
fn change_between_approval_and_turn_voids_request() {
    let fixture = OneOffFixture::lay(1);
    let kinds = &["asked", "approved", "end"][..];
    let tool = fixture.file("tool", "#!/bin/sh\necho good\n");
    let data = fixture.file("data", "good=1\n");
    let good = fixture.at_its_turn(argv(&[&tool, &data]), || {});
    assert_eq!(stdout(&good.0), "good\n", "{good:?}");
    let void = fixture.at_its_turn(argv(&["cat", &data]), || write(&data, "evil=1\n"));
    is_void(&void, "data", kinds);
    let void = fixture.at_its_turn(argv(&[&tool]), || write(&tool, "#!/bin/sh\necho evil\n"));
    is_void(&void, "tool", kinds);
    let run = Run {
        cwd: Some(fixture.dir.display().to_string().into_bytes().into()),
        ..argv(&["cat", "none"])
    };
    let void = fixture.at_its_turn(run, || {
        fs::set_permissions(&fixture.dir, fs::Permissions::from_mode(0o777)).expect("it is ours");
    });
    is_void(&void, "directory", kinds);
}

#[test]
fn program_that_others_can_change_is_refused() {
    let fixture = OneOffFixture::lay(16);
    let tool = fixture.file("tool", "#!/bin/sh\necho good\n");
    std::os::unix::fs::chown(&tool, Some(64_001), Some(64_001)).expect("the tests run as root");
    let refusal = fixture.refused(&user_a(), argv(&[&tool]));
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
    assert!(refusal.message.contains("tool"), "{refusal:?}");
    // As data it is shown as a risk.
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let job = fixture.asks(&mut caller, argv(&["sh", &tool]));
    let risks = fixture.daemon.shows(job).risks.join("\n");
    assert!(
        risks.contains("argument 1 names a file whose content is not part of what is approved"),
        "{risks}"
    );
    let refusal = fixture.refused(&user_a(), argv(&["no-such-program-of-remit"]));
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
}

#[test]
fn lock_revoked_rule_and_late_approval_end_request() {
    let fixture = OneOffFixture::with(16, &POLICY.replace("10min", "10s"));
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let run = || argv(&["touch", "/run/remit-one-off-must-not-exist"]);
    let job = fixture.asks(&mut caller, run());
    let digest = listed(&fixture.daemon, job).digest;
    let (why, kill) = ("incident 7".to_owned(), false);
    let _ = does(&fixture.daemon, AdminRequest::Lock { why, kill });
    assert!(approve_as(&fixture.daemon, &admin(), job, digest).is_err());
    assert_eq!(code(&caller.end_of(job)), "approval_void");
    let _ = does(&fixture.daemon, AdminRequest::Unlock);

    let late = fixture.asks(&mut caller, run());
    let digest = listed(&fixture.daemon, late).digest;
    assert_eq!(code(&caller.end_of(late)), "approval_expired");
    assert!(approve_as(&fixture.daemon, &admin(), late, digest).is_err());

    let revoked = fixture.asks(&mut caller, run());
    let digest = listed(&fixture.daemon, revoked).digest;
    let policy = POLICY.replace("allow = [\"change\"]", "allow = [\"run\"]");
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &policy);
    let _ = does(&fixture.daemon, AdminRequest::Reload);
    assert_eq!(code(&caller.end_of(revoked)), "approval_void");
    assert!(approve_as(&fixture.daemon, &admin(), revoked, digest).is_err());
    let refusal = fixture.refused(&user_a(), run());
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(!Path::new("/run/remit-one-off-must-not-exist").exists());
    fixture.daemon.is_well();
}

#[test]
fn malformed_one_off_is_refused_and_daemon_lives() {
    let fixture = OneOffFixture::lay(16);
    let words = |count: usize| vec!["x"; count];
    let long = "x".repeat(remit_common::caps::ARGV_ELEMENT);
    for (run, expect) in [
        (argv(&[]), Code::InvalidArgs),
        (argv(&[""]), Code::InvalidArgs),
        (argv(&["true", "a\0b"]), Code::InvalidArgs),
        (argv(&["true", &long]), Code::TooLarge),
        (
            argv(&words(remit_common::caps::ARGV_COUNT + 1)),
            Code::TooLarge,
        ),
        (
            script(&"x".repeat(remit_common::caps::SCRIPT + 1)),
            Code::TooLarge,
        ),
    ] {
        let refusal = fixture.refused(&user_a(), run);
        assert_eq!(refusal.code, expect, "{refusal:?}");
    }
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let unreasoned = Run {
        purpose: Purpose::Change {
            reason: " ".to_owned(),
        },
        ..argv(&["true"])
    };
    let refusal = caller.run(unreasoned).expect_err("it needs a reason");
    assert_eq!(refusal.code, Code::InvalidArgs, "{refusal:?}");
    // Escapes and invisible characters are data.
    let evil = "\u{1b}[2J\u{202e}\nsudo";
    let job = fixture.asks(&mut caller, argv(&["printf", "%s", evil]));
    let shown = fixture.daemon.shows(job);
    assert_eq!(shown.argv[2], "\\x1b[2J\\u{202e}\\nsudo");
    assert_eq!(fixture.daemon.status().pending, 1);
    fixture.daemon.is_well();
}
