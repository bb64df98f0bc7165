//! What an operation does with its path, in both directions. `remit-commit` acts on it, and takes it back.

use crate::plan::{Change, Kind, Metadata, New, Stat};

const SET_ID: u32 = 0o6000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Commit,
    Undo,
}

/// One atomic step. A file that is not at the path is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// The file of the slot gets the path.
    Enter,
    Exchange,
    /// The file of the path goes to the slot.
    Leave,
    SetMetadata {
        from: Metadata,
        to: Metadata,
    },
}

/// What is at a path before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    pub kind: Kind,
    pub inode: u64,
    pub meta: Metadata,
    /// `None` if the step does not depend on the bytes.
    pub size: Option<u64>,
    pub sha256: Option<[u8; 32]>,
}

impl Side {
    #[must_use]
    pub fn difference(&self, now: &Stat) -> Option<&'static str> {
        match () {
            () if (self.kind, self.inode) != (now.kind, now.ino) => Some("it is another file"),
            () if self.size.is_some_and(|size| size != now.size) => Some("its size has changed"),
            () if self.meta != now.meta => Some("its mode or owner has changed"),
            () => None,
        }
    }
}

impl Metadata {
    /// Returns true if it can be that of a path in the middle of a step. Owner and mode are set by two calls, and the first one clears
    /// set-id bits: in a step those of the old mode, and on the way back those of the new one.
    #[must_use]
    pub fn is_between(self, from: Self, to: Self) -> bool {
        let owner = |one: Self| (one.uid, one.gid);
        let is_owner = [from, to].map(owner).contains(&owner(self));
        let is_mode = [from.mode, from.mode & !SET_ID, to.mode].contains(&self.mode);
        let is_way_back = owner(from) != owner(to) && self.mode == to.mode & !SET_ID;
        is_owner && (is_mode || is_way_back)
    }
}

/// `inode` is that of the new file.
impl Change {
    /// Returns true if it changes the trust in the bytes of a file that stays: its owner, a set-id bit, or who else may
    /// write to it. It is made, undone and taken back with the bytes of the base alone. All other modes and groups can
    /// also be set while the file is open for writing, as logs are.
    #[must_use]
    pub const fn binds_bytes(&self) -> bool {
        let Self::SetMetadata { base, meta } = self else {
            return false;
        };
        let (old, new) = (base.stat.meta, *meta);
        let is_group = old.gid != new.gid && (old.mode | new.mode) & (SET_ID | 0o020) != 0;
        let is_other = old.uid != new.uid || (old.mode ^ new.mode) & (SET_ID | 0o022) != 0;
        matches!(base.stat.kind, Kind::File) && (is_group || is_other)
    }

    /// Returns true if the journal has the hash of the base, because the plan has not.
    #[must_use]
    pub const fn has_journaled_hash(&self) -> bool {
        match self {
            Self::SetMetadata { base, .. } => self.binds_bytes() && base.is_unread(),
            Self::Create { .. }
            | Self::Replace { .. }
            | Self::ReplaceKind { .. }
            | Self::Remove { .. } => false,
        }
    }

    #[must_use]
    pub const fn movement(&self, direction: Direction) -> Movement {
        match (self, direction) {
            (Self::Create { .. }, Direction::Commit) | (Self::Remove { .. }, Direction::Undo) => {
                Movement::Enter
            }
            (Self::Create { .. }, Direction::Undo) | (Self::Remove { .. }, Direction::Commit) => {
                Movement::Leave
            }
            (Self::Replace { .. } | Self::ReplaceKind { .. }, _) => Movement::Exchange,
            (Self::SetMetadata { base, meta }, Direction::Commit) => Movement::SetMetadata {
                from: base.stat.meta,
                to: *meta,
            },
            (Self::SetMetadata { base, meta }, Direction::Undo) => Movement::SetMetadata {
                from: *meta,
                to: base.stat.meta,
            },
        }
    }

