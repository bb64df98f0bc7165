//! What a commit keeps of a path for its undo, read by a child of the warden. It follows no link and opens no device.
//! **Invariant:** it is a regular file or a link, of the inode that the plan's base has, in a directory that only root can
//! enter. Users own directories beside which `.remit-ID` is, so its name alone says nothing.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use libc::{O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH};
use nix::fcntl::readlinkat;
use remit_plan::{Kind, PlanPath, Stat};
use remit_sys::{open_private, sys};

/// An old file or link, opened by `O_PATH`.
#[derive(Debug)]
pub struct KeptFile {
    fd: OwnedFd,
    kind: Kind,
}

impl KeptFile {
    /// Opens what is kept of the entry at this position in the commit `id`: beside the journal, or on another file system in
    /// the private directory of a directory above the path. `None` if neither has it.
    pub fn open(
        commits: &Path,
        id: &str,
        (path, at): (&PlanPath, usize),
        old: Stat,
    ) -> Option<Self> {
        let slot = CString::new(at.to_string()).ok()?;
        let own = CString::new(commits.join(id).as_os_str().as_bytes()).ok()?;
        let own = sys::open(&own, O_PATH | O_DIRECTORY).ok();
        let kept = own.and_then(|own| Self::in_slot(&own, &slot, old));
        kept.or_else(|| {
            let private = CString::new(format!(".remit-{id}")).ok()?;
            let root = sys::open(c"/", O_PATH | O_DIRECTORY).ok()?;
            let mut above = path.ancestors().chain([&b"/"[..]]);
            above.find_map(|above| {
                let above = match above.strip_prefix(b"/") {
                    Some(b"") | None => c".".to_owned(),
                    Some(relative) => CString::new(relative).ok()?,
                };
                let above = sys::open_plain(root.as_fd(), &above, O_PATH | O_DIRECTORY).ok()?;
                let private = open_private(above.as_fd(), &private).ok()??;
                Self::in_slot(&private, &slot, old)
            })
        })
    }

    fn in_slot(directory: &OwnedFd, slot: &CStr, old: Stat) -> Option<Self> {
        let fd = sys::open_plain(directory.as_fd(), slot, O_PATH | O_NOFOLLOW).ok()?;
        let found = sys::stat_of(fd.as_fd()).ok()?;
        let kind = match found.st_mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFLNK => Kind::Symlink,
            _ => return None,
        };
        ((kind, found.st_ino) == (old.kind, old.ino)).then_some(Self { fd, kind })
    }

    /// Reads a file of at most so many bytes. `None` for a longer one, and for a link.
    pub fn read(&self, most: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reopen()?
            .take(most as u64 + 1)
            .read_to_end(&mut bytes)
            .ok()?;
        (bytes.len() <= most).then_some(bytes)
    }

    pub fn target(&self) -> Option<Vec<u8>> {
        let target = readlinkat(&self.fd, c"").ok()?;
        (self.kind == Kind::Symlink).then(|| target.into_vec())
    }

    fn reopen(&self) -> Option<File> {
        let name = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let mut options = OpenOptions::new();
        // Nobody who has a lease on the file makes this wait.
        options.read(true).custom_flags(O_NONBLOCK | O_CLOEXEC);
        (self.kind == Kind::File).then(|| options.open(OsStr::new(&name)).ok())?
    }
}
