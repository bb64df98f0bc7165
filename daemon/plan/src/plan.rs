//! Entries and plans: which paths change, from what to what.
//!
//! **Invariant:** entries are sorted by path, each path has one, and an entry beneath another is beneath a directory
//! that is new or stays, or both are removed.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::capabilities::{FileCapabilities, OldCapabilities};
use crate::codec::{self, PlanError};
use crate::path::nearest_above;
pub use crate::stat::{Kind, Metadata, Stat};
use crate::upload::Upload;
use crate::{CONTENT_BYTES, ENTRIES, FILE_BYTES, PLAN_BYTES, PlanPath};

const MAGIC: &[u8] = b"remit plan 4\n";
/// Of a plan whose uploaded contents are one upload.
const PACKED: &[u8] = b"remit plan 5\n";
/// Bytes of a link's target: symlink(2).
pub const LINK_BYTES: Range<u64> = 1..4096;

/// What a path was when the plan was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    pub stat: Stat,
    /// Of a file's bytes or a link's target, if they were read. A base of another kind has none.
    pub sha256: Option<[u8; 32]>,
    /// Of a file.
    pub capabilities: OldCapabilities,
}

/// The bytes of a new file, or the target of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub size: u64,
    pub sha256: [u8; 32],
    pub source: Source,
    /// Of the new file. The kernel takes those of a file away with its bytes or its owner, and so does a plan that says none.
    pub capabilities: Option<FileCapabilities>,
    /// Time of the last write, in nanoseconds since 1970. `None`: that of the commit.
    pub mtime: Option<i64>,
}

