//! `remit-stranger SOCKET COUNT [FILE]`: sends a descriptor over COUNT connections to a Unix socket. Its last close
//! blocks: it is a TCP socket that lingers for an hour, or FILE. Prints `sent` and waits to be killed. Sender and
//! receiver race for the last close; each connection is another attempt.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use remit_tests::blocking::Lingering;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(socket), Some(count)) = (
        arguments.first(),
        arguments.get(1).and_then(|count| count.parse::<u32>().ok()),
    ) else {
        eprintln!("usage: remit-stranger SOCKET COUNT [FILE]");
        return ExitCode::from(64);
    };
    let file = arguments.get(2).map(String::as_str);
    let sent: Result<Vec<_>, _> = (0..count).map(|_| send(socket, file)).collect();
    match sent {
        Ok(_held) => {
            println!("sent");
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("remit-stranger: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends over one connection. The returned descriptors must stay open.
fn send(socket: &str, file: Option<&str>) -> io::Result<Vec<OwnedFd>> {
    let stream = UnixStream::connect(socket)?;
    let (hangs, mut kept) = match file {
        Some(file) => (OwnedFd::from(File::open(file)?), Vec::new()),
        None => {
            let (hangs, listener) = Lingering::new().into_parts();
            (hangs.into(), vec![listener.into()])
        }
    };
    let raw = [hangs.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let slices = [io::IoSlice::new(b"x")];
    // Newer kernels refuse it; then nothing can block.
    let _ = sendmsg::<()>(
        stream.as_raw_fd(),
        &slices,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
    // Blocks if the receiver has already closed its copy. A separate thread, so the caller continues.
    let _ = std::thread::spawn(move || drop(hangs));
    kept.push(stream.into());
    Ok(kept)
}
