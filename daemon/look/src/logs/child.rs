//! Starts one journalctl(1) and reads its lines. Values of a request are part of `--name=value`, so never an option.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::builtin::LogQuery;
use remit_common::text;

/// Maximum bytes of an entry's line. The rest of a longer line is skipped.
const LINE: usize = 1 << 20;
const COMPLAINT: u64 = 4096;

pub struct Journal {
    child: Child,
    out: BufReader<ChildStdout>,
    complaint: JoinHandle<Vec<u8>>,
    /// The output was read to its end. Only then the exit status is meaningful.
    whole: bool,
    patience: Duration,
    end: Instant,
    /// The time was over before the end: older entries were not looked at.
    is_cut: bool,
}

impl Journal {
    /// Starts journalctl. Input and output times are UTC. It is read for as long as `patience`: it may have to go through
    /// millions of entries, and those that it found first are lost at the end of the job's time.
    pub fn ask(options: &[String], patience: Duration) -> Result<Self, String> {
        let mut command = Command::new("journalctl");
        command.args(options).env("TZ", "UTC");
        Self::start(&mut command, patience)
    }

    pub fn start(command: &mut Command, patience: Duration) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run journalctl: {error}"))?;
        let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("journalctl came without its pipes".into());
        };
        // A separate thread reads standard error, because a full pipe would block journalctl.
        let complaint = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = err.by_ref().take(COMPLAINT).read_to_end(&mut said);
            let _ = io::copy(&mut err, &mut io::sink());
            said
        });
        Ok(Self {
            child,
            out: BufReader::with_capacity(64 << 10, out),
            complaint,
            whole: false,
            patience,
            end: Instant::now() + patience,
            is_cut: false,
        })
    }

    /// Returns false if the time is over before there is output, or its end.
    fn is_in_time(&self) -> Result<bool, String> {
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.out.buffer().is_empty() {
                return Ok(!left.is_zero());
            }
            let mut out = [PollFd::new(self.out.get_ref().as_fd(), PollFlags::POLLIN)];
            match poll(
                &mut out,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            ) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(unreadable(errno.into())),
            }
        }
    }

    /// Returns the next line, newest entry first, or none at the end of the output or the time.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let mut any = false;
        loop {
            if !self.is_in_time()? {
                self.is_cut = true;
                return Ok(None);
            }
            let part = self.out.fill_buf().map_err(unreadable)?;
            if part.is_empty() {
                self.whole = true;
                return Ok(any.then_some(line));
            }
            any = true;
            let end = part.iter().position(|byte| *byte == b'\n');
            let (text, used) = match end {
                Some(at) => (part.get(..at), at + 1),
                None => (Some(part), part.len()),
            };
            let free = LINE.saturating_sub(line.len());
            line.extend(text.unwrap_or_default().iter().take(free));
            self.out.consume(used);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }

    /// Counts the remaining entries, including the last one read, up to `most`.
    pub fn count(&mut self, most: u64) -> Result<Older, String> {
        let mut count = 1;
        while count < most {
            if self.line()?.is_none() {
                return Ok(self.unread().unwrap_or(Older::Exactly(count)));
            }
            count += 1;
        }
        Ok(Older::MoreThan(count))
    }

    /// Returns what is left out if the time was over.
    pub fn unread(&self) -> Option<Older> {
        self.is_cut.then_some(Older::Unread(self.patience))
    }

    /// Ends journalctl. `nothing`: no entry came. Fails if journalctl failed, or showed no entry and gives a reason. Passes on
    /// its warnings otherwise: it ignores a damaged file and shows what others have.
    pub fn end(mut self, nothing: bool) -> Result<(), String> {
        if !self.whole {
            let _ = self.child.kill();
        }
        let status = self
            .child
            .wait()
            .map_err(|error| format!("cannot wait for journalctl: {error}"))?;
        let said = self.complaint.join().unwrap_or_default();
        let said = text::line(said.trim_ascii(), 1000);
        if self.whole && !status.success() {
            // With --grep and no match it exits with 1 and no message.
            let no_match = nothing && status.code() == Some(1);
            return match said.is_empty() {
                true if no_match => Ok(()),
                true => Err(format!("journalctl failed: {status}")),
                false => Err(format!("journalctl failed: {said}")),
            };
        }
        if self.whole && nothing && !said.is_empty() {
            return Err(format!("the journal shows nothing: {said}"));
        }
        if !said.is_empty() {
            eprintln!("remit-look: journalctl warns: {said}");
        }
        Ok(())
    }
}

