//! Reads records from the journal with journalctl(1), in bounded memory.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::unistd::{AccessFlags, access, geteuid};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;

use super::record::AuditRecord;
use crate::error::Failure;
use crate::external_program::Program;

/// Persistent and volatile journal files.
const JOURNAL_DIRS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
const SAID: usize = 400;
const SAID_READ: u64 = 4096;

/// Matches of every daemon record. Any process can write fields, so others count only with `_UID`, which journald sets.
const DAEMON_MATCHES: [&str; 2] = ["_UID=0", "SYSLOG_IDENTIFIER=remitd"];

#[derive(Clone, Debug)]
pub struct Journal {
    program: Program,
    /// Files to read. None: this machine's journal.
    files: Vec<PathBuf>,
    limits: Option<Limits>,
}

/// What journalctl may use for files that another machine filled.
#[derive(Clone, Debug)]
pub struct Limits {
    prlimit: Program,
    until: Instant,
}

impl Limits {
    /// In bytes of address space. journalctl takes some forty times the size of the largest field.
    const MEMORY: u64 = 512 << 20;

    /// Finds prlimit. Fails if it is missing.
    pub fn new(time: Duration) -> Result<Self, Failure> {
        let Some(prlimit) = Program::find(&["/usr/bin/prlimit", "/bin/prlimit"]) else {
            let text = "a collector's files may make journalctl use all memory, and there is no prlimit to limit it";
            let refusal = Refusal::new(Code::NotFound, text);
            return Err(Failure::Machine(refusal.lift("install util-linux")));
        };
        Ok(Self {
            prlimit,
            until: Instant::now() + time,
        })
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Arguments of prlimit before those of journalctl.
    fn args(&self, program: &Program) -> Vec<OsString> {
        let left = self.until.saturating_duration_since(Instant::now());
        vec![
            format!("--as={0}:{0}", Self::MEMORY).into(),
            // It may wait for its reader, but not compute for longer than is left.
            format!("--cpu={0}:{0}", left.as_secs() + 1).into(),
            program.path().into(),
        ]
    }
}

impl Journal {
    /// Finds journalctl. Fails if it is missing or if this user may not read the system journal.
    pub fn open() -> Result<Self, Failure> {
        let journal = Self::unopened()?;
        if !geteuid().is_root() && !can_read() {
            let refusal = Refusal::new(
                Code::DeniedRule,
                "the records are in the journal of the system, and you may not read it",
            );
            return Err(Failure::NotAllowed(
                refusal.lift("be root, or a member of group systemd-journal or adm"),
            ));
        }
        Ok(journal)
    }

    /// Finds journalctl, for [`Self::of_files`]. Fails if it is missing.
    pub fn unopened() -> Result<Self, Failure> {
        let Some(program) = Program::find(&["/usr/bin/journalctl", "/bin/journalctl"]) else {
            let refusal = Refusal::new(
                Code::NotFound,
                "the records are in the journal, and there is no journalctl to read it",
            );
            return Err(Failure::Machine(refusal.lift(
                "read what another machine has exported: remit audit … --file FILE",
            )));
        };
        Ok(Self {
            program,
            files: Vec::new(),
            limits: None,
        })
    }

    #[cfg(test)]
    pub fn of_program(program: Program) -> Self {
        Self {
            program,
            files: Vec::new(),
            limits: None,
        }
    }

    pub fn of_files(&self, files: Vec<PathBuf>) -> Self {
        Self {
            files,
            ..self.clone()
        }
    }

    pub fn limited(&self, limits: Limits) -> Self {
        Self {
            limits: Some(limits),
            ..self.clone()
        }
    }

    /// The program to start, and its first arguments.
    fn program(&self) -> (&Program, Vec<OsString>) {
        match &self.limits {
            Some(limits) => (&limits.prlimit, limits.args(&self.program)),
            None => (&self.program, Vec::new()),
        }
    }

    /// Returns what journalctl finds wrong with the files themselves. Times that go back are no damage: a sender repeats.
    pub fn damage(&self) -> Option<String> {
        let (program, mut args) = self.program();
        args.extend(["--verify".into(), "--quiet".into()]);
        args.extend(self.file_args());
        let output = program.run(&args).ok()?;
        let said = text::line(output.stderr.trim_ascii(), SAID);
        let is_damaged = !output.status.success() && !said.contains("out of synchronization");
        is_damaged.then_some(said)
    }

    fn file_args(&self) -> Vec<OsString> {
        let files = self.files.iter();
        files
            .flat_map(|file| ["--file".into(), pattern(file)])
            .collect()
    }

    /// Passes each record to `take` until it breaks, oldest first or `newest_first`. `matches` are further journalctl
    /// matches (`FIELD=VALUE`). It gets no `--since`: after a clock was set back, journalctl leaves out also newer entries.
    /// It gets no message ids: a newer remit has events that this one does not know.
    /// Fails if journalctl or `take` fails.
    pub fn records(
        &self,
        matches: &[String],
        newest_first: bool,
        take: &mut dyn FnMut(AuditRecord) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let mut args = DAEMON_MATCHES.map(str::to_owned).to_vec();
        args.extend_from_slice(matches);
        if newest_first {
            args.push("--reverse".into());
        }
        self.each(&args, &mut |record| {
            match record.why.is_some() || record.own("SEQ").is_some() {
                true => take(record),
                // The daemon's log.
                false => Ok(ControlFlow::Continue(())),
            }
        })
    }

