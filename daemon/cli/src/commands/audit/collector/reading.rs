//! Reads all records of one host from its files, in the order of their arrival.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use remit_audit_verify::{Collected, Seen};
use remit_common::text;

use super::fault::Fault;
use super::files::{self, HostName, JournalFile};
use super::heads::{MachineHead, Memory};
use crate::commands::audit::gaps::Gaps;
use crate::commands::audit::journal::{Journal, Limits};
use crate::commands::audit::record::AuditRecord;
use crate::error::Failure;

/// Files of a busy host are rotated while they are read. Then it is read again, at most so many times.
const TRIES: u32 = 5;
/// Ample time for the collector to complete the header of a file.
const MADE: Duration = Duration::from_millis(100);
/// Machines in the files of one host. More than one is unusual; each takes memory.
pub const MACHINES: usize = 16;
const NAME: usize = 64;

/// The records of one machine id, while they are read.
pub struct Stream {
    pub collected: Collected,
    /// What the machine calls itself.
    pub host: Option<String>,
    pub gaps: Gaps,
    pub times: Option<(u64, u64)>,
}

#[derive(Default)]
pub struct HostReading {
    pub streams: BTreeMap<String, Stream>,
    pub faults: Vec<Fault>,
    pub notes: Vec<String>,
    /// Number of files that this user may not read.
    pub forbidden: usize,
    /// Records of machines beyond the limit.
    pub left_out: u64,
    seen: Seen,
    /// Machines that an earlier verification knew.
    known: usize,
}

/// Reads all files, until none of them was rotated or made meanwhile.
pub fn read(
    journal: &Journal,
    limits: &Limits,
    dir: &Path,
    found: &HostName,
    memory: Option<&Memory>,
) -> Result<(Vec<JournalFile>, HostReading), Failure> {
    let ids = |files: &[JournalFile]| -> Vec<(PathBuf, (u64, u64))> {
        files
            .iter()
            .map(|file| (file.path.clone(), file.id))
            .collect()
    };
    let mut files = files::of_host(dir, &found.stem)?;
    let mut tries = TRIES;
    loop {
        let mut reading = HostReading::of(memory);
        let mut is_made = false;
        for file in &files {
            if limits.is_over() {
                break;
            }
            let faults = reading.faults.len();
            reading.take_file(journal, limits, file)?;
            is_made |= reading.faults.len() > faults && file.may_be_made_now();
        }
        if limits.is_over() {
            let text = "it took too long to read its files, so they were not read to the end: have the collector keep \
                        less of this host (MaxUse= in journal-remote.conf)";
            reading.fault(text.to_owned());
            return Ok((files, reading));
        }
        let now = files::of_host(dir, &found.stem)?;
        let is_same = ids(&now) == ids(&files);
        files = now;
        if is_same && (!is_made || tries == 0) {
            return Ok((files, reading));
        }
        if is_made {
            thread::sleep(MADE);
        }
        if tries == 0 {
            let text = "its files were rotated each time they were read: what is missing may be in one of them";
            reading.fault(text.to_owned());
            return Ok((files, reading));
        }
        tries -= 1;
    }
}

impl HostReading {
    /// With a stream for each remembered machine: if nothing of it comes, that is a finding.
    fn of(memory: Option<&Memory>) -> Self {
        let machines = memory.into_iter().flat_map(|memory| &memory.machines);
        let streams = (0..).zip(machines);
        let streams: BTreeMap<_, _> = streams
            .map(|(number, (id, head))| (id.clone(), Stream::new(Some(head), number)))
            .collect();
        Self {
            known: streams.len(),
            streams,
            ..Self::default()
        }
    }

    fn take_file(
        &mut self,
        journal: &Journal,
        limits: &Limits,
        file: &JournalFile,
    ) -> Result<(), Failure> {
        let name = file.path.display();
        if !file.is_regular {
            self.fault(format!("'{name}' is no regular file"));
            return Ok(());
        }
        if file.bytes == 0 {
            self.notes.push(format!("'{name}' is empty"));
            return Ok(());
        }
        match File::open(&file.path) {
            Ok(_) => {}
            // Rotated away: the files are read again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.forbidden += usize::from(error.kind() == io::ErrorKind::PermissionDenied);
                self.fault(format!("cannot read '{name}': {error}"));
                return Ok(());
            }
        }
        let one = journal.of_files(vec![file.path.clone()]);
        match one
            .limited(limits.clone())
            .records(&[], false, &mut |record| {
                self.take(&record);
                Ok(match limits.is_over() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            }) {
            // The reader says so.
            Err(Failure::Machine(_)) if limits.is_over() => Ok(()),
            Err(Failure::Machine(refusal)) => {
                self.fault(format!(
                    "'{name}' is no journal, or damaged; move it away if nothing can be read from it: {}",
                    refusal.message
                ));
                Ok(())
            }
            other => other,
        }
    }

    fn fault(&mut self, text: String) {
        self.faults.push(Fault::of_host("file", text));
    }

    fn take(&mut self, record: &AuditRecord) {
        let id = record.origin.machine.as_deref().unwrap_or("unknown");
        let id = text::line(id.as_bytes(), NAME);
        if !self.streams.contains_key(&id) && self.streams.len() >= self.known + MACHINES {
            self.left_out += 1;
            return;
        }
        let number = u16::try_from(self.streams.len()).unwrap_or(u16::MAX);
        let stream = self.streams.entry(id);
        let stream = stream.or_insert_with(|| Stream::new(None, number));
        if !stream.collected.take(&record.entry, &mut self.seen) {
            return;
        }
        stream.gaps.take(record);
        if let Some(ms) = record.time_ms() {
            stream.times = Some((stream.times.map_or(ms, |(first, _)| first), ms));
        }
        if let Some(host) = &record.origin.host {
            stream.host = Some(text::line(host.as_bytes(), NAME));
        }
    }
}

impl Stream {
    fn new(head: Option<&MachineHead>, number: u16) -> Self {
        Self {
            collected: Collected::new(head.and_then(MachineHead::remembered), number),
            host: None,
            gaps: Gaps::default(),
            times: None,
        }
    }
}
