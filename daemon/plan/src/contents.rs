//! Where the bytes of a plan's entries are: beside it, or in its uploads.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::plan::{Change, Content, Entry, Kind, New, Plan, Source};
use crate::{OLD_BYTES, SHOWN_OLD_BYTES, Upload, is_read};

/// Size and hash of bytes.
type Named = (u64, [u8; 32]);

impl Plan {
    #[must_use]
    pub const fn pack(&self) -> Option<Upload> {
        self.pack
    }

    /// Returns where the bytes of each entry are in the contents; empty for an entry without bytes there.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range<u64>> {
        self.ranges_of(Change::bundled)
    }

    /// Returns where the uploaded bytes of each entry are in the pack; empty for an entry without bytes there.
    #[must_use]
    pub fn packed_ranges(&self) -> Vec<Range<u64>> {
        self.ranges_of(Change::uploaded)
    }

    fn ranges_of(&self, content: impl Fn(&Change) -> Option<Content>) -> Vec<Range<u64>> {
        let mut end = 0;
        let range = |entry: &Entry| {
            let start = end;
            end += content(&entry.change).map_or(0, |content| content.size);
            start..end
        };
        self.entries().iter().map(range).collect()
    }

    /// Returns the old bytes of each entry that a bundle has: all that an approver has to read, and of the others the shortest
    /// up to [`SHOWN_OLD_BYTES`] in all. No upload has some, because there is no diff. An undo needs none.
    #[must_use]
    pub fn shown_old(&self) -> Vec<Option<Named>> {
        let mut shown = Vec::with_capacity(self.entries().len());
        let mut others = Vec::new();
        for (at, entry) in self.entries().iter().enumerate() {
            let old = entry.change.readable_old();
            let old = old.filter(|_| entry.change.uploaded().is_none());
            let is_read = old.is_some_and(|(size, _)| is_read(&entry.path, size));
            if let Some(old) = old.filter(|_| !is_read) {
                others.push((at, old));
            }
            shown.push(old.filter(|_| is_read));
        }
        others.sort_by_key(|(at, (size, _))| (*size, *at));
        let mut left = SHOWN_OLD_BYTES;
        for (at, old) in others {
            match (left.checked_sub(old.0), shown.get_mut(at)) {
                (Some(less), Some(one)) => (left, *one) = (less, Some(old)),
                _ => break,
            }
        }
        shown
    }

    #[must_use]
    pub fn bundled_bytes(&self) -> u64 {
        let new = self.entries().iter().map(|entry| &entry.change);
        let new = new.map(|change| change.bundled().map_or(0, |content| content.size));
        let old = self.shown_old().into_iter().flatten().map(|(size, _)| size);
        new.chain(old).fold(0, u64::saturating_add)
    }

    /// Returns the uploads that a commit of it needs, each once.
    #[must_use]
    pub fn uploads(&self) -> BTreeSet<Upload> {
        match self.pack() {
            Some(pack) => [pack].into(),
            None => {
                let entries = self.entries().iter();
                entries.filter_map(|entry| entry.change.upload()).collect()
            }
        }
    }
}

impl Change {
    /// Returns the size and the hash of the old bytes that a bundle can have ([`Plan::shown_old`]).
    #[must_use]
    pub fn readable_old(&self) -> Option<Named> {
        match self {
            Self::Replace { base, .. } | Self::ReplaceKind { base, .. } | Self::Remove { base } => {
                base.sha256
                    .map(|sha256| (base.stat.size, sha256))
                    .filter(|(size, _)| *size <= OLD_BYTES)
            }
            Self::Create { .. } | Self::SetMetadata { .. } => None,
        }
    }

    /// Returns true for a link that leads where it led, of which the owner changes.
    #[must_use]
    pub fn keeps_target(&self) -> bool {
        matches!(self, Self::Replace { base, content, .. } if base.stat.kind == Kind::Symlink && base.sha256 == Some(content.sha256))
    }

    #[must_use]
    pub fn bundled(&self) -> Option<Content> {
        self.content()
            .filter(|content| content.source != Source::Upload)
    }

    #[must_use]
    pub fn uploaded(&self) -> Option<Content> {
        self.content()
            .filter(|content| content.source == Source::Upload)
    }

    /// Has its new bytes uploaded, if it is a file with some.
    pub const fn pack(&mut self) {
        if let Self::Create {
            new: New::File(content),
            ..
        }
        | Self::ReplaceKind {
            new: New::File(content),
            ..
        }
        | Self::Replace { content, .. } = self
            && matches!(content.source, Source::Bundle)
        {
            content.source = Source::Upload;
        }
    }

    #[must_use]
    pub fn upload(&self) -> Option<Upload> {
        self.uploaded().map(|content| Upload {
            sha256: content.sha256,
            size: content.size,
        })
    }
}

impl Upload {
    #[must_use]
    pub const fn content(self) -> Content {
        Content {
            size: self.size,
            sha256: self.sha256,
            source: Source::Upload,
            capabilities: None,
            mtime: None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::plan::{Base, Metadata, Stat};
    use crate::{Bundle, PlanPath, sha256};

    /// An approver reads a setting of this length, and no upload has a diff.
    #[test]
    fn bundle_has_no_old_bytes_of_uploads() {
        let meta = Metadata {
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        let (long, old) = (OLD_BYTES + 1, b"123456789");
        for (path, source, size, expect) in [
            ("/etc/app/a.conf", Source::Bundle, 8, true),
            ("/etc/app/a.conf", Source::Upload, long, false),
            ("/srv/a", Source::Bundle, 8, true),
            ("/srv/a", Source::Upload, long, false),
        ] {
            let stat = Stat {
                kind: Kind::File,
                dev: 1,
                ino: 2,
                ctime_ns: 3,
                size: 9,
                meta,
            };
            let base = Base::new(stat, Some(sha256(old)));
            let content = Content {
                size,
                sha256: sha256(b"12345678"),
                source,
                capabilities: None,
                mtime: None,
            };
            let change = Change::Replace {
                base,
                content,
                meta,
            };
            let path = PlanPath::new(path).unwrap();
            let plan = Plan::new(vec![Entry { path, change }]).unwrap();
            let new: &[u8] = if expect { b"12345678" } else { b"" };
            let shown: &[u8] = if expect { old } else { b"" };
            let bundle = Bundle::new(&plan, new, shown).unwrap();
            assert_eq!(bundle.views().next().unwrap().old.is_some(), expect);
            // As an earlier release made it of an upload.
            let why = Bundle::new(&plan, new, &[shown, old].concat()).unwrap_err();
            assert!(why.to_string().contains("plan again"), "{why}");
        }
    }
}
