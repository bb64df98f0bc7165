//! Tries one way out of a sandbox and prints the kernel's answer. `remit-attack list` prints every attack, `allowed`
//! everything that must work, `strict` and `copy` the differences in those bases, as one JSON object per line.
//! `remit-attack ID [ARGS]` does one attack. `victim` waits to be attacked, `euid` prints the effective uid,
//! `hand-over` connects on behalf of another process.

use std::io::IoSlice;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use remit_tests::attack;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((id, arguments)) = arguments.split_first() else {
        eprintln!("usage: remit-attack list | allowed | strict | copy | ID [ARGS]");
        return ExitCode::from(64);
    };
    match id.as_str() {
        "list" => {
            let attacks = attack::all().chain(attack::hidden::HIDDEN);
            attacks.for_each(|attack| println!("{}", attack.describe()));
        }
        "strict" => attack::strict::describe().for_each(|row| println!("{row}")),
        "copy" => attack::view::describe().for_each(|row| println!("{row}")),
        "allowed" => {
            for check in attack::allowed::all() {
                println!(
                    "{}",
                    serde_json::json!({ "id": check.id, "description": check.what })
                );
            }
        }
        "euid" => println!("{}", nix::unistd::geteuid()),
        "victim" => {
            println!("ready");
            nix::unistd::pause();
        }
        "hand-over" => hand_over(arguments),
        id => {
            let attack = attack::named(id).map(|attack| attack.run);
            let check = || attack::allowed::named(id).map(|check| check.run);
            let Some(run) = attack.or_else(check).or_else(|| attack::pools::probe(id)) else {
                eprintln!("there is no attack '{id}'");
                return ExitCode::from(64);
            };
            println!("{}", attack::report(id, &run(arguments)));
        }
    }
    ExitCode::SUCCESS
}

/// Connects to a socket, and sends the connection to the process at the other end of standard input.
fn hand_over(arguments: &[String]) {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let [socket] = arguments else {
        return eprintln!("usage: remit-attack hand-over SOCKET");
    };
    let sent = UnixStream::connect(socket).and_then(|connection| {
        let descriptors = [connection.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        Ok(sendmsg::<()>(
            0,
            &[IoSlice::new(b"x")],
            &rights,
            MsgFlags::empty(),
            None,
        )?)
    });
    if let Err(error) = sent {
        eprintln!("cannot hand over '{socket}': {error}");
    }
}
