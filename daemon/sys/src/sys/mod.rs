//! Wraps system calls: every unsafe block of the root processes is here, as safe functions. nix is used where it does the
//! same. Calls that change the identity are bare: glibc's would signal the parent's threads, which a `clone3` child lacks.

#![allow(unsafe_code)]

mod descriptors;

mod files {
    //! Owners, extended attributes, leases and statx(2) of files.

    use super::check;
    use nix::fcntl::AT_FDCWD;
    use nix::sys::stat::{Mode, fchmod, fstat};
    use nix::unistd::{Gid, Uid, fchown};
    use std::{
        ffi::CStr,
        io,
        os::fd::{AsFd, AsRawFd, BorrowedFd},
    };

    /// Access lists that a new file or directory has from the directory that it is made in. acl(5).
    pub const ACCESS_LISTS: [&CStr; 2] = [c"system.posix_acl_access", c"system.posix_acl_default"];

    /// The attribute of a file's capabilities. capabilities(7).
    pub const FILE_CAPABILITIES: &CStr = c"security.capability";

    /// Sets the owner if it differs, because that clears set-id bits and capabilities, and then the mode.
    pub fn own(fd: BorrowedFd<'_>, (uid, gid): (u32, u32), mode: u32) -> io::Result<()> {
        let now = fstat(fd)?;
        if (now.st_uid, now.st_gid) != (uid, gid) {
            fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(fchmod(fd, Mode::from_bits_truncate(mode))?)
    }

    /// Removes the access lists that a new file or directory has from a directory of this owner. They stay if root or the new
    /// owner owns that: anybody else would decide who reads and writes what an approver saw with its mode alone.
    pub fn remove_lists_of(directory_owner: u32, made: impl AsFd, owner: u32) -> io::Result<()> {
        if directory_owner == 0 || directory_owner == owner {
            return Ok(());
        }
        remove_lists(made)
    }

    /// Removes all access lists.
    pub fn remove_lists(of: impl AsFd) -> io::Result<()> {
        ACCESS_LISTS.iter().try_for_each(|list| {
            remove_xattr(&of, list).or_else(|error| match error.raw_os_error() {
                Some(libc::ENODATA | libc::EOPNOTSUPP) => Ok(()),
                _ => Err(error),
            })
        })
    }

    /// Looks at `name` in `dir`; does not follow a link. statx(2).
    pub fn statx_at(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<libc::statx> {
        statx(dir, name, libc::AT_SYMLINK_NOFOLLOW)
    }

    /// Mounts nothing, and asks no server: one that is down never answers.
    const CACHED: libc::c_int = libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;

    /// As [`statx_at`], of what the kernel has in memory. An empty name is `dir` itself.
    pub fn cached_statx_at(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<libc::statx> {
        statx(
            dir,
            name,
            CACHED | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH,
        )
    }

    /// As [`cached_statx_at`], of what a path leads to by links.
    pub fn cached_statx(path: &CStr) -> io::Result<libc::statx> {
        statx(AT_FDCWD, path, CACHED)
    }

    fn statx(dir: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<libc::statx> {
        // SAFETY: all fields are integers, for which zero is valid.
        let mut stat: libc::statx = unsafe { std::mem::zeroed() };
        let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
        let (at, name) = (dir.as_raw_fd(), name.as_ptr());
        // SAFETY: a path and a buffer, valid for the call.
        check(unsafe { libc::statx(at, name, flags, mask, &raw mut stat) }.into())?;
        Ok(stat)
    }

    /// Returns the names of all attributes, each with its NUL. flistxattr(2).
    pub fn xattr_names(fd: impl AsFd) -> io::Result<Vec<u8>> {
        let fd = fd.as_fd().as_raw_fd();
        with_buffer(|buf| {
            // SAFETY: an open descriptor, and a buffer of the given length.
            unsafe { libc::flistxattr(fd, buf.as_mut_ptr().cast(), buf.len()) }
        })
    }

    pub fn xattr(fd: impl AsFd, name: &CStr) -> io::Result<Vec<u8>> {
        let (fd, name) = (fd.as_fd().as_raw_fd(), name.as_ptr());
        with_buffer(|buf| {
            // SAFETY: an open descriptor, a path valid for the call, and a buffer of the given length.
            unsafe { libc::fgetxattr(fd, name, buf.as_mut_ptr().cast(), buf.len()) }
        })
    }

    fn with_buffer(call: impl Fn(&mut [u8]) -> isize) -> io::Result<Vec<u8>> {
        /// XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel.
        const MOST: usize = 1 << 16;
        let mut buf = vec![0; MOST];
        let length = check(call(&mut buf) as libc::c_long)?;
        buf.truncate(length as usize);
        buf.shrink_to_fit();
        Ok(buf)
    }

    pub fn set_xattr(fd: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
        let (fd, name) = (fd.as_fd().as_raw_fd(), name.as_ptr());
        // SAFETY: an open descriptor, a name and a value of the given length, valid for the call.
        check(unsafe { libc::fsetxattr(fd, name, value.as_ptr().cast(), value.len(), 0) }.into())?;
        Ok(())
    }

    pub fn remove_xattr(fd: impl AsFd, name: &CStr) -> io::Result<()> {
        // SAFETY: an open descriptor, and a name valid for the call.
        check(unsafe { libc::fremovexattr(fd.as_fd().as_raw_fd(), name.as_ptr()) }.into())?;
        Ok(())
    }

    /// Takes a read lease: until it is released, nobody can open the file for writing. Fails with EAGAIN if somebody has
    /// done so. The kernel reports a waiting writer with SIGIO. fcntl(2), "Leases".
    pub fn take_read_lease(fd: impl AsFd) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: integers only.
        check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) }.into())?;
        Ok(())
    }

