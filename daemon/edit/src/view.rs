//! What people read of an entry: a line that says what becomes of its path, its risks, and the diff of its bytes.

use std::fmt::Write;

use remit_common::calendar;
use remit_plan::{
    Base, Change, Content, FileCapabilities, Kind, Metadata, New, Source, TableChange, View, hex,
    metadata, sha256,
};

use crate::diff::{Tabs, diff, show};

const UNREAD: &str = "were not read for this plan";
/// A reader of the page with this right sees them in a diff.
const READ_THEM: &str = "; to see them: sudo remit show";
/// Before the changes of lines, as [`TableChange`] has them.
const ONLY_LINES: &str = "only these lines change (+ new, - removed with its password, < before, > after; other passwords stay):\n";
/// Most bytes of content that is not text in a diff of escapes.
const NOT_TEXT: usize = 512;
/// Content is no text if at least one in so many bytes of its beginning is none.
const ONE_IN: usize = 8;
const SAMPLE: usize = 8 << 10;

/// What people read of an entry.
pub trait ViewText {
    /// Returns one line: `becomes 12 bytes from 10, mode 0644 from 0600`.
    #[must_use]
    fn what(&self) -> String;

    /// Returns true if a longer diff than this shows more.
    fn is_cut<'l>(&self, diff: impl Iterator<Item = &'l str>) -> bool;

    /// Returns true if no diff shows its old bytes, only their hash. What was not read or was uploaded has a risk instead.
    #[must_use]
    fn hides_old(&self) -> bool;

    /// Returns the diff for people in about `most` bytes; empty without a change. Omitted bytes are counted and hashed.
    #[must_use]
    fn diff(&self, most: usize, tabs: Tabs) -> String;

    /// Returns the same with size and hash instead of content that is not text, unless it is short: nobody reads pages
    /// of escapes.
    #[must_use]
    fn brief(&self, most: usize, tabs: Tabs) -> String;
}

