//! Walks everything below a directory on the same file system. Does not follow symbolic links.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Yields each directory directly before its contents. Counts what could not be read.
pub struct Walk {
    device: u64,
    /// Directories not yet visited, each with its parent: a million complete paths would need gigabytes.
    left: Vec<(Rc<Path>, OsString, Metadata)>,
    here: Rc<Path>,
    entries: Option<fs::ReadDir>,
    pub unseen: u64,
}

impl Walk {
    /// Begins at this directory, which is not yielded. Fails if it is not a readable directory.
    pub fn new(directory: &str) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("cannot look at '{directory}': {error}");
        let path = Path::new(directory);
        Ok(Self {
            device: fs::symlink_metadata(path).map_err(cannot)?.dev(),
            left: Vec::new(),
            here: path.into(),
            entries: Some(fs::read_dir(path).map_err(cannot)?),
            unseen: 0,
        })
    }

    /// An entry that disappeared during the walk is not counted.
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
            match entry.and_then(|entry| Ok((entry.file_name(), entry.metadata()?))) {
                Ok((_, metadata)) if metadata.dev() != self.device => {}
                Ok((name, metadata)) if metadata.is_dir() => {
                    self.left.push((Rc::clone(&self.here), name, metadata));
                }
                Ok((name, metadata)) => return Some((self.here.join(name), metadata)),
                Err(error) => self.missed(&error),
            }
        }
        let (above, name, metadata) = self.left.pop()?;
        let path = above.join(name);
        self.here = path.as_path().into();
        match fs::read_dir(&path) {
            Ok(entries) => self.entries = Some(entries),
            Err(error) => self.missed(&error),
        }
        Some((path, metadata))
    }
}