/// Where the bytes are, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Beside the plan, in the order of its entries.
    Bundle,
    /// With the daemon.
    Upload,
    /// Beside the plan, and not the file but [changes of its lines](crate::TableChange).
    Lines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum New {
    File(Content),
    Directory,
    Link(Content),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Create {
        new: New,
        meta: Metadata,
    },
    /// A file by a file, or a link by a link.
    Replace {
        base: Base,
        content: Content,
        meta: Metadata,
    },
    SetMetadata {
        base: Base,
        meta: Metadata,
    },
    Remove {
        base: Base,
    },
    /// A file by a link, or a link by a file.
    ReplaceKind {
        base: Base,
        new: New,
        meta: Metadata,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: PlanPath,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    entries: Vec<Entry>,
    pub(crate) pack: Option<Upload>,
}

#[derive(Deserialize)]
struct Entries(#[serde(deserialize_with = "codec::at_most_entries")] Vec<Entry>);

impl Base {
    /// Of a planner that cannot read capabilities.
    #[must_use]
    pub const fn new(stat: Stat, sha256: Option<[u8; 32]>) -> Self {
        Self {
            stat,
            sha256,
            capabilities: OldCapabilities::Unread,
        }
    }

    /// Returns true if it is a file whose bytes were not read: it is compared by its stat alone.
    #[must_use]
    pub const fn is_unread(&self) -> bool {
        matches!(self.stat.kind, Kind::File) && self.sha256.is_none()
    }
}

impl Change {
    #[must_use]
    pub const fn base(&self) -> Option<&Base> {
        match self {
            Self::Create { .. } => None,
            Self::Replace { base, .. }
            | Self::ReplaceKind { base, .. }
            | Self::SetMetadata { base, .. }
            | Self::Remove { base } => Some(base),
        }
    }

    #[must_use]
    pub const fn meta(&self) -> Option<Metadata> {
        match self {
            Self::Create { meta, .. }
            | Self::Replace { meta, .. }
            | Self::ReplaceKind { meta, .. }
            | Self::SetMetadata { meta, .. } => Some(*meta),
            Self::Remove { .. } => None,
        }
    }

    #[must_use]
    pub const fn content(&self) -> Option<Content> {
        match self {
            Self::Create {
                new: New::File(content) | New::Link(content),
                ..
            }
            | Self::ReplaceKind {
                new: New::File(content) | New::Link(content),
                ..
            }
            | Self::Replace { content, .. } => Some(*content),
            Self::Create { .. }
            | Self::ReplaceKind { .. }
            | Self::SetMetadata { .. }
            | Self::Remove { .. } => None,
        }
    }

    #[must_use]
    pub const fn makes(&self) -> Option<New> {
        match self {
            Self::Create { new, .. } | Self::ReplaceKind { new, .. } => Some(*new),
            Self::Replace { base, content, .. } => match base.stat.kind {
                Kind::Symlink => Some(New::Link(*content)),
                Kind::File | Kind::Directory | Kind::Special => Some(New::File(*content)),
            },
            Self::SetMetadata { .. } | Self::Remove { .. } => None,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let base = self.base();
        if self
            .content()
            .is_some_and(|content| content.size > FILE_BYTES)
        {
            return Err("it has more new bytes than a file of a plan may have (256 MiB)");
        }
        let has_bytes = |kind| matches!(kind, Kind::File | Kind::Symlink);
        if base.is_some_and(|base| !has_bytes(base.stat.kind) && base.sha256.is_some()) {
            return Err("its base has a hash and is no file and no link");
        }
        if let (Some(New::Link(target)), Some(meta)) = (self.makes(), self.meta())
            && (!LINK_BYTES.contains(&target.size) || meta.mode != 0o777)
        {
            return Err("it is a link with an impossible target or mode");
        }
        if matches!(self.makes(), Some(New::Link(target)) if target.source != Source::Bundle) {
            return Err("the target of a link is in the plan, and not uploaded");
        }
        if base.is_some_and(|base| {
            base.stat.kind != Kind::File && base.capabilities != OldCapabilities::Unread
        }) {
            return Err("its base has capabilities and is no file");
        }
        let old = base.and_then(|base| base.capabilities.known());
        let new = self.content().and_then(|content| content.capabilities);
        if !old
            .into_iter()
            .chain(new)
            .all(FileCapabilities::is_possible)
        {
            return Err("its capabilities have no names, or are none");
        }
        let has_time = self
            .content()
            .is_some_and(|content| content.mtime.is_some());
        if (new.is_some() || has_time) && !self.is_of_file() {
            return Err("only a new file of its own bytes gets capabilities or a time");
        }
        if let Some(meta) = self.meta()
            && (meta.mode > 0o7777 || meta.uid == u32::MAX || meta.gid == u32::MAX)
        {
            return Err("its mode or owner is out of range");
        }
        if let Self::SetMetadata { base, meta } = self
            && base.stat.meta == *meta
        {
            return Err("its mode and owner stay as they are");
        }
        if let Self::SetMetadata { base, meta } = self
            && old.is_some()
            && (base.stat.meta.uid, base.stat.meta.gid) != (meta.uid, meta.gid)
        {
            return Err(
                "it has file capabilities, which a new owner would remove: remove them first, or change the owner in a \
                        copy of the machine",
            );
        }
        match (self, base.map(|base| base.stat.kind)) {
            (Self::Create { .. }, _) => Ok(()),
            (Self::Replace { .. }, Some(Kind::File | Kind::Symlink)) => Ok(()),
            (
                Self::ReplaceKind {
                    new: New::Link(_), ..
                },
                Some(Kind::File),
            )
            | (
                Self::ReplaceKind {
                    new: New::File(_), ..
                },
                Some(Kind::Symlink),
            ) => Ok(()),
            (Self::SetMetadata { .. }, Some(Kind::File | Kind::Directory)) => Ok(()),
            (Self::Remove { .. }, Some(Kind::File | Kind::Directory | Kind::Symlink)) => Ok(()),
            _ => Err("it is a link, a device, a FIFO or a socket, which a plan cannot change so"),
        }
    }

    fn is_of_file(&self) -> bool {
        matches!(self.makes(), Some(New::File(content)) if content.source != Source::Lines)
    }

    /// Returns true if `beneath` may be the change of a path beneath this one.
    fn may_contain(&self, beneath: &Self) -> bool {
        match self {
            Self::Create {
                new: New::Directory,
                ..
            } => matches!(beneath, Self::Create { .. }),
            Self::SetMetadata { base, .. } => base.stat.kind == Kind::Directory,
            Self::Remove { base } => {
                base.stat.kind == Kind::Directory && matches!(beneath, Self::Remove { .. })
            }
            Self::Create { .. } | Self::Replace { .. } | Self::ReplaceKind { .. } => false,
        }
    }

    /// Order of operations: what is new appears first, what is removed goes last.
    const fn rank(&self) -> u8 {
        match self {
            Self::Create { .. } => 0,
            Self::Replace { .. } | Self::ReplaceKind { .. } => 1,
            Self::SetMetadata { .. } => 2,
            Self::Remove { .. } => 3,
        }
    }
}

impl Plan {
    pub fn new(entries: Vec<Entry>) -> Result<Self, PlanError> {
        Self::packed(entries, None)
    }

    /// `pack`: the upload with all uploaded contents, one after the other. Without it each is an upload of its own.
    pub fn packed(mut entries: Vec<Entry>, pack: Option<Upload>) -> Result<Self, PlanError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let plan = Self { entries, pack };
        plan.check()?;
        Ok(plan)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let (Entries(entries), pack) = match bytes.starts_with(PACKED) {
            true => codec::decode(PACKED, PLAN_BYTES, bytes)
                .map(|(entries, pack): (Entries, Upload)| (entries, Some(pack))),
            false => codec::decode(MAGIC, PLAN_BYTES, bytes).map(|entries| (entries, None)),
        }
        .map_err(PlanError::Format)?;
        let plan = Self { entries, pack };
        plan.check()?;
        // Postcard also reads numbers with needless bytes.
        if plan.encode() != bytes {
            return Err(PlanError::Format("its numbers have needless bytes"));
        }
        Ok(plan)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self.pack {
            Some(pack) => codec::encode(PACKED, &(&self.entries, pack)),
            None => codec::encode(MAGIC, &self.entries),
        }
    }

    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the first path that is in none of these directories and is none of these files. No `paths`: all are allowed.
    #[must_use]
    pub fn outside(&self, paths: &[PlanPath]) -> Option<&PlanPath> {
        let is_in = |path: &PlanPath| paths.iter().any(|own| path.is_in(own.as_bytes()));
        let mut all = self.entries.iter().map(|entry| &entry.path);
        all.find(|path| !paths.is_empty() && !is_in(path))
    }

    /// Returns positions: new, changed, metadata, removed; a new directory before its entries, a removed one after.
    #[must_use]
    pub fn operations(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        let rank = |at: usize| self.entries.get(at).map_or(0, |entry| entry.change.rank());
        order.sort_by(|a, b| {
            let removed = rank(*a) == 3;
            rank(*a)
                .cmp(&rank(*b))
                .then(if removed { b.cmp(a) } else { a.cmp(b) })
        });
        order
    }

    fn check(&self) -> Result<(), PlanError> {
        match self.entries.len() {
            0 => return Err(PlanError::Empty),
            count if count > ENTRIES => return Err(PlanError::Many),
            _ => {}
        }
        let refused = |entry: &Entry, why| PlanError::Entry {
            path: entry.path.clone(),
            why,
        };
        let above = nearest_above(self.entries.iter().map(|entry| &entry.path));
        let (mut bytes, mut packed, mut last) = (0_u64, 0_u64, None);
        for (entry, above) in self.entries.iter().zip(above) {
            if last.is_some_and(|last| last >= &entry.path) {
                return Err(refused(entry, "it is there twice, or out of order"));
            }
            last = Some(&entry.path);
            entry.change.check().map_err(|why| refused(entry, why))?;
            let of_lines = entry.change.check_lines(&entry.path);
            of_lines.map_err(|why| refused(entry, why))?;
            let above = above.and_then(|at| self.entries.get(at));
            if above.is_some_and(|above| !above.change.may_contain(&entry.change)) {
                let why = "the same plan makes a file of a directory above it, or removes that";
                return Err(refused(entry, why));
            }
            let size = entry.change.content().map_or(0, |content| content.size);
            bytes = bytes.saturating_add(size);
            let size = entry.change.uploaded().map_or(0, |content| content.size);
            packed = packed.saturating_add(size);
        }
        if self.pack.is_some_and(|pack| pack.size != packed) {
            let why = "its uploaded contents have another length than their upload";
            return Err(PlanError::Format(why));
        }
        if bytes > CONTENT_BYTES {
            return Err(PlanError::Bytes);
        }
        Ok(())
    }
}