impl ViewText for View<'_> {
    fn what(&self) -> String {
        match self.entry.change {
            Change::Create {
                new: New::File(content),
                meta,
            } => {
                let size = new_bytes(content);
                let gets = capabilities(None, content.capabilities);
                format!("new file of {size}, {}{gets}", metadata(meta)) + &written(self)
            }
            Change::Create {
                new: New::Directory,
                meta,
            } => format!("new directory, {}", metadata(meta)),
            Change::Create {
                new: New::Link(_),
                meta,
            } => format!("new symbolic link, owner {}:{}", meta.uid, meta.gid),
            Change::Replace { base, meta, .. } if base.stat.kind == Kind::Symlink => {
                let change = difference(base.stat.meta, meta);
                match (self.entry.change.keeps_target(), base.sha256) {
                    (true, _) => format!("symbolic link: {}", change.trim_start_matches(", ")),
                    (false, Some(_)) => format!("symbolic link gets another target{change}"),
                    // The old one was not read.
                    (false, None) => format!("symbolic link gets a target{change}"),
                }
            }
            Change::Replace { base, meta, .. } if self.entry.change.is_of_lines() => {
                let changes = TableChange::decode(self.new.unwrap_or_default());
                let count = match changes.map_or(0, |changes| changes.len()) {
                    1 => "1 line changes".to_owned(),
                    count => format!("{count} lines change"),
                };
                count + &difference(base.stat.meta, meta)
            }
            Change::Replace {
                base,
                content,
                meta,
            } => {
                let old = bytes(base.stat.size);
                let mut text = match base.sha256 == Some(content.sha256) {
                    true => format!("the same {old}"),
                    false => format!("{old} become {}", new_bytes(content)),
                };
                text.push_str(&difference(base.stat.meta, meta));
                let gets = capabilities(base.capabilities.known(), content.capabilities);
                text + &gets + &written(self)
            }
            Change::ReplaceKind { base, meta, .. } if base.stat.kind == Kind::File => {
                let (old, own) = (bytes(base.stat.size), metadata(base.stat.meta));
                let lost = capabilities(base.capabilities.known(), None);
                format!(
                    "file of {old}, {own}, becomes a symbolic link, owner {}:{}{lost}",
                    meta.uid, meta.gid
                )
            }
            Change::ReplaceKind { base, meta, .. } => {
                let content = self.entry.change.content();
                let size = content.map_or_else(String::new, new_bytes);
                let own = content.and_then(|content| content.capabilities);
                let Metadata { uid, gid, .. } = base.stat.meta;
                format!(
                    "symbolic link, owner {uid}:{gid}, becomes a file of {size}, {}{}",
                    metadata(meta),
                    capabilities(None, own)
                )
            }
            Change::SetMetadata { base, meta } => {
                let change = difference(base.stat.meta, meta);
                let change = change.strip_prefix(", ").unwrap_or(&change);
                let own = base.capabilities.known();
                let own = own.map_or_else(String::new, |own| format!(", has capabilities {own}"));
                format!("{}: {change}{own}", kind(&base))
            }
            Change::Remove { base } if base.stat.kind == Kind::File => {
                format!("removed file of {}", bytes(base.stat.size))
            }
            Change::Remove { base } => format!("removed {}", kind(&base)),
        }
    }

    fn is_cut<'l>(&self, diff: impl Iterator<Item = &'l str>) -> bool {
        let has_upload = self.entry.change.uploaded().is_some();
        let never_shown = usize::from(has_upload) + usize::from(unknown_old(self).is_some());
        // Only remit's words have this mark.
        diff.filter(|line| line.starts_with("[…")).count() > never_shown
    }

    fn hides_old(&self) -> bool {
        let change = &self.entry.change;
        let is_risk = change.has_unread_base() || change.uploaded().is_some();
        !is_risk && unknown_old(self).is_some()
    }

    fn diff(&self, most: usize, tabs: Tabs) -> String {
        if self.entry.change.is_of_lines() {
            return ONLY_LINES.to_owned() + &show(self.new.unwrap_or_default(), most, tabs);
        }
        let mut text = unknown_old(self).unwrap_or_default();
        if let Some(Content { size, sha256, .. }) = self.entry.change.uploaded() {
            let sha = hex(&sha256);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[… {size} new bytes were uploaded, sha256 {sha} …]");
        }
        text.push_str(&show(&diff_of_bytes(self), most, tabs));
        text
    }

    fn brief(&self, most: usize, tabs: Tabs) -> String {
        if self.entry.change.is_of_lines() {
            return self.diff(most, tabs);
        }
        let mut text = String::new();
        for (which, content) in [("old", self.known_old()), ("new", self.new)] {
            if let Some(bytes) = content.filter(|bytes| !is_readable(bytes)) {
                let (size, sha) = (bytes.len(), hex(&sha256(bytes)));
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "[… {size} {which} bytes are not text, sha256 {sha} …]"
                );
            }
        }
        let readable = Self {
            old: self.old.map(readable),
            new: self.new.map(readable),
            ..*self
        };
        text + &readable.diff(most, tabs)
    }
}

/// Returns the time of the last write that the plan has. The commit gives it to the file if it is later than that of the old
/// file and not later than the commit: neither is known here.
fn written(view: &View<'_>) -> String {
    let time = view.entry.time(i64::MAX);
    time.map_or_else(String::new, |time| {
        match u64::try_from(time.div_euclid(1_000_000)) {
            Ok(ms) => format!(", in the plan last written {}", calendar::utc(ms)),
            Err(_) => ", in the plan last written before 1970".to_owned(),
        }
    })
}

/// Returns the diff of the known bytes. A file and a link have a diff each: their bytes can be the same.
fn diff_of_bytes(view: &View<'_>) -> Vec<u8> {
    let old = view.known_old().unwrap_or_default();
    let new = view.new.unwrap_or_default();
    let change = &view.entry.change;
    let was_link = change.base().map(|base| base.stat.kind) == Some(Kind::Symlink);
    let is_link = matches!(change.makes(), Some(New::Link(_)));
    match change {
        // A long old file must not cut off where the link leads.
        Change::ReplaceKind { .. } if is_link => [diff(b"", &line(new)), diff(old, b"")].concat(),
        Change::ReplaceKind { .. } => [diff(&line(old), b""), diff(b"", new)].concat(),
        _ if was_link || is_link => diff(&line(old), &line(new)),
        _ => diff(old, new),
    }
}

