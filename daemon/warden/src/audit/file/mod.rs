//! JSON Lines in the state directory, for machines without journald. Each record is one `write` with `O_APPEND`. If
//! others move, cut or write the file, the next record is preceded by a record about that. The chain continues.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{KEPT, Linked};
use crate::audit::record::json::string;

/// Bytes read from the end when it is opened: more than any record.
const END: u64 = 1 << 20;

#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Its length, unless others wrote to it.
    length: u64,
    /// Part of a failed record is in the file after `length`.
    is_spoilt: bool,
    incidents: Vec<String>,
    line: String,
}

impl JsonLines {
    /// Opens or creates the file, 0600. Cuts half a record off its end: after a kill nothing was done for it.
    /// Fails if it is not a regular file. Fails if users other than root can write it or its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, length) = open(path)?;
        let meta = file.metadata()?;
        let mut lines = Self {
            path: path.to_path_buf(),
            file,
            id: (meta.dev(), meta.ino()),
            length,
            is_spoilt: false,
            incidents: Vec::new(),
            line: String::new(),
        };
        lines.mend()?;
        Ok(lines)
    }

    pub fn ends_with(&self, hash: &str) -> bool {
        let Ok(end) = self.end() else {
            return false;
        };
        let lines = end.strip_suffix(b"\n").unwrap_or(&end);
        let last = lines.rsplit(|byte| *byte == b'\n').next();
        let is = format!("\"REMIT_HASH\":\"{hash}\"}}");
        last.is_some_and(|last| last.ends_with(is.as_bytes()))
    }

    /// Returns disturbances since the last record, for the next; then [`Self::clear_incidents`]. Fails if unsafe.
    pub fn incidents(&mut self) -> io::Result<Option<String>> {
        if self.is_spoilt {
            self.file.set_len(self.length)?;
            self.is_spoilt = false;
        }
        // The path is our file, or the file was replaced and ours is not needed.
        let there = fs::symlink_metadata(&self.path).ok();
        let own_meta = there.filter(|there| (there.dev(), there.ino()) == self.id);
        let Some(own_meta) = own_meta else {
            // The next synced record is in another file, and says that all before it are on the disk.
            let unsynced = self.file.sync_data().err();
            let (file, length) = open(&self.path)?;
            let meta = file.metadata()?;
            self.length = end_line(&file, length)?;
            self.id = (meta.dev(), meta.ino());
            self.file = file;
            self.incidents.push(match length {
                0 => "its file was moved or removed, and a new one was begun".into(),
                length => format!("its file was replaced by another file of {length} bytes"),
            });
            self.incidents.extend(unsynced.map(|error| {
                format!("the end of the file before cannot be written to the disk: {error}")
            }));
            return Ok(self.incidents_text());
        };
        if own_meta.len() != self.length {
            let (was, is) = (self.length, own_meta.len());
            self.length = end_line(&self.file, is)?;
            self.incidents.push(if is < was {
                format!("its file was cut from {was} to {is} bytes")
            } else {
                format!("another process wrote {} bytes to its file", is - was)
            });
        }
        Ok(self.incidents_text())
    }

    fn incidents_text(&self) -> Option<String> {
        (!self.incidents.is_empty()).then(|| self.incidents.join("; "))
    }

    pub fn clear_incidents(&mut self) {
        self.incidents.clear();
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub fn write(&mut self, linked: &Linked, sync: bool) -> io::Result<()> {
        encode(linked, &mut self.line);
        let written = self
            .file
            .write_all(self.line.as_bytes())
            .and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => self.length = self.length.saturating_add(self.line.len() as u64),
            // Half a line would damage the next one. A whole line would record something that does not happen.
            Err(_) => self.is_spoilt = self.file.set_len(self.length).is_err(),
        }
        written
    }

    /// Cuts off half a record that a killed daemon left.
    fn mend(&mut self) -> io::Result<()> {
        let end = self.end()?;
        if end.last().is_none_or(|byte| *byte == b'\n') {
            return Ok(());
        }
        let half = match end.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => end.len().saturating_sub(newline + 1) as u64,
            None if end.len() as u64 == self.length && end.starts_with(b"{\"") => self.length,
            None => {
                let text = "its end is not a record; move it away";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        };
        self.length = self.length.saturating_sub(half);
        self.file.set_len(self.length)?;
        self.incidents.push(format!(
            "its file ended with half a record of {half} bytes, which was removed: a daemon that is killed while it writes \
             has started nothing by it"
        ));
        Ok(())
    }

    fn end(&self) -> io::Result<Vec<u8>> {
        let size = self.length.min(END);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let from = self.length.saturating_sub(size);
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}

/// Ends a partial line that others left at the end of `length` bytes. Returns the new length.
fn end_line(mut file: &File, length: u64) -> io::Result<u64> {
    let mut last = [b'\n'];
    if let Some(before) = length.checked_sub(1) {
        file.read_exact_at(&mut last, before)?;
    }
    if last == [b'\n'] {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length.saturating_add(1))
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let refuse = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let above = fs::symlink_metadata(dir)?;
    if !above.is_dir() || above.uid() != 0 || above.mode() & 0o022 != 0 {
        return Err(refuse("users other than root can write its directory"));
    }
    let is_new = fs::symlink_metadata(path).is_err();
    // Opening a FIFO would block.
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(refuse("it is not a regular file"));
    }
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(refuse("users other than root can write it"));
    }
    if is_new {
        // The name must survive a power cut, too.
        File::open(dir)?.sync_all()?;
    }
    Ok((file, meta.len()))
}

fn encode(linked: &Linked, text: &mut String) {
    text.clear();
    text.shrink_to(KEPT);
    let record = &linked.record;
    let head = [
        ("{\"", "MESSAGE", record.message.as_str()),
        (",\"", "MESSAGE_ID", record.event.message_id()),
        (",\"", "PRIORITY", record.priority),
    ];
    let fields = linked.fields();
    let fields = fields.map(|(name, value)| (",\"REMIT_", name, value));
    for (before, name, value) in head.into_iter().chain(fields) {
        text.push_str(before);
        text.push_str(name);
        text.push_str("\":");
        string(text, value);
    }
    text.push_str("}\n");
}

#[cfg(test)]
mod tests;
