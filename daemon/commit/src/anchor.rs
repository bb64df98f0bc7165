//! Private directories, each in a directory that a plan changes.

use std::cell::OnceCell;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use remit_sys::{NOBODYS, open_private};

use crate::journal::count;
use crate::renumbered::{PROBE, check_numbers};
use crate::tree::c_string;

/// A directory that the plan neither makes nor removes. New and old files of entries beneath it are in a private
/// directory in it, so that nobody reaches a file with a set-id bit by another name.
#[derive(Debug)]
pub struct Anchor {
    pub fd: OwnedFd,
    pub path: Vec<u8>,
    name: CString,
    /// True if the private directory must not be there yet.
    is_fresh: bool,
    beside: OnceCell<OwnedFd>,
}

impl Anchor {
    pub fn new(fd: OwnedFd, path: &[u8], id: &str, is_fresh: bool) -> io::Result<Self> {
        Ok(Self {
            fd,
            path: path.to_vec(),
            name: c_string(format!(".remit-{id}").as_bytes())?,
            is_fresh,
            beside: OnceCell::new(),
        })
    }

    /// Returns true if nothing can be written. After an error the kernel stops writing to ext4 without a flag that says so
    /// (since Linux 6.12), so an existing private directory gets its own mode again.
    pub fn is_read_only(&self) -> io::Result<bool> {
        if fstatvfs(&self.fd)?.flags().contains(FsFlags::ST_RDONLY) {
            return Ok(true);
        }
        match self.beside()?.map(|beside| fchmod(beside, Mode::S_IRWXU)) {
            Some(Err(nix::Error::EROFS)) => Ok(true),
            Some(Err(error @ (nix::Error::EIO | nix::Error::ESHUTDOWN))) => Err(error.into()),
            Some(Ok(()) | Err(_)) | None => Ok(false),
        }
    }

    /// Returns true if its private directory can be removed, or is not there.
    pub fn can_be_cleared(&self) -> bool {
        let beside = self.beside();
        beside.is_ok_and(|beside| beside.is_none() || self.is_read_only().is_ok_and(|is| !is))
    }

    /// Returns the private directory, if this commit has made it.
    pub fn beside(&self) -> io::Result<Option<&OwnedFd>> {
        if self.beside.get().is_none() && !self.is_fresh {
            match self.private() {
                Ok(Some(fd)) => _ = self.beside.set(fd),
                Ok(None) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.beside.get())
    }

    /// Opens the private directory. `None` if somebody else can enter it.
    fn private(&self) -> io::Result<Option<OwnedFd>> {
        open_private(self.fd.as_fd(), &self.name)
    }

    pub fn make_beside(&self) -> io::Result<&OwnedFd> {
        if self.beside()?.is_none() {
            let is_made = match mkdirat(&self.fd, self.name.as_c_str(), Mode::S_IRWXU) {
                Ok(()) => true,
                Err(nix::Error::EEXIST) => false,
                Err(error) => return Err(error.into()),
            };
            let other = || {
                let name = self.name.to_string_lossy();
                let path = String::from_utf8_lossy(&self.path).into_owned();
                io::Error::other(format!(
                    "'{name}' in '{}' is not an empty private directory; remove it",
                    path.escape_debug()
                ))
            };
            let made = match self.private()? {
                Some(made) => made,
                None if is_made => {
                    unlinkat(&self.fd, self.name.as_c_str(), UnlinkatFlags::RemoveDir)?;
                    return Err(io::Error::other(
                        "its file system keeps no modes, so no directory in it is private",
                    ));
                }
                None => return Err(other()),
            };
            if count(&made)? > 2 {
                return Err(other());
            }
            // Set before it is given away: a failure removes it.
            let made = self.beside.get_or_init(|| made);
            let (uid, gid) = (Uid::from_raw(NOBODYS), Gid::from_raw(NOBODYS));
            match fchown(made, Some(uid), Some(gid)) {
                // Without owners, or in a container without this id: no copy gives its root rights over such a file system.
                Ok(()) | Err(nix::Error::EPERM | nix::Error::EINVAL) => {}
                Err(error) => return Err(error.into()),
            }
            if self.is_fresh {
                check_numbers(made)?;
            }
        }
        self.beside
            .get()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn remove_beside(&self) -> io::Result<()> {
        let Some(beside) = self.beside()? else {
            return Ok(());
        };
        // Only a kill between two calls leaves it.
        let _ = unlinkat(beside, PROBE, UnlinkatFlags::NoRemoveDir);
        match unlinkat(&self.fd, self.name.as_c_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT | nix::Error::ENOTEMPTY | nix::Error::EEXIST) => Ok(()),
            // This error comes before a look whether it is empty.
            Err(nix::Error::EROFS) if count(beside)? > 2 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns true if the name of a directory leads nowhere, or to something else.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
    )
}
