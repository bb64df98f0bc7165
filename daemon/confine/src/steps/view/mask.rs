//! The layer that hides from the view's root what an operator's account cannot read. Over each such path lies a node of
//! mode 0 of an owner whom the view's user namespace does not know, so no capability in there counts for it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use remit_common::accounts::shown_table;
use remit_spawn::Owner;

use super::table::is_in;
use crate::steps::private_root::{c_string, open_dir, own, owner};
use crate::sys;

/// What scripts of packages write, and what keeps no secret.
const SHOWN: [&[u8]; 5] = [
    b"etc/.pwd.lock",
    b"var/cache/apt",
    b"var/cache/ldconfig",
    b"var/lib/apt",
    b"var/lib/dpkg",
];

/// Tables of passwords. Programs that know accounts need their other fields, so a copy without hashes is shown.
const ACCOUNTS: [&[u8]; 4] = [
    b"etc/shadow",
    b"etc/gshadow",
    b"etc/shadow-",
    b"etc/gshadow-",
];
/// Bytes of a file that is copied, and of a table of accounts: a longer one is hidden.
const COPIED_BYTES: usize = 1 << 20;
const ACCOUNTS_BYTES: usize = 4 << 20;

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
}

/// Returns true if the path is hidden in a view.
pub(super) fn is_masked(path: &[u8]) -> bool {
    !SHOWN.iter().any(|shown| is_in(path, shown))
}

impl Mask<'_> {
    /// Puts a node over `path` of the machine; `inside` is relative to the mount. What the machine has not needs none.
    pub(super) fn hide(&self, path: &CStr, inside: &[u8]) -> io::Result<()> {
        match self.try_hide(path, inside) {
            // Something above it is hidden, or nothing is there any more.
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
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

    fn try_hide(&self, path: &CStr, inside: &[u8]) -> io::Result<()> {
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
        if !is_directory && ACCOUNTS.contains(&path.to_bytes()) {
            let flags = libc::O_RDONLY | libc::O_NONBLOCK;
            let file = sys::open_plain(self.host, &inside, flags)?;
            if let Some((text, stat)) = read(file, ACCOUNTS_BYTES)? {
                return self.copy(&inside, &shown_table(&text), &stat);
            }
        }
        let node = match is_directory {
            true => {
                sys::make_dir_at(self.layer, &inside, 0)?;
                let node = open_dir(self.layer, &inside)?;
                // Without it the overlay merges both directories.
                sys::set_xattr(&node, c"trusted.overlay.opaque", b"y")?;
                node
            }
            false => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
                let flags = flags | OFlag::O_CLOEXEC;
                nix::fcntl::openat(self.layer, inside.as_c_str(), flags, Mode::empty())?
            }
        };
        let (uid, gid) = self.unknown;
        own(node.as_fd(), Owner { uid, gid, mode: 0 })
    }

    /// Puts a file there.
    fn copy(&self, inside: &CStr, text: &[u8], stat: &libc::stat) -> io::Result<()> {
        sys::make_file_at(self.layer, inside, text)?;
        let made = sys::open_plain(self.layer, inside, libc::O_RDONLY)?;
        own(made.as_fd(), owner(stat))
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
        let stat = sys::stat_of(host.as_fd())?;
        let made = open_dir(self.layer, path)?;
        // With an access list that is not copied, the group's bits would be the group's own.
        let mut owner = owner(&stat);
        if copy_attributes(&host, &made).is_err() {
            owner.mode &= 0o7707;
        }
        own(made.as_fd(), owner)
    }
}

/// Copies access lists and other attributes; those of the overlay have no meaning in another layer.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for name in sys::xattr_names(from)?.split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        if !name.to_bytes().starts_with(b"trusted.overlay.") {
            sys::set_xattr(to, name, &sys::xattr(from, name)?)?;
        }
    }
    Ok(())
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
