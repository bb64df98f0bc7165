//! Opens the directories of a plan without following a link, and looks at what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use libc::{O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY};
use remit_plan::{Change, Entry, Journal, Kind, Metadata, New, Plan, PlanDirectories, Stat};
use remit_sys::sys;
use sha2::{Digest, Sha256};

use crate::anchor::Anchor;
use crate::failure::Failure;
use crate::identity::is_known;
use crate::journal::JournalFile;

/// XFS lists the access lists of acl(5) once more, under names of its own.
const ALIASES: &[u8] = b"trusted.SGI_ACL_";
/// Bytes of the extended attributes of a file that a commit changes.
const ATTRIBUTES: usize = 64 << 10;
/// Descriptors that no entry needs.
pub const OWN: usize = 64;

#[derive(Debug)]
pub struct Operation<'a> {
    pub entry: &'a Entry,
    /// Position of the entry in the plan.
    pub at: usize,
    pub name: CString,
    /// Its name in the private directory: the position.
    pub slot: CString,
    pub anchor: Rc<Anchor>,
    /// `None` if it is a new directory that is not there yet.
    pub parent: Option<Rc<OwnedFd>>,
    /// The inode of the new file.
    pub inode: u64,
    /// What leaves the path. A file has a lease.
    pub held: Option<File>,
    /// The new file, with a lease.
    pub staged: Option<File>,
    pub attributes: Attributes,
    /// Of the file that leaves the path, at the first look: a plan of files that nobody read has no hash. Before that,
    /// of a file whose owner or mode changes, as plan or journal have it.
    pub sha256: Option<[u8; 32]>,
    /// A new directory that an undo takes away with all that is in it.
    pub is_whole: bool,
}

/// Inode numbers and hashes of a journal, by entry, and its directories. A commit that begins has none.
type Rows<'a> = (
    &'a [u64],
    &'a [Option<[u8; 32]>],
    Option<&'a PlanDirectories>,
);

/// Extended attributes by name.
pub type Attributes = BTreeMap<CString, Vec<u8>>;

#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub stat: Stat,
    pub links: u32,
    /// `STATX_ATTR_…`.
    pub attributes: u64,
}

#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    descriptors: usize,
}

impl Tree {
    /// `descriptors` is the limit of this process.
    pub fn open(descriptors: usize) -> io::Result<Self> {
        let root = sys::open(c"/", O_PATH | O_DIRECTORY)?;
        Ok(Self { root, descriptors })
    }

    /// Fails if a commit of the plan, or its undo, could not open all that it needs.
    pub fn check_descriptors(&self, plan: &Plan) -> Result<(), String> {
        let changes = plan.entries().iter().map(|entry| &entry.change);
        let replaced = changes.filter(|change| change.base().is_some() && change.makes().is_some());
        let entries = plan.entries().len();
        // A file that leaves, and the new one.
        let needed = entries + replaced.count() + directories(plan);
        let free = self.descriptors.saturating_sub(OWN);
        if needed <= free {
            return Ok(());
        }
        let fits = entries * free / needed;
        Err(format!(
            "{needed} open files are needed and {free} are allowed: split the plan, about {fits} of its {entries} \
             entries fit; or raise 'open_files' of the profile"
        ))
    }

    /// Takes from `left` what a recovery of the plan needs.
    pub fn take(plan: &Plan, left: &mut usize) -> Result<(), String> {
        // Two for the journal.
        let needed = directories(plan) + 2;
        *left = left.checked_sub(needed).ok_or_else(|| {
            format!("{needed} open files are needed and {left} are left; raise 'open_files' of the profile")
        })?;
        Ok(())
    }

    pub fn directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_at(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    }

    /// Opens a directory with these flags of open(2).
    pub fn open_at(&self, path: &[u8], flags: i32) -> io::Result<OwnedFd> {
        let relative = match path.strip_prefix(b"/") {
            None | Some(b"") => c".".to_owned(),
            Some(relative) => c_string(relative)?,
        };
        sys::open_plain(self.root.as_fd(), &relative, flags)
    }

    pub fn leads_to(&self, path: &[u8], directory: &OwnedFd) -> bool {
        let identity = |fd: BorrowedFd<'_>| sys::stat_of(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let now = self.directory(path).and_then(|now| identity(now.as_fd()));
        now.is_ok_and(|now| identity(directory.as_fd()).is_ok_and(|held| held == now))
    }

