//! What stat(2) says of a path: its kind, its identity, its mode and owner.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    /// A device, a FIFO or a socket.
    Special,
}

/// What stat(2) says of a path, as far as a plan compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    pub kind: Kind,
    pub dev: u64,
    pub ino: u64,
    pub ctime_ns: i128,
    pub size: u64,
    pub meta: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Kind {
    /// Returns the kind that `st_mode` of stat(2) has.
    #[must_use]
    pub const fn from_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            _ => Self::Special,
        }
    }
}

impl Stat {
    /// Returns what differs in `now`, or `None`. A rename changes ctime, and entries change the size of a directory.
    #[must_use]
    pub fn difference(&self, now: &Self, with_ctime: bool) -> Option<&'static str> {
        let is_directory = self.kind == Kind::Directory;
        match () {
            () if self.kind != now.kind => Some("it is of another kind"),
            () if (self.dev, self.ino) != (now.dev, now.ino) => Some("it is another file"),
            () if !is_directory && self.size != now.size => Some("its size has changed"),
            () if self.meta.mode != now.meta.mode => Some("its mode has changed"),
            () if self.meta != now.meta => Some("its owner has changed"),
            () if with_ctime && !is_directory && self.ctime_ns != now.ctime_ns => {
                Some("it has changed")
            }
            () => None,
        }
    }
}

impl Metadata {
    /// Returns true if a file with this mode and owner lets a process with these ids read it. Root may read all.
    #[must_use]
    pub fn lets_read(&self, uid: u32, gids: &[u32]) -> bool {
        let needed = match () {
            () if uid == 0 => return true,
            () if uid == self.uid => 0o400,
            () if gids.contains(&self.gid) => 0o040,
            () => 0o004,
        };
        self.mode & needed != 0
    }
}
