//! Hash chain: each record has its number and the hash of the record before. A root-only file stores the newest record
//! and the one being written, before and after each: after a kill, the next daemon knows which record is in doubt.
//! After a machine crash no number is used twice: they continue after the reserved ones, which are synced.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use remit_common::calendar::timestamp;
pub use remit_trail::hex;
use remit_trail::{Head, Link, hash_fields};

use super::record::Record;
use crate::event_loop::timers;
use crate::state_dir::framed_file::InPlaceFile;

/// Numbers reserved at a time.
const RESERVED: u64 = 1 << 16;
/// Records this old are on the disk: journald and the kernel write within minutes.
const WRITTEN_BACK: Duration = Duration::from_secs(600);

/// Bytes of a buffer that is kept for reuse. Most records fit; larger buffers are shrunk.
pub const KEPT: usize = 8 << 10;

#[derive(Debug)]
pub struct Linked {
    pub record: Record,
    head_fields: Vec<(&'static str, String)>,
    hash: String,
    link: Link,
}

impl Linked {
    pub fn seq(&self) -> u64 {
        self.link.seq
    }

    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fields = self.head_fields.iter().chain(&self.record.fields);
        let fields = fields.map(|(name, value)| (*name, value.as_str()));
        fields.chain(std::iter::once(("HASH", self.hash.as_str())))
    }
}

#[derive(Debug)]
pub struct Chain {
    head: Head,
    next: u64,
    file: InPlaceFile,
    boot: String,
    /// An older record, and when it was the newest.
    earlier: (u64, Instant),
    text: Vec<u8>,
}

