//! Files as the kernel has them in memory. To look at one mounts nothing and asks no server: one that is down never answers.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use remit_sys::sys;

/// Unit of stat(2), independent of the file system.
const BLOCK: u64 = 512;

#[derive(Clone, Copy)]
pub struct Inode(libc::statx);

impl Inode {
    /// Looks at a name in a directory, or at the directory itself if the name is empty. Does not follow a link.
    pub fn in_directory(directory: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let name = CString::new(name.as_bytes())?;
        sys::cached_statx_at(directory.as_fd(), &name).map(Self)
    }

    /// Looks at what a path leads to by links.
    pub fn behind(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        sys::cached_statx(&path).map(Self)
    }

    /// Device and number: no other file has both at the same time.
    pub const fn id(&self) -> (u64, u64) {
        (self.device(), self.0.stx_ino)
    }

    pub const fn device(&self) -> u64 {
        libc::makedev(self.0.stx_dev_major, self.0.stx_dev_minor)
    }

    pub fn mode(&self) -> u32 {
        self.0.stx_mode.into()
    }

    /// `S_IFREG`, `S_IFDIR` and so on: inode(7).
    pub fn kind(&self) -> u32 {
        self.mode() & libc::S_IFMT
    }

    pub fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub fn is_link(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }

    /// A file of an overlay may have the device of its layer, and is no mount.
    pub const fn is_mount(&self) -> bool {
        self.has(libc::STATX_ATTR_MOUNT_ROOT)
    }

    /// To open it mounts a file system on it.
    pub const fn is_automount(&self) -> bool {
        self.has(libc::STATX_ATTR_AUTOMOUNT)
    }

    const fn has(&self, attribute: libc::c_int) -> bool {
        self.0.stx_attributes & attribute.unsigned_abs() as u64 != 0
    }

    pub const fn owner(&self) -> u32 {
        self.0.stx_uid
    }

    pub const fn group(&self) -> u32 {
        self.0.stx_gid
    }

    pub const fn names(&self) -> u32 {
        self.0.stx_nlink
    }

    pub const fn length(&self) -> u64 {
        self.0.stx_size
    }

    /// Saturates, because a file system in user space may report any number.
    pub const fn bytes_on_disk(&self) -> u64 {
        self.0.stx_blocks.saturating_mul(BLOCK)
    }

    /// When its content was written, in seconds and nanoseconds since 1970.
    pub const fn written(&self) -> (i64, u32) {
        (self.0.stx_mtime.tv_sec, self.0.stx_mtime.tv_nsec)
    }

    /// When its content, owner or mode was changed.
    pub const fn changed(&self) -> (i64, u32) {
        (self.0.stx_ctime.tv_sec, self.0.stx_ctime.tv_nsec)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn inode_is_what_stat_shows() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-inode-XXXXXX")).unwrap();
        fs::write(dir.join("file"), "content").unwrap();
        symlink("file", dir.join("link")).unwrap();
        let opened = File::open(&dir).unwrap();
        for (name, is_file, is_directory, is_link) in [
            ("file", true, false, false),
            ("link", false, false, true),
            ("", false, true, false),
        ] {
            let found = Inode::in_directory(&opened, OsStr::new(name)).unwrap();
            let expect = fs::symlink_metadata(dir.join(name)).unwrap();
            let kind = (found.is_file(), found.is_directory(), found.is_link());
            assert_eq!(kind, (is_file, is_directory, is_link), "{name}");
            assert_eq!(found.id(), (expect.dev(), expect.ino()), "{name}");
            assert_eq!(
                (found.mode(), found.length()),
                (expect.mode(), expect.len())
            );
            let owners = (found.owner(), found.group(), u64::from(found.names()));
            assert_eq!(owners, (expect.uid(), expect.gid(), expect.nlink()));
            assert_eq!(found.bytes_on_disk(), expect.blocks() * BLOCK);
            let times = [found.written(), found.changed()].map(|(at, part)| (at, i64::from(part)));
            let expect = [
                (expect.mtime(), expect.mtime_nsec()),
                (expect.ctime(), expect.ctime_nsec()),
            ];
            assert_eq!(times, expect, "{name}");
        }
        assert!(Inode::behind(&dir.join("link")).unwrap().is_file());
        fs::remove_dir_all(&dir).unwrap();
        assert!(Inode::behind(&dir.join("link")).is_err());
        assert!(Inode::behind(Path::new("/proc")).unwrap().is_mount());
        assert!(!Inode::behind(Path::new("/proc/self")).unwrap().is_mount());
    }
}
