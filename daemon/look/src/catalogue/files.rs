//! `files.largest`, `files.recent`, `directories.largest`: large files and directories, and recent changes. [`Walk`] goes
//! through everything below a directory on the same file system, and does not follow symbolic links.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use serde::Serialize;

use super::covered::Covering;
use super::inode::Inode;
use crate::text::{Unseen, lines_but, now, number, stamp};

#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct ShownFile {
    /// Disk usage. Less than the length for a sparse file.
    bytes: u64,
    length: u64,
    changed: String,
    uid: u32,
    path: String,
}

impl ShownFile {
    fn new(path: &Path, inode: &Inode, changed: i64) -> Self {
        Self {
            bytes: inode.bytes_on_disk(),
            length: inode.length(),
            changed: stamp(u64::try_from(changed).unwrap_or(0)),
            uid: inode.owner(),
            path: path.to_string_lossy().into_owned(),
        }
    }
}

/// The first of all by rank; no more are kept.
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
    for (path, inode) in walk.files() {
        top.add(inode.bytes_on_disk(), || {
            ShownFile::new(&path, &inode, inode.written().0)
        });
    }
    lines_but(top.into_sorted(), &walk.unseen)
}

pub fn recent(directory: &str, minutes: &str, count: &str) -> Result<ExitCode, String> {
    let (mut walk, mut top) = (Walk::new(directory)?, Top::new(count)?);
    let ago: i64 = number(minutes)?;
    let now = i64::try_from(now()).unwrap_or(i64::MAX);
    let first = now.saturating_sub(ago.saturating_mul(60));
    let mut all = 0_usize;
    for (path, inode) in walk.files() {
        // A file can have any time of writing (cp -p, dpkg, tar), also one to come. The time of the inode cannot be set.
        let (written, changed) = (inode.written(), inode.changed());
        let when = match written.0 > now {
            true => changed,
            false => written.max(changed),
        };
        if when.0 >= first {
            all += 1;
            top.add(when, || ShownFile::new(&path, &inode, when.0));
        }
    }
    let shown = all.min(top.0);
    if shown < all {
        eprintln!("remit-look: the newest {shown} of {all} files");
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
    directories_below(&mut Walk::new(directory)?, Path::new(directory), count)?;
    Ok(ExitCode::SUCCESS)
}

/// Lists those of a walk, which are shown below `name`. Returns the bytes of all of them.
pub fn directories_below(walk: &mut Walk, name: &Path, count: &str) -> Result<u64, String> {
    let mut top = Top::new(count)?;
    let start = walk.start.to_path_buf();
    // Outermost first. Memory and time do not grow with depth or width.
    let mut inside = vec![Open::new(start.clone(), 0)];
    let mut linked = Linked::default();
    for step in walk.by_ref() {
        let directory = match &step {
            Step::Found(path, _) => path.parent(),
            Step::Missed(directory) => Some(&**directory),
        };
        while inside.len() > 1 && inside.last().map(|last| last.path.as_path()) != directory {
            leave(&mut inside, &mut top);
        }
        let (bytes, found) = match step {
            Step::Found(path, inode) => (linked.bytes(&inode), Some((path, inode))),
            Step::Missed(_) => (0, None),
        };
        match (inside.last_mut(), found) {
            (_, Some((path, inode))) if inode.is_directory() => inside.push(Open::new(path, bytes)),
            (Some(last), Some(_)) => last.bytes = bytes.saturating_add(last.bytes),
            (Some(last), None) => last.is_incomplete = true,
            (None, _) => {}
        }
    }
    let mut total = 0;
    while let Some(outermost) = inside.last() {
        total = outermost.bytes;
        leave(&mut inside, &mut top);
    }
    let named = top
        .into_sorted()
        .map(|(path, mut one): (PathBuf, Directory)| {
            let below = path.strip_prefix(&start).unwrap_or(&path);
            let shown = match below.as_os_str().is_empty() {
                true => name.to_owned(),
                false => name.join(below),
            };
            one.path = shown.to_string_lossy().into_owned();
            one
        });
    lines_but(named, &walk.unseen)?;
    linked.warn();
    Ok(total)
}

fn leave(inside: &mut Vec<Open>, top: &mut Top<(u64, Reverse<usize>), (PathBuf, Directory)>) {
    let Some(left) = inside.pop() else {
        return;
    };
    if let Some(last) = inside.last_mut() {
        last.bytes = left.bytes.saturating_add(last.bytes);
        last.is_incomplete |= left.is_incomplete;
    }
    // The outer one of two equal directories comes first.
    top.add((left.bytes, Reverse(inside.len())), || {
        let directory = Directory {
            bytes: left.bytes,
            incomplete: left.is_incomplete.then_some(true),
            path: String::new(),
        };
        (left.path, directory)
    });
}

/// The files with several names that were counted. A user makes as many as the disk takes.
#[derive(Default)]
struct Linked {
    seen: HashSet<(u64, u64)>,
    uncounted: u64,
}

impl Linked {
    const MOST: usize = 1_000_000;

    /// Returns what a file adds to its directory: nothing by its second name.
    fn bytes(&mut self, inode: &Inode) -> u64 {
        let has_names = !inode.is_directory() && inode.names() > 1;
        let is_new = !has_names || self.is_new(inode.id());
        if is_new { inode.bytes_on_disk() } else { 0 }
    }

    fn is_new(&mut self, file: (u64, u64)) -> bool {
        if self.seen.len() < Self::MOST {
            return self.seen.insert(file);
        }
        let is_new = !self.seen.contains(&file);
        self.uncounted += u64::from(is_new);
        is_new
    }

    fn warn(&self) {
        if self.uncounted > 0 {
            eprintln!(
                "remit-look: {} names of files with several names may be counted twice",
                self.uncounted
            );
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
pub enum Step {
    Found(PathBuf, Inode),
    /// Something in this directory could not be read.
    Missed(Rc<Path>),
}

struct Level {
    path: Rc<Path>,
    directory: File,
    entries: fs::ReadDir,
}

/// Yields each directory before its contents, and names what could not be read. Mounts nothing below its start.
pub struct Walk {
    device: u64,
    start: Rc<Path>,
    inside: Vec<Level>,
    missed: Option<Rc<Path>>,
    covering: Covering,
    pub unseen: Unseen,
}

impl Walk {
    /// Each level has two descriptors open.
    const DEEPEST: usize = 200;

    /// Begins at this directory, or at the one a link of this name leads to. It is not yielded. Fails if it is not a readable
    /// directory.
    pub fn new(directory: &str) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("cannot look at '{directory}': {error}");
        let start: Rc<Path> = Path::new(directory).into();
        let (level, found) = open(&start, 0).map_err(cannot)?;
        let mut walk = Self {
            device: found.device(),
            inside: vec![level],
            start,
            missed: None,
            covering: Covering::new(),
            unseen: Unseen::default(),
        };
        if let Some(name) = walk.covering.name(&found) {
            walk.unseen.add_covered(name);
        }
        Ok(walk)
    }

    pub fn files(&mut self) -> impl Iterator<Item = (PathBuf, Inode)> {
        self.filter_map(|step| match step {
            Step::Found(path, inode) => inode.is_file().then_some((path, inode)),
            Step::Missed(_) => None,
        })
    }

    fn enter(&mut self, path: &Path, found: &Inode) {
        if self.inside.len() >= Self::DEEPEST {
            self.unseen.add(path);
            self.missed = Some(path.into());
            return;
        }
        match open_again(path, found) {
            Ok(level) => self.inside.push(level),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                self.unseen.add(path);
                self.missed = Some(path.into());
            }
        }
    }
}

/// Lists a directory that was found in an open one. Fails if the path leads to another by now: somebody can replace a
/// directory above it by a link to where the caller must not look.
fn open_again(path: &Path, found: &Inode) -> io::Result<Level> {
    // O_PATH mounts nothing.
    let (level, now) = open(path, libc::O_NOFOLLOW | libc::O_PATH)?;
    match now.id() == found.id() {
        true => Ok(level),
        false => Err(io::Error::other("another directory is there")),
    }
}

fn open(path: &Path, flags: i32) -> io::Result<(Level, Inode)> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY | flags);
    let directory = options.open(path)?;
    let entries = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    let found = Inode::in_directory(&directory, OsStr::new(""))?;
    let level = Level {
        path: path.into(),
        directory,
        entries,
    };
    Ok((level, found))
}

