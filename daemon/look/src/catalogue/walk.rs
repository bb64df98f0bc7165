//! All that is below a directory, on its file system. Links are not followed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands there, and how much could not be looked at.
pub struct Walk {
    device: u64,
    /// Directories whose entries are still to be told.
    left: Vec<PathBuf>,
    entries: Option<fs::ReadDir>,
    pub unseen: u64,
}

impl Walk {
    /// Begins at this directory, which is not told itself.
    ///
    /// # Errors
    /// It is not there, is no directory, or may not be looked at.
    pub fn new(directory: &str) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("cannot look at '{directory}': {error}");
        let path = Path::new(directory);
        Ok(Self {
            device: fs::symlink_metadata(path).map_err(cannot)?.dev(),
            left: Vec::new(),
            entries: Some(fs::read_dir(path).map_err(cannot)?),
            unseen: 0,
        })
    }
}

impl Iterator for Walk {
    type Item = (PathBuf, Metadata);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(entries) = &mut self.entries else {
                match fs::read_dir(self.left.pop()?) {
                    Ok(entries) => self.entries = Some(entries),
                    Err(error) => self.unseen += u64::from(error.kind() != io::ErrorKind::NotFound),
                }
                continue;
            };
            let Some(entry) = entries.next() else {
                self.entries = None;
                continue;
            };
            // What went away meanwhile is not there.
            let Ok(entry) = entry else {
                continue;
            };
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.dev() != self.device {
                continue;
            }
            let path = entry.path();
            if metadata.is_dir() {
                self.left.push(path.clone());
            }
            return Some((path, metadata));
        }
    }
}
