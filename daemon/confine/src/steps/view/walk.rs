//! What an operator's account cannot read of the machine. The process that walks has such an account's identity, so that the
//! kernel decides, with modes, access lists and all. It walks through clones of single mounts, so it meets no other mount, and
//! nothing that one covers.
//! Where the kernel has reported no change since an earlier walk, that one's result counts.
//!
//! **Invariant:** what is not looked at is hidden. Where others than root can make names, that costs them their own
//! directory, never the view.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstatat};
use nix::unistd::{AccessFlags, faccessat};

use super::budget::{Budget, Cost, hideable};
use super::hidden::Cover;
use super::known::{Known, Part, WatchedMount, part_of};
use super::packages::{is_left_out, is_set_id_program};
use super::walker::{END, say};
use crate::sys;

/// A mount of the machine, relative to the root, and a clone of it without the mounts beneath.
pub(super) struct Tree<'a> {
    pub(super) at: &'a CStr,
    pub(super) clone: BorrowedFd<'a>,
    /// If changes of its file system are known.
    pub(super) watched: Option<WatchedMount>,
}

/// A directory to be looked into: the number of its tree, and its path relative to the root of the machine.
#[derive(Clone)]
struct Unvisited {
    tree: usize,
    /// On the mount of the root or of `usr`, where packages are.
    is_of_system: bool,
    path: Vec<u8>,
    inode: u64,
}

impl Unvisited {
    fn other(&self, path: Vec<u8>, inode: u64) -> Unvisited {
        Unvisited {
            path,
            inode,
            ..self.clone()
        }
    }
}

pub(super) struct Walk<'a> {
    trees: &'a [Tree<'a>],
    /// All mount points of the machine, relative to the root.
    points: &'a BTreeSet<&'a CStr>,
    known: &'a Known,
    /// Directories in which others than root can make names, found in directories of root: those of root first.
    of_others: Vec<(bool, Unvisited)>,
}

#[derive(Default)]
struct Found {
    /// As [`say`] puts it.
    hidden: Vec<u8>,
    /// Of directories and regular files.
    inodes: Vec<u64>,
    /// Nothing but the answer of the kernel that the account may not has hidden something. Anything else can end without a report.
    is_unsure: bool,
}

/// What the walk has to know of a directory.
struct Directory {
    inode: u64,
    owner: u32,
    mode: u32,
    /// Its names change without a report when somebody adds the key.
    is_encrypted: bool,
}

