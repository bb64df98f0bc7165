//! Shows files of a plan at their paths: read-only overlays over the host's directories, with a private tmpfs on top.

use super::model::{Access, Content, Mount};
use crate::Why;
use crate::steps::report::Fault;
use crate::sys;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_spawn::{Owner, Staged, StagedAs, StagedEntry};
use std::{
    cell::Cell,
    ffi::{CStr, CString},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Where the layers are made; it is gone before the job starts.
const SITE: &CStr = c".plan";
const PAGE: u64 = 4096;

pub(super) struct StagedView<'a> {
    staged: &'a Staged,
    /// By entry: the mount that it is in.
    shown_by: Vec<usize>,
    site: OwnedFd,
    shown: Cell<usize>,
}

impl<'a> StagedView<'a> {
    /// Makes a directory for the layers in `new`. Fails if an entry is not beneath a mount that only shows files.
    pub(super) fn new(
        staged: &'a Staged,
        mounts: &[Mount],
        new: BorrowedFd<'_>,
    ) -> Result<Self, Fault> {
        let shown_by = staged
            .list
            .iter()
            .map(|entry| shown_by(entry, mounts))
            .collect::<Result<Vec<_>, Fault>>()?;
        let entries = staged.list.len() as u64;
        let size = staged.size()? + (entries + 16) * 2 * PAGE;
        let inodes = (entries + 16) * 16;
        let options = c_string(format!("size={size},nr_inodes={inodes},mode=700"))?;
        sys::make_dir_at(new, SITE, 0o700)?;
        sys::change_to(sys::open_plain(new, SITE, libc::O_PATH | libc::O_DIRECTORY)?.as_fd())?;
        sys::mount_tmpfs_here(&options, true)?;
        let site = sys::open_plain(new, SITE, libc::O_PATH | libc::O_DIRECTORY)?;
        Ok(Self {
            staged,
            shown_by,
            site,
            shown: Cell::new(0),
        })
    }

    pub(super) fn is_in(&self, mount: usize) -> bool {
        self.shown_by.contains(&mount)
    }

    /// Returns a copy of `source`, which is mounted as mount `at`, with the entries in it.
    pub(super) fn copy(
        &self,
        at: usize,
        mount: &Mount,
        source: BorrowedFd<'_>,
    ) -> io::Result<OwnedFd> {
        let site = self.site.as_fd();
        let top = c_string(format!("t{at}"))?;
        let entries = self.staged.list.iter().zip(&self.shown_by);
        let entries = entries.filter(|(_, by)| **by == at).map(|(entry, _)| entry);
        let entries = entries.inspect(|_| self.shown.set(self.shown.get() + 1));
        if sys::stat_of(source)?.st_mode & libc::S_IFMT != libc::S_IFDIR {
            for entry in entries {
                match entry.what {
                    StagedAs::File { .. } => self.make(site, &top, entry.what)?,
                    _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
                }
            }
            return sys::copy_mount_of(sys::open_plain(site, &top, libc::O_PATH)?.as_fd(), false);
        }
        let (host, shown) = (c_string(format!("h{at}"))?, c_string(format!("o{at}"))?);
        for name in [&top, &host, &shown] {
            sys::make_dir_at(site, name, 0o700)?;
        }
        let layer = open_dir(site, &top)?;
        own_as(layer.as_fd(), source)?;
        // Without what is mounted beneath it: the overlay does not show that, either.
        let below = sys::copy_mount_of(source, false)?;
        for entry in entries {
            self.fill(layer.as_fd(), below.as_fd(), mount, entry)?;
        }
        sys::attach_mount_on(
            below.as_fd(),
            sys::open_plain(site, &host, libc::O_PATH)?.as_fd(),
        )?;
        sys::change_to(site)?;
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let layers = c_string(format!("lowerdir=t{at}:h{at}"))?;
        let overlay = Some(c"overlay");
        nix::mount::mount(
            overlay,
            shown.as_c_str(),
            overlay,
            flags,
            Some(layers.as_c_str()),
        )?;
        sys::copy_mount_of(sys::open_plain(site, &shown, libc::O_PATH)?.as_fd(), false)
    }

