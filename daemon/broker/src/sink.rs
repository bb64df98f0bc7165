//! `remit-broker --sink`: the process that closes sockets for the warden.
//!
//! A stranger may have left a descriptor in a socket of theirs, and its close can wait. The warden has one thread, so it
//! gives such sockets to this process, which may hang. It serves nobody, and is killed when it takes no more.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use remit_link::closer;

use crate::fence;
use crate::identity;

/// Whether this process is to be one.
pub fn is_asked_for() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments
        .next()
        .is_some_and(|first| first.as_bytes() == closer::ARGUMENT.to_bytes())
        && arguments.next().is_none()
}

/// Closes what comes until the warden has gone.
pub fn run() -> ExitCode {
    let closed = closer::sink_socket()
        .map_err(|error| format!("cannot take the socket: {error}"))
        .and_then(|socket| {
            identity::check()?;
            fence::seccomp::restrict()?;
            Ok(socket)
        })
        .and_then(|socket| closer::sink(&socket).map_err(|errno| errno.to_string()));
    match closed {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-broker --sink: {why}");
            ExitCode::FAILURE
        }
    }
}
