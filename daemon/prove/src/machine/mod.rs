//! Reads a machine that lies beneath a directory: bounded, without following a link out of it. It changes nothing. What
//! could not be read is remembered with its reason.

mod changes;
pub mod entry;
mod ledger;
mod mounts;
mod reading;
mod way;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat};
use remit_common::prove::FileChange;
use remit_plan::permitted_capabilities;
use remit_sys::sys;

use crate::path::FilePath;
use changes::{Changed, Changes};
use entry::{Entry, Kind, parse_acl};
use ledger::Ledger;
use mounts::{Closed, closed};

/// Bounds of one look at a machine.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Files and directories that are looked at.
    pub entries: usize,
    /// Bytes of one file, and of all.
    pub file: usize,
    pub bytes: usize,
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries: 400_000,
            file: 1 << 20,
            bytes: 256 << 20,
            time: Duration::from_secs(60),
        }
    }
}

/// A part of the machine that was not looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    pub path: FilePath,
    pub why: String,
}

#[derive(Debug)]
pub struct Machine {
    root: OwnedFd,
    bounds: Bounds,
    begin: Instant,
    bytes: Cell<usize>,
    ledger: Ledger,
    closed: Vec<Closed>,
    changes: Changes,
    seen: RefCell<BTreeMap<FilePath, Seen>>,
    unknown: RefCell<BTreeMap<FilePath, Reasons>>,
    unlisted: Cell<usize>,
    over: RefCell<Option<String>>,
}

/// What a look at one path gives.
#[derive(Clone, Debug)]
enum Seen {
    There(Entry),
    Missing,
    Unknown,
}

impl Seen {
    fn entry(self) -> Option<Entry> {
        match self {
            Self::There(entry) => Some(entry),
            Self::Missing | Self::Unknown => None,
        }
    }
}

/// More paths that stay unknown, and more reasons of one, are only counted.
const UNKNOWN: usize = 1000;
const REASONS: usize = 8;

#[derive(Debug, Default)]
struct Reasons {
    known: Vec<String>,
    more: usize,
}

impl Reasons {
    fn add(&mut self, why: String) {
        if self.known.contains(&why) {
            return;
        }
        match self.known.len() < REASONS {
            true => self.known.push(why),
            false => self.more += 1,
        }
    }

    fn sentence(mut self) -> String {
        if self.more > 0 {
            self.known.push(format!("and {} more reasons", self.more));
        }
        self.known.join("; ")
    }
}

