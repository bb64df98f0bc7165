//! With whose rights a child of the warden looks at files. It gives no right that the warden's child has not.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid, setgroups};
use remit_sys::sys;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderIdentity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// One bit per capability number.
    pub capabilities: u64,
}

const OVERFLOW_GID: u32 = 65_534;

impl ReaderIdentity {
    pub fn alone(uid: u32) -> Self {
        Self {
            uid,
            gid: OVERFLOW_GID,
            groups: Vec::new(),
            capabilities: match uid {
                0 => u64::MAX,
                _ => 0,
            },
        }
    }

    /// Looks with these rights: whoever names a path must not get root's view. Sets the file system uid (setfsuid(2))
    /// of this thread only. Keeps only capabilities that are part of these rights: without them even root is subject to
    /// permissions. Only for the child: its groups are not restored.
    pub fn look<T>(&self, look: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let cannot = |why: Errno| format!("cannot read files as uid {uid}: {why}");
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(cannot)?;
        let before = (setfsuid(uid), setfsgid(gid));
        // Neither call reports failure. An invalid id changes nothing and returns the current one.
        let now = (
            setfsuid(Uid::from_raw(u32::MAX)),
            setfsgid(Gid::from_raw(u32::MAX)),
        );
        let found = match now == (uid, gid) {
            true => sys::with_capabilities(self.capabilities, look)
                .map_err(|error| format!("cannot read files as uid {uid}: {error}"))
                .flatten(),
            false => Err(cannot(Errno::EPERM)),
        };
        setfsuid(before.0);
        setfsgid(before.1);
        found
    }
}
