//! Lines on standard error, for whoever keeps the daemon's log. Not the audit.
//!
//! The standard library's own macro ends the process when the reader has gone, and waits when
//! the reader has stopped. Neither may happen to the loop: what is not taken now is not said.

use std::fmt::{Arguments, Write};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A pipe that has room takes this much without waiting (pipe(7), PIPE_BUF).
const LINE: usize = 4096;

/// Says a sentence, each line of it with our name before it. As `eprintln!`, for [`line`].
macro_rules! say {
    ($($text:tt)*) => { $crate::say::lines(format_args!($($text)*)) };
}

/// Writes each line of `text`, cut to what a pipe takes at once, if standard error takes it now.
pub fn lines(text: Arguments<'_>) {
    for line in text.to_string().lines() {
        let mut whole = String::new();
        // Writing to a String cannot fail.
        let _ = write!(whole, "remitd: {line}");
        whole.truncate(whole.floor_char_boundary(LINE - 1));
        whole.push('\n');
        let stderr = std::io::stderr();
        let stderr = std::os::fd::AsFd::as_fd(&stderr);
        let mut room = [PollFd::new(stderr, PollFlags::POLLOUT)];
        if matches!(poll(&mut room, PollTimeout::ZERO), Ok(1)) {
            let _ = nix::unistd::write(stderr, whole.as_bytes());
        }
    }
}