    /// Opens all directories of a plan for its commit. Fails if one cannot be opened.
    pub fn operations<'a>(&self, plan: &'a Plan, id: &str) -> Result<Vec<Operation<'a>>, String> {
        self.check_descriptors(plan)?;
        let (operations, lost) = self.opened(plan, (&[], &[], None), id, None);
        match lost.into_iter().next() {
            Some(failure) => Err(failure.into()),
            None => Ok(operations),
        }
    }

    /// Opens the directories in which a commit acted, in the order of its operations, and returns why some cannot be
    /// opened. A directory that the plan makes or removes can be in a slot now: in `kept`, or in a private directory.
    pub fn reachable<'a>(
        &self,
        read: &'a Journal,
        id: &str,
        kept: &OwnedFd,
    ) -> (Vec<Operation<'a>>, Vec<Failure>) {
        let rows = (
            read.inodes.as_slice(),
            read.hashes.as_slice(),
            Some(&read.directories),
        );
        self.opened(&read.plan, rows, id, Some(kept))
    }

    fn opened<'a>(
        &self,
        plan: &'a Plan,
        (inodes, hashes, known): Rows<'_>,
        id: &str,
        kept: Option<&OwnedFd>,
    ) -> (Vec<Operation<'a>>, Vec<Failure>) {
        let entries = plan.entries();
        let passing = passing(plan);
        let mut anchors: BTreeMap<&[u8], Rc<Anchor>> = BTreeMap::new();
        let mut parents: BTreeMap<&[u8], Option<Rc<OwnedFd>>> = BTreeMap::new();
        let (mut operations, mut lost) = (Vec::new(), Vec::new());
        for at in plan.operations() {
            let Some(entry) = entries.get(at) else {
                continue;
            };
            let above = entry
                .path
                .ancestors()
                .find(|dir| !passing.contains_key(dir))
                .unwrap_or(b"/");
            let parent = entry.path.parent();
            let fail = |error: io::Error| Failure::doing(entry, "open its directory", &error);
            let mut open = || {
                if !anchors.contains_key(above) {
                    let fd = self.directory(above).map_err(fail)?;
                    if !is_known(known, above, &fd).map_err(fail)? {
                        let why = "its directory is another one than at the commit";
                        return Err(Failure::changed(entry, why));
                    }
                    let anchor = Anchor::new(fd, above, id, kept.is_none()).map_err(fail)?;
                    anchors.insert(above, Rc::new(anchor));
                }
                let anchor = anchors.get(above).map(Rc::clone);
                let anchor = anchor.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
                if !parents.contains_key(parent) {
                    let fd = match passing.get(parent) {
                        Some(slot) => self.passed((parent, slot.as_c_str()), known, kept, &anchor),
                        None => self.directory(parent).map(Some),
                    };
                    let fd = fd.map_err(fail)?;
                    parents.insert(parent, fd.map(Rc::new));
                }
                Ok((anchor, c_string(entry.path.name()).map_err(fail)?))
            };
            match open() {
                Ok((anchor, name)) => operations.push(Operation {
                    entry,
                    at,
                    name,
                    slot: slot(at),
                    anchor,
                    parent: parents.get(parent).cloned().flatten(),
                    inode: inodes.get(at).copied().unwrap_or_default(),
                    held: None,
                    staged: None,
                    attributes: Attributes::new(),
                    sha256: sha256_of(&entry.change).or(hashes.get(at).copied().flatten()),
                    is_whole: false,
                }),
                Err(failure) => lost.push(self.lost(entry, (known, above), failure)),
            }
        }
        (operations, lost)
    }

    /// Opens a directory that the plan makes or removes: at its path or in its slot. Another one at the path is not it.
    fn passed(
        &self,
        (path, slot): (&[u8], &CStr),
        known: Option<&PlanDirectories>,
        kept: Option<&OwnedFd>,
        anchor: &Anchor,
    ) -> io::Result<Option<OwnedFd>> {
        match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            fd => {
                let fd = fd?;
                if is_known(known, path, &fd)? {
                    return Ok(Some(fd));
                }
            }
        }
        for slots in kept.into_iter().chain(anchor.beside()?) {
            match sys::open_plain(slots.as_fd(), slot, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                fd => {
                    let fd = fd?;
                    if is_known(known, path, &fd)? {
                        return Ok(Some(fd));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Returns the hash of a file that stays at its path.
fn sha256_of(change: &Change) -> Option<[u8; 32]> {
    match change {
        Change::SetMetadata { base, .. } => base.sha256,
        Change::Create { .. }
        | Change::Replace { .. }
        | Change::ReplaceKind { .. }
        | Change::Remove { .. } => None,
    }
}

/// Returns the descriptors of the directories of a plan.
fn directories(plan: &Plan) -> usize {
    let made = passing(plan);
    let parents: BTreeSet<&[u8]> = plan
        .entries()
        .iter()
        .map(|entry| entry.path.parent())
        .collect();
    let anchors = parents.iter().filter(|path| !made.contains_key(*path));
    // An anchor is opened once more, and has a private directory.
    parents.len() + 2 * anchors.count()
}

/// Returns the slots of directories that the plan makes or removes.
fn passing(plan: &Plan) -> BTreeMap<&[u8], CString> {
    let is_passing = |entry: &Entry| match entry.change {
        Change::Create { new, .. } => new == New::Directory,
        Change::Remove { base } => base.stat.kind == Kind::Directory,
        Change::Replace { .. } | Change::ReplaceKind { .. } | Change::SetMetadata { .. } => false,
    };
    (0..)
        .zip(plan.entries())
        .filter(|(_, entry)| is_passing(entry))
        .map(|(at, entry)| (entry.path.as_bytes(), slot(at)))
        .collect()
}

fn slot(at: usize) -> CString {
    // Digits have no NUL.
    CString::new(at.to_string()).unwrap_or_default()
}

impl Operation<'_> {
    pub fn target(&self) -> io::Result<Option<Look>> {
        self.parent
            .as_ref()
            .map_or(Ok(None), |parent| look(parent, &self.name))
    }

    /// Returns the directory that has the file which is not at the path: that of the undo, or the private one.
    pub fn slots<'b>(&'b self, journal: &'b JournalFile) -> io::Result<Option<&'b OwnedFd>> {
        match look(&journal.kept, &self.slot)? {
            Some(_) => Ok(Some(&journal.kept)),
            None => self.anchor.beside(),
        }
    }

    pub fn slotted(&self, journal: &JournalFile) -> io::Result<Option<Look>> {
        let slots = self.slots(journal)?;
        slots.map_or(Ok(None), |slots| look(slots, &self.slot))
    }
}

impl Look {
    pub fn obstacle(&self) -> Option<String> {
        remit_plan::obstacle(self.stat.kind, self.links.into(), self.attributes)
    }
}

pub fn about(entry: &Entry, why: impl std::fmt::Display) -> String {
    format!("'{}': {why}", entry.path)
}

/// Looks at a name, and follows no link. `None` if it does not exist.
pub fn look(dir: impl AsFd, name: &CStr) -> io::Result<Option<Look>> {
    let seen = match sys::statx_at(dir.as_fd(), name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        seen => seen?,
    };
    let mode = u32::from(seen.stx_mode);
    let ctime = seen.stx_ctime;
    let stat = Stat {
        kind: Kind::from_mode(mode),
        dev: libc::makedev(seen.stx_dev_major, seen.stx_dev_minor),
        ino: seen.stx_ino,
        ctime_ns: i128::from(ctime.tv_sec) * 1_000_000_000 + i128::from(ctime.tv_nsec),
        size: seen.stx_size,
        meta: Metadata {
            mode: mode & 0o7777,
            uid: seen.stx_uid,
            gid: seen.stx_gid,
        },
    };
    let (links, attributes) = (seen.stx_nlink, seen.stx_attributes);
    Ok(Some(Look {
        stat,
        links,
        attributes,
    }))
}

pub fn open_file(dir: impl AsFd, name: &CStr) -> io::Result<File> {
    sys::open_plain(dir.as_fd(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).map(File::from)
}

pub fn hash(file: &File) -> io::Result<[u8; 32]> {
    let (mut hash, mut buffer, mut at) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok(hash.finalize().into()),
            count => {
                hash.update(buffer.get(..count).unwrap_or_default());
                at += count as u64;
            }
        }
    }
}

/// Returns all attributes but aliases of access lists. Fails with E2BIG for more bytes than files have that programs use: they
/// are kept in memory.
pub fn attributes(file: impl AsFd) -> io::Result<Attributes> {
    let names = sys::xattr_names(&file)?;
    let names = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(ALIASES));
    let (mut all, mut left) = (Attributes::new(), ATTRIBUTES);
    for name in names {
        let name = c_string(name)?;
        let value = sys::xattr(&file, &name)?;
        let fits = left.checked_sub(value.len());
        left = fits.ok_or_else(|| io::Error::from_raw_os_error(libc::E2BIG))?;
        all.insert(name, value);
    }
    Ok(all)
}

pub fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::other)
}
