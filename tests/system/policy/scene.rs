//! A daemon with commands, and shared helpers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_common::admin::{AdminReply, AdminRequest, Reloaded};
use remit_common::caps;
use remit_common::frame::{self, HEADER, encode};
use remit_common::refusal::Refusal;
use remit_tests::caller::Caller;
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;
use remit_wire::client::ClientError;
use remit_wire::outcome::JobReport;
use remit_wire::{FromClient, Hello, PROTOCOL, Request, Run};

pub const FILE: &str = "config/policy.d/10-test.toml";

/// User A may use every command. User B and root may run anything, as `is_well` needs.
pub const GRANTS: &str = r##"
[[grant]]
name = "commands"
to = ["#64001"]
allow = ["*"]
effect = "change"

[[grant]]
name = "others"
to = ["#0", "#64002"]
allow = ["run"]
"##;

/// A new user who may connect and has no grant, because repeated refusals of one user are delayed.
pub fn ungranted_user() -> Identity {
    static NEXT: AtomicU32 = AtomicU32::new(66_000);
    Identity::new(NEXT.fetch_add(1, Ordering::Relaxed), &[SOCKET_GROUP])
}

pub fn with(commands: &str) -> Daemon {
    started(Options::default(), commands)
}

pub fn started(options: Options, commands: &str) -> Daemon {
    Daemon::start(Options {
        policy: format!("{commands}\n{GRANTS}"),
        ..options
    })
}

pub fn prints(name: &str, words: &str, args: &str) -> String {
    format!(
        "[[command]]\nname = \"{name}\"\nsummary = \"prints\"\n\
         argv = [\"/usr/bin/printf\", \"[%s]\", {words}]\neffect = \"read\"\nprofile = \"read\"\n{args}\n"
    )
}

pub fn reload(daemon: &Daemon) -> Result<Reloaded, Refusal> {
    match daemon.administer(AdminRequest::Reload) {
        Ok(AdminReply::Reloaded(reloaded)) => Ok(reloaded),
        Ok(AdminReply::Refused(refusal)) | Err(ClientError::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

pub fn asked(daemon: &Daemon, user: &Identity, run: Run) -> Result<JobReport, Refusal> {
    Caller::new(daemon, user).run(run)
}

pub fn exit(report: &JobReport) -> Option<i32> {
    report.ending.as_ref().and_then(|ending| ending.exit)
}

fn read_frame(stream: &mut UnixStream) -> Vec<u8> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).expect("the daemon answers");
    let length = frame::header(header, caps::FRAME).expect("it is a frame");
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("the daemon answers");
    bytes
}

pub fn answer(daemon: &Daemon, user: &Identity, request: Request) -> Vec<u8> {
    let mut stream = daemon.connect(user).expect("they may connect");
    for message in [
        FromClient::Hello(Hello {
            protocol: PROTOCOL,
            client: "somebody".into(),
        }),
        FromClient::Call { id: 7, request },
    ] {
        let bytes = encode(&message, caps::FRAME).expect("it is short");
        stream.write_all(&bytes).expect("the daemon reads");
    }
    let _welcome = read_frame(&mut stream);
    read_frame(&mut stream)
}
