//! An entry as its undo changes the path, for what decides by plans: risks and refusals.

use crate::capabilities::OldCapabilities;
use crate::plan::{Base, Change, Content, Entry, Kind, New, Source, Stat};

impl Entry {
    /// Returns what its undo does with the path, as far as a risk or a refusal depends on it.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let now = |kind, size, sha256, meta, capabilities| Base {
            stat: Stat {
                kind,
                dev: 0,
                ino: 0,
                ctime_ns: 0,
                size,
                meta,
            },
            sha256,
            capabilities,
        };
        let is = |new: New, meta| match new {
            New::File(content) => {
                let capabilities = OldCapabilities::Read(content.capabilities);
                now(
                    Kind::File,
                    content.size,
                    Some(content.sha256),
                    meta,
                    capabilities,
                )
            }
            New::Link(target) => {
                let none = OldCapabilities::Unread;
                now(Kind::Symlink, target.size, Some(target.sha256), meta, none)
            }
            New::Directory => now(Kind::Directory, 0, None, meta, OldCapabilities::Unread),
        };
        let again = |base: Base| Content {
            size: base.stat.size,
            sha256: base.sha256.unwrap_or_default(),
            source: Source::Bundle,
            capabilities: base.capabilities.known(),
            mtime: None,
        };
        let change = match self.change {
            Change::Create { new, meta } => Change::Remove {
                base: is(new, meta),
            },
            Change::Replace {
                base,
                content,
                meta,
            } => Change::Replace {
                base: is(self.change.makes().unwrap_or(New::File(content)), meta),
                content: again(base),
                meta: base.stat.meta,
            },
            Change::ReplaceKind { base, new, meta } => Change::ReplaceKind {
                base: is(new, meta),
                new: match base.stat.kind {
                    Kind::Symlink => New::Link(again(base)),
                    _ => New::File(again(base)),
                },
                meta: base.stat.meta,
            },
            Change::SetMetadata { base, meta } => Change::SetMetadata {
                base: Base {
                    stat: Stat { meta, ..base.stat },
                    sha256: Some([0; 32]),
                    capabilities: base.capabilities,
                },
                meta: base.stat.meta,
            },
            Change::Remove { base } => match base.stat.kind {
                Kind::File => Change::Create {
                    new: New::File(again(base)),
                    meta: base.stat.meta,
                },
                Kind::Directory => Change::Create {
                    new: New::Directory,
                    meta: base.stat.meta,
                },
                Kind::Symlink => Change::Create {
                    new: New::Link(again(base)),
                    meta: base.stat.meta,
                },
                Kind::Special => Change::Remove { base },
            },
        };
        Self {
            path: self.path.clone(),
            change,
        }
    }
}