impl Chain {
    /// `is_written` checks if the sink's newest record has this hash. Fails if the file holds something else.
    pub fn open(
        path: &Path,
        boot: [u8; 16],
        is_written: impl FnOnce(&str) -> bool,
    ) -> io::Result<Self> {
        let file = InPlaceFile::open(path)?;
        let bytes = file.read(0, Head::SIZE + 1)?;
        let mut head = match bytes.as_slice() {
            [] => Head::new(boot),
            bytes => Head::parse(bytes).map_err(|why| {
                let text = format!(
                    "{why}; move it away to begin a new chain, which 'remit audit verify' will report"
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
        };
        let went_down = head.boot != boot && !head.is_stopped;
        if let Some(pending) = head.pending.take() {
            if is_written(&hex(&pending.hash)) {
                head = arrived(head, pending);
            } else if !head.skips && !went_down {
                // After a crash the head may be old, and its record replaced. That one is among the skipped.
                head.doubt = if head.doubt == 0 {
                    pending.seq
                } else {
                    head.doubt
                };
                head.newest = pending;
            }
        }
        // After a crash the last records of that boot may be lost, and so may the newest head.
        head.skips |= went_down;
        let next = if head.skips {
            head.reserved + 1
        } else {
            head.newest.seq + 1
        };
        let mut chain = Self {
            head: Head {
                boot,
                is_stopped: false,
                ..head
            },
            next,
            file,
            boot: hex(&boot),
            earlier: (0, Instant::now()),
            text: Vec::new(),
        };
        // Allocates the bytes now, not when the disk is full.
        chain.reserve()?;
        Ok(chain)
    }

    pub fn newest(&self) -> Link {
        self.head.newest
    }

    pub fn went_down(&self) -> bool {
        self.head.skips
    }

    /// Returns the numbers of records in doubt: `12`, or `12-14`.
    fn doubted(&self) -> Option<String> {
        let Head { newest, doubt, .. } = self.head;
        match doubt {
            0 => None,
            doubt if doubt == newest.seq => Some(doubt.to_string()),
            doubt => Some(format!("{doubt}-{}", newest.seq)),
        }
    }

    /// Returns what the next record reports about numbers that are in doubt or skipped.
    pub fn doubts(&self) -> Option<String> {
        let newest = self.head.newest;
        let doubted = self.doubted().map(|range| {
            let records = if range.contains('-') { "records" } else { "record" };
            format!(
                "the daemon was killed while it wrote {records} {range}, which may be missing; nothing was started by it"
            )
        });
        let skipped = self.head.skips.then(|| {
            format!(
                "the machine went down after record {}; later records may be lost, and numbers continue at {}",
                newest.seq, self.next
            )
        });
        let both: Vec<String> = doubted.into_iter().chain(skipped).collect();
        (!both.is_empty()).then(|| both.join("; "))
    }

    /// Links a record and saves it as pending. If this fails, the record must not be written.
    pub fn link(&mut self, record: Record, unix_ms: u64) -> io::Result<Linked> {
        let seq = self.next;
        if seq > self.head.reserved {
            self.reserve()?;
        }
        let newest = self.head.newest;
        let mut fields = Vec::with_capacity(8);
        fields.push(("EVENT", record.event.name().to_owned()));
        fields.push(("SEQ", seq.to_string()));
        fields.push(("TIME", timestamp(unix_ms)));
        fields.push(("BOOT", self.boot.clone()));
        fields.push(("PREV", hex(&newest.hash)));
        if self.head.skips {
            fields.push(("AFTER", newest.seq.to_string()));
            if self.head.synced > 0 {
                fields.push(("SYNCED", self.head.synced.to_string()));
            }
        }
        fields.extend(self.doubted().map(|range| ("DOUBT", range)));
        let all = || fields.iter().chain(&record.fields);
        debug_assert!(are_unique(all()), "a field is there twice: {record:?}");
        let id = record.event.message_id();
        let named = all().map(|(name, value)| (*name, value.as_str()));
        self.text.shrink_to(KEPT);
        let text = &mut self.text;
        let hash = hash_fields(&record.message, id, record.priority, named, text);
        let link = Link { seq, hash };
        let pending = Some(link);
        self.keep(Head {
            pending,
            ..self.head
        })?;
        Ok(Linked {
            record,
            head_fields: fields,
            hash: hex(&hash),
            link,
        })
    }

    /// Makes a written record the newest, in memory in any case. `is_synced`: it is on disk, so the head is synced.
    pub fn commit(&mut self, linked: &Linked, is_synced: bool) -> io::Result<()> {
        let mut head = arrived(self.head, linked.link);
        if is_synced {
            head.synced = linked.link.seq;
        } else if self.earlier.1.elapsed() > WRITTEN_BACK {
            head.synced = head.synced.max(self.earlier.0);
            self.earlier = (linked.link.seq, Instant::now());
        }
        self.head = head;
        self.next = linked.link.seq + 1;
        self.keep(head)?;
        if is_synced {
            self.file.sync()?;
        }
        Ok(())
    }

    /// Drops the pending record. If this fails, the next daemon doubts a record that never existed.
    pub fn withdraw(&mut self) -> io::Result<()> {
        let pending = None;
        self.keep(Head {
            pending,
            ..self.head
        })
    }

    /// Marks an orderly stop: the next daemon continues with the next number.
    pub fn stop(&mut self) -> io::Result<()> {
        let (pending, is_stopped) = (None, true);
        self.keep(Head {
            pending,
            is_stopped,
            ..self.head
        })?;
        self.file.sync()
    }

    fn reserve(&mut self) -> io::Result<()> {
        let reserved = self.next.saturating_add(RESERVED);
        self.keep(Head {
            reserved,
            ..self.head
        })?;
        self.file.sync()
    }

    fn keep(&mut self, head: Head) -> io::Result<()> {
        self.file.write(0, &head.bytes())?;
        self.head = head;
        Ok(())
    }
}

fn arrived(head: Head, newest: Link) -> Head {
    Head {
        newest,
        pending: None,
        doubt: 0,
        skips: false,
        ..head
    }
}

fn are_unique<'a>(fields: impl Iterator<Item = &'a (&'static str, String)>) -> bool {
    let mut names: Vec<_> = fields.map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.windows(2).all(|pair| pair.first() != pair.last())
}

pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = timers::boot_id()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    match u128::from_str_radix(&digits, 16) {
        Ok(number) if digits.len() == 32 => Ok(number.to_be_bytes()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod tests;
