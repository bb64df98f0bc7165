//! Finds the audit records: the journal, the daemon's file, or files named by the user. A daemon keeps its sink until a
//! restart, so it says which one that is. remit.toml says it if the daemon does not answer.

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use serde::Deserialize;

use super::filter::Filter;
use super::journal::{self, Journal, RecordLine};
use super::journal_order;
use super::record::AuditRecord;
use crate::args::RecordSourceArgs;
use crate::client::admin_socket;
use crate::error::Failure;
use crate::render::output::Context;

/// Ample time for the daemon to complete a line that it is writing.
const WRITTEN: Duration = Duration::from_millis(100);
const TRIES: u32 = 5;

/// The configuration directory of the packages.
const CONFIG: &str = "/etc/remit";

pub type Take<'a> = dyn FnMut(AuditRecord) -> Result<ControlFlow<()>, Failure> + 'a;

#[derive(Debug)]
pub enum RecordSource {
    Journal(Journal),
    /// Files, oldest first; `-` is standard input. `live` if the daemon writes to the last one.
    Files {
        paths: Vec<PathBuf>,
        live: bool,
    },
}

#[derive(Default, Deserialize)]
struct SinkSettings {
    #[serde(default)]
    audit: AuditSettings,
}

#[derive(Default, Deserialize)]
struct AuditSettings {
    sink: Option<String>,
}

impl RecordSource {
    /// Finds the records of these arguments. Without a file or a configuration directory in them, the daemon is asked.
    /// Fails if the journal or remit.toml cannot be read, or if that names no sink.
    pub fn of(context: &Context, args: &RecordSourceArgs) -> Result<Self, Failure> {
        let own = args.state.join("audit.jsonl");
        if let Some(last) = args.files.last() {
            // A file that an earlier sink left has an older end. If nothing says which sink is in use, it is this one.
            let is_written = || match sink(context, args) {
                Ok(sink) => sink.is_none_or(|sink| sink == "file"),
                Err(_) => true,
            };
            return Ok(Self::Files {
                live: is_same(last, &own) && is_written(),
                paths: args.files.clone(),
            });
        }
        match sink(context, args)?.as_deref() {
            None | Some("journald") => Journal::open().map(Self::Journal),
            Some("file") => Ok(Self::Files {
                paths: vec![own],
                live: true,
            }),
            Some(other) => {
                let refusal = Refusal::new(
                    Code::InvalidArgs,
                    format!("audit.sink = \"{other}\" in remit.toml is no sink"),
                );
                Err(Failure::Machine(
                    refusal.lift("/usr/libexec/remit/remitd --check"),
                ))
            }
        }
    }

    pub fn name(&self) -> String {
        match self {
            Self::Journal(_) => "the journal".to_owned(),
            Self::Files { paths, .. } => {
                let names = paths.iter().map(|path| match is_stdin(path) {
                    true => "standard input".to_owned(),
                    false => path.display().to_string(),
                });
                names.collect::<Vec<_>>().join(", ")
            }
        }
    }

    pub fn is_live(&self) -> bool {
        match self {
            Self::Journal(_) => true,
            Self::Files { live, .. } => *live,
        }
    }

    pub fn can_be_read_again(&self) -> bool {
        let is_file = |path: &PathBuf| {
            !is_stdin(path) && path.metadata().is_ok_and(|metadata| metadata.is_file())
        };
        match self {
            Self::Journal(_) => true,
            Self::Files { paths, .. } => paths.iter().all(is_file),
        }
    }

    pub fn all(&self, take: &mut Take<'_>) -> Result<(), Failure> {
        match self {
            Self::Journal(journal) => journal.records(&[], false, take),
            Self::Files { paths, live } => files(paths, *live, take),
        }
    }

    pub fn some(&self, filter: &Filter, take: &mut Take<'_>) -> Result<(), Failure> {
        let take = &mut |record: AuditRecord| match filter.takes(&record) {
            true => take(record),
            false => Ok(ControlFlow::Continue(())),
        };
        match self {
            Self::Journal(journal) => journal.records(&filter.matches(), false, take),
            Self::Files { paths, live } => files(paths, *live, take),
        }
    }

    pub fn newest(
        &self,
        filter: &Filter,
        count: usize,
    ) -> Result<(Vec<AuditRecord>, bool), Failure> {
        let mut newest = std::collections::VecDeque::new();
        let mut more = false;
        match self {
            Self::Journal(journal) => {
                journal.records(&filter.matches(), true, &mut |record| {
                    if !filter.takes(&record) {
                        return Ok(ControlFlow::Continue(()));
                    }
                    more = newest.len() >= count;
                    if more {
                        return Ok(ControlFlow::Break(()));
                    }
                    newest.push_front(record);
                    Ok(ControlFlow::Continue(()))
                })?;
                return Ok((journal_order::sorted(newest.into()), more));
            }
            Self::Files { paths, live } => files(paths, *live, &mut |record| {
                if filter.takes(&record) {
                    newest.push_back(record);
                    if newest.len() > count {
                        newest.pop_front();
                        more = true;
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?,
        }
        Ok((newest.into(), more))
    }
}

/// Returns the sink of the running daemon, if it answers in time, otherwise that of remit.toml. `None`: there is none.
fn sink(context: &Context, args: &RecordSourceArgs) -> Result<Option<String>, Failure> {
    if args.config.is_none()
        && let Ok(Ok(status)) = admin_socket::status(context)
    {
        return Ok(Some(status.audit));
    }
    let config = args.config.as_deref().unwrap_or(Path::new(CONFIG));
    configured_sink(&config.join("remit.toml"))
}

fn configured_sink(file: &Path) -> Result<Option<String>, Failure> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(file, &error)),
    };
    let settings: SinkSettings = toml::from_str(&text).map_err(|error| {
        let why = error.message().replace('\n', ", ");
        let refusal = Refusal::new(Code::InvalidArgs, format!("'{}': {why}", file.display()));
        Failure::Machine(refusal.lift("/usr/libexec/remit/remitd --check"))
    })?;
    Ok(settings.audit.sink.or(Some("journald".to_owned())))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
    id(one).is_some_and(|one| Some(one) == id(other))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let text = format!("cannot read '{}': {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::NotAllowed(Refusal::new(Code::DeniedRule, text).lift("be root"))
        }
        io::ErrorKind::NotFound => Failure::Machine(Refusal::new(Code::NotFound, text).lift(
            "audit.sink in remit.toml says where records go; --file FILE reads another file",
        )),
        _ => Failure::Machine(Refusal::new(Code::InvalidArgs, text)),
    }
}

