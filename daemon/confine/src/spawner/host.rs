//! The host's tree, for a worker, and for a child that waits for its job. While it waits, a child's tree follows the
//! host's unmounts and so keeps no device busy. If some mount of the host is not shared, it would not follow: then no
//! child waits. When the job comes, the child cuts its tree off. What the host has mounted meanwhile would be writable
//! in there, and what it has replaced would be shown as it was. So the child takes the job only if the host's tree has
//! not changed since before its fork, which the kernel reports at that moment (poll(2) on `/proc/self/mountinfo`,
//! proc_pid_mountinfo(5)); and, with a root of its own, if each path that this shows still leads to the same file.

use crate::Sandbox;
use crate::spec::compiled::Base;
use crate::steps::changes::Changes;
use crate::steps::private_root::{self, Seen};
use crate::sys::{self, Propagation};
use std::{
    fs,
    io::{self, BufRead, BufReader, Seek},
    os::fd::{AsFd, OwnedFd},
};

#[derive(Debug)]
pub(super) struct HostTree {
    changes: Changes,
    /// All its mounts are shared, as systemd makes them.
    shared: bool,
}

fn all_are_shared(changes: &Changes) -> io::Result<bool> {
    let mut mounts = BufReader::new(fs::File::from(changes.table()?));
    mounts.rewind()?;
    let (mut line, mut shared) = (Vec::new(), true);
    while shared && mounts.read_until(b'\n', &mut line)? > 0 {
        shared = is_shared(&line);
        line.clear();
    }
    Ok(shared)
}

impl HostTree {
    pub(super) fn here() -> io::Result<HostTree> {
        let changes = Changes::here()?;
        let shared = all_are_shared(&changes)?;
        Ok(HostTree { changes, shared })
    }

    /// Returns the tree before the fork of a child that waits. Fails if the child would keep mounts of the host busy.
    pub(super) fn before_fork(&mut self, sandbox: &Sandbox) -> io::Result<TreeAtFork> {
        let busy = || io::Error::from_raw_os_error(libc::EBUSY);
        let changes = Changes::here()?;
        if self.changes.any()? {
            self.shared = all_are_shared(&self.changes)?;
        }
        if !self.shared {
            return Err(busy());
        }
        let shown = match &sandbox.base {
            Base::Strict(strict) => {
                let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
                if !private_root::may_wait(&strict.root, host.as_fd())? {
                    return Err(busy());
                }
                let seen = Seen::new(&strict.root, host.as_fd())?;
                Some((host, seen))
            }
            Base::Read(_) | Base::Host | Base::View(_) | Base::Extract(_) => None,
        };
        Ok(TreeAtFork { changes, shown })
    }
}

/// The host's tree before the fork of a child, which keeps it until its job comes.
#[derive(Debug)]
pub(super) struct TreeAtFork {
    changes: Changes,
    /// The host's root, and what a root of the child's own shows of it.
    shown: Option<(OwnedFd, Seen)>,
}

impl TreeAtFork {
    /// Cuts the child's tree off from the host's, if it `follows` that. Returns true if the host's is still the same.
    /// Looks up no path of another file system than the worker did, so none that may hang.
    pub(super) fn cut_off(self, sandbox: &Sandbox, follows: bool) -> io::Result<bool> {
        if follows {
            sys::set_whole_tree(0, Propagation::Private)?;
        }
        // Asked last, because what the host mounted before is in there, too.
        Ok(!self.changes.any()? && self.shows_the_same(sandbox)?)
    }

    fn shows_the_same(&self, sandbox: &Sandbox) -> io::Result<bool> {
        match (&sandbox.base, &self.shown) {
            (Base::Strict(strict), Some((host, seen))) => {
                Ok(Seen::new(&strict.root, host.as_fd())? == *seen)
            }
            (Base::Strict(_), None) => Ok(false),
            (Base::Read(_) | Base::Host | Base::View(_) | Base::Extract(_), _) => Ok(true),
        }
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
