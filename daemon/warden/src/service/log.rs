//! Writes log lines to standard error. This is not the audit log. `eprintln!` ends the process if the reader has
//! gone, and blocks if the reader has stopped. The loop allows neither: a line that cannot be written now is dropped.

use std::fmt::{Arguments, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use crate::audit::Audit;
use crate::service::program::JOURNAL_STREAM;

/// A pipe that has space takes this many bytes without blocking (pipe(7), PIPE_BUF).
const LINE: usize = 4096;

/// Severity, as a syslog(3) priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Error = 3,
    Warning = 4,
}

/// Logs a warning, one log line for each line of it. Takes arguments as `eprintln!` does.
macro_rules! say {
    ($($text:tt)*) => { $crate::service::log::lines($crate::service::log::Weight::Warning, format_args!($($text)*)) };
}

macro_rules! say_error {
    ($($text:tt)*) => { $crate::service::log::lines($crate::service::log::Weight::Error, format_args!($($text)*)) };
}

/// Writes each line of `text` if standard error takes it now. Truncates it to what a pipe takes at once.
pub fn lines(weight: Weight, text: Arguments<'_>) {
    let journal = goes_to_journal();
    for line in text.to_string().lines() {
        let whole = whole(journal, weight, line);
        let stderr = std::io::stderr();
        let stderr = stderr.as_fd();
        let mut writable = [PollFd::new(stderr, PollFlags::POLLOUT)];
        if matches!(poll(&mut writable, PollTimeout::ZERO), Ok(1)) {
            let _ = nix::unistd::write(stderr, whole.as_bytes());
        }
    }
}

/// Logs what an audit record already says, unless both would go to the same journal.
pub fn beside(audit: &Audit, weight: Weight, text: Arguments<'_>) {
    if audit.sink() != "journald" || !goes_to_journal() {
        lines(weight, text);
    }
}

fn goes_to_journal() -> bool {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    *JOURNAL.get_or_init(is_journal)
}

/// The journal knows the sender and takes the priority from the line (sd-daemon(3)). Others get the daemon's name.
fn whole(journal: bool, weight: Weight, line: &str) -> String {
    let mut whole = String::new();
    let _ = match journal {
        true => write!(whole, "<{}>{line}", weight as u8),
        false => write!(whole, "remitd: {line}"),
    };
    whole.truncate(whole.floor_char_boundary(LINE - 1));
    whole.push('\n');
    whole
}

/// Returns whether the service manager connected standard error to the journal (systemd.exec(5), JOURNAL_STREAM).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var(JOURNAL_STREAM) else {
        return false;
    };
    fstat(std::io::stderr()).is_ok_and(|meta| stream == format!("{}:{}", meta.st_dev, meta.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_line_has_weight_other_line_has_name() {
        let check = |journal, weight, expect| assert_eq!(whole(journal, weight, "é"), expect);
        check(true, Weight::Error, "<3>é\n");
        check(true, Weight::Warning, "<4>é\n");
        check(false, Weight::Error, "remitd: é\n");
        assert_eq!(whole(false, Weight::Error, &"x".repeat(LINE)).len(), LINE);
    }
}