impl Iterator for Walk {
    type Item = Step;

    /// What disappeared during the walk is not missed.
    fn next(&mut self) -> Option<Step> {
        if let Some(directory) = self.missed.take() {
            return Some(Step::Missed(directory));
        }
        loop {
            let level = self.inside.last_mut()?;
            let Some(entry) = level.entries.next() else {
                self.inside.pop();
                continue;
            };
            let here = Rc::clone(&level.path);
            let (path, found) = match entry.map(|entry| entry.file_name()) {
                Ok(name) => (
                    here.join(&name),
                    Inode::in_directory(&level.directory, &name),
                ),
                Err(error) => (here.to_path_buf(), Err(error)),
            };
            match found {
                Ok(inode) => {
                    let is_other = inode.device() != self.device;
                    if inode.is_automount() || (is_other && inode.is_mount()) {
                        let Some(name) = self.covering.name_on(&inode, self.device) else {
                            continue;
                        };
                        self.unseen.add_covered(name);
                        return Some(Step::Missed(here));
                    }
                    if is_other && inode.is_directory() {
                        self.unseen.add_subvolume(&path);
                        return Some(Step::Missed(here));
                    }
                    if inode.is_directory() {
                        self.enter(&path, &inode);
                    }
                    return Some(Step::Found(path, inode));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => {
                    self.unseen.add(&path);
                    return Some(Step::Missed(here));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_several_names_count_once_up_to_a_number() {
        let mut linked = Linked::default();
        let many = u64::try_from(Linked::MOST).unwrap();
        assert!((0..many).all(|inode| linked.is_new((1, inode))));
        assert!((0..many).all(|inode| !linked.is_new((1, inode))));
        assert!(linked.is_new((2, 0)) && linked.is_new((1, many)));
        assert_eq!((linked.seen.len(), linked.uncounted), (Linked::MOST, 2));
    }

    #[test]
    fn walk_of_many_directories_holds_one_for_each_level() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-wide-XXXXXX")).unwrap();
        for number in 0..2_000 {
            fs::create_dir(dir.join(number.to_string())).unwrap();
        }
        let mut walk = Walk::new(dir.to_str().unwrap()).unwrap();
        let (mut found, mut most) = (0, 0);
        while walk.next().is_some() {
            found += 1;
            most = most.max(walk.inside.len());
        }
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((found, most), (2_000, 2));
    }

    #[test]
    fn walk_stays_below_its_start_when_a_directory_becomes_a_link() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-moved-XXXXXX")).unwrap();
        let (start, moved) = (dir.join("start"), dir.join("start/a"));
        fs::create_dir_all(moved.join("x/own")).unwrap();
        fs::create_dir_all(dir.join("other/x/secret")).unwrap();
        let mut walk = Walk::new(start.to_str().unwrap()).unwrap();
        let first = walk.next();
        assert!(matches!(first, Some(Step::Found(path, _)) if path == moved));
        fs::rename(&moved, dir.join("start/b")).unwrap();
        std::os::unix::fs::symlink(dir.join("other"), &moved).unwrap();
        let rest: Vec<Step> = walk.by_ref().collect();
        fs::remove_dir_all(&dir).unwrap();
        let is_secret =
            |step: &Step| matches!(step, Step::Found(path, _) if path.ends_with("secret"));
        assert!(!rest.iter().any(is_secret));
        let missed = moved.join("x");
        assert!(
            rest.iter()
                .any(|step| matches!(step, Step::Missed(path) if **path == missed))
        );
    }

    #[test]
    fn subvolume_is_named_and_not_entered() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-sub-XXXXXX")).unwrap();
        fs::create_dir_all(dir.join("sub/below")).unwrap();
        fs::write(dir.join("sub/below/file"), "").unwrap();
        let mut walk = Walk::new(dir.to_str().unwrap()).unwrap();
        // A subvolume of btrfs has another device than the directory above it, and is no mount.
        walk.device += 1;
        let steps: Vec<Step> = walk.by_ref().collect();
        fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(&steps[..], [Step::Missed(missed)] if **missed == dir));
        let said = walk.unseen.said();
        let expect = format!(
            "which can share what they hold: {}",
            dir.join("sub").display()
        );
        assert!(said.len() == 1 && said[0].ends_with(&expect), "{said:?}");
    }

    #[test]
    fn link_to_another_file_system_is_followed_where_the_walk_begins() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-link-XXXXXX")).unwrap();
        let link = dir.join("link");
        std::os::unix::fs::symlink("/proc/self/task", &link).unwrap();
        let walk = Walk::new(link.to_str().unwrap());
        let first = walk.and_then(|mut walk| walk.next().ok_or_else(|| "nothing".to_owned()));
        fs::remove_dir_all(&dir).unwrap();
        let is_below =
            |step: &Step| matches!(step, Step::Found(path, _) if path.parent() == Some(&link));
        assert!(first.as_ref().is_ok_and(is_below), "{:?}", first.err());
    }

    #[test]
    fn directory_below_the_deepest_makes_those_above_incomplete() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-deep-XXXXXX")).unwrap();
        let deep = "d/".repeat(Walk::DEEPEST + 3);
        fs::create_dir_all(dir.join(deep)).unwrap();
        let mut walk = Walk::new(dir.to_str().unwrap()).unwrap();
        let steps: Vec<Step> = walk.by_ref().collect();
        fs::remove_dir_all(&dir).unwrap();
        let found = steps.iter().filter(|step| matches!(step, Step::Found(..)));
        assert_eq!(found.count(), Walk::DEEPEST);
        let last = dir.join("d/".repeat(Walk::DEEPEST));
        assert!(matches!(steps.last(), Some(Step::Missed(missed)) if **missed == last));
    }
}
