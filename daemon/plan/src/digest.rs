//! The bytes that a plan's digest is of. They begin with the line `remit plan digest 2`. A part is a value, `NAME SP
//! LENGTH LF BYTES LF`, or a list, `NAME SP "x" COUNT LF` and its items, as in the digest of an approval.
//!
//! | part | value |
//! |------|-------|
//! | `entries` | list of `path`, `what` (`create`, `replace`, `metadata`, `remove`), `base`, `new`, `meta`, sorted by path |
//! | `base` | list of none or one: `kind`, `dev`, `ino`, `ctime-ns`, `size`, `mode`, `uid`, `gid`, the list `sha256`, `read` (0 or 1), the list `capabilities` |
//! | `new` | list of none or one: `kind` (`file`, `upload`, `directory`, `symlink`), but for a directory then `size`, `sha256`, the lists `capabilities`, `mtime-ns` |
//! | `capabilities` | list of none or one: `permitted`, `inheritable`, `effective` (0 or 1); bits by number |
//! | `meta` | list of none or one: `mode`, `uid`, `gid` |
//! | `pack` | only if the uploaded contents are one upload: its name |
//!
//! The content digest is of bytes that begin with `remit plan content 1`. They have no `dev`, `ino` and `ctime-ns` of a base that
//! the rest describes whole: a file whose bytes and capabilities were read, a link whose target was, and a directory, which has
//! no `size` either.
//!
//! Numbers are decimal, a mode is octal, a hash has 64 lower-case hexadecimal digits. No two plans have the same bytes:
//! only one name is possible at each position, and each length says where its value ends.

use crate::capabilities::{FileCapabilities, OldCapabilities};
use crate::plan::{Base, Change, Content, Kind, Metadata, New, Plan, Source};
use crate::{Entry, hex, sha256};

const VERSION: &[u8] = b"remit plan digest 2\n";
const CONTENT_VERSION: &[u8] = b"remit plan content 1\n";

/// Returns the bytes that the digest is of.
#[must_use]
pub fn canonical(plan: &Plan) -> Vec<u8> {
    parts(plan, VERSION, Parts::base)
}

fn parts(plan: &Plan, version: &[u8], base: BasePart) -> Vec<u8> {
    let mut out = Parts(version.to_vec());
    out.list("entries", plan.entries(), |out, entry| {
        out.entry(entry, base);
    });
    if let Some(pack) = plan.pack() {
        out.value("pack", pack.to_string());
    }
    out.0
}

impl Plan {
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&canonical(self))
    }

    /// Returns a digest that two machines have in common if they have the same plan for the same old files, links and
    /// directories. It decides nothing: [`Plan::digest`] is what an approval covers.
    #[must_use]
    pub fn content_digest(&self) -> [u8; 32] {
        sha256(&parts(self, CONTENT_VERSION, Parts::content_of_base))
    }

    /// Returns the id of its commit: the first 16 bytes of the digest, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        hex(self.digest().first_chunk::<16>().map_or(&[], |start| start))
    }
}

struct Parts(Vec<u8>);

type BasePart = fn(&mut Parts, &Base);

impl Parts {
    fn value(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.extend(format!("{name} {}\n", bytes.len()).bytes());
        self.0.extend_from_slice(bytes);
        self.0.push(b'\n');
    }

    fn number(&mut self, name: &str, number: impl ToString) {
        self.value(name, number.to_string());
    }

    fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        let items: Vec<T> = items.into_iter().collect();
        self.0.extend(format!("{name} x{}\n", items.len()).bytes());
        items.into_iter().for_each(|item| each(self, item));
    }

    fn entry(&mut self, entry: &Entry, base: BasePart) {
        self.value("path", entry.path.as_bytes());
        let what = match entry.change {
            Change::Create { .. } => "create",
            Change::Replace { .. } | Change::ReplaceKind { .. } => "replace",
            Change::SetMetadata { .. } => "metadata",
            Change::Remove { .. } => "remove",
        };
        self.value("what", what);
        self.list("base", entry.change.base(), base);
        self.list("new", entry.change.makes(), Self::made);
        self.list("meta", entry.change.meta(), Self::metadata);
    }

    fn base(&mut self, base: &Base) {
        self.kind(base);
        self.number("dev", base.stat.dev);
        self.number("ino", base.stat.ino);
        self.number("ctime-ns", base.stat.ctime_ns);
        self.number("size", base.stat.size);
        self.state(base);
    }

    fn content_of_base(&mut self, base: &Base) {
        let was_read = base.sha256.is_some();
        match base.stat.kind {
            Kind::Directory => self.kind(base),
            Kind::File if was_read && base.capabilities != OldCapabilities::Unread => {
                self.kind(base);
                self.number("size", base.stat.size);
            }
            Kind::Symlink if was_read => {
                self.kind(base);
                self.number("size", base.stat.size);
            }
            Kind::File | Kind::Symlink | Kind::Special => return self.base(base),
        }
        self.state(base);
    }

    fn kind(&mut self, base: &Base) {
        let kind = match base.stat.kind {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
            Kind::Special => "special",
        };
        self.value("kind", kind);
    }

    fn state(&mut self, base: &Base) {
        self.metadata(base.stat.meta);
        self.list("sha256", base.sha256, |out, sha| {
            out.value("sha256", hex(&sha))
        });
        self.number(
            "read",
            u8::from(base.capabilities != OldCapabilities::Unread),
        );
        self.capabilities(base.capabilities.known());
    }

    fn made(&mut self, new: New) {
        match new {
            New::Directory => self.value("kind", "directory"),
            New::File(content) => match content.source {
                Source::Bundle => self.content("file", content),
                Source::Upload => self.content("upload", content),
                Source::Lines => self.content("lines", content),
            },
            New::Link(target) => self.content("symlink", target),
        }
    }

    fn content(&mut self, kind: &str, content: Content) {
        self.value("kind", kind);
        self.number("size", content.size);
        self.value("sha256", hex(&content.sha256));
        self.capabilities(content.capabilities);
        self.list("mtime-ns", content.mtime, |out, time| {
            out.number("mtime-ns", time)
        });
    }

    fn capabilities(&mut self, capabilities: Option<FileCapabilities>) {
        self.list("capabilities", capabilities, |out, own| {
            out.number("permitted", own.permitted);
            out.number("inheritable", own.inheritable);
            out.number("effective", u8::from(own.is_effective));
        });
    }

    fn metadata(&mut self, meta: Metadata) {
        self.value("mode", format!("{:o}", meta.mode));
        self.number("uid", meta.uid);
        self.number("gid", meta.gid);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{PlanPath, Stat};

    const META: Metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    const CONTENT: Content = Content {
        size: 3,
        sha256: [2; 32],
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    const CAPABILITIES: FileCapabilities = FileCapabilities {
        permitted: 1 << 13,
        inheritable: 0,
        is_effective: true,
    };

    fn base(kind: Kind) -> Base {
        let has_bytes = matches!(kind, Kind::File | Kind::Symlink);
        Base {
            stat: Stat {
                kind,
                dev: 1,
                ino: 2,
                ctime_ns: 3,
                size: 4,
                meta: META,
            },
            sha256: has_bytes.then_some([1; 32]),
            capabilities: match kind {
                Kind::File => OldCapabilities::Read(None),
                _ => OldCapabilities::Unread,
            },
        }
    }

    fn digests(path: &str, change: Change) -> ([u8; 32], [u8; 32]) {
        let path = PlanPath::new(path).unwrap();
        let plan = Plan::new(vec![Entry { path, change }]).unwrap();
        (plan.digest(), plan.content_digest())
    }

    fn replaces(base: Base, content: Content, meta: Metadata) -> Change {
        Change::Replace {
            base,
            content,
            meta,
        }
    }

    #[test]
    fn content_digest_has_all_but_the_identity_of_what_was_read() {
        type IdentityEdit = fn(&mut Base);
        let identity: [IdentityEdit; 3] = [
            |base| base.stat.dev = 9,
            |base| base.stat.ino = 9,
            |base| base.stat.ctime_ns = 9,
        ];
        for edit in identity {
            for kind in [Kind::File, Kind::Symlink, Kind::Directory] {
                let remove = |base| digests("/a", Change::Remove { base });
                let mut other = base(kind);
                edit(&mut other);
                let (one, other) = (remove(base(kind)), remove(other));
                assert_ne!(one.0, other.0, "{kind:?}");
                assert_eq!(one.1, other.1, "{kind:?}");
            }
            // What was not read could differ in anything.
            for is_unread in [true, false] {
                let mut unread = base(Kind::File);
                match is_unread {
                    true => unread.sha256 = None,
                    false => unread.capabilities = OldCapabilities::Unread,
                }
                let mut other = unread;
                edit(&mut other);
                let replace = |base| digests("/a", replaces(base, CONTENT, META)).1;
                assert_ne!(replace(unread), replace(other), "{is_unread}");
            }
        }
    }

    #[test]
    fn content_digest_differs_with_each_fact_of_old_and_new() {
        type FactEdit = fn(&mut Base, &mut Content, &mut Metadata);
        let usual = digests("/a", replaces(base(Kind::File), CONTENT, META)).1;
        let edits: [(&str, FactEdit); 15] = [
            ("size", |base, _, _| base.stat.size = 5),
            ("mode", |base, _, _| base.stat.meta.mode = 0o600),
            ("uid", |base, _, _| base.stat.meta.uid = 1),
            ("gid", |base, _, _| base.stat.meta.gid = 1),
            ("old bytes", |base, _, _| base.sha256 = Some([9; 32])),
            ("unread", |base, _, _| base.sha256 = None),
            ("old capabilities", |base, _, _| {
                base.capabilities = OldCapabilities::Read(Some(CAPABILITIES));
            }),
            ("new size", |_, content, _| content.size = 5),
            ("new bytes", |_, content, _| content.sha256 = [9; 32]),
            ("source", |_, content, _| content.source = Source::Upload),
            ("capabilities", |_, content, _| {
                content.capabilities = Some(CAPABILITIES);
            }),
            ("time", |_, content, _| content.mtime = Some(7)),
            ("new mode", |_, _, meta| meta.mode = 0o600),
            ("new uid", |_, _, meta| meta.uid = 1),
            ("new gid", |_, _, meta| meta.gid = 1),
        ];
        for (what, edit) in edits {
            let (mut base, mut content, mut meta) = (base(Kind::File), CONTENT, META);
            edit(&mut base, &mut content, &mut meta);
            let other = digests("/a", replaces(base, content, meta)).1;
            assert_ne!(usual, other, "{what}");
        }
        let other = digests("/b", replaces(base(Kind::File), CONTENT, META)).1;
        assert_ne!(usual, other);
        let kinds = [Kind::File, Kind::Symlink, Kind::Directory];
        let removed = kinds.map(|kind| digests("/a", Change::Remove { base: base(kind) }).1);
        assert!(removed[0] != removed[1] && removed[1] != removed[2] && removed[0] != removed[2]);
    }
}
