//! Who can approve, from where, and how people learn of requests that wait: by a command of the policy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use remit_common::admin::AdminRequest;
use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, change};
use remit_tests::daemon::{
    ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, other_admin, user_a, user_b,
};
use remit_tests::process::{Identity, Slice};
use remit_wire::outcome::State;
use serde_json::Value;

use crate::approvals::scene::{
    APPROVERS, POLICY, approve, approve_as, asked, asks, does, events, listed, options, started,
};

fn remit_logged_in(daemon: &Daemon, login: u32, uid: u32, words: &[&str]) -> Output {
    remit_after(daemon, "true", login, uid, words)
}

fn remit_after(daemon: &Daemon, before: &str, login: u32, uid: u32, words: &[&str]) -> Output {
    let script = format!(
        "{before} && echo {login} >/proc/self/loginuid && exec setpriv --reuid {uid} --regid {uid} --groups \
         {SOCKET_GROUP},{ADMIN_GROUP},{APPROVERS} -- \"$@\""
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(daemon.program("remit"));
    command
        .arg("--runtime")
        .arg(daemon.runtime().dir())
        .args(words);
    command.output().expect("sh starts")
}

fn approves_logged_in(daemon: &Daemon, login: u32, uid: u32, job: JobId) -> Output {
    let digest = hex(&listed(daemon, job).digest);
    let id = job.to_string();
    remit_logged_in(daemon, login, uid, &["approve", &id, "--digest", &digest])
}

#[test]
fn own_request_is_not_approvable_by_named_approver() {
    let daemon = started();
    let (_caller, job, _) = asked(&daemon);
    let digest = listed(&daemon, job).digest;
    let own = Identity::new(64_001, &[SOCKET_GROUP, ADMIN_GROUP, APPROVERS]);
    let view = &daemon.pending(&own)[0];
    assert!(!view.yours);
    let refusal = approve_as(&daemon, &own, job, digest).expect_err("it is their own");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(refusal.message.contains("your own change"), "{refusal:?}");
    let refused = daemon.records("refusal");
    let [record] = refused.as_slice() else {
        panic!("{refused:#?}")
    };
    assert_eq!(record["REMIT_JOB"], job.to_string(), "{record}");
    assert_eq!(record["REMIT_DIGEST"], hex(&digest), "{record}");
    assert_eq!(events(&daemon, job), ["asked"]);
    daemon.stop();
}

#[test]
fn only_approvers_of_rule_may_approve() {
    let of_group = ("seven", 64_007);
    let daemon = Daemon::start(Options {
        accounts: Some(Accounts {
            users: vec![of_group],
            groups: vec![
                ("remit", SOCKET_GROUP, vec!["seven"]),
                ("remit-admin", ADMIN_GROUP, vec!["seven"]),
                ("approvers", APPROVERS, vec!["seven"]),
            ],
            directory: Vec::new(),
        }),
        ..options()
    });
    let (_caller, job, _) = asked(&daemon);
    let digest = listed(&daemon, job).digest;
    for user in [other_admin(), Identity::new(0, &[])] {
        let refusal = approve_as(&daemon, &user, job, digest).expect_err("nobody named them");
        assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
        assert!(refusal.message.contains("#64005, %#64400"), "{refusal:?}");
        assert!(!daemon.pending(&user)[0].yours);
    }
    let of_group = Identity::new(64_007, &[SOCKET_GROUP, ADMIN_GROUP, APPROVERS]);
    assert!(daemon.pending(&of_group)[0].yours);
    assert!(approve_as(&daemon, &of_group, job, digest).is_ok());
    daemon.stop();
}

#[test]
fn another_account_of_the_same_login_approves_nothing() {
    let daemon = started();
    // A person logged in as 64011, as the cgroup proves, asks. 64008 may approve, but has the same login.
    let slice = Slice::of(64_011);
    let asked = remit_after(
        &daemon,
        &format!("echo 0 >{}", slice.procs().display()),
        64_011,
        64_001,
        &[
            "change",
            "site.switch",
            "to=blue",
            "-m",
            "a test",
            "--no-wait",
        ],
    );
    let all = daemon.pending(&admin());
    assert_eq!(all.len(), 1, "{asked:?}");
    let job = all[0].job;
    for (login, uid) in [
        (64_011, 64_008),
        (64_001, 64_008),
        (64_009, 64_011),
        (64_001, 0),
    ] {
        let output = approves_logged_in(&daemon, login, uid, job);
        assert!(!output.status.success(), "{login} {uid}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("your own change"), "{login} {uid}: {said}");
    }
    assert_eq!(events(&daemon, job), ["asked"]);
    let output = approves_logged_in(&daemon, 64_012, 64_008, job);
    assert!(output.status.success(), "{output:?}");
    let approved = &daemon.records("approved")[0];
    assert_eq!(approved["REMIT_APPROVER_LOGINUID_CLAIMED"], "64012");
    daemon.stop();
}

/// 64005 has approved it. No other account of that person is the second of two: neither by a login, nor by root.
#[test]
fn another_account_of_one_who_has_approved_is_not_the_second() {
    let by = r##"by = ["#64005", "%#64400", "#64001", "#64008"]"##;
    let two = r##"by = ["#0", "#64005", "#64006", "#64008"], count = 2"##;
    let daemon = Daemon::start(Options {
        policy: POLICY.replace(by, two),
        ..options()
    });
    let (mut caller, job, _) = asked(&daemon);
    let first = approves_logged_in(&daemon, 64_012, 64_005, job);
    assert!(first.status.success(), "{first:?}");
    for (login, uid) in [
        (64_012, 64_006),
        (64_005, 64_008),
        (64_005, 0),
        (64_009, 64_005),
    ] {
        let output = approves_logged_in(&daemon, login, uid, job);
        assert!(!output.status.success(), "{login} {uid}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        let expect = "you have approved it as #64005; the approval of 1 other person is missing";
        assert!(said.contains(expect), "{login} {uid}: {said}");
    }
    assert_eq!(events(&daemon, job), ["asked", "approved"]);
    let second = approves_logged_in(&daemon, 64_013, 64_006, job);
    assert!(second.status.success(), "{second:?}");
    assert_eq!(caller.end_of(job).state, State::Exited);
    daemon.stop();
}

#[test]
fn nothing_is_approved_from_below_a_pid_namespace() {
    let daemon = started();
    let (_caller, job, _) = asked(&daemon);
    let digest = hex(&listed(&daemon, job).digest);
    let mut command = Command::new("unshare");
    let groups = format!("{SOCKET_GROUP},{ADMIN_GROUP},{APPROVERS}");
    command.args([
        "-p", "-f", "--", "setpriv", "--reuid", "64005", "--regid", "64005",
    ]);
    command
        .args(["--groups", &groups, "--"])
        .arg(daemon.program("remit"));
    command.arg("--runtime").arg(daemon.runtime().dir());
    command.args(["approve", &job.to_string(), "--digest", &digest]);
    let output = command.output().expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("a job cannot approve anything"),
        "{output:?}"
    );
    assert_eq!(events(&daemon, job), ["asked"]);
    assert!(approve(&daemon, job).is_ok());
    daemon.stop();
}

/// A job without a sandbox, as root, who may approve by the rule.
#[test]
fn nothing_is_approved_by_a_job() {
    let daemon = started();
    let script = daemon.path().join("inside.sh");
    let text = format!(
        "#!/bin/sh\ncd {}\nexec bin/remit --runtime runtime approve \"$(cat id)\" --digest \"$(cat digest)\"\n",
        daemon.path().display()
    );
    fs::write(&script, text).expect("it is ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let policy = format!(
        "{}\n[[command]]\nname = \"all.approve\"\nsummary = \"approves\"\nargv = [\"{}\"]\n\
         effect = \"change\"\nprofile = \"host\"\n\n[[grant]]\nname = \"insider\"\n\
         to = [\"#64002\"]\nallow = [\"all.approve\"]\napproval = \"none\"\nunconfined = true\n",
        POLICY
            .replace("[\"#64005\", ", "[\"#0\", \"#64005\", ")
            .replace(", \"all.*\"]", ", \"all.change\"]"),
        script.display()
    );
    daemon.set_file("config/policy.d/10-test.toml", &policy);
    let _ = does(&daemon, AdminRequest::Reload);
    let (_caller, job, _) = asked(&daemon);
    let digest = listed(&daemon, job).digest;
    daemon.set_file("id", &job.to_string());
    daemon.set_file("digest", &hex(&digest));
    let mut insider = Caller::new(&daemon, &user_b());
    let report = insider.run(change("all.approve", &[])).expect("it may run");
    let said = String::from_utf8_lossy(&report.stderr.head);
    assert!(
        said.contains("a job cannot approve anything"),
        "{report:?} {said}"
    );
    assert_eq!(events(&daemon, job), ["asked"]);
    assert!(approve_as(&daemon, &Identity::new(0, &[]), job, digest).is_ok());
    daemon.stop();
}

#[test]
fn request_is_found_by_id_prefix() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let show = |id: &str| daemon.administers(&admin(), AdminRequest::Show { id: id.into() });
    let id = job.to_string();
    assert!(show(&id[..8]).is_ok() && show(&id).is_ok());
    assert!(show(&format!("{}-{}", &id[..4], &id[4..8])).is_ok());
    let unknown = if id.starts_with("0000") {
        "1111"
    } else {
        "0000"
    };
    let refusal = show(unknown).expect_err("there is none");
    assert_eq!(refusal.code, Code::NotFound);
    for none in ["", "abc", "zzzz", &"0".repeat(33)] {
        assert_eq!(show(none).expect_err("it is no id").code, Code::InvalidArgs);
    }
    caller.stop(job).expect("it is the caller's");
    for begins in [&id[..8], &id] {
        let ended = show(begins).expect_err("it has ended");
        assert_eq!(ended.code, Code::NotFound);
        let begins = format!("job {} is not waiting for an approval: ", job.short());
        assert!(ended.message.starts_with(&begins), "{ended:?}");
    }
    let (other, _) = asks(
        &mut Caller::new(&daemon, &user_a()),
        "site.switch",
        &[("to", "x")],
    );
    assert!(show(&other.to_string()).is_ok());
    daemon.stop();
}

const TELLS: &str = r#"
[[command]]
name = "people.tell"
summary = "passes on what it reads"
argv = ["/usr/bin/cat"]
effect = "change"
profile = "strict"
stdin = "caller"
"#;

fn daemon(notify: &str) -> Daemon {
    Daemon::start(Options {
        policy: format!("{POLICY}{TELLS}"),
        config: format!("[approval]\nnotify = \"{notify}\"\n"),
        ..options()
    })
}

fn own(daemon: &Daemon, event: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let records = daemon.records(event);
        let found = records
            .iter()
            .find(|record| record["REMIT_USER"] == "remitd");
        match found {
            Some(record) => return record.clone(),
            None => assert!(Instant::now() < end, "{records:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn notify_command_gets_request_as_json() {
    let daemon = daemon("people.tell");
    let (_caller, job, view) = asked(&daemon);
    let (intent, end) = (own(&daemon, "intent"), own(&daemon, "end"));
    assert_eq!(intent["REMIT_RULE"], "approval.notify of remit.toml");
    assert_eq!(intent["REMIT_PROFILE"], "strict");
    assert_eq!(
        (&end["REMIT_JOB"], &end["REMIT_EXIT"]),
        (&intent["REMIT_JOB"], &"0".into())
    );
    let id = intent["REMIT_JOB"].as_str().expect("it is a job");
    let path = daemon.path().join(format!("state/spool/{id}.out"));
    let request: Value = serde_json::from_slice(&fs::read(path).expect("it wrote")).expect("JSON");
    assert_eq!(request["id"], job.to_string());
    assert_eq!(request["command"], "site.switch to=blue");
    assert_eq!(
        (&request["line"], &request["digest"]),
        (&view.line.into(), &view.digest.into())
    );
    assert_eq!(request["by"][1], "%#64400");
    assert_eq!(
        request["expires_ms"]
            .as_u64()
            .map(|ms| ms.abs_diff(view.expires_ms) < 5000),
        Some(true)
    );
    daemon.stop();
}

#[test]
fn without_notify_command_request_is_only_pending() {
    let daemon = daemon("");
    let (_caller, ..) = asked(&daemon);
    assert!(daemon.records("intent").is_empty());
    daemon.stop();
}
