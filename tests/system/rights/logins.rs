//! A login uid counts only if something proves it.

use std::process::{Command, Output};

use remit_tests::daemon::{ADMIN_GROUP, Daemon, SOCKET_GROUP};
use remit_tests::login::Slice;

use super::scene::{AGENTS, ANN, BOB, BOT, OPS, ann, approve, bob, newest, pending, started};

fn asks(daemon: &Daemon, login: u32, slice: Option<&Slice>) -> Output {
    let enter = slice.map_or_else(String::new, |slice| {
        format!("echo 0 >{} && ", slice.procs().display())
    });
    // A login uid can be set once. Only root can unset it, so the script does that first.
    let script = format!(
        "{enter}echo 4294967295 >/proc/self/loginuid; \
         exec setpriv --reuid {BOT} --regid {BOT} --groups {SOCKET_GROUP},{AGENTS} -- \
         sh -c 'echo {login} >/proc/self/loginuid && exec \"$@\"' sh \"$@\""
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(daemon.program("remit"));
    command.arg("--runtime").arg(daemon.runtime().dir());
    command.args(["change", "site.reload", "-m", "a test", "--no-wait"]);
    command.output().expect("sh starts")
}

#[test]
fn w08_a_login_that_nothing_proves_chooses_no_approver() {
    let daemon = started();
    let asked = asks(&daemon, ANN, None);
    let record = newest(&daemon, "asked");
    assert_eq!(record["REMIT_UID"], BOT.to_string(), "{asked:?}");
    assert_eq!(
        record["REMIT_LOGINUID_CLAIMED"],
        ANN.to_string(),
        "{record}"
    );
    assert!(record["REMIT_LOGINUID"].is_null(), "{record}");
    let job = record["REMIT_JOB"].as_str().expect("it is a job");
    let view = pending(&daemon, job.parse().expect("it is an id")).expect("it waits");
    assert!(approve(&daemon, &ann(), &view).is_ok());
    daemon.stop();
}

#[test]
fn w08_login_proved_by_cgroup_is_requester() {
    let daemon = started();
    let slice = Slice::of(ANN);
    let asked = asks(&daemon, ANN, Some(&slice));
    let record = newest(&daemon, "asked");
    assert_eq!(
        record["REMIT_LOGINUID"],
        ANN.to_string(),
        "{asked:?} {record}"
    );
    assert!(record["REMIT_LOGINUID_CLAIMED"].is_null(), "{record}");
    let job = record["REMIT_JOB"].as_str().expect("it is a job");
    let view = pending(&daemon, job.parse().expect("it is an id")).expect("it waits");
    let refusal = approve(&daemon, &ann(), &view).expect_err("it is their own");
    assert!(refusal.message.contains("your own change"), "{refusal:?}");
    assert!(approve(&daemon, &bob(), &view).is_ok());
    daemon.stop();
}

/// An approver's own claim about a login can only count against the approver.
#[test]
fn w08_approver_with_requesters_login_is_refused() {
    let daemon = started();
    let view = super::scene::asked(&daemon);
    let digest: String = view
        .digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let script = format!(
        "echo {BOT} >/proc/self/loginuid && exec setpriv --reuid {BOB} --regid {BOB} --groups \
         {SOCKET_GROUP},{ADMIN_GROUP},{OPS} -- \"$@\""
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(daemon.program("remit"));
    command.arg("--runtime").arg(daemon.runtime().dir());
    command.args(["approve", &view.job.to_string(), "--digest", &digest]);
    let output = command.output().expect("sh starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("your own change"),
        "{output:?}"
    );
    assert!(approve(&daemon, &bob(), &view).is_ok());
    daemon.stop();
}