impl Machine {
    /// Opens the directory that is the machine's `/`.
    pub fn open(root: &Path, bounds: Bounds) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self::new(open(root, flags, Mode::empty())?, bounds))
    }

    pub fn new(root: OwnedFd, bounds: Bounds) -> Self {
        Self {
            closed: closed(&root),
            root,
            bounds,
            begin: Instant::now(),
            bytes: Cell::new(0),
            ledger: Ledger::default(),
            changes: Changes::default(),
            seen: RefCell::default(),
            unknown: RefCell::default(),
            unlisted: Cell::new(0),
            over: RefCell::default(),
        }
    }

    /// Starts over, with all bounds, as if these changes were made.
    pub fn change(&mut self, changes: &[FileChange]) -> Result<(), String> {
        self.changes = Changes::new(changes)?;
        self.begin = Instant::now();
        self.bytes.set(0);
        self.ledger = Ledger::default();
        self.take();
        self.unlisted.set(0);
        Ok(())
    }

    /// The first bound of a look that was reached, and where. What is seen later is less than what is there.
    pub fn incomplete(&self) -> Option<String> {
        self.over.borrow().clone()
    }

    pub fn directory(&self) -> impl AsFd {
        &self.root
    }

    /// Notes a part of the machine that stays unknown.
    pub fn unknown(&self, path: &FilePath, why: impl Into<String>) {
        let (mut unknown, why) = (self.unknown.borrow_mut(), why.into());
        let has_capacity = unknown.len() < UNKNOWN;
        match unknown.get_mut(path) {
            Some(known) => known.add(why),
            None if has_capacity => unknown.entry(path.clone()).or_default().add(why),
            None => self.unlisted.set(self.unlisted.get().saturating_add(1)),
        }
    }

    /// Takes what was seen, what stays unknown, and how many further parts do.
    pub fn take(&self) -> (BTreeMap<FilePath, Entry>, Vec<Unknown>, usize) {
        let seen = self.seen.take().into_iter();
        let seen = seen.filter_map(|(path, seen)| Some((path, seen.entry()?)));
        let unknown = self.unknown.take().into_iter();
        let unknown = unknown.map(|(path, reasons)| Unknown {
            path,
            why: reasons.sentence(),
        });
        (seen.collect(), unknown.collect(), self.unlisted.get())
    }

    /// The time for proofs: no more than for looking.
    pub fn proofs(&self, most: Duration) -> Duration {
        self.bounds.time.min(most)
    }

    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Looks at a path whose directories are no links, without following it.
    fn look(&self, path: &FilePath) -> Seen {
        if let Some(seen) = self.seen.borrow().get(path) {
            return seen.clone();
        }
        if self.is_over(path) {
            return Seen::Unknown;
        }
        let seen = self.as_changed(path);
        self.seen.borrow_mut().insert(path.clone(), seen.clone());
        seen
    }

    fn as_changed(&self, path: &FilePath) -> Seen {
        let changed = match self.changes.of(path) {
            None => return self.as_it_is(path),
            Some(Changed::Removed) => return Seen::Missing,
            Some(changed) => changed,
        };
        let (entry, known) = match (changed, self.as_it_is(path)) {
            // A file that replaces another keeps its access list.
            (Changed::Whole(entry), Seen::There(known)) if entry.kind == known.kind => {
                (entry, known)
            }
            (Changed::Whole(entry), _) => return Seen::There(entry),
            (Changed::Metadata(after), Seen::There(known)) => {
                let (uid, gid, mode) = (after.uid, after.gid, after.mode);
                let entry = Entry {
                    uid,
                    gid,
                    mode,
                    capabilities: after.capabilities,
                    ..known.clone()
                };
                (entry, known)
            }
            (_, seen) => return seen,
        };
        Seen::There(Entry {
            acl: known.acl_as(entry.mode, entry.gid),
            ..entry
        })
    }

    fn as_it_is(&self, path: &FilePath) -> Seen {
        if let Some(Closed { path, kind }) =
            self.closed.iter().find(|one| path.is_beneath(&one.path))
        {
            let why = format!("a file system of {kind} is not looked at: it may not answer");
            self.unknown(path, why);
            return Seen::Unknown;
        }
        match self.describe(path) {
            Ok(entry) => Seen::There(entry),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Seen::Missing,
            Err(errno) => {
                self.unknown(path, reason(errno));
                Seen::Unknown
            }
        }
    }

    fn is_over(&self, path: &FilePath) -> bool {
        let why = match () {
            () if self.seen.borrow().len() >= self.bounds.entries => {
                format!("more than {} files were looked at", self.bounds.entries)
            }
            () => return self.is_late(path),
        };
        self.over(path, &why);
        self.unknown(path, why);
        true
    }

    /// Returns true, and notes it, if no time is left for this path.
    pub fn is_late(&self, path: &FilePath) -> bool {
        let is_late = self.elapsed() > self.bounds.time;
        if is_late {
            let seconds = self.bounds.time.as_secs_f32();
            let why = format!("looking took longer than {seconds} s");
            self.over(path, &why);
            self.unknown(path, why);
        }
        is_late
    }

    /// Notes a bound of the look that was reached.
    pub(crate) fn over(&self, path: &FilePath, why: &str) {
        let mut over = self.over.borrow_mut();
        over.get_or_insert_with(|| format!("{why}; the first that was not is {path}"));
    }

    fn open_at(&self, path: &FilePath, flags: OFlag) -> nix::Result<OwnedFd> {
        let name = match path.as_bytes() {
            b"/" => b".",
            [_, rest @ ..] => rest,
            [] => b".",
        };
        let resolve = ResolveFlag::RESOLVE_IN_ROOT
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let how = OpenHow::new().flags(flags).resolve(resolve);
        openat2(&self.root, name, how)
    }

    fn describe(&self, path: &FilePath) -> nix::Result<Entry> {
        const TYPE: u32 = libc::S_IFMT;
        // RESOLVE_NO_SYMLINKS refuses a final link, except to O_PATH with O_NOFOLLOW.
        let fd = self.open_at(path, OFlag::O_PATH)?;
        let stat = fstat(&fd)?;
        let kind = match stat.st_mode & TYPE {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Link(std::os::unix::ffi::OsStringExt::into_vec(readlinkat(
                &fd, "",
            )?)),
            libc::S_IFSOCK => Kind::Socket,
            _ => Kind::Other,
        };
        let mut entry = Entry {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & !TYPE,
            acl: Vec::new(),
            capabilities: 0,
            kind,
        };
        // Owner and mode are known; without the rest a path may be missed.
        if let Err(errno) = self.attributes(path, &stat, &mut entry) {
            self.unknown(path, format!("its access list: {}", reason(errno)));
        }
        Ok(entry)
    }

    /// Reads the access list and capabilities. Only an open file has them; opening anything else may have an effect.
    fn attributes(&self, path: &FilePath, stat: &FileStat, entry: &mut Entry) -> nix::Result<()> {
        if !matches!(entry.kind, Kind::File | Kind::Directory) {
            return Ok(());
        }
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let opened = fstat(&fd)?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(Errno::ESTALE);
        }
        if let Some(list) = attribute(&fd, c"system.posix_acl_access")? {
            entry.acl = parse_acl(&list, entry.gid).ok_or(Errno::EBADMSG)?;
        }
        if entry.is_executable() {
            let found = attribute(&fd, sys::FILE_CAPABILITIES)?;
            entry.capabilities = found.map_or(0, |found| permitted_capabilities(&found));
        }
        Ok(())
    }
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::ELOOP | Errno::ESTALE => "it changed while it was read".to_owned(),
        Errno::EBADMSG => "it is malformed".to_owned(),
        Errno::EAGAIN => "it is held by a lease, or is a pipe".to_owned(),
        errno => errno.desc().to_lowercase(),
    }
}

fn attribute(fd: &OwnedFd, name: &CStr) -> nix::Result<Option<Vec<u8>>> {
    match sys::xattr(fd, name) {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODATA | libc::EOPNOTSUPP) => Ok(None),
            code => Err(Errno::from_raw(code.unwrap_or(libc::EIO))),
        },
    }
}
