//! Lines on standard error, for whoever keeps the daemon's log. Not the audit.
//!
//! The standard library's own macro ends the process when the reader has gone, and waits when
//! the reader has stopped. Neither may happen to the loop: what is not taken now is not said.

use std::fmt::{Arguments, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use crate::audit::Audit;

/// A pipe that has room takes this much without waiting (pipe(7), PIPE_BUF).
const LINE: usize = 4096;

/// How grave a sentence is, as a syslog(3) priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Something does not work until somebody mends it.
    Error = 3,
    /// Somebody should look.
    Warning = 4,
}

/// Says a warning, a line of the log for each line of it. As `eprintln!`, for [`lines`].
macro_rules! say {
    ($($text:tt)*) => { $crate::say::lines($crate::say::Weight::Warning, format_args!($($text)*)) };
}

/// The same, for an error.
macro_rules! say_error {
    ($($text:tt)*) => { $crate::say::lines($crate::say::Weight::Error, format_args!($($text)*)) };
}

/// Writes each line of `text`, cut to what a pipe takes at once, if standard error takes it now.
pub fn lines(weight: Weight, text: Arguments<'_>) {
    let journal = goes_to_journal();
    for line in text.to_string().lines() {
        let whole = whole(journal, weight, line);
        let stderr = std::io::stderr();
        let stderr = stderr.as_fd();
        let mut room = [PollFd::new(stderr, PollFlags::POLLOUT)];
        if matches!(poll(&mut room, PollTimeout::ZERO), Ok(1)) {
            let _ = nix::unistd::write(stderr, whole.as_bytes());
        }
    }
}

/// Says what a record tells already: not where both stand in one journal, line by line.
pub fn beside(trail: &Audit, weight: Weight, text: Arguments<'_>) {
    if trail.sink() != "journald" || !goes_to_journal() {
        lines(weight, text);
    }
}

fn goes_to_journal() -> bool {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    *JOURNAL.get_or_init(is_journal)
}

/// The journal knows who speaks, and takes the priority from the line (sd-daemon(3)); others are
/// told our name.
fn whole(journal: bool, weight: Weight, line: &str) -> String {
    let mut whole = String::new();
    // Writing to a String cannot fail.
    let _ = match journal {
        true => write!(whole, "<{}>{line}", weight as u8),
        false => write!(whole, "remitd: {line}"),
    };
    whole.truncate(whole.floor_char_boundary(LINE - 1));
    whole.push('\n');
    whole
}

/// Whether standard error is the stream that the service manager connected to the journal
/// (systemd.exec(5), JOURNAL_STREAM).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var(JOURNAL_STREAM) else {
        return false;
    };
    fstat(std::io::stderr()).is_ok_and(|meta| stream == format!("{}:{}", meta.st_dev, meta.st_ino))
}

/// The variable that tells device and inode of that stream.
pub const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_journal_its_weight_and_others_our_name() {
        let check = |journal, weight, expect| assert_eq!(whole(journal, weight, "é"), expect);
        check(true, Weight::Error, "<3>é\n");
        check(true, Weight::Warning, "<4>é\n");
        check(false, Weight::Error, "remitd: é\n");
        assert_eq!(whole(false, Weight::Error, &"x".repeat(LINE)).len(), LINE);
    }
}
