//! What an operator's account cannot read of the machine: found by a child with the account's own identity, so that the kernel
//! decides, with modes, access lists and all. It walks through clones of single mounts, so it meets no other mount.
//!
//! **Invariant:** what is not looked at is hidden. Where others than root can make names, that costs them their own
//! directory, never the view.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};
use nix::unistd::{AccessFlags, faccessat, pipe2};
use remit_common::view::PRIVATE;
use remit_sys::rights::drop_all_rights;

use super::budget::{Budget, Cost, hideable};
use super::hidden::{Cover, Hidden};
use super::table::is_in;
use crate::sys::{self, ForkCall};

/// Timeout of the walk: without its end there is no view. The child itself ends before.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of the longest result: the budgets of [`Budget`] are less.
const MOST_BYTES: usize = 16 << 20;
/// Directories of packages with many names, where nobody keeps what is private. All others are looked at.
const PACKAGES: [&[u8]; 7] = [
    b"usr/include",
    b"usr/lib/debug",
    b"usr/lib/firmware",
    b"usr/lib/modules",
    b"usr/share/doc",
    b"usr/share/locale",
    b"usr/share/man",
];
/// Directories in which packages have set-id programs that not everybody may read, and anybody can get: hidden, they could
/// not be upgraded.
const PROGRAMS: [&[u8]; 8] = [
    b"usr/bin",
    b"usr/sbin",
    b"usr/games",
    b"usr/lib",
    b"usr/lib32",
    b"usr/lib64",
    b"usr/libx32",
    b"usr/libexec",
];

/// The account that looks.
pub(super) struct Account<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: &'a [u32],
}

/// A mount of the machine, relative to the root, and a clone of it without the mounts beneath.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    pub(super) at: &'a CStr,
    pub(super) clone: BorrowedFd<'a>,
}