/// What a directory is to the walk.
enum Opened {
    Open(Dir, Directory),
    Hidden(Cover),
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        trees: &'a [Tree<'a>],
        points: &'a BTreeSet<&'a CStr>,
        known: &'a Known,
    ) -> Self {
        Walk {
            trees,
            points,
            known,
            of_others: Vec::new(),
        }
    }

    /// Returns what is hidden, and what is found where nothing was known.
    pub(super) fn all(mut self) -> io::Result<(Vec<u8>, Known)> {
        let start = Instant::now();
        let mut budget = Budget::of_root(start);
        let (mut said, mut news) = (Vec::new(), Known::new());
        for (number, tree) in self.trees.iter().enumerate() {
            self.tree(number, tree, &mut budget, &mut said, &mut news)?;
        }
        let mut budget = Budget::of_others(start);
        let mut of_others = std::mem::take(&mut self.of_others);
        of_others.sort_by_key(|(is_of_others, _)| *is_of_others);
        for (_, directory) in of_others {
            let (mut own, mut found) = (budget.share(), Found::default());
            match self.subtree(&directory, &mut own, &mut found) {
                Ok(()) => {
                    budget.take(&own);
                    said.append(&mut found.hidden);
                }
                Err(_) if directory.path.is_empty() => {
                    return Err(io::Error::from_raw_os_error(libc::E2BIG));
                }
                // Its names cost the others nothing: it is one node.
                Err(_) => say(&mut said, &directory.path, Cover::Closed),
            }
        }
        said.push(END);
        Ok((said, news))
    }

    /// Walks through the directories of root in a tree.
    fn tree(
        &mut self,
        number: usize,
        tree: &Tree<'_>,
        budget: &mut Budget,
        said: &mut Vec<u8>,
        news: &mut Known,
    ) -> io::Result<()> {
        let at = tree.at.to_bytes();
        let mut left = vec![Unvisited {
            tree: number,
            is_of_system: [&b""[..], b"usr"].contains(&at),
            path: at.to_vec(),
            inode: tree.watched.as_ref().map_or(0, |watched| watched.inode),
        }];
        let mut parts: Vec<((WatchedMount, Vec<u8>), Part)> = Vec::new();
        let mut unsure = Vec::new();
        while let Some(next) = self.next(&mut left) {
            let first = part_of(at, &next.path).to_vec();
            let key = tree.watched.clone().map(|watched| (watched, first));
            let known = key.as_ref().filter(|(_, first)| *first == next.path);
            let known = known.and_then(|key| self.known.get(key));
            if let Some(part) = known.filter(|part| part.first == next.inode) {
                self.recall(part, &next, &mut left, budget, said)?;
                continue;
            }
            let (before, mut found) = (left.len(), Found::default());
            let (mut of_others, inode) = (None, next.inode);
            match self.open(&next, &mut found) {
                Opened::Open(_, this) if this.owner != 0 || this.mode & 0o022 != 0 => {
                    of_others = Some((this.owner != 0, next.path.clone()));
                    found.is_unsure |= this.inode != next.inode;
                    self.of_others.push((this.owner != 0, next));
                }
                seen => {
                    if let Opened::Open(_, this) = &seen {
                        found.is_unsure |= this.is_encrypted || this.inode != next.inode;
                    }
                    enter(seen, &next, &mut left, budget, &mut found)?;
                }
            }
            said.extend_from_slice(&found.hidden);
            let Some(key) = key else { continue };
            // Depth first: a part's directories come one after another.
            if parts.last().is_none_or(|(last, _)| *last != key) {
                let first = inode;
                let part = Part {
                    first,
                    ..Part::default()
                };
                parts.push((key.clone(), part));
            }
            if found.is_unsure {
                unsure.push(key.clone());
            }
            if let Some((_, part)) = parts.last_mut() {
                part.inodes.push(inode);
                part.inodes.append(&mut found.inodes);
                part.hidden.append(&mut found.hidden);
                part.of_others.extend(of_others);
                let new = left.get(before..).unwrap_or_default().iter();
                let others = new.filter(|child| part_of(at, &child.path) != key.1);
                part.children
                    .extend(others.map(|child| (child.path.clone(), child.inode)));
            }
        }
        for (key, mut part) in parts {
            part.inodes.sort_unstable();
            part.inodes.dedup();
            // An empty directory can be removed and made again, with its inode, and the report names the one around it alone.
            let is_empty = part.inodes.len() == 1 && part.of_others.is_empty();
            if !is_empty && !unsure.contains(&key) {
                news.insert(key, part);
            }
        }
        Ok(())
    }

    /// Takes the next directory, but none that a mount covers: a view has a node over that in any case, and its path is one of
    /// the mount's there.
    fn next(&self, left: &mut Vec<Unvisited>) -> Option<Unvisited> {
        let is_covered = |next: &Unvisited| {
            let is_root = |tree: &Tree<'_>| tree.at.to_bytes() == next.path;
            let is_point = CString::new(&*next.path).is_ok_and(|at| self.points.contains(&*at));
            is_point && !self.trees.get(next.tree).is_some_and(is_root)
        };
        std::iter::from_fn(|| left.pop()).find(|next| !is_covered(next))
    }

    /// Takes the result of an earlier walk.
    fn recall(
        &mut self,
        part: &Part,
        first: &Unvisited,
        left: &mut Vec<Unvisited>,
        budget: &mut Budget,
        said: &mut Vec<u8>,
    ) -> io::Result<()> {
        let hidden = part.hidden.split(|byte| *byte == 0);
        for path in hidden.filter(|path| !path.is_empty()) {
            budget.spend(Cost::Hidden, path.strip_suffix(&[END]).unwrap_or(path))?;
        }
        said.extend_from_slice(&part.hidden);
        let of_others = part.of_others.iter();
        let of_others = of_others.map(|(owner, path)| (*owner, first.other(path.clone(), 0)));
        self.of_others.extend(of_others);
        let children = part.children.iter();
        left.extend(children.map(|(path, inode)| first.other(path.clone(), *inode)));
        Ok(())
    }

    /// Walks through a directory of others and all beneath it. After an error it has to be hidden as a whole.
    fn subtree(&self, first: &Unvisited, budget: &mut Budget, found: &mut Found) -> io::Result<()> {
        let mut left = vec![first.clone()];
        while let Some(next) = self.next(&mut left) {
            enter(self.open(&next, found), &next, &mut left, budget, found)?;
        }
        Ok(())
    }

    /// Whatever keeps the account from looking into it, it is hidden then.
    fn open(&self, next: &Unvisited, found: &mut Found) -> Opened {
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
            let stat = sys::statx_at(fd.as_fd(), c".")?;
            let this = Directory {
                inode: stat.stx_ino,
                owner: stat.stx_uid,
                mode: u32::from(stat.stx_mode),
                is_encrypted: stat.stx_attributes & libc::STATX_ATTR_ENCRYPTED as u64 != 0,
            };
            Ok(Opened::Open(Dir::from_fd(fd)?, this))
        };
        opened().unwrap_or_else(|error| {
            Opened::Hidden(match error.raw_os_error() {
                Some(libc::EACCES) => Cover::Empty,
                _ => {
                    found.is_unsure = true;
                    Cover::Closed
                }
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
    found: &mut Found,
) -> io::Result<()> {
    let (before, said_before) = (left.len(), found.hidden.len());
    let (looked, cover) = match seen {
        Opened::Open(mut dir, _) => (look(next, &mut dir, left, budget, found), Cover::Closed),
        Opened::Hidden(cover) => (Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)), cover),
    };
    match looked {
        Err(error) if error.raw_os_error() == Some(libc::ENAMETOOLONG) && !next.path.is_empty() => {
            left.truncate(before);
            found.hidden.truncate(said_before);
            // A mount can be at a path that is too long itself.
            budget.spend(Cost::Hidden, hideable(&next.path))?;
            say(&mut found.hidden, &next.path, cover);
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
    found: &mut Found,
) -> io::Result<()> {
    let fd = dir.as_fd().try_clone_to_owned()?;
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if [&b"."[..], b".."].contains(&name.to_bytes()) {
            continue;
        }
        budget.look(&next.path, name.to_bytes())?;
        let path = || match next.path.as_slice() {
            [] => name.to_bytes().to_vec(),
            path => [path, b"/", name.to_bytes()].concat(),
        };
        let kind = match entry.file_type() {
            Some(kind) => Some(kind),
            None => fstatat(&fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .ok()
                .and_then(|stat| of_mode(&stat)),
        };
        if !matches!(kind, Some(Type::Symlink)) {
            found.inodes.push(entry.ino());
        }
        match kind {
            Some(Type::Directory) => {
                let path = path();
                if !is_left_out(next.is_of_system, &path) {
                    left.push(next.other(path, entry.ino()));
                }
            }
            Some(Type::File) => {
                let reads = faccessat(&fd, name, AccessFlags::R_OK, AtFlags::AT_EACCESS);
                let Err(errno) = reads else { continue };
                let path = path();
                if !is_set_id_program(&fd, name, next.is_of_system, &path) {
                    found.is_unsure |= errno != Errno::EACCES;
                    budget.spend(Cost::Hidden, &path)?;
                    say(&mut found.hidden, &path, Cover::Closed);
                }
            }
            Some(_) => {}
            // Nobody says what it is.
            None => {
                let path = path();
                found.is_unsure = true;
                budget.spend(Cost::Hidden, &path)?;
                say(&mut found.hidden, &path, Cover::Closed);
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
