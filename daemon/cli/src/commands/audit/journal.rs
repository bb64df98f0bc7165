//! Reads records from the journal with journalctl(1), in bounded memory. Tells journald's losses from tampering.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::unistd::{AccessFlags, access, geteuid};
use remit_audit_verify::{Finding, Kind};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_trail::Event;

use super::record::AuditRecord;
use crate::error::Failure;
use crate::external_program::Program;
use crate::render::units;

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
    /// matches (`FIELD=VALUE`); `since_ms` bounds journald's receive time. Fails if journalctl or `take` fails.
    pub fn records(
        &self,
        matches: &[String],
        since_ms: Option<u64>,
        newest_first: bool,
        take: &mut dyn FnMut(AuditRecord) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let mut args: Vec<String> = DAEMON_MATCHES.map(str::to_owned).to_vec();
        args.extend(Event::ALL.map(|event| format!("MESSAGE_ID={}", event.message_id())));
        args.extend_from_slice(matches);
        if let Some(ms) = since_ms {
            // One second early: the record's own time counts, and journald's is later.
            args.push(format!("--since=@{}", (ms / 1000).saturating_sub(1)));
        }
        if newest_first {
            args.push("--reverse".into());
        }
        self.each(&args, take)
    }

    /// Passes all records to `take`, also those of a newer remit, whose message ids this one does not know.
    pub fn numbered(
        &self,
        take: &mut dyn FnMut(AuditRecord) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        self.each(
            &DAEMON_MATCHES.map(str::to_owned),
            &mut |record| match record.why.is_some() || record.own("SEQ").is_some() {
                true => take(record),
                false => Ok(ControlFlow::Continue(())),
            },
        )
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

const GAPS: usize = remit_audit_verify::Verifier::FINDINGS;
/// Messages of journald that are read for one gap.
const MESSAGES: usize = 200;
/// A message may come after the event: journald reports a rate limit when it is over.
const AROUND_MS: u64 = 60_000;

/// Who says what journald did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// This machine's journald.
    Journald,
    /// A host whose root can say anything.
    Host,
}

/// Message ids of journald (sd-messages.h) and their meaning for a gap, the strongest first.
const SAYINGS: [(&str, &str); 3] = [
    (
        "a596d6fe7bfa4994828e72309e95d61e",
        "dropped messages by its rate limit",
    ),
    ("f77379a8490b408bbe5f6940505a777b", "started"),
    ("d93fb3c9c24d451a97cea615ce59c00b", "stopped"),
];

#[derive(Debug, Default)]
pub struct Gaps {
    last: Option<(u64, u64)>,
    gaps: Vec<Gap>,
}

/// Missing numbers, and the times of the records around them in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    first: u64,
    last: u64,
    pub from_ms: u64,
    pub to_ms: u64,
}

impl Gaps {
    pub fn take(&mut self, record: &AuditRecord) {
        let (Some(seq), Some(ms)) = (record.seq(), record.time_ms()) else {
            return;
        };
        if let Some((before, from_ms)) = self.last
            && before.saturating_add(1) < seq
            && self.gaps.len() < GAPS
        {
            self.gaps.push(Gap {
                first: before.saturating_add(1),
                last: seq.saturating_sub(1),
                from_ms,
                to_ms: ms,
            });
        }
        self.last = Some((seq, ms));
    }

    pub fn of(&self, finding: &Finding) -> Option<Gap> {
        let is_it = |gap: &&Gap| gap.first <= finding.seq && finding.last <= gap.last;
        match finding.kind {
            Kind::Gap => self.gaps.iter().find(is_it).copied(),
            _ => None,
        }
    }
}

pub fn cause(journal: &Journal, gap: Gap, teller: Teller) -> Result<String, Failure> {
    let mut args = vec![
        "_TRANSPORT=driver".to_owned(),
        format!("--since=@{}", gap.from_ms.min(gap.to_ms) / 1000),
        format!(
            "--until=@{}",
            gap.from_ms.max(gap.to_ms).saturating_add(AROUND_MS) / 1000 + 1
        ),
    ];
    args.extend(SAYINGS.map(|(id, _)| format!("MESSAGE_ID={id}")));
    let mut said: Vec<(usize, u64, String)> = Vec::new();
    let mut looked = 0;
    journal.each(&args, &mut |record| {
        looked += 1;
        let id = record.get("MESSAGE_ID").unwrap_or_default();
        let position = SAYINGS.iter().position(|(other, _)| *other == id);
        if let (Some(position), Some(ms)) = (position, record.time_ms()) {
            let message = record.get("MESSAGE").unwrap_or_default();
            said.push((position, ms, text::line(message.as_bytes(), 200)));
        }
        Ok(match looked < MESSAGES {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    })?;
    Ok(sentence(said, teller))
}

fn sentence(mut said: Vec<(usize, u64, String)>, teller: Teller) -> String {
    // A rate limit of the daemon comes before one of another unit.
    said.sort_by_key(|(position, ms, message)| (*position, !message.contains("remitd"), *ms));
    let found = said
        .first()
        .and_then(|(position, ms, message)| Some((SAYINGS.get(*position)?.1, *ms, message)));
    let (says, of) = match teller {
        Teller::Journald => ("journald says that it", "journald says of itself"),
        Teller::Host => (
            "the host says that its journald",
            "the host says of its journald",
        ),
    };
    match found {
        Some((what, ms, message)) => format!(
            "{says} {what} at {}: \"{message}\". Records may have been lost then; it is no proof that they were",
            units::time(ms / 1000)
        ),
        None => format!("nothing that {of} explains it"),
    }
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

    fn record(seq: u64, second: u64) -> AuditRecord {
        let line =
            format!(r#"{{"REMIT_SEQ":"{seq}","REMIT_TIME":"2026-11-20T08:25:{second:02}.000Z"}}"#);
        AuditRecord::of_line(line.as_bytes(), 1)
    }

    fn finding(kind: Kind, seq: u64, last: u64) -> Finding {
        Finding {
            kind,
            seq,
            last,
            position: String::new(),
            text: String::new(),
        }
    }

    #[test]
    fn a_gap_has_the_times_of_its_neighbours() {
        let mut gaps = Gaps::default();
        for (seq, second) in [(7, 1), (8, 2), (12, 5), (13, 6)] {
            gaps.take(&record(seq, second));
        }
        let gap = gaps.of(&finding(Kind::Gap, 9, 11)).unwrap();
        assert_eq!(
            (gap.first, gap.last, gap.to_ms - gap.from_ms),
            (9, 11, 3000)
        );
        assert_eq!(gaps.of(&finding(Kind::Gap, 13, 13)), None);
        assert_eq!(gaps.of(&finding(Kind::Truncated, 9, 11)), None);
    }

    #[test]
    fn best_explanation_is_reported() {
        let said = |position, message: &str| (position, 951_782_399_500, message.to_owned());
        let all = vec![
            said(1, "Journal started"),
            said(0, "Suppressed 3 messages from cron.service"),
            said(0, "Suppressed 37 messages from remitd.service"),
        ];
        let text = sentence(all, Teller::Journald);
        assert!(
            text.contains("37 messages") && text.contains("2000-02-28 23:59:59 UTC"),
            "{text}"
        );
        assert!(sentence(Vec::new(), Teller::Host).starts_with("nothing that the host"));
    }
}
