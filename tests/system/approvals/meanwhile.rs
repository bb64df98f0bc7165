//! Events during an approval: its files are hashed again, which takes time.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, other_admin, user_a};
use remit_wire::Run;
use remit_wire::outcome::State;

use super::scene::{POLICY, approve_as, asks, code, deny, does, events, listed, options};

/// The maximum size that is hashed.
const BIG: usize = 64 << 20;

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Slow {
    _dir: Dir,
    daemon: Daemon,
    caller: Caller,
    job: JobId,
    digest: [u8; 32],
}

fn slow() -> Slow {
    slow_of(POLICY)
}

fn slow_of(policy: &str) -> Slow {
    let dir = nix::unistd::mkdtemp("/run/remit-approvals-XXXXXX").expect("/run is root's");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let dir = Dir(dir);
    let big = dir.0.join("big");
    fs::write(&big, vec![7; BIG]).expect("it is ours");
    let argv = format!("/usr/bin/true\", \"{}", big.display());
    let policy = policy.replace("/usr/bin/true", &argv);
    let daemon = Daemon::start(Options {
        policy,
        ..options()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, _) = asks(&mut caller, "all.change", &[]);
    let digest = listed(&daemon, job).digest;
    Slow {
        _dir: dir,
        daemon,
        caller,
        job,
        digest,
    }
}

impl Slow {
    /// Approves it twice. The second approval is refused at once, which proves that the first is still in
    /// progress.
    fn approving(&self) -> UnixStream {
        let socket = self.daemon.runtime().admin_socket();
        let connect = move || {
            admin().adopt().expect("the tests run as root");
            UnixStream::connect(socket).expect("an administrator may connect")
        };
        let mut stream = std::thread::spawn(connect).join().expect("no panic");
        let (job, digest) = (self.job, self.digest);
        let call = AdminCall {
            protocol: ADMIN_PROTOCOL,
            request: AdminRequest::Approve {
                job,
                digest,
                signature: None,
            },
        };
        let bytes = frame::encode(&call, caps::ADMIN_FRAME).expect("it is small");
        stream
            .write_all(&[bytes.clone(), bytes].concat())
            .expect("it is accepted");
        let second = refused(&mut stream);
        assert_eq!(second.code, Code::Busy, "{second:?}");
        assert!(
            second.message.contains("#64005 is approving it just now"),
            "{second:?}"
        );
        stream
    }
}

fn refused(stream: &mut UnixStream) -> Refusal {
    match frame::read(stream, caps::ADMIN_FRAME).expect("an answer comes") {
        AdminReply::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_approval_is_carried_out_at_a_time() {
    let mut slow = slow();
    let mut stream = slow.approving();
    match frame::read(&mut stream, caps::ADMIN_FRAME).expect("an answer comes") {
        AdminReply::Done(text) => assert!(text.contains("has started"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(slow.caller.end_of(slow.job).state, State::Exited);
    let kinds = events(&slow.daemon, slow.job);
    assert_eq!(kinds, ["asked", "approved", "intent", "end"]);
    slow.daemon.stop();
}

/// Both are needed: the one who comes too early gets "busy".
#[test]
fn second_of_two_people_approves_after_the_first() {
    let by = r##"by = ["#64005", "%#64400", "#64001", "#64008"]"##;
    let mut slow = slow_of(&POLICY.replace(by, r##"by = ["#64005", "#64006"], count = 2"##));
    let mut stream = slow.approving();
    let second = || approve_as(&slow.daemon, &other_admin(), slow.job, slow.digest);
    let early = second().expect_err("the first is in progress");
    assert_eq!(early.code, Code::Busy, "{early:?}");
    let next = early.next.unwrap_or_default();
    assert!(next.starts_with("approve it again"), "{next}");
    match frame::read(&mut stream, caps::ADMIN_FRAME).expect("an answer comes") {
        AdminReply::Counted { missing, .. } => assert_eq!(missing, 1),
        other => panic!("{other:?}"),
    }
    assert!(second().expect("it is the last").contains("has started"));
    assert_eq!(slow.caller.end_of(slow.job).state, State::Exited);
    slow.daemon.stop();
}

#[test]
fn a_denial_overtakes_an_approval() {
    let mut slow = slow();
    let mut stream = slow.approving();
    deny(&slow.daemon, &other_admin(), slow.job, "wait").expect("an administrator can");
    let first = refused(&mut stream);
    assert_eq!(first.code, Code::ApprovalDenied, "{first:?}");
    let report = slow.caller.end_of(slow.job);
    assert_eq!(
        (report.state, code(&report)),
        (State::Denied, "approval_denied")
    );
    assert_eq!(events(&slow.daemon, slow.job), ["asked", "denied"]);
    slow.daemon.stop();
}

#[test]
fn denial_on_same_connection_overrides_running_approval() {
    let mut slow = slow();
    let mut stream = slow.approving();
    let (job, why) = (slow.job, "no".to_owned());
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request: AdminRequest::Deny { job, why },
    };
    let bytes = frame::encode(&call, caps::ADMIN_FRAME).expect("it is small");
    stream.write_all(&bytes).expect("it is accepted");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("it is a socket");
    let first = refused(&mut stream);
    assert_eq!(first.code, Code::ApprovalDenied, "{first:?}");
    match frame::read(&mut stream, caps::ADMIN_FRAME).expect("an answer comes") {
        AdminReply::Done(text) => assert!(text.contains("denied"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(code(&slow.caller.end_of(job)), "approval_denied");
    slow.daemon.stop();
}

#[test]
fn a_lock_overtakes_an_approval() {
    let mut slow = slow();
    let mut stream = slow.approving();
    let (why, kill) = ("incident 7".to_owned(), false);
    let _ = does(&slow.daemon, AdminRequest::Lock { why, kill });
    let first = refused(&mut stream);
    assert_eq!(first.code, Code::ApprovalVoid, "{first:?}");
    let _ = does(&slow.daemon, AdminRequest::Unlock);
    let report = slow.caller.end_of(slow.job);
    assert_eq!(code(&report), "approval_void");
    assert_eq!(events(&slow.daemon, slow.job), ["asked", "void"]);
    slow.daemon.stop();
}

/// Whichever comes second is refused while the first is examined.
#[test]
fn lock_refuses_a_request_that_is_examined() {
    let dir = nix::unistd::mkdtemp("/run/remit-approvals-XXXXXX").expect("/run is root's");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let dir = Dir(dir);
    let files = ["a", "b", "c", "d"].map(|name| {
        let path = dir.0.join(name);
        let file = fs::File::create(&path).expect("it is ours");
        file.set_len(BIG as u64).expect("it is ours");
        format!("\", \"{}", path.display())
    });
    let argv = format!("/usr/bin/true{}", files.concat());
    let daemon = Daemon::start(Options {
        policy: POLICY.replace("/usr/bin/true", &argv),
        ..options()
    });
    let request = Run {
        request_id: Some("once".to_owned()),
        ..at_once(change("all.change", &[]))
    };
    let (answers, answered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for mut caller in [0; 2].map(|_| Caller::new(&daemon, &user_a())) {
            let (answers, request) = (answers.clone(), request.clone());
            scope.spawn(move || answers.send(caller.run(request)).expect("somebody listens"));
        }
        let next = || answered.recv().expect("it is answered");
        let second = next().expect_err("the first is examined");
        assert_eq!(second.code, Code::Busy, "{second:?}");
        let (why, kill) = ("incident 7".to_owned(), false);
        let _ = does(&daemon, AdminRequest::Lock { why, kill });
        let _ = does(&daemon, AdminRequest::Unlock);
        let first = next().expect_err("it came before the lock");
        assert_eq!(first.code, Code::Locked, "{first:?}");
    });
    assert_eq!(daemon.status().pending, 0);
    daemon.stop();
}

#[test]
fn withdrawal_by_requester_beats_running_approval() {
    let mut slow = slow();
    let mut stream = slow.approving();
    slow.caller.stop(slow.job).expect("it is theirs");
    let _ = refused(&mut stream);
    assert_eq!(slow.caller.end_of(slow.job).state, State::Cancelled);
    assert_eq!(events(&slow.daemon, slow.job), ["asked", "end"]);
    slow.daemon.stop();
}

#[test]
fn approver_disconnect_keeps_approval() {
    let mut slow = slow();
    drop(slow.approving());
    assert_eq!(slow.caller.end_of(slow.job).state, State::Exited);
    slow.daemon.stop();
}

#[test]
fn broker_death_does_not_stop_approved_request() {
    let slow = slow();
    let mut stream = slow.approving();
    let broker = slow.daemon.broker().expect("there is one");
    let killed = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(broker), killed).expect("it is ours");
    let reply = frame::read(&mut stream, caps::ADMIN_FRAME).expect("an answer comes");
    assert!(matches!(reply, AdminReply::Done(_)), "{reply:?}");
    let mut caller = Caller::new(&slow.daemon, &user_a());
    assert_eq!(caller.end_of(slow.job).state, State::Exited);
    assert_eq!(slow.daemon.status().pending, 0);
    slow.daemon.stop();
}

const FEEDS: &str = r#"
[[command]]
name = "site.feed"
summary = "passes on what it reads"
argv = ["/usr/bin/cat"]
effect = "change"
profile = "strict"
stdin = "caller"
"#;

fn connects(daemon: &Daemon) -> UnixStream {
    let socket = daemon.runtime().admin_socket();
    let connect = move || {
        admin().adopt().expect("the tests run as root");
        UnixStream::connect(socket).expect("the kernel lets them in")
    };
    let connected = std::thread::spawn(connect).join();
    connected.expect("connecting does not panic")
}

/// Reads a part of a request. Returns how many bytes are left.
fn part(stream: &mut UnixStream) -> u64 {
    match frame::read(stream, caps::ADMIN_FRAME) {
        Ok(AdminReply::Shown { left, .. }) => left,
        other => panic!("no part of the request: {other:?}"),
    }
}

#[test]
fn shown_request_is_not_cut_off_for_newer_connections() {
    let daemon = Daemon::start(Options {
        policy: format!("{POLICY}{FEEDS}"),
        ..options()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller
        .run(at_once(Run {
            stdin: Some(vec![b'x'; caps::STDIN].into()),
            ..change("site.feed", &[])
        }))
        .expect("it may be asked for");
    let mut slow = connects(&daemon);
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request: AdminRequest::Show {
            id: report.job.to_string(),
        },
    };
    frame::write(&mut slow, &call, caps::ADMIN_FRAME).expect("it is open");
    let mut left = part(&mut slow);
    assert!(left > 512 << 10, "a socket holds no such rest");
    // More than one user may have. The oldest that waits for nothing goes.
    let mut idle = connects(&daemon);
    let limit = Some(Duration::from_secs(60));
    idle.set_read_timeout(limit).expect("it is a socket");
    let newer: Vec<UnixStream> = (0..70).map(|_| connects(&daemon)).collect();
    assert_eq!(idle.read(&mut [0]).expect("it is closed in time"), 0);
    while left > 0 {
        left = part(&mut slow);
    }
    drop(newer);
    daemon.stop();
}
