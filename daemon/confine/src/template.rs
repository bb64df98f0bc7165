//! A mount namespace kept ready for jobs, slave of the host's, with the minimal `/dev` in it.
//!
//! It spares a job twelve system calls. It is of use only where the host's mounts are shared,
//! as systemd makes them: a slave of a private mount would miss the host's changes and keep an
//! unmounted device busy. There a `Template` is empty and jobs copy the host's tree.

use crate::error::{Doing, Error, Result};
use crate::{floor, kernel, places};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A template on its way. Its child is killed when it is dropped.
#[derive(Debug)]
pub struct Building {
    ready: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
}

/// A mount namespace that jobs copy; empty where none can be kept.
#[derive(Debug)]
pub struct Template {
    namespace: Option<OwnedFd>,
}

/// The child's one-byte answers.
const KEPT: u8 = 1;
const USELESS: u8 = 2;

impl Building {
    /// Forks the child that builds it. Does not wait.
    pub fn start() -> Result<Building> {
        let doing = || "cannot build a mount template".into();
        let places = places::find()?;
        let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing(doing)?;
        let child = || match build(&places.devices) {
            // Nothing of the warden's stays open here while it sleeps.
            Ok(answer)
                if floor::write(told.as_fd(), &[answer]).is_ok()
                    && floor::close_from(0).is_ok() =>
            {
                floor::pause_for_ever()
            }
            _ => 1,
        };
        let (pid, pidfd) = floor::fork(kernel::fork_call()?, None, child).doing(doing)?;
        Ok(Building { ready, pid, pidfd })
    }

    /// Readable when `finish` will not wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// The template. An error when the child could not build one; jobs do without.
    pub fn finish(self) -> Result<Template> {
        let doing = || "cannot build a mount template".to_owned();
        let mut answer = [0];
        floor::read(self.ready.as_fd(), &mut answer).doing(doing)?;
        let namespace = match answer {
            [KEPT] => {
                let path = format!("/proc/{}/ns/mnt", self.pid);
                Some(
                    std::fs::File::open(&path)
                        .doing(|| format!("cannot open '{path}'"))?
                        .into(),
                )
            }
            [USELESS] => None,
            _ => return Err(Error::refused(doing(), "its child failed")),
        };
        Ok(Template { namespace })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        let _ = floor::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        // It sleeps or is about to end: this waits for microseconds.
        let _ = floor::wait(self.pid, 0);
    }
}

impl Template {
    /// Its namespace, if it holds one.
    pub(crate) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.namespace.as_ref().map(AsFd::as_fd)
    }

    /// Whether it holds a namespace: jobs then start from it.
    pub fn is_kept(&self) -> bool {
        self.namespace.is_some()
    }
}

fn build(devices: &[std::ffi::CString]) -> io::Result<u8> {
    floor::die_with_parent()?;
    floor::own_mounts()?;
    floor::make_slave()?;
    for path in devices {
        let mount = floor::copy_mount(path)?;
        floor::attach_mount(mount.as_fd(), path)?;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(if mounts.lines().all(follows_a_master) {
        KEPT
    } else {
        USELESS
    })
}

/// Whether a line of mountinfo is a slave. proc_pid_mountinfo(5): the optional fields stand
/// from the seventh to a lone hyphen.
fn follows_a_master(line: &str) -> bool {
    let optional = line.split(' ').skip(6).take_while(|field| *field != "-");
    optional
        .into_iter()
        .any(|field| field.starts_with("master:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slaves_follow() {
        for (line, slave) in [
            (
                "22 27 0:21 / /proc rw,relatime master:3 - proc proc rw",
                true,
            ),
            (
                "22 27 0:21 / /proc rw,relatime shared:9 master:3 - proc proc rw",
                true,
            ),
            ("22 27 0:21 / /proc rw,relatime - proc proc rw", false),
            (
                "22 27 0:21 / /proc rw,relatime shared:9 - proc proc rw",
                false,
            ),
            ("22 27 0:21 / /a rw,relatime - proc master:3 rw", false),
            ("", false),
        ] {
            assert_eq!(follows_a_master(line), slave, "{line}");
        }
    }
}
