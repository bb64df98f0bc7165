//! Judges one host's records, each machine of it by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use remit_audit_verify::{CollectedReport, Finding, Past};

use super::fault::Fault;
use super::files::{HostName, JournalFile};
use super::heads::{Accepted, MachineHead, Memory, RecordHead};
use super::reading::{self, HostReading, MACHINES, Stream};
use crate::commands::audit::journal::{Gaps, Journal, cause as journal_cause};
use crate::error::Failure;
use crate::render::units;

/// Files that journalctl examines to explain a finding.
const EXAMINED: usize = 20;

/// The records of one machine id.
#[derive(Debug)]
pub struct MachineRecords {
    pub id: String,
    /// What the machine calls itself.
    pub host: Option<String>,
    pub report: CollectedReport,
    pub times: Option<(u64, u64)>,
    head: Option<MachineHead>,
}

#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub stem: OsString,
    pub files: usize,
    /// When the collector last wrote to one of its files.
    pub heard_ms: Option<u64>,
    pub machines: Vec<MachineRecords>,
    pub faults: Vec<Fault>,
    pub more_faults: u64,
    pub notes: Vec<String>,
    pub is_accepted: bool,
    /// Every file was refused to this user.
    pub is_forbidden: bool,
    /// It was verified before.
    pub is_known: bool,
}

impl Host {
    /// Reads all files of a host and compares them with what is remembered of it. `memory` is an error if it is damaged.
    pub fn verify(
        journal: &Journal,
        dir: &Path,
        found: &HostName,
        memory: &Result<Option<Memory>, String>,
    ) -> Result<Self, Failure> {
        let known = memory.as_ref().ok().and_then(Option::as_ref);
        let (files, read) = reading::read(journal, dir, found, known)?;
        let HostReading {
            streams,
            mut faults,
            mut notes,
            forbidden,
            left_out,
        } = read;
        if let Err(damaged) = memory {
            faults.push(Fault::of_host("memory", damaged.clone()));
        }
        if left_out > 0 {
            let text = format!(
                "its files have records of more than {MACHINES} machines; {} were not verified",
                units::count(left_out, "record")
            );
            faults.push(Fault::of_host("identity", text));
        }
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        let journal = journal.of_files(paths);
        let mut host = Self {
            name: found.name.clone(),
            stem: found.stem.clone(),
            files: files.len(),
            heard_ms: files.iter().map(|file| file.changed_ms).max(),
            machines: Vec::new(),
            faults: Vec::new(),
            more_faults: 0,
            notes: Vec::new(),
            is_accepted: false,
            is_forbidden: forbidden > 0 && forbidden == files.len(),
            is_known: known.is_some(),
        };
        for (id, stream) in streams {
            let head = known.and_then(|memory| memory.machines.get(&id)).cloned();
            host.judge(id, stream, head, &journal);
        }
        if host.machines.len() > 1 {
            notes.push(format!(
                "its files have records of {}, which differ by their own word alone",
                units::count(host.machines.len() as u64, "machine")
            ));
        }
        if !host.faults.is_empty() {
            notes.extend(damage(&journal, &files));
        }
        host.faults.splice(0..0, faults);
        host.notes.splice(0..0, notes);
        Ok(host)
    }

    /// A host of which only the memory is left.
    pub fn gone(stem: OsString, name: String, memory: &Path) -> Self {
        let text = format!(
            "there is no file of it any more, and its records were verified before; if it is gone for good, accept \
             that: --accept '{name}' removes '{}'",
            memory.display()
        );
        Self {
            name,
            stem,
            files: 0,
            heard_ms: None,
            machines: Vec::new(),
            faults: vec![Fault::of_host("gone", text)],
            more_faults: 0,
            notes: Vec::new(),
            is_accepted: false,
            is_forbidden: false,
            is_known: true,
        }
    }

    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    /// Returns true if nothing of remit was ever seen of it.
    pub fn is_foreign(&self) -> bool {
        self.machines.is_empty() && self.faults.is_empty() && !self.is_known
    }

    pub fn knows(&self, id: &str) -> bool {
        let mut machines = self.machines.iter();
        machines.any(|machine| machine.id == id && machine.head.is_some())
    }

    /// What a later verification must find.
    pub fn memory(&self, now_ms: u64) -> Memory {
        let heads = self.machines.iter().filter_map(|machine| {
            let newest = RecordHead::of(machine.report.newest?);
            let accepted = match self.is_accepted && !self.is_whole() {
                true => Some(Accepted {
                    record: newest.clone(),
                    at_ms: now_ms,
                }),
                false => machine.head.as_ref().and_then(|head| head.accepted.clone()),
            };
            let head = MachineHead {
                newest,
                verified_ms: now_ms,
                accepted,
            };
            Some((machine.id.clone(), head))
        });
        Memory::new(heads.collect())
    }