    /// Returns what is at the path before the step; `None` if nothing is.
    #[must_use]
    pub fn leaving(&self, direction: Direction, inode: u64) -> Option<Side> {
        let base = self.base().map(|base| Side {
            kind: base.stat.kind,
            inode: base.stat.ino,
            meta: base.stat.meta,
            size: (base.stat.kind == Kind::File).then_some(base.stat.size),
            sha256: base.sha256,
        });
        let kind = match self.makes() {
            Some(New::Link(_)) => Kind::Symlink,
            Some(New::Directory) => Kind::Directory,
            Some(New::File(_)) | None => Kind::File,
        };
        let new = self.meta().map(|meta| Side {
            kind,
            inode,
            meta,
            size: self.content().map(|content| content.size),
            sha256: self.content().map(|content| content.sha256),
        });
        match (direction, self) {
            (Direction::Commit, _) => base,
            (Direction::Undo, Self::SetMetadata { meta, .. }) => base.map(|side| Side {
                meta: *meta,
                size: side.size.filter(|_| self.binds_bytes()),
                sha256: side.sha256.filter(|_| self.binds_bytes()),
                ..side
            }),
            (Direction::Undo, _) => new,
        }
    }

    /// Returns [`Self::leaving`] for a path with this owner and mode. A kill may have cut an undo of them between its two
    /// calls, and nothing else says so: then they are what the undo goes on from.
    #[must_use]
    pub fn leaving_now(&self, direction: Direction, inode: u64, now: Metadata) -> Option<Side> {
        let side = self.leaving(direction, inode)?;
        let meta = match (direction, self.movement(direction)) {
            (Direction::Undo, Movement::SetMetadata { from, to }) if now.is_between(from, to) => {
                now
            }
            _ => side.meta,
        };
        Some(Side { meta, ..side })
    }

    /// Returns why `now`, which is at the path, is not what the direction expects there. Bytes and attributes are not compared.
    #[must_use]
    pub fn difference(
        &self,
        direction: Direction,
        inode: u64,
        now: Option<&Stat>,
    ) -> Option<&'static str> {
        let expected = match now {
            Some(now) => self.leaving_now(direction, inode, now.meta),
            None => self.leaving(direction, inode),
        };
        match (expected, now) {
            (None, None) => None,
            (None, Some(_)) => Some("it exists"),
            (Some(_), None) => Some("it does not exist"),
            (Some(expected), Some(now)) => {
                let base = self.base().filter(|_| direction == Direction::Commit);
                let difference = base.and_then(|base| base.stat.difference(now, true));
                difference.or_else(|| expected.difference(now))
            }
        }
    }

    /// Returns true if an earlier undo has made the step: `now` is at the path, and the inode `slotted` in the slot. A file that
    /// somebody put at the path just before the step is in the slot now, and the undo is not made.
    #[must_use]
    pub fn is_undone(&self, inode: u64, now: Option<&Stat>, slotted: Option<u64>) -> bool {
        let is_own = self.makes().is_none() || slotted == Some(inode);
        let is_made = self.is_made(Direction::Undo, inode, now, slotted);
        let old = self.base().map(|base| base.stat.ino);
        is_own && is_made && now.map(|now| now.ino) == old
    }

    #[must_use]
    pub fn entering(&self, direction: Direction, inode: u64) -> u64 {
        match direction {
            Direction::Commit => inode,
            Direction::Undo => self.base().map_or(0, |base| base.stat.ino),
        }
    }

    /// Returns true if the step was made, as far as the slot says.
    #[must_use]
    pub fn is_made(
        &self,
        direction: Direction,
        inode: u64,
        now: Option<&Stat>,
        slotted: Option<u64>,
    ) -> bool {
        match self.movement(direction) {
            Movement::Enter => slotted.is_none(),
            Movement::Exchange => {
                slotted.is_some_and(|slotted| slotted != self.entering(direction, inode))
            }
            Movement::Leave => slotted.is_some(),
            Movement::SetMetadata { to, .. } => now.is_some_and(|now| now.meta == to),
        }
    }
}