/// Returns the line that a diff has instead of old bytes that are not known.
fn unknown_old(view: &View<'_>) -> Option<String> {
    let (Change::Replace { base, .. } | Change::ReplaceKind { base, .. } | Change::Remove { base }) =
        view.entry.change
    else {
        return None;
    };
    let size = base.stat.size;
    match base.sha256.map(|sha| hex(&sha)) {
        _ if view.known_old().is_some() || view.entry.change.is_of_lines() => None,
        Some(sha) => Some(format!(
            "[… {size} old bytes are not shown, sha256 {sha} …]\n"
        )),
        None if base.is_unread() && view.entry.change.uploaded().is_some() => {
            Some(format!("[… {size} old bytes {UNREAD} …]\n"))
        }
        None if base.is_unread() => Some(format!("[… {size} old bytes {UNREAD}{READ_THEM} …]\n")),
        None => None,
    }
}

fn readable(content: &[u8]) -> &[u8] {
    match is_readable(content) {
        true => content,
        false => &[],
    }
}

/// Returns true for text in UTF-8 and for what is short enough to read as escapes. A few other bytes in a text hide none
/// of its lines.
fn is_readable(content: &[u8]) -> bool {
    let sample = content.get(..SAMPLE).unwrap_or(content);
    let is_other = |c: &char| c.is_control() && !matches!(c, '\t' | '\r' | '\n');
    let others = sample.utf8_chunks().map(|chunk| {
        let controls = chunk.valid().chars().filter(is_other).count();
        controls + chunk.invalid().len()
    });
    content.len() <= NOT_TEXT || others.sum::<usize>() * ONE_IN < sample.len()
}

fn line(target: &[u8]) -> Vec<u8> {
    match target {
        [] => Vec::new(),
        target => [target, b"\n"].concat(),
    }
}

fn new_bytes(content: Content) -> String {
    let size = bytes(content.size);
    match content.source {
        Source::Upload => format!("{size} (uploaded)"),
        Source::Bundle | Source::Lines => size,
    }
}

fn bytes(count: u64) -> String {
    match count {
        1 => "1 byte".to_owned(),
        _ => format!("{count} bytes"),
    }
}

const fn kind(base: &Base) -> &'static str {
    match base.stat.kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symbolic link",
        Kind::Special => "device, FIFO or socket",
    }
}

fn capabilities(old: Option<FileCapabilities>, new: Option<FileCapabilities>) -> String {
    match (old, new) {
        (None, None) => String::new(),
        (old, Some(new)) if old == Some(new) => format!(", keeps capabilities {new}"),
        (None, Some(new)) => format!(", gets capabilities {new}"),
        (Some(old), None) => format!(", loses capabilities {old}"),
        (Some(old), Some(new)) => format!(", capabilities {old} become {new}"),
    }
}

