//! Looking at files with less than root's rights.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid, setgroups};

use super::Eyes;

/// A group that nothing on a disk is for.
const NOBODY: u32 = 65_534;

impl Eyes {
    /// Those of a user in no group.
    pub fn alone(uid: u32) -> Self {
        Self::of(uid, NOBODY, &[])
    }

    /// Those of a user in these groups; root's are all.
    pub fn of(uid: u32, gid: u32, groups: &[u32]) -> Self {
        match uid {
            0 => Self::Root,
            uid => Self::User {
                uid,
                gid,
                groups: groups.to_vec(),
            },
        }
    }

    /// Looks with these rights: root's own view is not for whoever names a path.
    ///
    /// The file system's uid is the one that counts (setfsuid(2)), and only of this thread; with another than
    /// root's, the capabilities that pass over permissions are away. For the child, whose groups nobody needs
    /// any more.
    pub fn look<T>(&self, look: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let Self::User { uid, gid, groups } = self else {
            return look();
        };
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        let cannot = |why: Errno| format!("files cannot be looked at as uid {uid}: {why}");
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(cannot)?;
        let before = (setfsuid(uid), setfsgid(gid));
        // Neither call says whether it worked; one that changes nothing tells what is.
        let now = (
            setfsuid(Uid::from_raw(u32::MAX)),
            setfsgid(Gid::from_raw(u32::MAX)),
        );
        let found = match now == (uid, gid) {
            true => look(),
            false => Err(cannot(Errno::EPERM)),
        };
        setfsuid(before.0);
        setfsgid(before.1);
        found
    }
}
