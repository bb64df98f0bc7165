//! `files.largest`, `files.recent`, `directories.largest`: what fills a disk, and what has changed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::walk::Walk;
use super::{lines_but, number};
use crate::times::stamp;

/// Of stat(2), whatever the file system's own are.
const BLOCK: u64 = 512;

#[derive(Debug, Serialize, PartialEq, Eq)]
struct File {
    /// On the disk: a sparse file has less than its length.
    bytes: u64,
    length: u64,
    changed: String,
    uid: u32,
    path: String,
}

impl File {
    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.blocks() * BLOCK,
            length: metadata.len(),
            changed: stamp(u64::try_from(metadata.mtime()).unwrap_or(0)),
            uid: metadata.uid(),
            path: path.to_string_lossy().into_owned(),
        }
    }
}

/// Those of a greatest rank, the first one first.
struct Top<K: Ord>(usize, BinaryHeap<Reverse<(K, PathBuf)>>);

impl<K: Ord> Top<K> {
    fn new(count: &str) -> Result<Self, String> {
        Ok(Self(number(count)?, BinaryHeap::new()))
    }

    fn add(&mut self, rank: K, path: PathBuf) {
        self.1.push(Reverse((rank, path)));
        if self.1.len() > self.0 {
            self.1.pop();
        }
    }

    fn into_files(self) -> impl Iterator<Item = File> {
        let paths = self.1.into_sorted_vec().into_iter();
        // What went away meanwhile is not there.
        paths
            .filter_map(|Reverse((_, path))| Some(File::new(&path, &path.symlink_metadata().ok()?)))
    }
}

pub fn largest(directory: &str, count: &str) -> Result<ExitCode, String> {
    let (mut walk, mut top) = (Walk::new(directory)?, Top::new(count)?);
    for (path, metadata) in walk.by_ref().filter(|(_, metadata)| metadata.is_file()) {
        top.add(metadata.blocks(), path);
    }
    lines_but(top.into_files(), walk.unseen)
}

pub fn recent(directory: &str, minutes: &str, count: &str) -> Result<ExitCode, String> {
    let (mut walk, mut top) = (Walk::new(directory)?, Top::new(count)?);
    let ago: i64 = number(minutes)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    });
    let first = now.saturating_sub(ago.saturating_mul(60));
    for (path, metadata) in walk.by_ref().filter(|(_, metadata)| metadata.is_file()) {
        if metadata.mtime() >= first {
            top.add((metadata.mtime(), metadata.mtime_nsec()), path);
        }
    }
    lines_but(top.into_files(), walk.unseen)
}

#[derive(Debug, Serialize)]
struct Directory {
    bytes: u64,
    path: String,
}

/// Each with all that is below it; a file with several names counts once.
pub fn directories(directory: &str, count: &str) -> Result<ExitCode, String> {
    let mut walk = Walk::new(directory)?;
    let most: usize = number(count)?;
    let root = PathBuf::from(directory);
    let (mut sums, mut seen) = (HashMap::<PathBuf, u64>::new(), HashSet::new());
    for (path, metadata) in walk.by_ref() {
        let again = !metadata.is_dir() && metadata.nlink() > 1 && !seen.insert(metadata.ino());
        let bytes = if again { 0 } else { metadata.blocks() * BLOCK };
        let own = metadata.is_dir().then_some(path.as_path());
        for above in own.into_iter().chain(path.ancestors().skip(1)) {
            match sums.get_mut(above) {
                Some(sum) => *sum += bytes,
                None => {
                    sums.insert(above.to_owned(), bytes);
                }
            }
            if above == root {
                break;
            }
        }
    }
    let mut all: Vec<_> = sums.into_iter().collect();
    all.sort_unstable_by(|(path, bytes), (other, than)| (than, path).cmp(&(bytes, other)));
    all.truncate(most);
    let all = all.into_iter().map(|(path, bytes)| Directory {
        bytes,
        path: path.to_string_lossy().into_owned(),
    });
    lines_but(all, walk.unseen)
}
