//! Starts one journalctl(1) and reads its lines. Values of a request are part of `--name=value`, so never an option.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

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
}

impl Journal {
    /// Starts journalctl. Input and output times are UTC.
    pub fn ask(options: &[String]) -> Result<Self, String> {
        let mut child = Command::new("journalctl")
            .args(options)
            .env("TZ", "UTC")
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
        })
    }

    /// Returns the next line, newest entry first, or none at the end.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let mut any = false;
        loop {
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
                return Ok(Older::Exactly(count));
            }
            count += 1;
        }
        Ok(Older::MoreThan(count))
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
        if nothing && !said.is_empty() {
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
