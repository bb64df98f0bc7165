//! The layer that hides from the view's root what an operator's account cannot read. Over each such path lies a node of
//! mode 0 of an owner whom the view's user namespace does not know, so no capability in there counts for it; or an empty
//! directory as the machine has it, see [`Cover`].
//!
//! **Invariant:** each directory over a hidden one is opaque before anything else of it is set: the overlay merges no name
//! of the machine into it, whatever a job does with its own layer above.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use remit_core::accounts::shown_table;
use remit_spawn::Owner;

use super::hidden::{ACCOUNTS, Cover, is_for_packages};
use crate::steps::private_root::{c_string, open_dir, own, owner};
use crate::sys;
use remit_core::mount_table::is_in;

/// What scripts of packages write, and what keeps no secret.
const SHOWN: [&[u8]; 5] = [
    b"etc/.pwd.lock",
    b"var/cache/apt",
    b"var/cache/ldconfig",
    b"var/lib/apt",
    b"var/lib/dpkg",
];

/// Bytes of a file that is copied, and of a table of accounts: a longer one is hidden.
const COPIED_BYTES: usize = 1 << 20;
pub(super) const ACCOUNTS_BYTES: usize = 4 << 20;

/// Of its kernel's policy: the view's own mounts have others.
const LABEL: &[u8] = b"security.selinux";
const OF_OVERLAYS: &[u8] = b"trusted.overlay.";

pub(super) struct Mask<'a> {
    /// The layer of one mount, on a file system of its own.
    pub(super) layer: BorrowedFd<'a>,
    /// The machine's directory at that mount, with the owners that the view sees.
    pub(super) host: BorrowedFd<'a>,
    /// An id of no view: the job's own.
    pub(super) unknown: (u32, u32),
    /// Mounts of single files, which are shown by a copy.
    pub(super) files: &'a BTreeMap<CString, OwnedFd>,
    /// Returns the id by which the view knows an owner of such a file.
    pub(super) mapped: &'a dyn Fn(u32) -> u32,
    /// Returns the view's own id of an owner that `host` has; nothing if the view knows none.
    pub(super) known: &'a dyn Fn(u32) -> Option<u32>,
}

/// Returns true if the path is hidden in a view.
pub(super) fn is_masked(path: &[u8]) -> bool {
    !SHOWN.iter().any(|shown| is_in(path, shown))
}

