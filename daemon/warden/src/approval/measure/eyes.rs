//! Looking at files with less than root's rights.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid, setgroups};

/// A group that nothing on a disk is for.
const NOBODY: u32 = 65_534;

/// Looks as this user, in no group, would: what root alone can see is not told to whoever names a path.
///
/// The file system's uid is the one that counts (setfsuid(2)), and only of this thread; with another than
/// root's, the capabilities that pass over permissions are away. For the child, whose groups nobody needs
/// any more.
pub fn of<T>(uid: u32, look: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let cannot = |why: Errno| format!("files cannot be looked at as uid {uid}: {why}");
    if uid == 0 {
        return look();
    }
    setgroups(&[]).map_err(cannot)?;
    let before = (setfsuid(uid.into()), setfsgid(NOBODY.into()));
    // Neither call says whether it worked; one that changes nothing tells what is.
    let now = (
        setfsuid(Uid::from_raw(u32::MAX)),
        setfsgid(Gid::from_raw(u32::MAX)),
    );
    let found = match now == (uid.into(), NOBODY.into()) {
        true => look(),
        false => Err(cannot(Errno::EPERM)),
    };
    setfsuid(before.0);
    setfsgid(before.1);
    found
}
