//! The directory beside the paths of a commit, `.remit-ID`, in which new and old files are. It opens nothing in it.
//! **Invariant:** it is opened by the directory that it is in, without a link, and only root can enter it: whoever owns the
//! directory above can exchange its name.

use crate::sys;
use libc::{O_DIRECTORY, O_NOFOLLOW, O_RDONLY};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// The owner and group of private directories: an id that no account and no copy of the machine has. Root of a copy reads
/// what the machine's root owns, also what appears while its job runs.
pub const NOBODYS: u32 = 0xffff_0000;

/// Opens the private directory `name` in `above`. `None` if somebody else can enter it.
pub fn open_private(above: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let fd = sys::open_plain(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)?;
    let stat = sys::stat_of(fd.as_fd())?;
    // Root's: a kill came before it was given away.
    let is_roots = [0, NOBODYS].contains(&stat.st_uid) && stat.st_mode & 0o077 == 0;
    // A user can mount a file system of their own on it, which says that it is root's: fusermount3(1).
    Ok((is_roots && stat.st_dev == sys::stat_of(above)?.st_dev).then_some(fd))
}
