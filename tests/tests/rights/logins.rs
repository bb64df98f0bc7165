//! A login uid counts where something proves it.

use std::process::{Command, Output};

use remit_tests::daemon::{ADMIN_GROUP, Daemon, SOCKET_GROUP};
use remit_tests::login::Slice;

use super::scene::{AGENTS, ANN, BOB, BOT, OPS, ann, approve, bob, newest, pending, started};

/// bot asks for a change, with a login uid that it has set; in this cgroup.
fn asks(daemon: &Daemon, login: u32, slice: Option<&Slice>) -> Output {
    let enter = slice.map_or_else(String::new, |slice| {
        format!("echo 0 >{} && ", slice.procs().display())
    });
    // A login uid may be set once, so it is unset again: for that one must be root.
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

/// The same login where the cgroup proves it: the same person approves nothing.
#[test]
fn w08_a_login_that_its_cgroup_proves_is_who_asks() {
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
    assert!(refusal.message.contains("their own"), "{refusal:?}");
    assert!(approve(&daemon, &bob(), &view).is_ok());
    daemon.stop();
}

/// What an approver says of a login counts against them alone.
#[test]
fn w08_an_approver_who_says_that_the_requester_logged_in_approves_nothing() {
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
        !output.status.success() && said.contains("their own"),
        "{output:?}"
    );
    assert!(approve(&daemon, &bob(), &view).is_ok());
    daemon.stop();
}
