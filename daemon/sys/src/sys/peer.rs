//! Options of sockets, and the process at the other end of a Unix socket, as the kernel reports it. unix(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{check, pidfd_alive, pidfd_open};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidfdSource {
    /// `SO_PEERPIDFD` (Linux 6.5): the process that connected.
    Socket,
    /// `pidfd_open` of the `SO_PEERCRED` pid: may be another process with a recycled pid.
    Pid,
}

#[derive(Debug)]
pub struct Peer {
    pub pid: i32,
    /// Its effective uid. The caller must refuse overflow uids.
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub pidfd: OwnedFd,
    pub pidfd_source: PidfdSource,
}

fn option(socket: BorrowedFd<'_>, name: i32, buf: &mut [u32]) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(size_of_val(buf)).unwrap_or(0);
    let fd = socket.as_raw_fd();
    let at = buf.as_mut_ptr().cast();
    // SAFETY: a buffer of `len` bytes of plain integers.
    let r = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, at, &raw mut len) };
    check(r.into())?;
    Ok(len as usize)
}

/// Returns the effective uid of the process that connected, which may have ended since.
pub fn peer_uid(socket: impl AsFd) -> io::Result<u32> {
    let mut cred = [0u32; 3];
    option(socket.as_fd(), libc::SO_PEERCRED, &mut cred)?;
    let [_, uid, _] = cred;
    Ok(uid)
}

/// Returns the peer of a connected Unix socket, before anything is read from it. ESRCH if it has exited already.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let socket = socket.as_fd();
    let mut cred = [0u32; 3];
    option(socket, libc::SO_PEERCRED, &mut cred)?;
    let [pid, uid, gid] = cred;
    // 0: the peer is in a pid namespace that this process does not see.
    let pid = i32::try_from(pid)
        .ok()
        .filter(|p| *p > 0)
        .ok_or(io::ErrorKind::NotFound)?;
    let mut groups = vec![0u32; 65_536];
    let bytes = option(socket, libc::SO_PEERGROUPS, &mut groups)?;
    groups.truncate(bytes / size_of::<u32>());
    groups.shrink_to_fit();
    let mut fd = [0u32];
    let (pidfd, pidfd_source) = match option(socket, libc::SO_PEERPIDFD, &mut fd) {
        Ok(_) => {
            let [fd] = fd;
            // SAFETY: a new descriptor that nobody else owns.
            (
                unsafe { OwnedFd::from_raw_fd(fd as RawFd) },
                PidfdSource::Socket,
            )
        }
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            (pidfd_open(pid)?, PidfdSource::Pid)
        }
        Err(e) => return Err(e),
    };
    if !pidfd_alive(pidfd.as_fd())? {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(Peer {
        pid,
        uid,
        gid,
        groups,
        pidfd,
        pidfd_source,
    })
}

/// Returns the audit login uid of process `pid`; `None` if it is unset or the kernel has no audit. The pidfd is
/// checked after the read: if the process still lives, the pid was its own all the time. Fails if `/proc` hides it.
pub fn loginuid(pid: i32, pidfd: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let text = of_process(pid, pidfd, "loginuid")?;
    Ok(text.trim().parse().ok().filter(|uid| *uid != u32::MAX))
}

/// Returns /proc/PID/cgroup of process `pid` (cgroups(7)), checked by the pidfd as in [`loginuid`]; an empty text if the
/// kernel has no cgroups.
pub fn cgroups(pid: i32, pidfd: BorrowedFd<'_>) -> io::Result<String> {
    of_process(pid, pidfd, "cgroup")
}

fn of_process(pid: i32, pidfd: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let read = std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    if !pidfd_alive(pidfd)? {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // A process sees its own files in spite of `hidepid`, so only the kernel can lack this one.
            match std::fs::exists(format!("/proc/self/{name}"))? {
                false => Ok(String::new()),
                true => Err(io::Error::new(
                    e.kind(),
                    format!("/proc hides '/proc/{pid}/{name}' (its mount option hidepid)"),
                )),
            }
        }
        read => read,
    }
}

#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

/// Enters a new network namespace, empty except for a loopback interface that is down. unshare(2).
pub fn own_network() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into())?;
    Ok(())
}

pub fn poll(fds: &mut [libc::pollfd], most: Option<Duration>) -> io::Result<()> {
    let most = most.map_or(-1, |most| {
        // Rounded up: a time that is not over never becomes 0.
        i32::try_from(most.as_millis().saturating_add(1)).unwrap_or(i32::MAX)
    });
    // SAFETY: an array of the given length, valid for the call.
    check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, most) }.into())?;
    Ok(())
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

pub fn landlock_grant_port(ruleset: BorrowedFd<'_>, port: u16, allowed: u64) -> io::Result<()> {
    let rule = NetPort {
        allowed,
        port: port.into(),
    };
    let (net_port, fd) = (2, ruleset.as_raw_fd());
    // SAFETY: the structure of this rule type, valid for the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            fd,
            net_port,
            &raw const rule,
            0,
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;
    use crate::{in_child, sys};

    /// Reads of the parent, a living process of another uid, behind `/proc` with `hidepid=2`.
    fn of_hidden(read: impl Fn(i32, BorrowedFd<'_>) -> String) -> String {
        let parent = i32::try_from(std::process::id()).unwrap();
        let mut answer = in_child(|| {
            sys::own_mounts().unwrap();
            sys::set_whole_tree(0, sys::Propagation::Private).unwrap();
            sys::change_dir(c"/proc").unwrap();
            sys::mount_proc_here().unwrap();
            sys::become_user(64_001, 64_001, &[]).unwrap();
            let pidfd = pidfd_open(parent).unwrap();
            read(parent, pidfd.as_fd()).into_bytes()
        })
        .unwrap();
        loop {
            let mut ready = [PollFd::new(answer.fd(), PollFlags::POLLIN)];
            poll(&mut ready, 60_000_u16).unwrap();
            if let Some(bytes) = answer.read().unwrap() {
                return String::from_utf8(bytes).unwrap();
            }
        }
    }

    #[test]
    fn hidden_process_is_an_error_and_not_unset() {
        let login = of_hidden(|pid, pidfd| format!("{:?}", loginuid(pid, pidfd)));
        match std::fs::exists("/proc/self/loginuid").unwrap() {
            true => assert!(login.contains("its mount option hidepid"), "{login}"),
            false => assert_eq!(login, "Ok(None)"),
        }
        let cgroups = of_hidden(|pid, pidfd| format!("{:?}", cgroups(pid, pidfd)));
        assert!(cgroups.contains("its mount option hidepid"), "{cgroups}");
    }
}
