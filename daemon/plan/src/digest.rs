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
//! Numbers are decimal, a mode is octal, a hash has 64 lower-case hexadecimal digits. No two plans have the same bytes:
//! only one name is possible at each position, and each length says where its value ends.

use crate::capabilities::{FileCapabilities, OldCapabilities};
use crate::plan::{Base, Change, Content, Kind, Metadata, New, Plan, Source};
use crate::{Entry, hex, sha256};

const VERSION: &[u8] = b"remit plan digest 2\n";

/// Returns the bytes that the digest is of.
#[must_use]
pub fn canonical(plan: &Plan) -> Vec<u8> {
    let mut out = Parts(VERSION.to_vec());
    out.list("entries", plan.entries(), Parts::entry);
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

    /// Returns the id of its commit: the first 16 bytes of the digest, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        hex(self.digest().first_chunk::<16>().map_or(&[], |start| start))
    }
}

struct Parts(Vec<u8>);

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

    fn entry(&mut self, entry: &Entry) {
        self.value("path", entry.path.as_bytes());
        let what = match entry.change {
            Change::Create { .. } => "create",
            Change::Replace { .. } | Change::ReplaceKind { .. } => "replace",
            Change::SetMetadata { .. } => "metadata",
            Change::Remove { .. } => "remove",
        };
        self.value("what", what);
        self.list("base", entry.change.base(), Self::base);
        self.list("new", entry.change.makes(), Self::made);
        self.list("meta", entry.change.meta(), Self::metadata);
    }

    fn base(&mut self, base: &Base) {
        let kind = match base.stat.kind {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
            Kind::Special => "special",
        };
        self.value("kind", kind);
        self.number("dev", base.stat.dev);
        self.number("ino", base.stat.ino);
        self.number("ctime-ns", base.stat.ctime_ns);
        self.number("size", base.stat.size);
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
