//! Administrators are looked up again for each request, and approvers at the moment of the approval.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};
use remit_tests::caller::{Caller, at_once, cause, change};
use remit_tests::daemon::{Daemon, Options};
use remit_tests::process::Identity;
use remit_wire::HistoryQuery;
use remit_wire::outcome::State;

use super::scene::{
    POLICY, accounts, ann, approve, asked, bob, bot, newest, options, pending, reload, started,
    until, without, without_ann_in_ops,
};

fn lock() -> AdminRequest {
    AdminRequest::Lock {
        why: "under attack".into(),
        kill: false,
    }
}

fn requests(job: JobId) -> Vec<AdminRequest> {
    vec![
        AdminRequest::Unlock,
        AdminRequest::Lock {
            why: "x".into(),
            kill: true,
        },
        AdminRequest::Reload,
        AdminRequest::Doctor,
        AdminRequest::Status,
        AdminRequest::Jobs { limit: 9 },
        AdminRequest::Stop { job, signal: None },
        AdminRequest::Pending { seen: None },
        AdminRequest::Show {
            id: job.to_string(),
        },
        AdminRequest::Deny {
            job,
            why: "x".into(),
        },
        AdminRequest::Grants,
        AdminRequest::Revoke { grant: None },
        AdminRequest::History {
            user: None,
            query: HistoryQuery::default(),
        },
        AdminRequest::AuditHead,
    ]
}

#[test]
fn a06_old_login_of_removed_administrator_has_no_rights() {
    let mut daemon = started();
    let view = asked(&daemon);
    let gone = [
        without_ann_in_ops(),
        without("ann", None),
        without("ann", Some("eve")),
    ];
    for accounts in gone {
        daemon.set_accounts(accounts);
        reload(&daemon);
        for request in requests(view.job) {
            let refusal = daemon.administers(&ann(), request.clone());
            let refusal = refusal.expect_err("ann administers nothing");
            assert_eq!(refusal.code, Code::DeniedRule, "{request:?} {refusal:?}");
        }
    }
    assert!(pending(&daemon, view.job).is_some(), "nothing came of it");
    let _ = daemon.administers(&bob(), lock()).expect("bob administers");
    assert!(daemon.administers(&ann(), AdminRequest::Unlock).is_err());
    assert!(matches!(
        daemon.administers(&bob(), AdminRequest::Unlock),
        Ok(AdminReply::Done(said)) if said == "unlocked"
    ));
    daemon.stop();
}

/// No reload, and the connection was made while ann was an administrator.
#[test]
fn a06_an_open_connection_is_no_right() {
    let mut daemon = started();
    let mut stream = connects(&daemon, ann());
    assert!(ask(&mut stream, AdminRequest::Status).is_ok());
    daemon.set_accounts(without_ann_in_ops());
    for request in [lock(), AdminRequest::Status] {
        let refusal = ask(&mut stream, request).expect_err("ann is none now");
        assert!(refusal.message.contains("no longer"), "{refusal:?}");
    }
    assert!(ask(&mut connects(&daemon, bob()), AdminRequest::Unlock).is_ok());
    assert!(daemon.records("lock").is_empty());
    daemon.stop();
}

fn connects(daemon: &Daemon, identity: Identity) -> UnixStream {
    let socket = daemon.runtime().admin_socket();
    let connect = move || {
        identity.adopt().expect("the tests run as root");
        UnixStream::connect(socket).expect("the kernel lets them in")
    };
    let connected = std::thread::spawn(connect).join();
    connected.expect("connecting does not panic")
}

fn ask(stream: &mut UnixStream, request: AdminRequest) -> Result<AdminReply, Refusal> {
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request,
    };
    let bytes = frame::encode(&call, caps::ADMIN_FRAME).expect("it is short");
    stream.write_all(&bytes).expect("it is open");
    reads(stream)
}

fn reads(stream: &mut UnixStream) -> Result<AdminReply, Refusal> {
    let mut field = [0; frame::HEADER];
    stream.read_exact(&mut field).expect("there is an answer");
    let length = frame::header(field, caps::ADMIN_FRAME).expect("it is short");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("it is whole");
    match frame::decode(&body).expect("it is an answer") {
        AdminReply::Refused(refusal) => Err(refusal),
        reply => Ok(reply),
    }
}

#[test]
fn w07_an_old_login_approves_nothing() {
    let mut daemon = started();
    let view = asked(&daemon);
    daemon.set_accounts(without_ann_in_ops());
    // ann's process still has both groups, and reaches admin.sock.
    let refusal = approve(&daemon, &ann(), &view).expect_err("ann has lost the groups");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(refusal.message.contains("no longer"), "{refusal:?}");
    assert_eq!(newest(&daemon, "refusal")["REMIT_USER"], "ann");
    assert!(pending(&daemon, view.job).is_some(), "it waits for others");
    assert!(approve(&daemon, &bob(), &view).is_ok());
    daemon.stop();
}

#[test]
fn w07_a_removed_account_approves_nothing() {
    let mut daemon = started();
    let view = asked(&daemon);
    for next in [None, Some("eve")] {
        daemon.set_accounts(without("ann", next));
        let refusal = approve(&daemon, &ann(), &view).expect_err("that is not ann");
        assert_eq!(refusal.code, Code::DeniedRule, "{next:?} {refusal:?}");
    }
    // The policy is unchanged, because all its names still mean the same.
    assert!(pending(&daemon, view.job).is_some());
    daemon.set_accounts(accounts());
    assert!(approve(&daemon, &ann(), &view).is_ok());
    daemon.stop();
}