impl Mask<'_> {
    /// Covers `path` of the machine; `inside` is relative to the mount. What the machine has not needs nothing. Returns how it
    /// is hidden now: closed, if a directory cannot be shown empty.
    pub(super) fn hide(&self, path: &CStr, inside: &[u8], cover: Cover) -> io::Result<Cover> {
        match self.try_hide(path, inside, cover) {
            // Something above it is hidden, or nothing is there any more.
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Cover::Closed)
            }
            done => done,
        }
    }

    /// Puts a file of ours at `inside`, which is relative to the mount.
    pub(super) fn put(&self, inside: &[u8], text: &[u8], owner: Owner) -> io::Result<()> {
        self.directories(inside)?;
        let inside = c_string(inside)?;
        sys::make_file_at(self.layer, &inside, text)?;
        let made = sys::open_plain(self.layer, &inside, libc::O_RDONLY)?;
        own(made.as_fd(), owner)
    }

    fn try_hide(&self, path: &CStr, inside: &[u8], cover: Cover) -> io::Result<Cover> {
        self.directories(inside)?;
        let inside = c_string(inside)?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let host = sys::open_plain(self.host, &inside, flags.bits())?;
        let is_directory = sys::stat_of(host.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if let Some(mounted) = self.files.get(path).filter(|_| !is_directory)
            && let Some((text, mut stat)) = read(mounted.try_clone()?, COPIED_BYTES)?
        {
            stat.st_uid = (self.mapped)(stat.st_uid);
            stat.st_gid = (self.mapped)(stat.st_gid);
            return self.copy(&inside, &text, &stat);
        }
        if is_directory {
            return self.hide_directory(path, &inside, cover);
        }
        if ACCOUNTS.contains(&path.to_bytes()) {
            let flags = libc::O_RDONLY | libc::O_NONBLOCK;
            let file = sys::open_plain(self.host, &inside, flags)?;
            if let Some((text, stat)) = read(file, ACCOUNTS_BYTES)? {
                return self.copy(&inside, &shown_table(&text), &stat);
            }
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let flags = flags | OFlag::O_CLOEXEC;
        let node = nix::fcntl::openat(self.layer, inside.as_c_str(), flags, Mode::empty())?;
        self.close(&node)
    }

    fn hide_directory(&self, path: &CStr, inside: &CStr, cover: Cover) -> io::Result<Cover> {
        sys::make_dir_at(self.layer, inside, 0)?;
        let made = open_dir(self.layer, inside)?;
        sys::set_xattr(&made, c"trusted.overlay.opaque", b"y")?;
        if cover == Cover::Empty && self.show_empty(path, inside, &made).unwrap_or(false) {
            return Ok(Cover::Empty);
        }
        self.close(&made)
    }

    /// Gives a directory of ours owner, mode and access lists of the machine's. Returns false if that one has to stay closed, or
    /// has attributes that not everybody may read.
    fn show_empty(&self, path: &CStr, inside: &CStr, made: &OwnedFd) -> io::Result<bool> {
        let host = open_dir(self.host, inside)?;
        let stat = sys::stat_of(host.as_fd())?;
        let owners = ((self.known)(stat.st_uid), (self.known)(stat.st_gid));
        if !is_for_packages(path.to_bytes(), owners) {
            return Ok(false);
        }
        let all = names(&host)?;
        let known = |name: &CString| {
            is_list(name) || name.to_bytes() == LABEL || name.to_bytes().starts_with(OF_OVERLAYS)
        };
        if !all.iter().all(known) {
            return Ok(false);
        }
        sys::remove_lists(made)?;
        for list in all.iter().filter(|name| is_list(name)) {
            sys::set_xattr(made, list, &sys::xattr(&host, list)?)?;
        }
        own(made.as_fd(), owner(&stat)).map(|()| true)
    }

    fn close(&self, node: &OwnedFd) -> io::Result<Cover> {
        let (uid, gid) = self.unknown;
        own(node.as_fd(), Owner { uid, gid, mode: 0 }).map(|()| Cover::Closed)
    }

    /// Puts a file there.
    fn copy(&self, inside: &CStr, text: &[u8], stat: &libc::stat) -> io::Result<Cover> {
        sys::make_file_at(self.layer, inside, text)?;
        let made = sys::open_plain(self.layer, inside, libc::O_RDONLY)?;
        own(made.as_fd(), owner(stat)).map(|()| Cover::Closed)
    }

    fn directories(&self, inside: &[u8]) -> io::Result<()> {
        let mut slashes = inside.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.try_for_each(|(end, _)| {
            self.directory(&c_string(inside.get(..end).unwrap_or_default())?)
        })
    }

    /// Makes a directory above a node, if it is not there. Its owner and mode are seen in the view, so they are the machine's.
    fn directory(&self, path: &CStr) -> io::Result<()> {
        match sys::make_dir_at(self.layer, path, 0o700) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        let host = open_dir(self.host, path)?;
        copy_properties(&host, &open_dir(self.layer, path)?)
    }
}

/// Gives a directory of ours owner, mode and attributes of the machine's. What its file system says is mapped already.
pub(super) fn copy_properties(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut owner = owner(&sys::stat_of(from.as_fd())?);
    // Those that it has from the directory above.
    sys::remove_lists(to)?;
    // With an access list that is not copied, the group's bits would be the group's own.
    if copy_attributes(from, to).is_err() {
        owner.mode &= 0o7707;
    }
    own(to.as_fd(), owner)
}

/// Copies access lists and other attributes; those of the overlay have no meaning in another layer. Fails without a list alone: a
/// file system in memory does not have all others.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let names = names(from)?.into_iter();
    for name in names.filter(|name| !name.to_bytes().starts_with(OF_OVERLAYS)) {
        let copied = sys::xattr(from, &name).and_then(|value| sys::set_xattr(to, &name, &value));
        if is_list(&name) {
            copied?;
        }
    }
    Ok(())
}

fn names(fd: &OwnedFd) -> io::Result<Vec<CString>> {
    let listed = sys::xattr_names(fd)?;
    let names = listed.split_inclusive(|byte| *byte == 0);
    let name = |bytes: &[u8]| CStr::from_bytes_with_nul(bytes).map(CStr::to_owned);
    let names: Result<_, _> = names.map(name).collect();
    names.map_err(io::Error::other)
}

/// Access lists of a directory can be read by everybody.
fn is_list(name: &CStr) -> bool {
    sys::ACCESS_LISTS.contains(&name)
}

/// Returns `None` for a file of more bytes.
fn read(file: OwnedFd, most: usize) -> io::Result<Option<(Vec<u8>, libc::stat)>> {
    let stat = sys::stat_of(file.as_fd())?;
    let (mut text, mut file) = (Vec::new(), File::from(file));
    file.rewind()?;
    file.take(most as u64 + 1).read_to_end(&mut text)?;
    Ok((text.len() <= most).then_some((text, stat)))
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_packages_write_is_shown() {
        for (path, is_hidden) in [
            ("etc/shadow", true),
            ("var/lib/dpkg", false),
            ("var/lib/dpkg/lock", false),
            ("var/lib/dpkgs", true),
            ("var/cache/apt/archives/partial", false),
        ] {
            assert_eq!(is_masked(path.as_bytes()), is_hidden, "{path}");
        }
    }
}