fn difference(old: Metadata, new: Metadata) -> String {
    let mut text = String::new();
    if old.mode != new.mode {
        let _ = write!(text, ", mode {:04o} becomes {:04o}", old.mode, new.mode);
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        let _ = write!(
            text,
            ", owner {}:{} becomes {}:{}",
            old.uid, old.gid, new.uid, new.gid
        );
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use remit_plan::{Entry, OldCapabilities, PlanPath, Stat};

    use super::*;

    const META: Metadata = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };

    fn base(kind: Kind, bytes: &[u8]) -> Base {
        Base {
            stat: Stat {
                kind,
                dev: 1,
                ino: 2,
                ctime_ns: 3,
                size: bytes.len() as u64,
                meta: META,
            },
            sha256: (kind == Kind::File).then(|| sha256(bytes)),
            capabilities: OldCapabilities::Unread,
        }
    }

    #[test]
    fn chosen_time_of_a_file_is_in_its_line() {
        for (path, mtime, expect) in [
            (
                "/srv/x.py",
                Some(1_700_000_000_000_000_000),
                ", in the plan last written 2023-11-14 22:13:20 UTC",
            ),
            // Of the future: the commit does not set it.
            (
                "/srv/x.py",
                Some(4_070_908_800_000_000_000),
                ", in the plan last written 2099-01-01 00:00:00 UTC",
            ),
            (
                "/srv/x.py",
                Some(-1),
                ", in the plan last written before 1970",
            ),
            ("/srv/x.py", None, ""),
            // The commit gives these its own time.
            ("/etc/cron.d/x", Some(1), ""),
            ("/etc/systemd/system/x.py", Some(1), ""),
        ] {
            let mut entry = replacement(b"xx", b"y");
            entry.path = PlanPath::new(path).unwrap();
            if let Change::Replace { content, .. } = &mut entry.change {
                content.mtime = mtime;
            }
            let what = replaced(&entry, None, b"y").what();
            assert_eq!(what, format!("2 bytes become 1 byte{expect}"), "{path}");
            let (new, meta) = (New::File(entry.change.content().unwrap()), META);
            entry.change = Change::Create { new, meta };
            let what = replaced(&entry, None, b"y").what();
            assert!(
                what.ends_with(&format!("owner 0:0{expect}")),
                "{path}: {what}"
            );
        }
    }

    #[test]
    fn capabilities_are_in_the_line_of_their_file() {
        let own = |bit: u32, inheritable| FileCapabilities {
            permitted: 1 << bit,
            inheritable,
            is_effective: inheritable == 0,
        };
        let (raw, bind) = (own(13, 0), own(10, 1 << 10));
        let [none, known] = [None, Some(raw)].map(OldCapabilities::Read);
        for (old, new, expect) in [
            (none, Some(raw), ", gets capabilities cap_net_raw+ep"),
            (
                known,
                Some(bind),
                ", capabilities cap_net_raw+ep become cap_net_bind_service+ip",
            ),
            (known, Some(raw), ", keeps capabilities cap_net_raw+ep"),
            (known, None, ", loses capabilities cap_net_raw+ep"),
            (none, None, ""),
            (OldCapabilities::Unread, None, ""),
        ] {
            let mut entry = replacement(b"y", b"y");
            if let Change::Replace { base, content, .. } = &mut entry.change {
                (base.capabilities, content.capabilities) = (old, new);
            }
            let what = replaced(&entry, Some(b"y"), b"y").what();
            assert_eq!(what, format!("the same 1 byte{expect}"));
        }
        for (capabilities, expect) in [
            (known, ", has capabilities cap_net_raw+ep"),
            (none, ""),
            (OldCapabilities::Unread, ""),
        ] {
            let base = Base {
                capabilities,
                ..base(Kind::File, b"x")
            };
            let meta = Metadata {
                mode: 0o755,
                ..META
            };
            let mut entry = replacement(b"", b"");
            entry.change = Change::SetMetadata { base, meta };
            let what = replaced(&entry, None, b"").what();
            assert_eq!(what, format!("file: mode 0644 becomes 0755{expect}"));
        }
    }

    #[test]
    fn changes_of_lines_are_shown_as_they_are() {
        let text = b"+new:!:2::::::\n<bob::1:0:99:7:::\n>bob::1:0:30:7:::\n";
        let mut entry = replacement(b"old", text);
        if let Change::Replace { base, content, .. } = &mut entry.change {
            (base.sha256, content.source) = (None, Source::Lines);
        }
        let seen = replaced(&entry, None, text);
        assert_eq!(seen.what(), "2 lines change");
        assert_eq!(
            seen.diff(999, Tabs::Shown),
            "only these lines change (+ new, - removed with its password, < before, > after; other passwords stay):\n\
             +new:!:2::::::\n<bob::1:0:99:7:::\n>bob::1:0:30:7:::\n"
        );
        assert_eq!(seen.diff(999, Tabs::Shown), seen.brief(999, Tabs::Shown));
    }

    #[test]
    fn long_list_of_lines_is_cut() {
        let text = "+a:1\n".repeat(999);
        let mut entry = replacement(b"old", text.as_bytes());
        if let Change::Replace { base, content, .. } = &mut entry.change {
            (base.sha256, content.source) = (None, Source::Lines);
        }
        let view = replaced(&entry, None, text.as_bytes());
        for (most, is_cut) in [(99, true), (9999, false)] {
            assert_eq!(view.is_cut(view.diff(most, Tabs::Shown).lines()), is_cut);
        }
        assert!(!view.hides_old());
    }

    #[test]
    fn link_leads_to_another_target_only_if_it_does() {
        let target = sha256(b"x");
        let owner = Metadata {
            mode: 0o777,
            uid: 33,
            gid: 34,
        };
        for (old, expect) in [
            (Some(target), "symbolic link: owner 0:0 becomes 33:34"),
            (
                Some(sha256(b"y")),
                "symbolic link gets another target, owner 0:0 becomes 33:34",
            ),
            (None, "symbolic link gets a target, owner 0:0 becomes 33:34"),
        ] {
            let mut base = base(Kind::Symlink, b"x");
            (base.sha256, base.stat.meta.mode) = (old, 0o777);
            let mut entry = replacement(b"", b"x");
            if let Change::Replace { content, .. } = entry.change {
                let meta = owner;
                entry.change = Change::Replace {
                    base,
                    content,
                    meta,
                };
            }
            assert_eq!(replaced(&entry, None, b"x").what(), expect);
        }
    }

    #[test]
    fn upload_has_no_diff_also_if_its_old_bytes_are_known() {
        let mut entry = replacement(b"old\n", b"y\n");
        for is_unread in [false, true] {
            if let Change::Replace { base, content, .. } = &mut entry.change {
                content.source = Source::Upload;
                base.sha256 = base.sha256.filter(|_| !is_unread);
            }
            for old in [None, Some(&b"old\n"[..])] {
                let view = View {
                    entry: &entry,
                    old,
                    new: None,
                };
                for text in [view.diff(999, Tabs::Shown), view.brief(999, Tabs::Shown)] {
                    let lines: Vec<&str> = text.lines().collect();
                    assert!(lines[0].starts_with("[… 4 old bytes "), "{text}");
                    assert!(
                        lines[1].starts_with("[… 2 new bytes were uploaded"),
                        "{text}"
                    );
                    assert_eq!(lines.len(), 2, "{text}");
                    assert!(!text.contains("remit show"), "{text}");
                    assert!(!view.is_cut(text.lines()) && !view.hides_old());
                }
                assert_eq!(view.is_unread(), is_unread);
            }
        }
    }

    #[test]
    fn each_change_is_a_line() {
        let content = Content {
            size: 1,
            sha256: sha256(b"y"),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let other = Metadata {
            mode: 0o4755,
            uid: 33,
            gid: 34,
        };
        let old = base(Kind::File, b"xx");
        for (change, expect) in [
            (
                Change::Create {
                    new: New::File(content),
                    meta: META,
                },
                "new file of 1 byte, mode 0644, owner 0:0",
            ),
            (
                Change::Create {
                    new: New::Directory,
                    meta: other,
                },
                "new directory, mode 4755, owner 33:34",
            ),
            (
                Change::Replace {
                    base: old,
                    content,
                    meta: other,
                },
                "2 bytes become 1 byte, mode 0644 becomes 4755, owner 0:0 becomes 33:34",
            ),
            (
                Change::SetMetadata {
                    base: base(Kind::Directory, b""),
                    meta: other,
                },
                "directory: mode 0644 becomes 4755, owner 0:0 becomes 33:34",
            ),
            (Change::Remove { base: old }, "removed file of 2 bytes"),
            (
                Change::Remove {
                    base: base(Kind::Symlink, b"x"),
                },
                "removed symbolic link",
            ),
        ] {
            let entry = Entry {
                path: PlanPath::new("/x").unwrap(),
                change,
            };
            let view = View {
                entry: &entry,
                old: None,
                new: None,
            };
            assert_eq!(view.what(), expect);
        }
    }

    fn replaced<'a>(entry: &'a Entry, old: Option<&'a [u8]>, new: &'a [u8]) -> View<'a> {
        let new = Some(new);
        View { entry, old, new }
    }

    fn replacement(old: &[u8], new: &[u8]) -> Entry {
        let content = Content {
            size: new.len() as u64,
            sha256: sha256(new),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let base = base(Kind::File, old);
        Entry {
            path: PlanPath::new("/x").unwrap(),
            change: Change::Replace {
                base,
                content,
                meta: META,
            },
        }
    }

    #[test]
    fn long_content_that_is_not_text_has_size_and_hash() {
        let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
        let script = "#!/bin/sh\n# gr\u{fc}n \u{4e2d}\u{6587}\n".repeat(30);
        let removed = format!("@@ -1,60 +0,0 @@\n-{}", script.replace('\n', "\n-"));
        let added = format!("@@ -0,0 +1,60 @@\n+{}", script.replace('\n', "\n+"));
        let line = |which: &str, bytes: &[u8]| {
            let (size, sha) = (bytes.len(), hex(&sha256(bytes)));
            format!("[… {size} {which} bytes are not text, sha256 {sha} …]\n")
        };
        let shown = |old: Option<&[u8]>, new: &[u8]| {
            let entry = replacement(&binary, new);
            replaced(&entry, old, new).brief(99_999, Tabs::Shown)
        };
        let (script, other) = (script.as_bytes(), &binary[..600]);
        let both = line("old", &binary) + &line("new", other);
        assert_eq!(shown(Some(&binary), other), both);
        // The text of the two is shown.
        let expect = line("old", &binary) + added.trim_end_matches('+');
        assert_eq!(shown(Some(&binary), script), expect);
        let expect = line("new", other) + removed.trim_end_matches('-');
        assert_eq!(shown(Some(script), other), expect);
        let unknown = shown(None, other);
        assert!(unknown.starts_with(&line("new", other)), "{unknown}");
        assert!(
            unknown.contains("4096 old bytes are not shown, sha256 "),
            "{unknown}"
        );
    }

    /// Some odd bytes hide no line of a text.
    #[test]
    fn text_and_short_content_have_a_diff() {
        let line = b"agent ALL=(ALL) NOPASSWD: ALL\n";
        let long = line.repeat(200);
        let odd = [&b"\0\xff\x1b".repeat(100)[..], &long].concat();
        let short: Vec<u8> = (0..=255).collect();
        for new in [&long, &odd, &short] {
            let entry = replacement(b"", new);
            let view = replaced(&entry, Some(b""), new);
            assert_eq!(
                view.brief(99_999, Tabs::Shown),
                view.diff(99_999, Tabs::Shown)
            );
        }
    }

    #[test]
    fn old_bytes_that_are_not_shown_have_a_hash() {
        let change = Change::Replace {
            base: base(Kind::File, b"old"),
            content: Content {
                size: 2,
                sha256: sha256(b"y\n"),
                source: Source::Bundle,
                capabilities: None,
                mtime: None,
            },
            meta: META,
        };
        let entry = Entry {
            path: PlanPath::new("/x").unwrap(),
            change,
        };
        let view = |old| View {
            entry: &entry,
            old,
            new: Some(b"y\n"),
        };
        let sha = hex(&sha256(b"old"));
        assert_eq!(
            view(None).diff(999, Tabs::Shown),
            format!("[… 3 old bytes are not shown, sha256 {sha} …]\n@@ -0,0 +1 @@\n+y\n")
        );
        // A longer diff does not show them either.
        let text = view(None).diff(999, Tabs::Shown);
        assert!(!view(None).is_cut(text.lines()) && view(None).hides_old());
        assert!(!view(Some(b"old")).hides_old());
        assert_eq!(
            view(Some(b"old")).diff(999, Tabs::Shown),
            "@@ -1 +1 @@\n-old\n\\ No newline at end of file\n+y\n"
        );
    }
}
