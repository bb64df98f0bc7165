//! All that is below a directory, on its file system. Links are not followed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands there, each directory right before what is in it, and how much could not be looked at.
pub struct Walk {
    device: u64,
    /// Directories that are still to be told.
    left: Vec<(PathBuf, Metadata)>,
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

    /// What went away meanwhile is not there.
    fn missed(&mut self, error: &io::Error) {
        self.unseen += u64::from(error.kind() != io::ErrorKind::NotFound);
    }
}

impl Iterator for Walk {
    type Item = (PathBuf, Metadata);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(entries) = &mut self.entries {
            let Some(entry) = entries.next() else {
                self.entries = None;
                break;
            };
            match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok((_, metadata)) if metadata.dev() != self.device => {}
                Ok(directory) if directory.1.is_dir() => self.left.push(directory),
                Ok(other) => return Some(other),
                Err(error) => self.missed(&error),
            }
        }
        let directory = self.left.pop()?;
        match fs::read_dir(&directory.0) {
            Ok(entries) => self.entries = Some(entries),
            Err(error) => self.missed(&error),
        }
        Some(directory)
    }
}
