//! Judges one host's records, each machine of it by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_audit_verify::{CollectedReport, Expected, Finding, Past};
use remit_trail::{Hash, hex};

use super::fault::Fault;
use super::files::{HostName, JournalFile};
use super::heads::{Accepted, MachineHead, Memory, RecordHead};
use super::reading::{self, HostReading, MACHINES, Stream};
use crate::args::AcceptedHost;
use crate::commands::audit::gaps::{Gaps, Teller, cause as journal_cause};
use crate::commands::audit::journal::{Journal, Limits};
use crate::error::Failure;
use crate::render::units;

/// Files that journalctl examines to explain a finding.
const EXAMINED: usize = 20;
/// Gaps that are explained.
const EXPLAINED: usize = 20;
/// To read and explain one host's records. A host can make this take as long as it likes.
const TIME: Duration = Duration::from_secs(600);
/// Digits of a hash in what a person copies: nobody makes two records with the same.
const DIGITS: usize = 32;

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

impl MachineRecords {
    pub fn newest(&self) -> Option<Expected> {
        self.report.newest.as_ref().map(|newest| newest.record)
    }

    /// Returns the first and last number, the hash that the first record names, and that of the last. `None` if anything is
    /// wrong with them.
    pub fn whole_part(&self) -> Option<((u64, u64), (Hash, Hash))> {
        let CollectedReport { report, before, .. } = &self.report;
        let is_whole = report.findings.is_empty() && report.more_findings == 0;
        let links = before.map(|before| before.hash).zip(report.last_hash);
        report.range.zip(links).filter(|_| is_whole)
    }
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
    /// Only the memory is left.
    pub is_gone: bool,
    explained: usize,
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
        let limits = Limits::new(TIME)?;
        let (files, read) = reading::read(journal, &limits, dir, found, known)?;
        let HostReading {
            streams,
            mut faults,
            mut notes,
            forbidden,
            left_out,
            ..
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
        let journal = journal.of_files(paths).limited(limits.clone());
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
            is_gone: false,
            explained: 0,
        };
        for (id, stream) in streams {
            let head = known.and_then(|memory| memory.machines.get(&id)).cloned();
            host.judge(id, stream, head, &journal, &limits);
        }
        if host.machines.len() > 1 {
            notes.push(format!(
                "its files have records of {}, which differ by their own word alone",
                units::count(host.machines.len(), "machine")
            ));
        }
        if !host.faults.is_empty() && !limits.is_over() {
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
             that: this removes '{}'",
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
            is_gone: true,
            explained: 0,
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
            // Without records, the next one must follow what is remembered.
            let Some(arrived) = &machine.report.newest else {
                let head = machine.head.clone()?;
                return Some((machine.id.clone(), head));
            };
            let newest = RecordHead::of(arrived.record);
            let accepted = match self.is_accepted && !self.is_whole() {
                true => Some(Accepted {
                    record: newest.clone(),
                    position: arrived.position.clone(),
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

    /// What a person gives to accept the findings: the newest record of each machine, as it was shown.
    pub fn to_accept(&self) -> Vec<String> {
        let newest = self.machines.iter().filter_map(MachineRecords::newest);
        let mut words: Vec<String> = newest
            .map(|newest| {
                let hash = hex(&newest.hash);
                let digits = hash.get(..DIGITS).unwrap_or_default();
                format!("{}@{}:{digits}", self.name, newest.seq)
            })
            .collect();
        if words.is_empty() {
            words.push(format!("{}@none", self.name));
        }
        words
    }

    /// Accepts what is found, if the newest records are those that the person saw. `all` are of other hosts, too.
    pub fn accept(&mut self, all: &[AcceptedHost]) {
        let accepted: Vec<&AcceptedHost> = all.iter().filter(|one| one.host == self.name).collect();
        if accepted.is_empty() {
            return;
        }
        let newest = self.machines.iter().filter_map(MachineRecords::newest);
        let mut newest: Vec<Option<Expected>> = newest.map(Some).collect();
        if newest.is_empty() {
            newest.push(None);
        }
        let is_seen = newest
            .iter()
            .all(|newest| accepted.iter().any(|one| one.is(*newest)));
        let is_there = accepted
            .iter()
            .all(|one| newest.iter().any(|newest| one.is(*newest)));
        if is_seen && is_there {
            self.is_accepted = true;
            return;
        }
        let text = "not accepted: its newest records are others than those given with --accept; look at what is found now";
        self.faults.push(Fault::of_host("accept", text.to_owned()));
    }

    fn judge(
        &mut self,
        id: String,
        stream: Stream,
        head: Option<MachineHead>,
        journal: &Journal,
        limits: &Limits,
    ) {
        let report = stream.collected.finish();
        self.more_faults += report.report.more_findings;
        if let Some(fault) = past(&id, &report, head.as_ref()) {
            self.faults.push(fault);
        } else if self.is_known && head.is_none() {
            let text = format!(
                "machine {id} is new in the files of this host: it was installed again, or sends under another name"
            );
            let newest = report.newest.as_ref().map_or(0, |newest| newest.record.seq);
            self.faults
                .push(Fault::new("identity", &id, newest, newest, text));
        }
        for finding in &report.report.findings {
            let is_explained = self.explained < EXPLAINED && !limits.is_over();
            let fault = fault(&id, finding, &stream.gaps, journal, is_explained);
            self.explained += usize::from(fault.cause.is_some());
            self.faults.push(fault);
        }
        if report.past == Past::NoRecords
            && let Some(head) = &head
        {
            self.notes.push(format!(
                "there are no records of machine {id} here any more (removed by the collector, or by whoever is root \
                 there); the next must follow record {}, which was verified at {}",
                head.newest.seq,
                units::time(head.verified_ms / 1000)
            ));
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
        Past::Unknown | Past::Kept | Past::NoRecords => return None,
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
    };
    let remembered = head.remembered().map(|remembered| remembered.newest.hash);
    let before = report.before.map(|before| before.hash);
    Some(Fault {
        links: remembered.zip(before),
        ..Fault::new(kind, id, first, last, text)
    })
}

fn fault(id: &str, finding: &Finding, gaps: &Gaps, journal: &Journal, is_explained: bool) -> Fault {
    let gap = gaps.of(finding);
    let cause = gap.filter(|_| is_explained).map(|gap| {
        let (from, to) = (
            units::time(gap.from_ms / 1000),
            units::time(gap.to_ms / 1000),
        );
        let said = journal_cause(journal, gap, Teller::Host)
            .unwrap_or_else(|_| "what its journald says of itself cannot be read".to_owned());
        format!("written between {from} and {to}; {said}")
    });
    Fault {
        position: finding.position.clone(),
        cause,
        links: gap.and_then(|gap| gap.links),
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