/// An approved job that waits for a slot runs only while its approver could still approve it.
#[test]
fn w14_approver_rights_are_rechecked_at_start() {
    let mut daemon = Daemon::start(Options {
        jobs: 1,
        policy: format!("{POLICY}\n{HOLDS}"),
        ..options()
    });
    let mut not_in_ops = accounts();
    for (name, _, members) in &mut not_in_ops.groups {
        members.retain(|member| *name != "ops" || *member != "ann");
    }
    for (now, why) in [
        (accounts(), None),
        (without_ann_in_ops(), Some("no longer in the group")),
        (not_in_ops, Some("no longer one of %ops, bob")),
        (without("ann", Some("eve")), Some("is 'eve' now")),
    ] {
        daemon.set_accounts(accounts());
        let mut other = Caller::new(&daemon, &bob());
        let holder = other.run(at_once(change("slot.hold", &[])));
        let holder = holder.expect("bob may").job;
        let view = asked(&daemon);
        let _ = approve(&daemon, &ann(), &view).expect("ann can");
        daemon.set_accounts(now);
        let _ = other.stop(holder).expect("it is bob's");
        let end = Caller::new(&daemon, &bot()).end_of(view.job);
        match why {
            None => assert_eq!(end.state, State::Exited, "{end:?}"),
            Some(why) => {
                assert_eq!(end.state, State::Denied, "{end:?}");
                let cause = cause(&end);
                assert!(cause.contains("its approver could no longer"), "{cause}");
                assert!(cause.contains(why), "{cause}");
            }
        }
    }
    daemon.stop();
}

const HOLDS: &str = r##"
[[command]]
name = "slot.hold"
summary = "waits"
argv = ["/usr/bin/sleep", "60"]
effect = "change"
profile = "strict"

[[grant]]
to = ["bob"]
allow = ["slot.hold"]
"##;

#[test]
fn w07_connections_of_administrators_end_with_their_groups() {
    let mut daemon = started();
    let (mut of_ann, mut of_bob) = (connects(&daemon, ann()), connects(&daemon, bob()));
    reload(&daemon);
    assert!(is_open(&mut of_ann) && is_open(&mut of_bob));
    daemon.set_accounts(without_ann_in_ops());
    reload(&daemon);
    until("ann's connection ends", || !is_open(&mut of_ann));
    assert!(is_open(&mut of_bob));
    daemon.stop();
}

fn asks_for_change(stream: &mut UnixStream, state: u64) {
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request: AdminRequest::Pending { seen: Some(state) },
    };
    let bytes = frame::encode(&call, caps::ADMIN_FRAME).expect("it is short");
    stream.write_all(&bytes).expect("it is open");
}

fn list(reply: Result<AdminReply, Refusal>) -> (u64, Vec<JobId>) {
    match reply.expect("they administer remit") {
        AdminReply::Pending {
            state, requests, ..
        } => (state, requests.iter().map(|one| one.job).collect()),
        other => panic!("{other:?}"),
    }
}

/// Nothing is reloaded, and the list was asked for while ann was an administrator.
#[test]
fn w07_list_is_not_sent_after_the_group_is_lost() {
    let mut daemon = started();
    let (mut of_ann, mut of_bob) = (connects(&daemon, ann()), connects(&daemon, bob()));
    let first = asked(&daemon).job;
    let mut state = 0;
    for stream in [&mut of_ann, &mut of_bob] {
        let (now, jobs) = list(ask(stream, AdminRequest::Pending { seen: None }));
        assert_eq!(jobs, [first]);
        asks_for_change(stream, now);
        state = now;
    }
    // Each gets the next one, as long as both are administrators.
    let second = asked(&daemon).job;
    for stream in [&mut of_ann, &mut of_bob] {
        let (now, jobs) = list(reads(stream));
        assert!(now > state && jobs == [first, second], "{jobs:?}");
        asks_for_change(stream, now);
    }
    // A request on the same connection is looked up before the group is lost: that look-up is not one for the list.
    assert!(ask(&mut of_ann, AdminRequest::Status).is_ok());
    daemon.set_accounts(without_ann_in_ops());
    let third = asked(&daemon).job;
    let (_, jobs) = list(reads(&mut of_bob));
    assert_eq!(jobs, [first, second, third]);
    let refusal = reads(&mut of_ann).expect_err("ann administers nothing");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(
        refusal.message.contains("no longer an administrator"),
        "{refusal:?}"
    );
    assert_eq!(of_ann.read(&mut [0; 1]).expect("it is closed"), 0);
    assert_eq!(newest(&daemon, "refusal")["REMIT_USER"], "ann");
    daemon.stop();
}

/// `remit pending --watch` ends, and says why.
#[test]
fn w07_watch_ends_with_the_group() {
    let mut daemon = started();
    let first = asked(&daemon).job;
    let mut watch = Command::new(daemon.program("remit"));
    watch.arg("--runtime").arg(daemon.runtime().dir());
    watch.args(["pending", "--watch"]).stdin(Stdio::null());
    watch.stdout(Stdio::piped()).stderr(Stdio::piped());
    ann().runs(&mut watch);
    let mut watch = watch.spawn().expect("it starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("it is a pipe")).lines();
    let has = |line: &str, job: JobId| line.replace('-', "").contains(&job.short());
    assert!(
        lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| has(&line, first))
    );
    daemon.set_accounts(without_ann_in_ops());
    let second = asked(&daemon).job;
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(rest.iter().all(|line| !has(line, second)), "{rest:?}");
    let done = watch.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "{said}");
    assert!(
        said.contains("you are no longer an administrator of remit"),
        "{said}"
    );
    daemon.stop();
}

fn is_open(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).expect("it is a socket");
    let read = stream.read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
