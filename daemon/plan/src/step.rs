//! What an operation does with its path, in both directions, and how it is taken back. `remit-commit` acts on it.

use crate::capabilities::{FileCapabilities, OldCapabilities};
use crate::plan::{Change, Kind, Metadata, New, Stat};

const SET_ID: u32 = 0o6000;
const UNSAID: &str = "it has file capabilities, and the plan does not say which: plan again with plan.make or in a copy of the \
                      machine, where they can be read, or remove them with setcap -r";
const UNNAMED: &str = "it has file capabilities (security.capability) that no plan can name: remove them with setcap -r";
const SET_SINCE: &str =
    "it has file capabilities, which it had not at the commit: remove them with setcap -r";

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reversal {
    Nothing,
    Enter,
    Exchange,
    Leave,
    SetMetadata(Metadata),
    /// Somebody else has changed the path, so it stays as it is.
    Left(&'static str),
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
    /// Returns true if a file that gets this instead of `from` is trusted more: it gets a set-id bit or a group for it,
    /// or somebody but root who could write to it cannot any more. The mask of an ACL is the group's part of the mode.
    #[must_use]
    pub const fn raises(self, from: Self) -> bool {
        let gains_set_id = self.mode & !from.mode & SET_ID != 0;
        let is_set_group = self.gid != from.gid && self.mode & 0o2000 != 0;
        let loses_owner = self.uid != from.uid && from.uid != 0;
        let group = if self.gid == from.gid { self.mode } else { 0 };
        let loses_group = from.mode & !group & 0o020 != 0;
        let loses_others = from.mode & !self.mode & 0o002 != 0;
        gains_set_id || is_set_group || loses_owner || loses_group || loses_others
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
            (Direction::Undo, Movement::SetMetadata { from, to }) if is_between(now, from, to) => {
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

    /// Returns why the file at the path, whose attribute has this value, is not what the direction expects. A plan that names
    /// capabilities keeps the owner, and others are refused here: the kernel removes them with it. Capabilities that
    /// nobody read are in no risk that an approver was shown. A removed file keeps them for its undo.
    #[must_use]
    pub fn capability_conflict(
        &self,
        direction: Direction,
        value: Option<&[u8]>,
    ) -> Option<&'static str> {
        let base = self.base().filter(|base| base.stat.kind == Kind::File);
        let old = base.map(|base| base.capabilities).unwrap_or_default();
        let expected = match (direction, self.makes()) {
            (Direction::Undo, Some(New::File(content))) => {
                OldCapabilities::Read(content.capabilities)
            }
            (Direction::Undo, Some(_)) => OldCapabilities::Unread,
            (Direction::Commit, _) | (Direction::Undo, None) => old,
        };
        let is_unknown = expected == OldCapabilities::Unread && base.is_some();
        match (self, value) {
            _ if !expected.fits(value) => Some("its capabilities have changed"),
            (
                Self::Replace { .. } | Self::ReplaceKind { .. } | Self::SetMetadata { .. },
                Some(value),
            ) if is_unknown => {
                let is_possible = FileCapabilities::decode(value).is_some();
                Some(match direction {
                    Direction::Undo => SET_SINCE,
                    Direction::Commit if is_possible => UNSAID,
                    Direction::Commit => UNNAMED,
                })
            }
            _ => None,
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

    /// Returns how to take the step back: `now` is at the path, and the inode `slotted` in the slot.
    #[must_use]
    pub fn reversal(
        &self,
        direction: Direction,
        inode: u64,
        now: Option<&Stat>,
        slotted: Option<u64>,
    ) -> Reversal {
        let entering = self.entering(direction, inode);
        let is_entered = now.is_some_and(|now| now.ino == entering);
        let replaced = Reversal::Left("somebody has replaced it");
        match (self.movement(direction), slotted) {
            (Movement::Enter, Some(_)) => Reversal::Nothing,
            (Movement::Enter, None) if now.is_none() => Reversal::Nothing,
            (Movement::Enter, None) if is_entered => Reversal::Leave,
            (Movement::Enter, None) => replaced,
            (Movement::Exchange, None) => Reversal::Nothing,
            (Movement::Exchange, Some(slotted)) if slotted == entering => Reversal::Nothing,
            (Movement::Exchange, Some(_)) if is_entered => Reversal::Exchange,
            // The new file is gone, and the old one is in the slot.
            (Movement::Exchange, Some(_)) if now.is_none() => Reversal::Enter,
            (Movement::Exchange, Some(_)) => replaced,
            (Movement::Leave, None) => Reversal::Nothing,
            (Movement::Leave, Some(_)) if now.is_none() => Reversal::Enter,
            (Movement::Leave, Some(_)) => Reversal::Left("somebody has made it again"),
            (Movement::SetMetadata { from, to }, _) => {
                let base = self.base().map(|base| base.stat.ino);
                match now.filter(|now| Some(now.ino) == base).map(|now| now.meta) {
                    Some(meta) if meta == from => Reversal::Nothing,
                    Some(meta) if is_between(meta, from, to) => Reversal::SetMetadata(from),
                    _ => Reversal::Left("somebody has changed it"),
                }
            }
        }
    }

    /// Returns true if a step that was on disk is made still. Another mode than before and after it, or another file, is a later
    /// change of somebody else, and no lost write.
    #[must_use]
    pub fn has_lasted(
        &self,
        direction: Direction,
        inode: u64,
        now: Option<&Stat>,
        slotted: Option<u64>,
    ) -> bool {
        let Movement::SetMetadata { from, to } = self.movement(direction) else {
            return self.is_made(direction, inode, now, slotted);
        };
        let base = self.base().map(|base| base.stat.ino);
        let own = now.filter(|now| Some(now.ino) == base);
        own.is_none_or(|now| now.meta == to || !is_between(now.meta, from, to))
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

/// Owner and mode are set by two calls, and the first one clears set-id bits: in a step those of the old mode, and on the way
/// back those of the new one.
fn is_between(meta: Metadata, from: Metadata, to: Metadata) -> bool {
    let owner = |one: Metadata| (one.uid, one.gid);
    let is_owner = [from, to].map(owner).contains(&owner(meta));
    let is_mode = [from.mode, from.mode & !SET_ID, to.mode].contains(&meta.mode);
    let is_way_back = owner(from) != owner(to) && meta.mode == to.mode & !SET_ID;
    is_owner && (is_mode || is_way_back)
}
