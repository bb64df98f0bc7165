//! The directories of a plan as the commit had them, and whether they are the same ones now.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libc::{O_DIRECTORY, O_NOFOLLOW, O_PATH};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::FsFlags;
use remit_plan::{DirectoryId, Entry, PlanDirectories, PlanDirectory};
use remit_sys::sys;

use crate::failure::Failure;
use crate::renumbered::is_overlay;
use crate::tree::{Operation, Tree, about};

const BORN: u32 = libc::STATX_BTIME;
/// What mount(8) and udisks set for a file system that a user may unmount.
const OF_USERS: FsFlags = FsFlags::ST_NOSUID.union(FsFlags::ST_NODEV);
const MOUNT_POINT: u64 = libc::STATX_ATTR_MOUNT_ROOT as u64;

impl Tree {
    /// Adds the directories of the operations that are there and not noted yet.
    pub fn note(
        &self,
        operations: &[Operation<'_>],
        known: &mut PlanDirectories,
    ) -> io::Result<()> {
        let mut mounts = BTreeMap::new();
        for operation in operations {
            let path = operation.entry.path.parent();
            let Some(parent) = &operation.parent else {
                continue;
            };
            if !known.contains_key(path) {
                let own = identity(parent)?;
                let mount = match mounts.entry(&operation.anchor.path) {
                    Occupied(known) => *known.get(),
                    Vacant(new) => *new.insert(self.mount(&operation.anchor.path)?),
                };
                known.insert(path.to_vec(), PlanDirectory { own, mount });
            }
        }
        Ok(())
    }

    /// Returns the mount point of a directory. `None` for a file system that does not come back with its files, one that
    /// others than root could keep away, and the root, which is never away.
    fn mount(&self, path: &[u8]) -> io::Result<Option<(usize, DirectoryId)>> {
        let mut length = path.len();
        while length > 1 {
            let above = path.get(..length).unwrap_or_default();
            let fd = self.handle(above)?;
            if sys::statx_at(fd.as_fd(), c".")?.stx_attributes & MOUNT_POINT != 0 {
                let about = fstatfs(&fd)?;
                let is_lasting =
                    ![FUSE_SUPER_MAGIC, TMPFS_MAGIC].contains(&about.filesystem_type());
                return match is_lasting
                    && !about.flags().contains(OF_USERS)
                    && self.is_held(above)?
                {
                    true => Ok(Some((length, identity(fd)?))),
                    false => Ok(None),
                };
            }
            let slash = above.iter().rposition(|byte| *byte == b'/');
            length = slash.unwrap_or_default();
        }
        Ok(None)
    }

    /// Returns true if only root can rename a directory above this path, and the mount with it: rename(2) refuses only the
    /// mount point itself. The bits of the group include what an access list gives.
    fn is_held(&self, path: &[u8]) -> io::Result<bool> {
        let mut path = path;
        while let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            path = path.get(..slash).unwrap_or_default();
            let above = if path.is_empty() { b"/" } else { path };
            let seen = sys::statx_at(self.handle(above)?.as_fd(), c".")?;
            if seen.stx_uid != 0 || seen.stx_mode & 0o022 != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens a directory in a way that Landlock does not refuse. It cannot be read.
    fn handle(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.open_at(path, O_PATH | O_DIRECTORY | O_NOFOLLOW)
    }

    /// Returns true if the file system of a directory was mounted where none is now, or another one.
    fn is_away(&self, known: &PlanDirectories, path: &[u8]) -> bool {
        let mount = known.get(path).and_then(|known| known.mount);
        let Some((length, root)) = mount else {
            return false;
        };
        let now = path
            .get(..length)
            .map(|path| self.handle(path).and_then(identity));
        !matches!(now, Some(Ok(now)) if root.is_numbered(&now))
    }

    /// Returns why an entry beneath the anchor at this path is lost: the machine's failure if its file system is away.
    pub fn lost(
        &self,
        entry: &Entry,
        (known, anchor): (Option<&PlanDirectories>, &[u8]),
        failure: Failure,
    ) -> Failure {
        match known.is_some_and(|known| self.is_away(known, anchor)) {
            true => Failure::Machine(about(
                entry,
                "the file system of its directory is not mounted; mount it and try again",
            )),
            false => failure,
        }
    }
}

/// Returns true if this is the directory that the commit had at the path; always for a commit that begins.
pub fn is_known(
    known: Option<&PlanDirectories>,
    path: &[u8],
    directory: &OwnedFd,
) -> io::Result<bool> {
    let Some(known) = known else {
        return Ok(true);
    };
    let now = identity(directory)?;
    Ok(known.get(path).is_some_and(|known| known.own.is_same(&now)))
}

fn identity(directory: impl AsFd) -> io::Result<DirectoryId> {
    let seen = sys::statx_at(directory.as_fd(), c".")?;
    let born = seen.stx_btime;
    // In an overlay it is that of the copy, which the first change makes.
    let is_kept = seen.stx_mask & BORN != 0 && !is_overlay(&directory)?;
    let born_ns = match u64::try_from(born.tv_sec) {
        Ok(seconds) if is_kept => seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(born.tv_nsec)),
        _ => 0,
    };
    Ok(DirectoryId {
        ino: seen.stx_ino,
        born_ns,
        uid: seen.stx_uid,
    })
}