    /// Returns false if a writer waits for the lease to end.
    pub fn has_read_lease(fd: impl AsFd) -> bool {
        // SAFETY: integers only.
        let lease = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETLEASE) };
        lease == libc::F_RDLCK
    }
}

mod clock {
    //! What the kernel knows about its clock.

    use super::check;

    /// Returns whether something keeps the clock right, as NTP does. Without it a clock may be years off. False also if the
    /// kernel refuses the question, as filters of containers do. adjtimex(2).
    pub fn is_clock_synchronised() -> bool {
        // SAFETY: all fields are integers, for which zero is valid. `modes` 0 changes nothing.
        let mut clock: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: a buffer, valid for the call. The bare call: a libc may use another one.
        let state = check(unsafe { libc::syscall(libc::SYS_adjtimex, &raw mut clock) });
        is_synchronised(state.ok(), clock.status)
    }

    fn is_synchronised(state: Option<libc::c_long>, status: libc::c_int) -> bool {
        let is_wrong = status & (libc::STA_UNSYNC | libc::STA_CLOCKERR) != 0;
        state.is_some_and(|state| state != libc::TIME_ERROR.into()) && !is_wrong
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn clock_without_synchronisation_or_answer_is_not_trusted() {
            for (state, status, expect) in [
                (Some(0), 0, true),
                (Some(0), libc::STA_PLL | libc::STA_NANO, true),
                // A leap second is to come.
                (Some(1), libc::STA_PLL | libc::STA_INS, true),
                (Some(0), libc::STA_UNSYNC, false),
                (Some(5), libc::STA_PLL | libc::STA_UNSYNC, false),
                (Some(5), libc::STA_PLL, false),
                (Some(0), libc::STA_CLOCKERR, false),
                (None, 0, false),
            ] {
                assert_eq!(
                    is_synchronised(state, status),
                    expect,
                    "{state:?} {status:#x}"
                );
            }
        }
    }
}

mod identity;
mod landlock;
mod mount;
mod peer;
mod process;
mod root;

pub use clock::*;
pub use descriptors::*;
pub use files::*;
pub use identity::*;
pub use landlock::*;
pub use mount::*;
pub use peer::*;
pub use process::*;
pub use root::*;

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// Makes a system call with integers and null pointers only, for the self-test: the result, or minus the errno.
pub fn attempt<const N: usize>(number: libc::c_long, args: [libc::c_long; N]) -> i32 {
    let mut six = [0; 6];
    six.iter_mut().zip(args).for_each(|(to, from)| *to = from);
    let [a, b, c, d, e, f] = six;
    // SAFETY: no call made through this function gets an address other than null.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    check(answer).map_or_else(|e| -e.raw_os_error().unwrap_or(0), |n| n as i32)
}

pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
