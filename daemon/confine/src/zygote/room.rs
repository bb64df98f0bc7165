//! The mount namespace that the next job gets: made ahead, had by one job, never by another.
//!
//! While it waits it follows the host's unmounts, so that it holds no device busy, and where it would
//! not, since some mount of the host is not shared, none waits; before a job is in it, it is cut off.
//! What the host mounts meanwhile would be writable in there: so a room is used only if the host's tree
//! has not changed since, which the kernel tells at the moment of asking (poll(2) on
//! `/proc/self/mountinfo`, proc_pid_mountinfo(5)).

use crate::fence::Fence;
use crate::floor::{self, Later};
use crate::mounts;
use crate::notes::Fault;
use crate::places::Places;
use crate::root::Given;
use crate::wall::Walls;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    ffi::CString,
    fs,
    io::{self, BufRead, BufReader, Seek},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A finished namespace, in which this process is.
#[derive(Debug)]
pub(crate) struct Room {
    /// Keeps it: without, its end would be waited for by the job that ends in it.
    namespace: OwnedFd,
    pub(super) ruleset: Option<OwnedFd>,
}

impl Room {
    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// With what it grants.
    pub(crate) fn ruleset(&self) -> Option<BorrowedFd<'_>> {
        self.ruleset.as_ref().map(AsFd::as_fd)
    }

    /// What keeps it, for when nobody is to be in it any more.
    pub(super) fn left(self) -> OwnedFd {
        self.namespace
    }
}

/// The host's tree, as this process found it.
#[derive(Debug)]
pub(crate) struct House {
    host: OwnedFd,
    changes: Changes,
    root: OwnedFd,
    pub(super) proc: OwnedFd,
}

/// Tells whether the tree has changed in which it was opened.
#[derive(Debug)]
pub(super) struct Changes(OwnedFd);

impl Changes {
    /// Of the tree that this process is in, from now on.
    pub(super) fn here() -> io::Result<Changes> {
        floor::open(c"/proc/self/mountinfo", libc::O_RDONLY).map(Changes)
    }

    /// Has an exceptional condition when there were any.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Whether there were any since this was last asked.
    pub(super) fn any(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
    }
}

impl House {
    /// The present one is the host's.
    pub(crate) fn here() -> io::Result<House> {
        let host = floor::open(c"/proc/self/ns/mnt", libc::O_RDONLY)?;
        let changes = Changes::here()?;
        let directory = libc::O_PATH | libc::O_DIRECTORY;
        Ok(House {
            host,
            changes,
            root: floor::open(c"/", directory)?,
            proc: floor::open(c"/proc", directory)?,
        })
    }

    /// Its top, wherever this process is.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether a room follows every unmount of the host: whether all its mounts are shared, as systemd
    /// makes them. mount_namespaces(7).
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

    /// Whether going there and back would lead somewhere else: this process's root is none of a whole tree, as
    /// in a chroot(2).
    pub(super) fn is_no_whole(&self) -> io::Result<bool> {
        self.leave()?;
        let root = floor::stat(c"/")?;
        let before = floor::stat_of(self.root())?;
        Ok((root.st_dev, root.st_ino) != (before.st_dev, before.st_ino))
    }

    /// Whether the host's tree has changed since this was last asked.
    pub(super) fn has_changed(&self) -> io::Result<bool> {
        self.changes.any()
    }

    /// Goes back to the host's tree.
    pub(super) fn leave(&self) -> io::Result<()> {
        floor::set_namespace(self.host.as_fd(), libc::CLONE_NEWNS)
    }

    /// Makes a room of the host's tree as it is now, and goes there.
    pub(super) fn room(
        &self,
        walls: Walls,
        places: &Places,
        fence: Option<&Fence>,
        tmpfs: &CString,
    ) -> Result<Room, Fault> {
        self.leave()?;
        // What changes from here on is seen.
        self.has_changed()?;
        floor::own_mounts()?;
        let ruleset = match fence {
            Some(fence) => Some(floor::landlock_ruleset(&fence.handled)?),
            None => None,
        };
        let granted = ruleset.as_ref().zip(fence);
        let given = Given {
            walls,
            whole: true,
            shared: tmpfs,
            own: tmpfs,
            ruleset: granted.map(|(ruleset, fence)| (ruleset.as_fd(), fence)),
            stage: None,
        };
        mounts::confine(places, &given, Later::Followed)?;
        Ok(Room {
            namespace: floor::open(c"/proc/self/ns/mnt", libc::O_RDONLY)?,
            ruleset,
        })
    }

    /// Cuts the room off that this process is in. False: the host's tree has changed since it was
    /// made, and it must not be used.
    pub(crate) fn cut_off(&self) -> io::Result<bool> {
        floor::set_whole_tree(0, Later::CutOff)?;
        Ok(!self.has_changed()?)
    }
}

/// Of a line of `/proc/PID/mountinfo`: its optional fields stand between the sixth and a lone hyphen.
fn is_shared(line: &[u8]) -> bool {
    let fields = line.split(|byte| *byte == b' ').skip(6);
    let mut optional = fields.take_while(|field| *field != b"-");
    optional.any(|field| field.starts_with(b"shared:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_shared_where_its_optional_fields_say_so() {
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
