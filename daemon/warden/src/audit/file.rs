//! JSON Lines in the state directory, for machines without journald.
//!
//! One `write` a record with `O_APPEND`. A file that others moved away, cut or wrote to is noticed before the next
//! record, and told of in a record of its own; the chain goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{KEPT, Linked};
use crate::json::string;

/// The end of a file that is looked at when it is opened: more than any record.
const END: u64 = 1 << 20;

/// The open file.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Its length, unless others wrote to it.
    length: u64,
    /// A record that failed is partly in it, behind `length`.
    is_spoilt: bool,
    /// What befell it and no record tells yet.
    befell: Vec<String>,
    /// The line that was written last: its room is used again.
    line: String,
}

impl JsonLines {
    /// Opens or makes the file, 0600. Half a record at its end is cut off: nothing was done by it.
    ///
    /// # Errors
    /// It cannot be opened, is a link or no file, or others than root may write it or its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, length) = open(path)?;
        let meta = file.metadata()?;
        let mut lines = Self {
            path: path.to_path_buf(),
            file,
            id: (meta.dev(), meta.ino()),
            length,
            is_spoilt: false,
            befell: Vec::new(),
            line: String::new(),
        };
        lines.mend()?;
        Ok(lines)
    }

    /// Whether the newest record has this hash.
    pub fn ends_with(&self, hash: &str) -> bool {
        let Ok(end) = self.end() else {
            return false;
        };
        let lines = end.strip_suffix(b"\n").unwrap_or(&end);
        let last = lines.rsplit(|byte| *byte == b'\n').next();
        let is = format!("\"REMIT_HASH\":\"{hash}\"}}");
        last.is_some_and(|last| last.ends_with(is.as_bytes()))
    }

    /// What befell the file since the record before, if anything: the next record is to tell it, and then
    /// [`Self::told`] is to be called.
    ///
    /// # Errors
    /// There is no safe file to write to.
    pub fn befell(&mut self) -> io::Result<Option<String>> {
        if self.is_spoilt {
            self.file.set_len(self.length)?;
            self.is_spoilt = false;
        }
        // What has the name is our file or another one: then there is no need to look at ours.
        let there = fs::symlink_metadata(&self.path).ok();
        let ours = there.filter(|there| (there.dev(), there.ino()) == self.id);
        let Some(ours) = ours else {
            let (file, length) = open(&self.path)?;
            let meta = file.metadata()?;
            self.length = end_line(&file, length)?;
            self.id = (meta.dev(), meta.ino());
            self.file = file;
            self.befell.push(match length {
                0 => "its file was moved away or removed, and a new one was begun".into(),
                length => format!("its file was replaced by another one, of {length} bytes"),
            });
            return Ok(self.to_tell());
        };
        if ours.len() != self.length {
            let (was, is) = (self.length, ours.len());
            self.length = end_line(&self.file, is)?;
            self.befell.push(if is < was {
                format!("its file was cut from {was} to {is} bytes")
            } else {
                format!("{} bytes were written to its file by others", is - was)
            });
        }
        Ok(self.to_tell())
    }

    fn to_tell(&self) -> Option<String> {
        (!self.befell.is_empty()).then(|| self.befell.join("; "))
    }

    /// What befell the file is told.
    pub fn told(&mut self) {
        self.befell.clear();
    }

    /// Waits until all is on the disk.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Writes a record whole; with `sync`, waits until it is on the disk.
    ///
    /// # Errors
    /// The disk is full, or the file cannot be written.
    pub fn write(&mut self, linked: &Linked, sync: bool) -> io::Result<()> {
        encode(linked, &mut self.line);
        let written = self
            .file
            .write_all(self.line.as_bytes())
            .and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => self.length = self.length.saturating_add(self.line.len() as u64),
            // Half a line would spoil the next one; a whole one would tell what does not happen.
            Err(_) => self.is_spoilt = self.file.set_len(self.length).is_err(),
        }
        written
    }

    /// Cuts half a record off, which a daemon that was killed left.
    fn mend(&mut self) -> io::Result<()> {
        let end = self.end()?;
        if end.last().is_none_or(|byte| *byte == b'\n') {
            return Ok(());
        }
        let half = match end.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => end.len().saturating_sub(newline + 1) as u64,
            None if end.len() as u64 == self.length && end.starts_with(b"{\"") => self.length,
            None => {
                let text = "it ends in what is no record; move it aside";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        };
        self.length = self.length.saturating_sub(half);
        self.file.set_len(self.length)?;
        self.befell.push(format!(
            "its file ended in half a record of {half} bytes, by which nothing was done; it was cut off"
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

/// What others left at the end of `length` bytes becomes a line of its own. The length then.
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

/// The file and its length.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let refuse = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let above = fs::symlink_metadata(dir)?;
    if !above.is_dir() || above.uid() != 0 || above.mode() & 0o022 != 0 {
        return Err(refuse("others than root may write its directory"));
    }
    let is_new = fs::symlink_metadata(path).is_err();
    // A FIFO would be waited for.
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(refuse("it is no regular file"));
    }
    if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
        return Err(refuse("others than root may write it"));
    }
    if is_new {
        // The name, too, must outlive a power cut.
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
