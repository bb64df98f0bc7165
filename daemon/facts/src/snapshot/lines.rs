//! The lines of a snapshot, and where a section adds its own.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use remit_common::calendar;
use remit_wire::host::Gap;

use crate::read::Why;

/// Bytes of a key and of a value. A path of Linux has at most 4,096.
const KEY: usize = 1024;
const VALUE: usize = 256;

/// Lasting facts about the machine at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sorted lines, each with its newline. Control characters are escaped, so no key or value has a tab or newline.
    pub lines: String,
    /// Sections that are incomplete, and why.
    pub gaps: Vec<Gap>,
}

pub(super) fn gap(section: &str, why: &str) -> Gap {
    Gap {
        fact: section.to_owned(),
        why: why.to_owned(),
    }
}

#[derive(Debug, Default)]
pub(super) struct SnapshotLines {
    lines: Vec<String>,
    gaps: Vec<Gap>,
}

/// Adds lines of one section.
pub(super) struct SnapshotSection<'a> {
    name: &'static str,
    lines: &'a mut Vec<String>,
}

impl SnapshotSection<'_> {
    pub(super) fn add(&mut self, key: &[u8], value: &str) {
        let text = remit_common::text::line;
        let (key, value) = (text(key, KEY), text(value.as_bytes(), VALUE));
        self.lines.push(format!("{}\t{key}\t{value}\n", self.name));
    }
}

impl SnapshotLines {
    /// Reads a section. On failure its lines so far are kept, and the gap says that it is incomplete.
    pub(super) fn section(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut SnapshotSection<'_>) -> Result<(), Why>,
    ) {
        let mut section = SnapshotSection {
            name,
            lines: &mut self.lines,
        };
        if let Err(why) = read(&mut section) {
            self.gaps.push(gap(name, &why));
        }
    }

    pub(super) fn finish(mut self) -> Snapshot {
        self.lines.sort_unstable();
        self.lines.dedup();
        Snapshot {
            lines: self.lines.concat(),
            gaps: self.gaps,
        }
    }
}

/// Returns in words when the content of a file changed, with the nanoseconds.
pub(super) fn modified(meta: &Metadata) -> String {
    let seconds = u64::try_from(meta.mtime()).unwrap_or_default();
    let utc = calendar::utc(seconds.saturating_mul(1000));
    let utc = utc.trim_end_matches(" UTC");
    format!("modified {utc}.{:09} UTC", meta.mtime_nsec())
}