    fn judge(&mut self, id: String, stream: Stream, head: Option<MachineHead>, journal: &Journal) {
        let report = stream.collected.finish();
        self.more_faults += report.report.more_findings;
        if let Some(fault) = past(&id, &report, head.as_ref()) {
            self.faults.push(fault);
        } else if self.is_known && head.is_none() {
            let text = format!(
                "machine {id} is new in the files of this host: it was installed again, or sends under another name; if \
                 you know why: --accept '{}'",
                self.name
            );
            let newest = report.newest.map_or(0, |newest| newest.seq);
            self.faults
                .push(Fault::new("identity", &id, newest, newest, text));
        }
        for finding in &report.report.findings {
            self.faults.push(fault(&id, finding, &stream.gaps, journal));
        }
        if report.repeated > 0 {
            let those = units::count(report.repeated, "record");
            self.notes
                .push(format!("{those} came more than once, unchanged"));
        }
        if report.accepted > 0
            && let Some(accepted) = head.as_ref().and_then(|head| head.accepted.as_ref())
        {
            self.notes.push(format!(
                "what came up to record {} was accepted at {}, and is not judged: {}",
                accepted.record.seq,
                units::time(accepted.at_ms / 1000),
                units::count(report.accepted, "record")
            ));
        }
        let notes = report.report.notes.iter().map(|note| note.text.clone());
        self.notes.extend(notes);
        if report.report.more_notes > 0 {
            let more = units::count(report.report.more_notes, "note");
            self.notes.push(format!("and {more} more"));
        }
        self.machines.push(MachineRecords {
            id,
            host: stream.host,
            report,
            times: stream.times,
            head,
        });
    }
}

/// The remembered record is not there, in words.
fn past(id: &str, report: &CollectedReport, head: Option<&MachineHead>) -> Option<Fault> {
    let head = head?;
    let seq = head.newest.seq;
    let known = format!(
        "record {seq}, which was verified at {}",
        units::time(head.verified_ms / 1000)
    );
    let (kind, first, last, text) = match report.past {
        Past::Unknown | Past::Kept => return None,
        Past::Rewritten => (
            "rewritten",
            seq,
            seq,
            format!("the past was rewritten: another record has the number of {known}"),
        ),
        Past::Ends { last } => (
            "truncated",
            last + 1,
            seq,
            format!("the records end with {last}, before {known}"),
        ),
        Past::Begins { first } if first == seq + 1 => (
            "rewritten",
            first,
            first,
            format!("the past was rewritten: record {first} does not follow {known}"),
        ),
        Past::Begins { first } => (
            "gap",
            seq + 1,
            first - 1,
            format!("the records begin with {first}, and so what came after {known}, is missing"),
        ),
        Past::Missing => ("gap", seq, seq, format!("{known}, is missing")),
        Past::NoRecords => (
            "truncated",
            1,
            seq,
            format!("there are no records any more, not even {known}"),
        ),
    };
    Some(Fault::new(kind, id, first, last, text))
}

fn fault(id: &str, finding: &Finding, gaps: &Gaps, journal: &Journal) -> Fault {
    let cause = gaps.of(finding).map(|gap| {
        let (from, to) = (
            units::time(gap.from_ms / 1000),
            units::time(gap.to_ms / 1000),
        );
        let said = journal_cause(journal, gap)
            .unwrap_or_else(|_| "what journald says of itself cannot be read".to_owned());
        format!("written between {from} and {to}; {said}")
    });
    Fault {
        position: finding.position.clone(),
        cause,
        ..Fault::new(
            finding.kind.word(),
            id,
            finding.seq,
            finding.last,
            finding.text.clone(),
        )
    }
}

/// A damaged file of the collector explains a finding, and accuses nobody.
fn damage(journal: &Journal, files: &[JournalFile]) -> Vec<String> {
    let readable = files
        .iter()
        .filter(|file| file.is_regular && file.bytes > 0);
    let said = readable.take(EXAMINED).filter_map(|file| {
        let damage = journal.of_files(vec![file.path.clone()]).damage()?;
        Some(format!(
            "'{}' itself is damaged, so records in it may be lost here, and not by the host: {damage}",
            file.path.display()
        ))
    });
    said.collect()
}