fn files(paths: &[PathBuf], live: bool, take: &mut Take<'_>) -> Result<(), Failure> {
    for (position, path) in paths.iter().enumerate() {
        let of = match paths.len() {
            1 => String::new(),
            _ => format!(" of {}", path.display()),
        };
        let is_written = live && position + 1 == paths.len();
        let done = match is_stdin(path) {
            true => file(io::stdin().lock(), path, &of, false, take)?,
            false => {
                let open = File::open(path).map_err(|error| unreadable(path, &error))?;
                file(BufReader::new(open), path, &of, is_written, take)?
            }
        };
        if done.is_break() {
            break;
        }
    }
    Ok(())
}

/// Reads the lines of one file, without those of other senders in output of journalctl(1). If `is_written`, the last line
/// may be incomplete, so this waits for its end.
fn file(
    mut from: impl io::BufRead,
    path: &Path,
    of: &str,
    is_written: bool,
    take: &mut Take<'_>,
) -> Result<ControlFlow<()>, Failure> {
    let mut number = 0;
    let mut tries = if is_written { TRIES } else { 0 };
    let mut rest = Vec::new();
    loop {
        let line = journal::next_line(&mut from, std::mem::take(&mut rest));
        let mut record = match line.map_err(|error| unreadable(path, &error))? {
            None => return Ok(ControlFlow::Continue(())),
            Some(RecordLine::Rest(line)) if tries > 0 => {
                tries -= 1;
                thread::sleep(WRITTEN);
                rest = line;
                continue;
            }
            Some(RecordLine::Rest(_)) if is_written => {
                number += 1;
                AuditRecord::half(number)
            }
            Some(RecordLine::Whole(line) | RecordLine::Rest(line)) => {
                number += 1;
                AuditRecord::of_line(&line, number)
            }
            Some(RecordLine::TooLong) => {
                number += 1;
                AuditRecord::unreadable(format!("line {number}"), "it is longer than any record")
            }
        };
        if record.is_foreign {
            continue;
        }
        record.entry.position += of;
        if take(record)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(text: &str) -> Vec<(String, bool)> {
        let mut positions = Vec::new();
        let done = file(
            text.as_bytes(),
            Path::new("-"),
            " of x",
            false,
            &mut |record| {
                positions.push((record.entry.position, record.why.is_none()));
                Ok(ControlFlow::Continue(()))
            },
        );
        assert!(done.is_ok_and(|done| done.is_continue()));
        positions
    }

    #[test]
    fn line_that_is_no_record_is_reported() {
        let found = positions("{\"MESSAGE\":\"a\"}\n\n{\"MESSAGE\":\"b\"}\n{\"MESS");
        let position = |number: u32, good| (format!("line {number} of x"), good);
        assert_eq!(
            found,
            [
                position(1, true),
                position(2, false),
                position(3, true),
                position(4, false)
            ]
        );
        assert_eq!(positions(""), []);
    }

    #[test]
    fn lines_of_other_senders_are_no_records() {
        let own = r#""MESSAGE":"approved by ann","REMIT_EVENT":"approved","REMIT_SEQ":"1""#;
        let root = r#""_UID":"0","SYSLOG_IDENTIFIER":"remitd""#;
        for (fields, is_taken) in [
            (own.to_owned(), true),
            (format!("{own},{root}"), true),
            (
                format!(r#"{own},"_UID":"0","SYSLOG_IDENTIFIER":["x","remitd"]"#),
                true,
            ),
            (
                format!(r#"{own},"_UID":"1000","SYSLOG_IDENTIFIER":"remitd""#),
                false,
            ),
            (
                format!(r#"{own},"_UID":["1000","0"],"SYSLOG_IDENTIFIER":"remitd""#),
                false,
            ),
            (
                format!(r#"{own},"_UID":"0","SYSLOG_IDENTIFIER":"logger""#),
                false,
            ),
            (format!(r#"{own},"_TRANSPORT":"kernel""#), false),
            (
                format!(r#"{own},"__CURSOR":"s=1","SYSLOG_IDENTIFIER":"remitd""#),
                false,
            ),
            // A line of the daemon's log, and one of sshd that journalctl cut.
            (
                format!(r#""MESSAGE":"a line","PRIORITY":"6",{root}"#),
                false,
            ),
            (
                r#""MESSAGE":null,"_UID":"0","SYSLOG_IDENTIFIER":"sshd""#.to_owned(),
                false,
            ),
        ] {
            let found = positions(&format!("{{{fields}}}\n"));
            assert_eq!(!found.is_empty(), is_taken, "{fields}");
        }
    }
}