    pub fn each(
        &self,
        args: &[String],
        take: &mut dyn FnMut(AuditRecord) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let mut child = self.start(args)?;
        let said = child
            .stderr
            .take()
            .map(|stderr| thread::spawn(|| hear(stderr)));
        let read = match child.stdout.take() {
            Some(stdout) => read(BufReader::new(stdout), take),
            None => Ok(ControlFlow::Continue(())),
        };
        let whole = matches!(read, Ok(ControlFlow::Continue(())));
        if !whole {
            // It may have exited already; it is reaped in both cases.
            let _ = child.kill();
        }
        let status = child.wait();
        let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
        let _: ControlFlow<()> = read?;
        match status {
            Ok(status) if whole && !status.success() => {
                Err(self.failed(&format!("{said} ({status})")))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// Makes journald write pending messages. Only root may do that.
    pub fn sync(&self) {
        if geteuid().is_root() {
            // On an error the missing records are reported as missing.
            let _ = self.program.run(&["--sync"]);
        }
    }

    fn start(&self, args: &[String]) -> Result<Child, Failure> {
        let (program, first) = self.program();
        Command::new(program.path())
            .args(first)
            .args(["--output=json", "--all", "--no-pager", "--quiet"])
            .args(self.file_args())
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(&error.to_string()))
    }

    fn failed(&self, why: &str) -> Failure {
        let program = self.program.path().display();
        let text = format!("the journal cannot be read by '{program}': {why}");
        let refusal = Refusal::new(Code::NotStarted, text);
        Failure::Machine(refusal.lift("systemctl status systemd-journald; journalctl --verify"))
    }
}

/// journalctl takes a pattern (glob(7)). A name has a byte of one if a sender's name has.
fn pattern(file: &Path) -> OsString {
    let mut pattern = Vec::new();
    for byte in file.as_os_str().as_bytes() {
        if b"\\*?[]{}".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    OsString::from_vec(pattern)
}

fn can_read() -> bool {
    let machines = JOURNAL_DIRS
        .into_iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten();
    let mut files = machines.map(|machine| machine.path().join("system.journal"));
    files.any(|file| access(&file, AccessFlags::R_OK).is_ok())
}

/// Returns the start of stderr as one line. Reads all of it, because a full pipe would block journalctl.
fn hear(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = (&mut stderr).take(SAID_READ).read_to_end(&mut said);
    let _ = io::copy(&mut stderr, &mut io::sink());
    text::line(said.trim_ascii(), SAID)
}

fn read(
    mut from: impl BufRead,
    take: &mut dyn FnMut(AuditRecord) -> Result<ControlFlow<()>, Failure>,
) -> Result<ControlFlow<()>, Failure> {
    let mut number = 0;
    loop {
        let line = next_line(&mut from, Vec::new());
        number += 1;
        let record = match line {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(RecordLine::Whole(line))) => AuditRecord::of_line(&line, number),
            Ok(Some(RecordLine::TooLong)) => {
                AuditRecord::unreadable(format!("entry {number}"), "it is longer than any record")
            }
            // journalctl ended inside a line; its exit status says why.
            Ok(Some(RecordLine::Rest(_))) => return Ok(ControlFlow::Continue(())),
            Err(error) => {
                let text = format!("what journalctl says cannot be read: {error}");
                return Err(Failure::Machine(Refusal::new(Code::NotStarted, text)));
            }
        };
        if take(record)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// In bytes. A record is smaller than 64 KiB; as a JSON byte array it is up to five times that.
const LINE: usize = 4 << 20;

#[derive(Debug, PartialEq, Eq)]
pub enum RecordLine {
    Whole(Vec<u8>),
    TooLong,
    /// The end of the stream without a newline.
    Rest(Vec<u8>),
}

/// Returns the next line, or `None` at the end. `rest` is the [`RecordLine::Rest`] of an earlier call, to be continued.
pub fn next_line(reader: &mut impl BufRead, rest: Vec<u8>) -> io::Result<Option<RecordLine>> {
    let mut line = rest;
    let limit = (LINE + 1).saturating_sub(line.len()) as u64;
    (&mut *reader).take(limit).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(RecordLine::Whole(line)));
    }
    if line.len() <= LINE {
        return Ok((!line.is_empty()).then_some(RecordLine::Rest(line)));
    }
    drop(line);
    reader.skip_until(b'\n')?;
    Ok(Some(RecordLine::TooLong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one() {
        let mut text = &b"a\n\nb"[..];
        let mut next = || next_line(&mut text, Vec::new()).unwrap();
        assert_eq!(next(), Some(RecordLine::Whole(b"a".to_vec())));
        assert_eq!(next(), Some(RecordLine::Whole(Vec::new())));
        assert_eq!(next(), Some(RecordLine::Rest(b"b".to_vec())));
        assert_eq!(next(), None);
        let mut more = &b"c\nd"[..];
        let line = next_line(&mut more, b"b".to_vec()).unwrap();
        assert_eq!(line, Some(RecordLine::Whole(b"bc".to_vec())));
    }

    #[test]
    fn endless_line_takes_no_memory() {
        let endless = io::repeat(b'x').take(10 * LINE as u64);
        let mut reader = BufReader::new(endless.chain(&b"\nb\n"[..]));
        assert_eq!(
            next_line(&mut reader, Vec::new()).unwrap(),
            Some(RecordLine::TooLong)
        );
        assert_eq!(
            next_line(&mut reader, Vec::new()).unwrap(),
            Some(RecordLine::Whole(b"b".to_vec()))
        );
        assert_eq!(next_line(&mut reader, Vec::new()).unwrap(), None);
        let mut exact = BufReader::new(io::repeat(b'x').take(LINE as u64).chain(&b"\n"[..]));
        assert_eq!(
            next_line(&mut exact, Vec::new()).unwrap(),
            Some(RecordLine::Whole(vec![b'x'; LINE]))
        );
    }
}
