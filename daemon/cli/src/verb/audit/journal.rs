//! Records out of the journal, by journalctl(1).

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use nix::unistd::{AccessFlags, access, geteuid};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_trail::Event;

use super::lines::{self, Line};
use super::record::Record;
use crate::failure::Failure;
use crate::program::Program;

/// Where journald keeps its files: those that outlive a restart, and those that do not.
const PLACES: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
/// The most bytes of what journalctl complains of.
const SAID: usize = 400;
const SAID_READ: u64 = 4096;

/// What every record of the daemon has. Anybody can write fields into the journal; these begin with `_` and are
/// journald's own word, or are taken only beside such.
pub const OURS: [&str; 2] = ["_UID=0", "SYSLOG_IDENTIFIER=remitd"];

/// journalctl(1), and that this user may read what it would show.
#[derive(Debug)]
pub struct Journal(Program);

impl Journal {
    /// Finds it.
    ///
    /// # Errors
    /// There is none, or this user may not read the journal of the system.
    pub fn open() -> Result<Self, Failure> {
        let Some(program) = Program::find(&["/usr/bin/journalctl", "/bin/journalctl"]) else {
            let refusal = Refusal::new(
                Code::NotFound,
                "the records are in the journal, and there is no journalctl to read it",
            );
            return Err(Failure::Machine(refusal.lift(
                "read what another machine has exported: remit audit … --file FILE",
            )));
        };
        if !geteuid().is_root() && !can_read() {
            let refusal = Refusal::new(
                Code::DeniedRule,
                "the records are in the journal of the system, and you may not read it",
            );
            return Err(Failure::NotAllowed(
                refusal.lift("be root, or a member of group systemd-journal or adm"),
            ));
        }
        Ok(Self(program))
    }

    /// Gives each record to `take`, oldest first, or newest first, until that has enough. `matches` are more of
    /// journalctl's matches (`FIELD=VALUE`); `since_ms` bounds when journald took them.
    ///
    /// # Errors
    /// journalctl fails, or `take` does.
    pub fn records(
        &self,
        matches: &[String],
        since_ms: Option<u64>,
        newest_first: bool,
        take: &mut dyn FnMut(Record) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let mut args: Vec<String> = OURS.map(str::to_owned).to_vec();
        args.extend(Event::ALL.map(|event| format!("MESSAGE_ID={}", event.message_id())));
        args.extend_from_slice(matches);
        if let Some(ms) = since_ms {
            // A second early: it is the time of the record that counts, and journald's is later.
            args.push(format!("--since=@{}", (ms / 1000).saturating_sub(1)));
        }
        if newest_first {
            args.push("--reverse".into());
        }
        self.each(&args, take)
    }

    /// Gives each entry that has these arguments to `take`, until that has enough.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub fn each(
        &self,
        args: &[String],
        take: &mut dyn FnMut(Record) -> Result<ControlFlow<()>, Failure>,
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
            // It may have ended by itself; either way it is waited for.
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

    /// Has journald write what it was sent, as far as this user may.
    pub fn sync(&self) {
        if geteuid().is_root() {
            // What it has not taken by then is told as not there.
            let _ = self.0.run(&["--sync"]);
        }
    }

    fn start(&self, args: &[String]) -> Result<Child, Failure> {
        Command::new(self.0.path())
            .args(["--output=json", "--all", "--no-pager", "--quiet"])
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
        let program = self.0.path().display();
        let refusal = Refusal::new(
            Code::NotStarted,
            format!("the journal cannot be read by '{program}': {why}"),
        );
        Failure::Machine(refusal.lift("systemctl status systemd-journald; journalctl --verify"))
    }
}

/// Whether a file of the system's journal can be read, where there is one.
fn can_read() -> bool {
    let machines = PLACES
        .into_iter()
        .filter_map(|place| fs::read_dir(place).ok())
        .flatten()
        .flatten();
    let mut files = machines.map(|machine| machine.path().join("system.journal"));
    files.any(|file| access(&file, AccessFlags::R_OK).is_ok())
}

/// The begin of what it complains of, on one line; all of it is read, lest it wait.
fn hear(mut stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = (&mut stderr).take(SAID_READ).read_to_end(&mut said);
    let _ = std::io::copy(&mut stderr, &mut std::io::sink());
    text::line(said.trim_ascii(), SAID)
}

fn read(
    mut from: impl BufRead,
    take: &mut dyn FnMut(Record) -> Result<ControlFlow<()>, Failure>,
) -> Result<ControlFlow<()>, Failure> {
    let mut number = 0;
    loop {
        let line = lines::next(&mut from, Vec::new());
        number += 1;
        let record = match line {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(Line::Whole(line))) => Record::of_line(&line, number),
            Ok(Some(Line::TooLong)) => {
                Record::unreadable(format!("entry {number}"), "it is longer than any record")
            }
            // journalctl ended in the middle; its status says why.
            Ok(Some(Line::Rest(_))) => return Ok(ControlFlow::Continue(())),
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