fn unreadable(error: io::Error) -> String {
    format!("cannot read what journalctl writes: {error}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    None,
    Exactly(u64),
    MoreThan(u64),
    /// None of them was looked at within this time.
    Unread(Duration),
}

const FIELDS: &str = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID";

/// Without `--all` a long message is null.
const FIXED: [&str; 4] = ["--no-pager", "--output=json", "--all", "--reverse"];

/// By identifier, not by unit: journald often does not learn the unit of a process that ends at once. Only root can
/// write an entry with `_UID` 0.
pub fn options_of_sshd(pattern: &str) -> Vec<String> {
    let fields = "--output-fields=MESSAGE,_PID".to_owned();
    let identifiers = ["sshd", "sshd-session"].map(|name| format!("SYSLOG_IDENTIFIER={name}"));
    let fixed = FIXED.map(str::to_owned).into_iter();
    fixed
        .chain([fields, format!("--grep={pattern}"), "_UID=0".to_owned()])
        .chain(identifiers)
        .collect()
}

/// Options of a question for the oldest entry, which comes first.
pub fn options_of_oldest() -> Vec<String> {
    let fixed = ["--no-pager", "--output=json", "--output-fields=MESSAGE"];
    fixed.map(str::to_owned).into()
}

pub fn options(query: &LogQuery) -> Vec<String> {
    let mut options: Vec<String> = FIXED.map(str::to_owned).into();
    options.push(format!("--output-fields={FIELDS}"));
    let mut add = |name: &str, value: Option<String>| {
        options.extend(value.map(|value| format!("--{name}={value}")));
    };
    add("unit", query.unit.as_ref().map(ToString::to_string));
    add("since", query.since.as_ref().map(ToString::to_string));
    add("until", query.until.as_ref().map(ToString::to_string));
    add("priority", query.priority.as_ref().map(ToString::to_string));
    add("grep", query.grep.as_ref().map(ToString::to_string));
    add("boot", query.boot.as_ref().map(ToString::to_string));
    options
}

#[cfg(test)]
mod tests {
    use remit_common::builtin::Builtin;

    use super::*;

    #[test]
    fn what_came_in_time_is_kept() {
        for (script, at_least) in [
            ("echo a; echo b; exec sleep 60", 2),
            ("exec sleep 60", 0),
            ("while :; do echo a; done", 100),
            ("printf a; while :; do printf a; done", 0),
        ] {
            let mut command = Command::new("sh");
            let patience = Duration::from_millis(if at_least > 0 { 3000 } else { 700 });
            let mut journal = Journal::start(command.args(["-c", script]), patience).unwrap();
            let (mut count, started) = (0, Instant::now());
            while journal.line().unwrap().is_some() {
                count += 1;
            }
            assert!(count >= at_least, "{script}: {count}");
            assert_eq!(journal.unread(), Some(Older::Unread(patience)), "{script}");
            journal.end(count == 0).unwrap();
            assert!(started.elapsed() < Duration::from_secs(30), "{script}");
        }
        let mut command = Command::new("sh");
        let command = command.args(["-c", "echo a"]);
        let mut journal = Journal::start(command, Duration::from_secs(60)).unwrap();
        assert_eq!(journal.line().unwrap().as_deref(), Some(&b"a"[..]));
        assert_eq!((journal.line().unwrap(), journal.unread()), (None, None));
    }

    #[test]
    fn each_argument_is_one_word_after_its_name() {
        let words = [
            "logs",
            "unit=nginx",
            "since=-2h",
            "until=2026-11-20 10:00",
            "priority=err..warn",
            "grep=--output=verbose -x",
            "boot=-1",
            "lines=7",
        ];
        let Ok(Builtin::Logs(query)) = Builtin::of_words(words) else {
            panic!("these are logs");
        };
        assert_eq!(
            options(&query)[5..],
            [
                "--unit=nginx.service",
                "--since=-7200s",
                "--until=2026-11-20 10:00:00",
                "--priority=err..warning",
                "--grep=--output=verbose -x",
                "--boot=-1",
            ]
        );
        assert_eq!(options(&LogQuery::default()).len(), 5);
    }
}
