//! JSON Lines in the state directory, for machines without journald.
//!
//! One `write` a record with `O_APPEND`. A file that was moved away or cut is
//! noticed before the next record and made anew; the chain goes on in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use remit_common::calendar;

use super::chain::Linked;
use super::record::Record;
use crate::json::string;

/// The open file.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens or makes the file, 0600.
    ///
    /// # Errors
    /// It cannot be opened, or is a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
        })
    }

    /// Writes a record whole; with `sync`, waits until it is on the disk.
    ///
    /// # Errors
    /// The disk is full, or the file cannot be written.
    pub fn write(&mut self, record: &Record, linked: &Linked, sync: bool) -> io::Result<()> {
        if self.moved() {
            *self = Self::open(&self.path)?;
        }
        let line = encode(record, linked, &timestamp(crate::clock::unix_ms()));
        let before = self.file.metadata()?.len();
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        if written.is_err() {
            // Half a line would spoil the next one; a whole one would tell what does not happen.
            let _ = self.file.set_len(before);
        }
        written
    }

    fn moved(&self) -> bool {
        match (fs::symlink_metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            _ => true,
        }
    }
}

fn encode(record: &Record, linked: &Linked, time: &str) -> String {
    let mut text = String::with_capacity(1024);
    text.push_str("{\"TIME\":");
    string(&mut text, time);
    let head = [
        ("MESSAGE", record.message.as_str()),
        ("MESSAGE_ID", record.event.message_id()),
        ("PRIORITY", record.priority),
    ];
    for (name, value) in head {
        text.push_str(&format!(",\"{name}\":"));
        string(&mut text, value);
    }
    for (name, value) in &linked.fields {
        text.push_str(&format!(",\"REMIT_{name}\":"));
        string(&mut text, value);
    }
    text.push_str("}\n");
    text
}

/// `2026-11-20T08:30:00.123Z`
fn timestamp(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = calendar::date(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let ms = ms % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_162_271_042, "2026-11-20T08:11:11.042Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(ms), text);
        }
    }
}
