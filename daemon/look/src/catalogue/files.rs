//! `files.largest`, `files.recent`, `directories.largest`: large files and directories, and recent changes. [`Walk`] goes
//! through everything below a directory on the same file system, and does not follow symbolic links.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use serde::Serialize;

use crate::text::{Unseen, lines_but, now, number, stamp};

/// Unit of stat(2), independent of the file system.
const BLOCK: u64 = 512;

#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    /// Disk usage. Less than the length for a sparse file.
    bytes: u64,
    length: u64,
    changed: String,
    uid: u32,
    path: String,
}

impl File {
    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            bytes: on_disk(metadata),
            length: metadata.len(),
            changed: stamp(u64::try_from(metadata.mtime()).unwrap_or(0)),
            uid: metadata.uid(),
            path: path.to_string_lossy().into_owned(),
        }
    }
}

/// Saturates, because a file system in user space may report any number.
fn on_disk(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(BLOCK)
}

struct Top<K: Ord, T: Ord>(usize, BinaryHeap<Reverse<(K, T)>>);

impl<K: Ord, T: Ord> Top<K, T> {
    fn new(count: &str) -> Result<Self, String> {
        Ok(Self(number(count)?, BinaryHeap::new()))
    }

    fn add(&mut self, rank: K, one: impl FnOnce() -> T) {
        let full = self.1.len() >= self.0;
        if full && self.1.peek().is_none_or(|Reverse(last)| rank <= last.0) {
            return;
        }
        self.1.push(Reverse((rank, one())));
        if full {
            self.1.pop();
        }
    }

    fn into_sorted(self) -> impl Iterator<Item = T> {
        let all = self.1.into_sorted_vec().into_iter();
        all.map(|Reverse((_, one))| one)
    }
}

pub fn largest(directory: &str, count: &str) -> Result<ExitCode, String> {
    let (mut walk, mut top) = (Walk::new(directory)?, Top::new(count)?);
    for (path, metadata) in walk.by_ref().filter(|(_, metadata)| metadata.is_file()) {
        top.add(metadata.blocks(), || File::new(&path, &metadata));
    }
    lines_but(top.into_sorted(), &walk.unseen)
}

pub fn recent(directory: &str, minutes: &str, count: &str) -> Result<ExitCode, String> {
    let (mut walk, mut top) = (Walk::new(directory)?, Top::new(count)?);
    let ago: i64 = number(minutes)?;
    let now = i64::try_from(now()).unwrap_or(i64::MAX);
    let first = now.saturating_sub(ago.saturating_mul(60));
    for (path, metadata) in walk.by_ref().filter(|(_, metadata)| metadata.is_file()) {
        if metadata.mtime() >= first {
            let when = (metadata.mtime(), metadata.mtime_nsec());
            top.add(when, || File::new(&path, &metadata));
        }
    }
    lines_but(top.into_sorted(), &walk.unseen)
}

#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Directory {
    bytes: u64,
    /// Something below it could not be read, so it holds at least this much.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<bool>,
    path: String,
}

/// A directory that the walk is in, and what was found in it so far.
struct Open {
    path: PathBuf,
    bytes: u64,
    is_incomplete: bool,
}

impl Open {
    fn new(path: PathBuf, bytes: u64) -> Self {
        Self {
            path,
            bytes,
            is_incomplete: false,
        }
    }
}

/// Lists directories with everything below them. A file with several names counts once.
pub fn directories(directory: &str, count: &str) -> Result<ExitCode, String> {
    let (mut walk, mut top) = (Walk::new(directory)?, Top::new(count)?);
    // Outermost first. Memory and time do not grow with depth or width.
    let mut inside = vec![Open::new(PathBuf::from(directory), 0)];
    let mut seen = HashSet::new();
    while let Some((path, metadata)) = walk.next() {
        while inside.len() > 1 && inside.last().map(|last| last.path.as_path()) != path.parent() {
            leave(&mut inside, &walk.incomplete, &mut top);
        }
        let again = !metadata.is_dir() && metadata.nlink() > 1 && !seen.insert(metadata.ino());
        let bytes = if again { 0 } else { on_disk(&metadata) };
        if metadata.is_dir() {
            inside.push(Open::new(path, bytes));
        } else if let Some(last) = inside.last_mut() {
            last.bytes = bytes.saturating_add(last.bytes);
        }
    }
    while !inside.is_empty() {
        leave(&mut inside, &walk.incomplete, &mut top);
    }
    lines_but(top.into_sorted(), &walk.unseen)
}

fn leave(
    inside: &mut Vec<Open>,
    incomplete: &HashSet<PathBuf>,
    top: &mut Top<(u64, Reverse<usize>), Directory>,
) {
    let Some(left) = inside.pop() else {
        return;
    };
    let is_incomplete = left.is_incomplete || incomplete.contains(&left.path);
    if let Some(last) = inside.last_mut() {
        last.bytes = left.bytes.saturating_add(last.bytes);
        last.is_incomplete |= is_incomplete;
    }
    // The outer one of two equal directories comes first.
    top.add((left.bytes, Reverse(inside.len())), || Directory {
        bytes: left.bytes,
        incomplete: is_incomplete.then_some(true),
        path: left.path.to_string_lossy().into_owned(),
    });
}

/// Yields each directory directly before its contents. Names what could not be read.
pub struct Walk {
    device: u64,
    /// Directories not yet visited, each with its parent: a million complete paths would need gigabytes.
    left: Vec<(Rc<Path>, OsString, Metadata)>,
    here: Rc<Path>,
    entries: Option<fs::ReadDir>,
    pub unseen: Unseen,
    /// Directories of which something could not be read.
    incomplete: HashSet<PathBuf>,
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
            unseen: Unseen::default(),
            incomplete: HashSet::new(),
        })
    }

    /// Notes what could not be read, in or of this directory. What disappeared during the walk does not count.
    fn missed(&mut self, directory: &Path, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.unseen.add(path);
            self.incomplete.insert(directory.to_owned());
        }
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
            let here = Rc::clone(&self.here);
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.missed(&here, &here, &error);
                    continue;
                }
            };
            let name = entry.file_name();
            match entry.metadata() {
                Ok(metadata) if metadata.dev() != self.device => {}
                Ok(metadata) if metadata.is_dir() => self.left.push((here, name, metadata)),
                Ok(metadata) => return Some((here.join(name), metadata)),
                Err(error) => self.missed(&here, &here.join(name), &error),
            }
        }
        let (above, name, metadata) = self.left.pop()?;
        let path = above.join(name);
        self.here = path.as_path().into();
        match fs::read_dir(&path) {
            Ok(entries) => self.entries = Some(entries),
            Err(error) => self.missed(&path, &path, &error),
        }
        Some((path, metadata))
    }
}
