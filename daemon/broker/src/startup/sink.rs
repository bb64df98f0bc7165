//! `remit-broker --sink`: a process that closes sockets for the warden. An untrusted client can leave a file
//! descriptor in its socket whose close blocks. The warden has one thread, so it passes such sockets to this
//! process, which may block. It serves no clients, and the warden kills it if it takes no more.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use remit_link::closer;

use crate::confine_self;
use crate::privileges;

pub fn is_asked_for() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments
        .next()
        .is_some_and(|first| first.as_bytes() == closer::ARGUMENT.to_bytes())
        && arguments.next().is_none()
}

pub fn run() -> ExitCode {
    let closed = closer::sink_socket()
        .map_err(|error| format!("cannot take the socket: {error}"))
        .and_then(|socket| {
            privileges::check()?;
            confine_self::seccomp::restrict()?;
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