/// Returns the paths that the account cannot read, relative to the root of the machine; nothing beneath them is listed. The
/// trees are sorted. A directory that the account may not enter or list is [`Cover::Empty`]; all else is closed, as what
/// takes too long: the account may know its names. Fails if root's own directories take too long, or have too much that is hidden.
pub(super) fn hidden(
    call: ForkCall,
    account: &Account<'_>,
    trees: &[Tree<'_>],
) -> io::Result<Hidden> {
    let (found, report) = pipe2(OFlag::O_CLOEXEC)?;
    let child = || {
        sys::close_one(found.as_raw_fd());
        let seen = drop_all_rights(account.uid, account.gid, account.groups)
            .and_then(|()| Walk::new(trees).all())
            .and_then(|said| File::from(report.try_clone()?).write_all(&said));
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        seen.err().map_or(0, errno)
    };
    let (pid, pidfd) = sys::fork(call, None, child)?;
    drop(report);
    let read = read_all(&found);
    let _ = sys::pidfd_send_signal(&pidfd, libc::SIGKILL);
    let ended = sys::wait(pid, 0)?;
    let bytes = read?;
    match ended.and_then(|(status, _)| status.code()) {
        Some(0) => parse(&bytes),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        // The signal met it after its last word.
        None => parse(&bytes),
    }
}

/// The last byte of a whole result; no path begins with it. At the end of a path: a directory that can be shown empty.
const END: u8 = b'/';

fn read_all(found: &OwnedFd) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let (mut all, mut part) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(found.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match sys::read(found.as_fd(), &mut part)? {
            0 => return Ok(all),
            length => all.extend_from_slice(part.get(..length).unwrap_or_default()),
        }
        if all.len() > MOST_BYTES {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Hidden> {
    let whole = bytes
        .strip_suffix(&[END])
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let entries = whole.split_inclusive(|byte| *byte == 0);
    let path = |entry: &[u8]| {
        let path = CStr::from_bytes_with_nul(entry).map_err(io::Error::other)?;
        match path.to_bytes().strip_suffix(&[END]) {
            Some(directory) => Ok((CString::new(directory)?, Cover::Empty)),
            None => Ok((path.to_owned(), Cover::Closed)),
        }
    };
    entries.map(path).collect()
}

/// A directory to be looked into: the number of its tree, and its path relative to the root of the machine.
#[derive(Clone)]
struct Unvisited {
    tree: usize,
    /// On the mount of the root or of `usr`, where packages are.
    is_of_system: bool,
    path: Vec<u8>,
}

struct Walk<'a> {
    trees: &'a [Tree<'a>],
    /// Directories in which others than root can make names, found in directories of root: those of root first.
    of_others: Vec<(bool, Unvisited)>,
}

/// What a directory is to the walk.
enum Opened {
    Open(Dir, FileStat),
    Hidden(Cover),
}

impl<'a> Walk<'a> {
    fn new(trees: &'a [Tree<'a>]) -> Self {
        Walk {
            trees,
            of_others: Vec::new(),
        }
    }

    fn all(mut self) -> io::Result<Vec<u8>> {
        let start = Instant::now();
        let mut budget = Budget::of_root(start);
        let mut said = Vec::new();
        for (number, tree) in self.trees.iter().enumerate() {
            let path = tree.at.to_bytes().to_vec();
            let mut left = vec![Unvisited {
                tree: number,
                is_of_system: [&b""[..], b"usr"].contains(&tree.at.to_bytes()),
                path,
            }];
            while let Some(next) = left.pop() {
                match self.open(&next) {
                    Opened::Open(_, stat) if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 => {
                        self.of_others.push((stat.st_uid != 0, next));
                    }
                    seen => enter(seen, &next, &mut left, &mut budget, &mut said)?,
                }
            }
        }
        let mut budget = Budget::of_others(start);
        let mut of_others = std::mem::take(&mut self.of_others);
        of_others.sort_by_key(|(is_of_others, _)| *is_of_others);
        for (_, directory) in of_others {
            let (mut own, mut found) = (budget.share(), Vec::new());
            match self.subtree(&directory, &mut own, &mut found) {
                Ok(()) => {
                    budget.take(&own);
                    said.append(&mut found);
                }
                Err(_) if directory.path.is_empty() => {
                    return Err(io::Error::from_raw_os_error(libc::E2BIG));
                }
                // Its names cost the others nothing: it is one node.
                Err(_) => say(&mut said, &directory.path, Cover::Closed),
            }
        }
        said.push(END);
        Ok(said)
    }

    /// Walks through a directory of others and all beneath it. After an error it has to be hidden as a whole.
    fn subtree(
        &self,
        first: &Unvisited,
        budget: &mut Budget,
        said: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut left = vec![first.clone()];
        while let Some(next) = left.pop() {
            enter(self.open(&next), &next, &mut left, budget, said)?;
        }
        Ok(())
    }

    /// Whatever keeps the account from looking into it, it is hidden then.
    fn open(&self, next: &Unvisited) -> Opened {
        let opened = || -> io::Result<Opened> {
            let tree = self.trees.get(next.tree).ok_or(io::ErrorKind::NotFound)?;
            let at = tree.at.to_bytes();
            let inside = next.path.get(at.len()..).unwrap_or_default();
            let inside = inside.strip_prefix(b"/").unwrap_or(inside);
            let inside = if inside.is_empty() { b"." } else { inside };
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let fd = sys::open_plain(tree.clone, &CString::new(inside)?, flags)?;
            let enters = AccessFlags::R_OK | AccessFlags::X_OK;
            faccessat(&fd, ".", enters, AtFlags::AT_EACCESS)?;
            let stat = fstat(&fd)?;
            Ok(Opened::Open(Dir::from_fd(fd)?, stat))
        };
        opened().unwrap_or_else(|error| {
            Opened::Hidden(match error.raw_os_error() {
                Some(libc::EACCES) => Cover::Empty,
                _ => Cover::Closed,
            })
        })
    }
}

/// Looks into a directory, or hides it: also if something in it has a path that nothing can hide.
fn enter(
    seen: Opened,
    next: &Unvisited,
    left: &mut Vec<Unvisited>,
    budget: &mut Budget,
    said: &mut Vec<u8>,
) -> io::Result<()> {
    let (before, said_before) = (left.len(), said.len());
    let (looked, cover) = match seen {
        Opened::Open(mut dir, _) => (look(next, &mut dir, left, budget, said), Cover::Closed),
        Opened::Hidden(cover) => (Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)), cover),
    };
    match looked {
        Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) && !next.path.is_empty() => {
            left.truncate(before);
            said.truncate(said_before);
            // A mount can be at a path that is too long itself.
            budget.spend(Cost::Hidden, hideable(&next.path))?;
            say(said, &next.path, cover);
            Ok(())
        }
        looked => looked,
    }
}

