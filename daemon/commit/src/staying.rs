//! Directories of the commit in which others have made something since: an undo leaves them at their path, and names them.
//!
//! **Invariant:** such a directory keeps its mode and owner, which may be others than at the commit. Names in it are given to
//! nobody but those who can list it: the output is the requester's, and this process is root.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libc::{O_DIRECTORY, O_NOFOLLOW, O_RDONLY};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use remit_common::escape;
use remit_plan::{Entry, Kind, OwnNames, staying};
use remit_sys::sys;

use crate::tree::{Operation, Tree, about};

/// Directories that are named, names of one, and bytes of a name.
const NAMED: usize = 64;
const NAMES: usize = 3;
const NAME: usize = 100;
/// To list a directory, and to reach what is in it: a group without these bits is denied what all others may.
const LISTED: u32 = 0o055;

/// Directories above those that may stay, if all users can list them.
#[derive(Debug)]
pub struct Public<'a>(BTreeSet<&'a [u8]>);

impl<'a> Public<'a> {
    /// Looks at them before Landlock refuses it.
    pub fn new<'b>(tree: &Tree, operations: impl IntoIterator<Item = &'b Operation<'a>>) -> Self
    where
        'a: 'b,
    {
        let may_stay = operations.into_iter().filter(|one| one.entry.may_stay());
        let mut above: BTreeSet<_> = may_stay.flat_map(|one| above(one.entry)).collect();
        above.retain(|path| tree.directory(path).is_ok_and(|found| is_listed(&found)));
        Self(above)
    }

    fn leads_to(&self, entry: &Entry) -> bool {
        above(entry).all(|path| self.0.contains(path))
    }
}

fn above(entry: &Entry) -> impl Iterator<Item = &[u8]> {
    entry.path.ancestors().chain([&b"/"[..]])
}

/// Returns true if all users can list it. An access list may deny it to one.
fn is_listed(directory: &OwnedFd) -> bool {
    let is_open = sys::stat_of(directory.as_fd()).is_ok_and(|stat| stat.st_mode & LISTED == LISTED);
    let has_list = match sys::xattr_names(directory) {
        Ok(names) => names
            .split(|byte| *byte == 0)
            .any(|name| name.starts_with(b"system.")),
        Err(error) => error.raw_os_error() != Some(libc::ENOTSUP),
    };
    is_open && !has_list
}

/// The names in a directory: how many there are, the first ones, and whether all users can list it.
struct Listing {
    count: usize,
    first: BTreeSet<CString>,
    is_listed: bool,
}

/// Splits off the operations of the directories that stay in an undo of all these.
pub fn split(operations: Vec<Operation<'_>>) -> (Vec<Operation<'_>>, Vec<Operation<'_>>) {
    let entries = operations.iter().map(|one| (one.at, one.entry));
    let own = OwnNames::new(entries.clone());
    let positions: BTreeMap<usize, &Operation<'_>> =
        operations.iter().map(|one| (one.at, one)).collect();
    let stays = staying(entries, |at| positions.get(&at)?.others(&own).ok()?);
    operations
        .into_iter()
        .partition(|one| stays.contains(&one.at))
}

/// Returns a line for each of these directories.
pub fn lines<'a, 'b: 'a>(
    staying: impl IntoIterator<Item = &'a Operation<'b>>,
    public: &Public<'_>,
) -> Vec<String> {
    let mut staying = staying.into_iter();
    let named = staying.by_ref().take(NAMED);
    let mut lines: Vec<String> = named
        .map(|one| about(one.entry, one.describe(public)))
        .collect();
    let more = staying.count();
    if more > 0 {
        lines.push(format!("{more} more directories stay"));
    }
    lines
}

impl Operation<'_> {
    /// Returns true if it is a directory of the commit that others keep at its path.
    pub fn stays(&self) -> bool {
        let listing = || self.listing().ok().flatten();
        self.entry.may_stay() && listing().is_some_and(|listing| listing.count > 0)
    }

    fn describe(&self, public: &Public<'_>) -> String {
        let meta = self.target().ok().flatten().map(|found| found.stat.meta);
        let meta = meta.map_or_else(String::new, |meta| {
            format!(
                ", with mode {:04o} and owner {}:{}",
                meta.mode, meta.uid, meta.gid
            )
        });
        let listing = self.listing().ok().flatten();
        let listing = listing.filter(|one| one.is_listed && public.leads_to(self.entry));
        let names = listing.map_or_else(String::new, |listing| format!(": {listing}"));
        format!("it stays{meta}, as something else is in it{names}")
    }

    /// Counts the names in the directory of the commit that are not the commit's. `None` if another one is at the path.
    pub fn others(&self, own: &OwnNames<'_>) -> io::Result<Option<usize>> {
        let path = self.entry.path.as_bytes();
        let is_own = |name: &CStr| own.at(path, name.to_bytes()).is_some();
        Ok(self.listed(is_own)?.map(|listing| listing.count))
    }

    /// Lists the directory of the commit. `None` if another one is at the path.
    fn listing(&self) -> io::Result<Option<Listing>> {
        self.listed(|_| false)
    }

    fn listed(&self, is_left_out: impl Fn(&CStr) -> bool) -> io::Result<Option<Listing>> {
        let is_own = self.target()?.is_some_and(|found| {
            found.stat.kind == Kind::Directory && found.stat.ino == self.inode
        });
        let Some(parent) = self.parent.as_ref().filter(|_| is_own) else {
            return Ok(None);
        };
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
        let directory = sys::open_plain(parent.as_fd(), &self.name, flags)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&directory, c".", flags, Mode::empty())?;
        let (mut count, mut first) = (0, BTreeSet::new());
        for entry in listing.iter() {
            let name = entry?.file_name().to_owned();
            if [c".", c".."].contains(&name.as_c_str()) || is_left_out(&name) {
                continue;
            }
            count += 1;
            first.insert(name);
            if first.len() > NAMES {
                first.pop_last();
            }
        }
        Ok(Some(Listing {
            count,
            first,
            is_listed: is_listed(&directory),
        }))
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.first.iter();
        let names = names.map(|name| format!("'{}'", escape::in_quotes(name.to_bytes(), NAME)));
        f.write_str(&names.collect::<Vec<_>>().join(", "))?;
        match self.count.saturating_sub(self.first.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