    fn fill(
        &self,
        layer: BorrowedFd<'_>,
        source: BorrowedFd<'_>,
        mount: &Mount,
        entry: &StagedEntry,
    ) -> io::Result<()> {
        let path = entry.path.to_bytes();
        let inside = path.get(mount.target.to_bytes().len() + 1..);
        let inside = inside.ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
        let slashes = inside.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (end, _) in slashes {
            let above = c_string(inside.get(..end).unwrap_or_default())?;
            match open_dir(layer, &above) {
                Ok(_) => {}
                // It is gone itself, and everything beneath it.
                Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
                    return match entry.what {
                        StagedAs::Gone => Ok(()),
                        _ => Err(error),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let hosts = sys::open_plain(source, &above, libc::O_PATH | libc::O_DIRECTORY)?;
                    sys::make_dir_at(layer, &above, 0o700)?;
                    own_as(open_dir(layer, &above)?.as_fd(), hosts.as_fd())?;
                }
                Err(error) => return Err(error),
            }
        }
        self.make(layer, &c_string(inside)?, entry.what)
    }

    fn make(&self, dir: BorrowedFd<'_>, path: &CStr, what: StagedAs) -> io::Result<()> {
        match what {
            StagedAs::Gone => Ok(mknodat(dir, path, SFlag::S_IFCHR, Mode::empty(), 0)?),
            StagedAs::Directory(owner) => {
                sys::make_dir_at(dir, path, 0o700)?;
                let made = open_dir(dir, path)?;
                // A directory of the host with this name is not shown through it, whose owner and mode are the plan's.
                sys::set_xattr(&made, c"trusted.overlay.opaque", b"y")?;
                own(made.as_fd(), owner)
            }
            StagedAs::File {
                owner,
                start,
                length,
            } => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
                let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = nix::fcntl::openat(dir, path, flags, Mode::S_IRUSR)?;
                let mut file = std::fs::File::from(file);
                let (mut buffer, mut at) = (vec![0; 1 << 16], 0);
                while at < length {
                    let part = usize::try_from(length - at).unwrap_or(usize::MAX);
                    let part = part.min(buffer.len());
                    let part = buffer.get_mut(..part).unwrap_or_default();
                    self.staged.fill(start.saturating_add(at), part)?;
                    file.write_all(part)?;
                    at += part.len() as u64;
                }
                own(file.as_fd(), owner)
            }
            StagedAs::Link { start, length } => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let mut target = vec![0; length.min(libc::PATH_MAX as usize)];
                self.staged.fill(start, &mut target)?;
                sys::make_link_at(&c_string(target)?, dir, path)
            }
        }
    }

    /// Removes the directory of the layers, which live on in what was mounted. Fails if an entry is in a path that is missing.
    pub(super) fn close(self, new: BorrowedFd<'_>) -> io::Result<()> {
        if self.shown.get() < self.staged.list.len() {
            return Err(io::ErrorKind::NotFound.into());
        }
        drop(self.site);
        sys::change_to(new)?;
        umount2(SITE, MntFlags::MNT_DETACH)?;
        Ok(unlinkat(new, SITE, UnlinkatFlags::RemoveDir)?)
    }
}

/// Returns the deepest mount that the entry is in.
fn shown_by(entry: &StagedEntry, mounts: &[Mount]) -> Result<usize, Fault> {
    let is_in = |mount: &Mount| {
        let rest = entry.path.to_bytes().strip_prefix(mount.target.to_bytes());
        rest.is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    };
    // Parents come first.
    let found = mounts.iter().enumerate().rev().find(|(_, it)| is_in(it));
    let (at, mount) = found.ok_or_else(|| Fault::because(Why::Unmet))?;
    match &mount.what {
        Content::Host(host)
            if host.access
                == (Access::Files {
                    write: false,
                    exec: false,
                }) =>
        {
            Ok(at)
        }
        Content::Host(_) | Content::Private(_) => {
            Err(Fault::because(Why::WrongKind).at(u16::try_from(at).unwrap_or(u16::MAX)))
        }
    }
}

pub(crate) fn open_dir(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    sys::open_plain(dir, path, libc::O_RDONLY | libc::O_DIRECTORY)
}

/// Gives a directory the owner, the mode and the access list of another one, so that it is open to nobody else.
fn own_as(directory: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    const ACL: &CStr = c"system.posix_acl_access";
    let stat = sys::stat_of(other)?;
    own(directory, owner(&stat))?;
    match sys::xattr(open_dir(other, c".")?, ACL) {
        Ok(list) => sys::set_xattr(directory, ACL, &list),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODATA | libc::EOPNOTSUPP) => Ok(()),
            _ => Err(error),
        },
    }
}

pub(crate) fn owner(stat: &libc::stat) -> Owner {
    Owner {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
    }
}

pub(crate) fn own(fd: BorrowedFd<'_>, owner: Owner) -> io::Result<()> {
    sys::own(fd, (owner.uid, owner.gid), owner.mode)
}

pub(crate) fn c_string(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::other)
}