/// Looks at each name of a directory: what is beneath it is left for later.
fn look(
    next: &Unvisited,
    dir: &mut Dir,
    left: &mut Vec<Unvisited>,
    budget: &mut Budget,
    said: &mut Vec<u8>,
) -> io::Result<()> {
    let fd = dir.as_fd().try_clone_to_owned()?;
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if [&b"."[..], b".."].contains(&name.to_bytes()) {
            continue;
        }
        let path = match next.path.as_slice() {
            [] => name.to_bytes().to_vec(),
            path => [path, b"/", name.to_bytes()].concat(),
        };
        budget.spend(Cost::LookedAt, &path)?;
        let kind = match entry.file_type() {
            Some(kind) => Some(kind),
            None => fstatat(&fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .ok()
                .and_then(|stat| of_mode(&stat)),
        };
        match kind {
            Some(Type::Directory) if is_left_out(next.is_of_system, &path) => {}
            Some(Type::Directory) => left.push(Unvisited {
                tree: next.tree,
                is_of_system: next.is_of_system,
                path,
            }),
            Some(Type::File) => {
                let reads = faccessat(&fd, name, AccessFlags::R_OK, AtFlags::AT_EACCESS);
                if reads.is_err() && !is_set_id_program(&fd, name, next.is_of_system, &path) {
                    budget.spend(Cost::Hidden, &path)?;
                    say(said, &path, Cover::Closed);
                }
            }
            Some(_) => {}
            // Nobody says what it is.
            None => {
                budget.spend(Cost::Hidden, &path)?;
                say(said, &path, Cover::Closed);
            }
        }
    }
    Ok(())
}

fn of_mode(stat: &FileStat) -> Option<Type> {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => Some(Type::Directory),
        SFlag::S_IFREG => Some(Type::File),
        _ => Some(Type::Symlink),
    }
}

fn say(said: &mut Vec<u8>, path: &[u8], cover: Cover) {
    said.extend_from_slice(path);
    if cover == Cover::Empty {
        said.push(END);
    }
    said.push(0);
}

fn is_set_id_program(dir: &OwnedFd, name: &CStr, is_of_system: bool, path: &[u8]) -> bool {
    let is_of_programs = is_of_system && PROGRAMS.iter().any(|dir| is_in(path, dir));
    let is_set_id = || {
        let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| stat.st_uid == 0 && stat.st_mode & 0o6000 != 0)
    };
    is_of_programs && is_set_id()
}

fn is_left_out(is_of_system: bool, path: &[u8]) -> bool {
    let is_private = PRIVATE.iter().any(|own| own.as_bytes() == path);
    let is_of_packages = || PACKAGES.iter().any(|packages| is_in(path, packages));
    is_private || (is_of_system && is_of_packages())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_directories_and_packages_are_left_out() {
        for (path, is_out) in [
            ("etc", false),
            ("proc", true),
            ("var/tmp", true),
            ("srv/tmp", false),
            ("usr", false),
            ("usr/lib", false),
            ("usr/lib/x", false),
            ("usr/lib/modules/6.1", true),
            ("usr/bin", false),
            ("usr/share", false),
            ("usr/share/keys", false),
            ("usr/share/doc", true),
            ("usr/local", false),
            ("usr/sap", false),
            ("usrx", false),
        ] {
            assert_eq!(is_left_out(true, path.as_bytes()), is_out, "{path}");
        }
    }

    #[test]
    fn other_mounts_have_no_packages() {
        assert!(!is_left_out(false, b"usr/lib/modules"));
        assert!(is_left_out(false, b"var/tmp"));
    }

    #[test]
    fn cut_or_damaged_result_is_refused() {
        let mut said = Vec::new();
        say(&mut said, b"etc/key", Cover::Closed);
        say(&mut said, b"root", Cover::Empty);
        said.push(END);
        assert_eq!(said, b"etc/key\0root/\0/");
        let found = parse(&said).unwrap();
        let text: Vec<_> = found
            .iter()
            .map(|(path, cover)| (path.to_bytes(), *cover))
            .collect();
        assert_eq!(
            text,
            [(&b"etc/key"[..], Cover::Closed), (b"root", Cover::Empty)]
        );
        assert!(parse(b"/").unwrap().is_empty());
        for damaged in [&b""[..], b"etc/key\0", b"etc/key/", b"etc\0ro/"] {
            assert!(parse(damaged).is_err(), "{damaged:?}");
        }
    }
}
