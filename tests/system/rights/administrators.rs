//! Administrators are looked up again for each request.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::HistoryQuery;
use remit_common::{caps, frame};
use remit_tests::daemon::Daemon;
use remit_tests::process::Identity;

use super::scene::{ann, asked, bob, pending, reload, started, without, without_ann_in_ops};

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
