//! The mount namespace of the next job: made in advance, used by exactly one job.
//!
//! While it waits, it follows the host's unmounts and so keeps no device busy. If some mount of the host is not
//! shared, it would not follow: then none waits. It is cut off before a job is in it. What the host mounts meanwhile
//! would be writable in there. So it is used only if the host's tree has not changed since, which the kernel reports
//! at that moment (poll(2) on `/proc/self/mountinfo`, proc_pid_mountinfo(5)).

use crate::spec::layer::EnabledLayers;
use crate::spec::overmounts::Overmounts;
use crate::steps::landlock::Fence;
use crate::steps::mounts;
use crate::steps::private_root::MountParams;
use crate::steps::report::Fault;
use crate::sys::{self, Propagation};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    ffi::CString,
    fs,
    io::{self, BufRead, BufReader, Seek},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

#[derive(Debug)]
pub(crate) struct JobMountNs {
    /// Keeps the namespace: otherwise the job that ends in it waits for the namespace's end.
    namespace: OwnedFd,
    pub(super) ruleset: Option<OwnedFd>,
}

impl JobMountNs {
    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    pub(crate) fn ruleset(&self) -> Option<BorrowedFd<'_>> {
        self.ruleset.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn left(self) -> OwnedFd {
        self.namespace
    }
}

#[derive(Debug)]
pub(crate) struct HostMounts {
    host: OwnedFd,
    changes: Changes,
    root: OwnedFd,
    pub(super) proc: OwnedFd,
}

#[derive(Debug)]
pub(super) struct Changes(OwnedFd);

impl Changes {
    pub(super) fn here() -> io::Result<Changes> {
        sys::open(c"/proc/self/mountinfo", libc::O_RDONLY).map(Changes)
    }

    /// Has an exceptional condition after a change.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Returns true if there was a change since the last call.
    pub(super) fn any(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
    }
}

impl HostMounts {
    pub(crate) fn here() -> io::Result<HostMounts> {
        let host = sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY)?;
        let changes = Changes::here()?;
        let directory = libc::O_PATH | libc::O_DIRECTORY;
        Ok(HostMounts {
            host,
            changes,
            root: sys::open(c"/", directory)?,
            proc: sys::open(c"/proc", directory)?,
        })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Returns true if a namespace follows every unmount of the host: all mounts are shared, as systemd makes them.
    pub(super) fn is_shared(&self) -> io::Result<bool> {
        let mounts = fs::File::from(self.changes.0.try_clone()?);
        let mut mounts = BufReader::new(mounts);
        mounts.rewind()?;
        let (mut line, mut shared) = (Vec::new(), true);
        while shared && mounts.read_until(b'\n', &mut line)? > 0 {
            shared = is_shared(&line);
            line.clear();
        }
        Ok(shared)
    }

    /// Returns true if this process's root is not that of a whole tree, as in a chroot(2): it could not come back.
    pub(super) fn is_chroot(&self) -> io::Result<bool> {
        self.leave()?;
        let root = sys::stat(c"/")?;
        let before = sys::stat_of(self.root())?;
        Ok((root.st_dev, root.st_ino) != (before.st_dev, before.st_ino))
    }

    pub(super) fn has_changed(&self) -> io::Result<bool> {
        self.changes.any()
    }

    pub(super) fn leave(&self) -> io::Result<()> {
        sys::set_namespace(self.host.as_fd(), libc::CLONE_NEWNS)
    }

    pub(super) fn mount_ns(
        &self,
        layers: EnabledLayers,
        overmounts: &Overmounts,
        fence: Option<&Fence>,
        tmpfs: &CString,
    ) -> Result<JobMountNs, Fault> {
        self.leave()?;
        // Resets the report: only changes from here on count.
        self.has_changed()?;
        sys::own_mounts()?;
        let ruleset = match fence {
            Some(fence) => Some(sys::landlock_ruleset(&fence.handled)?),
            None => None,
        };
        let granted = ruleset.as_ref().zip(fence);
        let params = MountParams {
            layers,
            whole: true,
            shared: tmpfs,
            own: tmpfs,
            ruleset: granted.map(|(ruleset, fence)| (ruleset.as_fd(), fence)),
            stage: None,
        };
        mounts::confine(overmounts, &params, Propagation::Slave)?;
        Ok(JobMountNs {
            namespace: sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY)?,
            ruleset,
        })
    }

    /// Cuts off this process's namespace. False: the host's tree has changed since it was made; it must not be used.
    pub(crate) fn cut_off(&self) -> io::Result<bool> {
        sys::set_whole_tree(0, Propagation::Private)?;
        Ok(!self.has_changed()?)
    }
}

/// Parses a line of `/proc/PID/mountinfo`: its optional fields are between the sixth field and a lone hyphen.
fn is_shared(line: &[u8]) -> bool {
    let fields = line.split(|byte| *byte == b' ').skip(6);
    let mut optional = fields.take_while(|field| *field != b"-");
    optional.any(|field| field.starts_with(b"shared:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mount_is_recognized_by_optional_fields() {
        for (line, want) in [
            (
                "36 35 98:0 /m /m rw,noatime shared:1 - ext3 /dev/root rw",
                true,
            ),
            (
                "36 35 98:0 /m /m rw master:2 shared:1 - ext3 /dev/root rw",
                true,
            ),
            ("36 35 98:0 /m /m rw master:2 - ext3 /dev/root rw", false),
            ("36 35 98:0 /m /m rw - ext3 shared:1 rw", false),
            ("36 35 98:0 /shared:1 /m rw - ext3 /dev/root rw", false),
            ("", false),
        ] {
            assert_eq!(is_shared(line.as_bytes()), want, "{line}");
        }
    }
}
