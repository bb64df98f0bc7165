//! Names in a request whose content is not bound. If there is none, the content of each named file is bound.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Loose {
    /// The working directory, because others than root can change it.
    Cwd,
    Argument(usize, Unbound),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unbound {
    Directory,
    /// Others than root can change it, or it cannot be read.
    Changeable,
    /// A device, a FIFO or a socket.
    Special,
    /// Generated when it is read, or another file for each process.
    ProcessSpecific,
    Unseen,
    Absent,
    /// More names than are looked up.
    More,
}

impl Unbound {
    pub const ALL: [Self; 7] = [
        Self::Directory,
        Self::Changeable,
        Self::Special,
        Self::ProcessSpecific,
        Self::Unseen,
        Self::Absent,
        Self::More,
    ];
}
