//! Accounts that are not in /etc/passwd but in a directory service; uids without an account, because subordinate uids
//! give one user thousands of uids; and login uids, which count only if something proves them. A client that connects
//! and exits at once is recorded by its uid.

use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use remit_common::hex::hex;
use remit_common::refusal::Code;
use remit_tests::accounts::Accounts;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP};
use remit_tests::process::{Identity, Slice};
use remit_wire::client::ClientError;

use super::scene::{
    AGENTS, ANN, BOB, BOT, OPS, accounts, ann, approve, asked, bob, give_as, grants, newest,
    options, pending, runs, started, to_bot, until,
};

fn in_directory() -> Accounts {
    let mut accounts = accounts();
    let (there, here) = accounts
        .users
        .into_iter()
        .partition(|(name, _)| *name != "bob");
    (accounts.directory, accounts.users) = (there, here);
    accounts
}

fn with(accounts: Accounts) -> Daemon {
    Daemon::start(Options {
        accounts: Some(accounts),
        ..options()
    })
}

#[test]
fn w09_an_account_of_a_directory_asks_and_approves() {
    let mut daemon = with(in_directory());
    let view = asked(&daemon);
    let record = newest(&daemon, "asked");
    assert_eq!(record["REMIT_USER"], "bot", "{record}");
    assert!(approve(&daemon, &ann(), &view).is_ok());
    assert_eq!(newest(&daemon, "approved")["REMIT_APPROVER"], "ann");
    let _ = give_as(&daemon, &ann(), to_bot("site.*")).expect("ann can approve it");
    assert_eq!(grants(&daemon)[0].by, "ann");
    assert!(runs(&daemon));
    let mut now = in_directory();
    now.directory.retain(|(name, _)| *name != "ann");
    daemon.set_accounts(now);
    assert!(!runs(&daemon));
    let view = asked(&daemon);
    assert!(approve(&daemon, &ann(), &view).is_err());
    daemon.stop();
}

/// A uid with two names uses the first one, as in the whole system.
#[test]
fn w09_an_account_with_two_names_asks() {
    let mut accounts = accounts();
    accounts.users.push(("robot", BOT));
    let daemon = with(accounts);
    let view = asked(&daemon);
    assert_eq!(newest(&daemon, "asked")["REMIT_USER"], "bot");
    assert!(approve(&daemon, &ann(), &view).is_ok());
    daemon.stop();
}

#[test]
fn w09_uid_without_account_is_named_by_number() {
    let daemon = started();
    let stranger = Identity::new(64_600, &[SOCKET_GROUP]);
    assert!(daemon.client(&stranger).is_err(), "it is nobody's");
    assert_eq!(newest(&daemon, "refusal")["REMIT_USER"], "#64600");
    daemon.stop();
}

const POLICY: &str = "[[grant]]\nto = [\"%agents\", \"#64601\"]\nallow = [\"run\"]\napproval = \"none\"\n\
                      [[deny]]\nto = [\"bot\"]\ndeny = [\"run\"]\n";

/// State after newuidmap(1) and setresuid(2): the uid changes, the groups stay.
#[test]
fn a01_a_uid_without_an_account_is_refused() {
    let daemon = Daemon::start(Options {
        policy: POLICY.to_owned(),
        ..options()
    });
    let groups = [SOCKET_GROUP, AGENTS];
    let refusal = Caller::new(&daemon, &Identity::new(BOT, &groups)).run(argv(&["true"]));
    assert!(refusal.is_err(), "a rule denies it to bot");
    for uid in [200_000, 200_001, 2_000_000_000] {
        let mut user = Identity::new(uid, &groups);
        // The primary group stays as well.
        user.gid = BOT;
        match daemon.client(&user) {
            Err(ClientError::Refused(refusal)) => {
                assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
                assert!(refusal.message.contains("has no account"), "{refusal:?}");
            }
            other => panic!("{uid}: {other:?}"),
        }
        let record = daemon.records("refusal").pop().expect("it is recorded");
        assert_eq!(record["REMIT_USER"], format!("#{uid}"), "{record}");
    }
    let mut user = Identity::new(200_002, &[SOCKET_GROUP, ADMIN_GROUP, OPS]);
    user.gid = ANN;
    let refusal = daemon.administers(&user, remit_common::admin::AdminRequest::Status);
    let refusal = refusal.expect_err("it has no account");
    assert!(refusal.message.contains("has no account"), "{refusal:?}");
    let named = Identity::new(64_601, &[SOCKET_GROUP]);
    let report = Caller::new(&daemon, &named).run(argv(&["true"]));
    assert!(report.is_ok(), "{report:?}");
    daemon.stop();
}

/// A user can have thousands of uids without an account: what is recorded of all of them is bounded as for one user.
#[test]
fn a01_uids_without_an_account_share_one_budget_of_records() {
    let daemon = Daemon::start(Options {
        policy: POLICY.to_owned(),
        ..options()
    });
    for uid in 200_000..200_010 {
        let mut user = Identity::new(uid, &[SOCKET_GROUP]);
        user.gid = BOT;
        for _ in 0..200 {
            assert!(daemon.client(&user).is_err(), "it has no account");
        }
    }
    let file = daemon.path().join("state/audit.jsonl");
    let bytes = std::fs::metadata(&file).expect("it is there").len();
    assert!((100_000..900_000).contains(&bytes), "{bytes}");
    let mut caller = Caller::new(&daemon, &Identity::new(BOT, &[SOCKET_GROUP, AGENTS]));
    assert!(
        caller.run(argv(&["true"])).is_err(),
        "a rule denies it to bot"
    );
    let record = newest(&daemon, "refusal");
    assert_eq!(record["REMIT_USER"], "bot", "{record}");
    daemon.stop();
}

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
    let view = asked(&daemon);
    let digest = hex(&view.digest);
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

#[test]
fn w16_refusal_of_ended_process_names_uid() {
    const UID: u32 = 64_777;
    let daemon = started();
    let socket = daemon.runtime().socket();
    // A stopped daemon accepts no connection.
    daemon.signal(nix::sys::signal::Signal::SIGSTOP);
    let me = std::env::current_exe().expect("it has a path");
    // This module without the name of its crate.
    let (_, module) = module_path!().split_once("::").expect("it is a module");
    for _ in 0..3 {
        let mut command = Command::new(&me);
        command
            .args(["--nocapture", "--exact"])
            .arg(format!("{module}::connects_and_ends"))
            .env("REMIT_TEST_CONNECTS", &socket);
        Identity::new(UID, &[SOCKET_GROUP]).runs(&mut command);
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("connected"), "{output:?}");
    }
    daemon.signal(nix::sys::signal::Signal::SIGCONT);
    until("three are refused", || daemon.records("refusal").len() >= 3);
    for record in daemon.records("refusal") {
        assert_eq!(record["REMIT_UID"], UID.to_string(), "{record}");
        assert_eq!(record["REMIT_PEER"], "gone", "{record}");
        assert!(record["MESSAGE"].to_string().contains("#64777"), "{record}");
    }
    daemon.stop();
}

/// Helper that the test above executes; does nothing by itself.
#[test]
fn connects_and_ends() {
    if let Ok(socket) = std::env::var("REMIT_TEST_CONNECTS") {
        drop(UnixStream::connect(socket).expect("it listens"));
        println!("connected");
    }
}
