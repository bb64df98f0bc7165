//! The user namespace of a view. Its ids are a range of the machine's that nobody else has, so its root owns nothing of
//! the machine and no other namespace.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use remit_core::view::{IDS, RANGES};
use remit_spawn::ResourceLimit;

use crate::steps::report::{EnabledLayers, Fault};
use crate::supervise::task_count::set_limits;
use crate::sys::{self, ForkCall};
use crate::{Layer, Why};

/// The first id of the ranges: behind those of subuid(5), systemd-nspawn(1), and of directories of accounts.
const FIRST: u32 = 3 << 30;

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SYS_CHROOT, SETFCAP: what packages and their scripts do with
/// files and accounts. In the view's user namespace only.
pub(crate) const CAPABILITIES: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 18 | 1 << 31;

/// Returns the machine's id of the view's root, for the job with this uid.
pub(crate) const fn first_id(own: u32) -> u32 {
    FIRST + own % RANGES * IDS
}

/// The error if the uid or gid is not in the user namespace of this process.
pub(crate) const NO_ID: i32 = libc::EOVERFLOW;

/// Makes the namespace for a job with this uid and gid. For a process that sees itself in its `/proc`: before it gets a pid
/// namespace. Whatever the namespace's users have counts for the uid that made it, with these limits; for root it would
/// count among root's.
pub(crate) fn user_namespace(
    call: ForkCall,
    (uid, gid): (u32, u32),
    limits: &[ResourceLimit],
) -> io::Result<OwnedFd> {
    let (made, report) = pipe2(OFlag::O_CLOEXEC)?;
    let (end, hold) = pipe2(OFlag::O_CLOEXEC)?;
    let child = || {
        // With its own copy it would never see the end.
        sys::close_one(hold.as_raw_fd());
        let made = set_limits(limits, 0)
            .and_then(|()| sys::keep_capabilities())
            // EINVAL: this user namespace does not have the id. That of unshare(2) has another meaning.
            .and_then(|()| {
                sys::become_user(uid, gid, &[]).map_err(|_| io::Error::from_raw_os_error(NO_ID))
            })
            .and_then(|()| sys::own_namespaces(libc::CLONE_NEWUSER));
        if let Err(error) = made.and_then(|()| sys::write(report.as_fd(), &[1])) {
            return error.raw_os_error().unwrap_or(libc::EIO);
        }
        let _ = sys::read(end.as_fd(), &mut [0]);
        0
    };
    let (pid, _pidfd) = sys::fork(call, None, child)?;
    drop(report);
    let users = match sys::read(made.as_fd(), &mut [0]) {
        Ok(1) => map(pid, first_id(uid)),
        read => read.and(Err(io::ErrorKind::UnexpectedEof.into())),
    };
    drop(hold);
    let ended = sys::wait(pid, 0)?;
    let code = ended.and_then(|(status, _)| status.code());
    match code {
        Some(0) => users,
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::from_raw_os_error(libc::ECHILD)),
    }
}

fn map(pid: i32, first: u32) -> io::Result<OwnedFd> {
    let path = |name: &str| CString::new(format!("/proc/{pid}/{name}")).map_err(io::Error::other);
    let line = format!("0 {first} {IDS}\n");
    for name in ["uid_map", "gid_map"] {
        let file = sys::open(&path(name)?, libc::O_WRONLY)?;
        sys::write(file.as_fd(), line.as_bytes())?;
    }
    sys::open(&path("ns/user")?, libc::O_RDONLY)
}

/// Becomes root of a view's user namespace, with the view's capabilities at most.
pub(crate) fn enter_view(layers: EnabledLayers, users: BorrowedFd<'_>) -> Result<(), Fault> {
    become_root_of(
        layers.is_on(Layer::UserNamespace).then_some(users),
        layers.is_on(Layer::Capabilities).then_some(CAPABILITIES),
    )
}

pub(crate) fn become_root_of(
    users: Option<BorrowedFd<'_>>,
    kept: Option<u64>,
) -> Result<(), Fault> {
    if let Some(users) = users {
        sys::set_namespace(users, libc::CLONE_NEWUSER)?;
    }
    sys::become_user(0, 0, &[])?;
    if let Some(kept) = kept {
        sys::keep_only_capabilities(kept)?;
    }
    sys::set_dumpable(false)?;
    sys::die_with_parent()?;
    match sys::is_user(0, 0) {
        true => Ok(()),
        false => Err(Fault::because(Why::Unmet)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_disjoint_and_end_before_the_last_id() {
        assert_eq!(first_id(0), FIRST);
        assert_eq!(first_id(1), FIRST + IDS);
        assert_eq!(first_id(RANGES), FIRST);
        assert!(first_id(RANGES - 1).checked_add(IDS).unwrap() < u32::MAX);
    }
}
