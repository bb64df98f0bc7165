//! A daemon with commands, and what their tests say again and again.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_common::admin::{AdminReply, AdminRequest, Reloaded, Status};
use remit_common::caps;
use remit_common::client::ClientError;
use remit_common::frame::{self, HEADER, encode};
use remit_common::outcome::JobReport;
use remit_common::refusal::Refusal;
use remit_common::wire::{FromClient, Hello, PROTOCOL, Request, Run};
use remit_tests::caller::Caller;
use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;

/// The file that every daemon of these tests has.
pub const FILE: &str = "config/policy.d/10-test.toml";

/// User A may use every command, user B and root may run anything: that is how a daemon is seen to be well.
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

/// Somebody new who may connect and has no grant: whoever is refused again and again waits for each answer.
pub fn nobody() -> Identity {
    static NEXT: AtomicU32 = AtomicU32::new(66_000);
    Identity::new(NEXT.fetch_add(1, Ordering::Relaxed), &[SOCKET_GROUP])
}

/// A daemon with these commands, all of them granted to user A.
pub fn with(commands: &str) -> Daemon {
    started(Options::default(), commands)
}

/// The same, otherwise as these options say.
pub fn started(options: Options, commands: &str) -> Daemon {
    Daemon::start(Options {
        policy: format!("{commands}\n{GRANTS}"),
        ..options
    })
}

/// A command that prints its arguments, each in brackets, in profile `read`. `args` are lines of the policy.
pub fn prints(name: &str, words: &str, args: &str) -> String {
    format!(
        "[[command]]\nname = \"{name}\"\nsummary = \"prints\"\n\
         argv = [\"/usr/bin/printf\", \"[%s]\", {words}]\neffect = \"read\"\nprofile = \"read\"\n{args}\n"
    )
}

/// Loads the policy again.
pub fn reload(daemon: &Daemon) -> Result<Reloaded, Refusal> {
    match daemon.administer(AdminRequest::Reload) {
        Ok(AdminReply::Reloaded(reloaded)) => Ok(reloaded),
        Ok(AdminReply::Refused(refusal)) | Err(ClientError::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// What the daemon says of itself.
pub fn status(daemon: &Daemon) -> Status {
    match daemon.administer(AdminRequest::Status) {
        Ok(AdminReply::Status(status)) => *status,
        other => panic!("{other:?}"),
    }
}

/// A run of somebody.
pub fn asked(daemon: &Daemon, who: &Identity, run: Run) -> Result<JobReport, Refusal> {
    Caller::new(daemon, who).run(run)
}

/// The status that it ended with.
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

/// The bytes of the answer to one request on a connection of its own.
pub fn answer(daemon: &Daemon, who: &Identity, request: Request) -> Vec<u8> {
    let mut stream = daemon.connect(who).expect("they may connect");
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
