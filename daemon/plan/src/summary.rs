//! What a plan changes, on one line, for a record: an auditor reads it where the plan itself is gone. Who may read the
//! journal learns neither bytes nor sizes of files from it.

use std::fmt::Write;

use remit_common::escape;

use crate::Plan;
use crate::deciding::decides;
use crate::plan::{Change, Entry, Kind, New};
use crate::view::metadata;

/// Most bytes of a path: a longer one is shortened in the middle.
const PATH: usize = 200;

/// Returns `'PATH': what becomes of it` of each entry, with `; ` between them: as many as fit into `cap` bytes, then how
/// many are left. Paths that decide about rights, logins and what runs are first.
#[must_use]
pub fn summary(plan: &Plan, cap: usize) -> String {
    let mut entries: Vec<&Entry> = plan.entries().iter().collect();
    entries.sort_by_cached_key(|entry| !decides(&entry.path));
    let mut all = String::new();
    for (index, entry) in entries.iter().enumerate() {
        let mark = if index == 0 { "" } else { "; " };
        let one = of_entry(entry);
        if all.len() + mark.len() + one.len() > cap {
            let left = entries.len() - index;
            let _ = write!(all, "{mark}and {left} more");
            break;
        }
        all.push_str(mark);
        all.push_str(&one);
    }
    all
}

fn of_entry(entry: &Entry) -> String {
    let what = match entry.change {
        Change::Create { new, .. } => match new {
            New::File(_) => "new file",
            New::Directory => "new directory",
            New::Link(_) => "new symbolic link",
        },
        change if change.keeps_target() => "same target",
        Change::Replace { base, .. } if base.stat.kind == Kind::Symlink => {
            "symbolic link gets a target"
        }
        Change::Replace { .. } => "other content",
        Change::ReplaceKind { base, .. } if base.stat.kind == Kind::Symlink => {
            "symbolic link becomes a file"
        }
        Change::ReplaceKind { .. } => "file becomes a symbolic link",
        Change::SetMetadata { .. } => "same content",
        Change::Remove { .. } => "removed",
    };
    let path = escape::in_quotes(entry.path.as_bytes(), PATH);
    let mut one = format!("'{path}': {what}");
    if let Some(meta) = entry.change.meta() {
        let _ = write!(one, ", {}", metadata(meta));
    }
    if let Some(own) = entry
        .change
        .content()
        .and_then(|content| content.capabilities)
    {
        let _ = write!(one, ", capabilities {own}");
    }
    if let Some(upload) = entry.change.upload() {
        let _ = write!(one, ", upload {upload}");
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Base, Content, Metadata, Source, Stat};
    use crate::{PlanPath, sha256};

    fn new_file(path: &[u8], mode: u32, is_uploaded: bool) -> Entry {
        let content = Content {
            size: 1,
            sha256: sha256(b"y"),
            source: match is_uploaded {
                true => Source::Upload,
                false => Source::Bundle,
            },
            capabilities: None,
            mtime: None,
        };
        let (uid, gid) = (0, 0);
        Entry {
            path: PlanPath::new(path).unwrap(),
            change: Change::Create {
                new: New::File(content),
                meta: Metadata { mode, uid, gid },
            },
        }
    }

    #[test]
    fn each_path_has_its_change_and_the_name_of_an_upload() {
        let plan = Plan::new(vec![
            new_file(b"/a'; '/etc/shadow': removed; '", 0o600, false),
            new_file(b"/b", 0o644, true),
            new_file(b"/etc/sudoers.d/x", 0o440, false),
        ])
        .unwrap();
        let hash = crate::hex(&sha256(b"y"));
        let expect = [
            "'/etc/sudoers.d/x': new file, mode 0440, owner 0:0",
            r"'/a\'; \'/etc/shadow\': removed; \'': new file, mode 0600, owner 0:0",
            &format!("'/b': new file, mode 0644, owner 0:0, upload {hash}-1"),
        ];
        assert_eq!(summary(&plan, 4096), expect.join("; "));
        let one = format!("{}; and 2 more", expect[0]);
        assert_eq!(summary(&plan, expect[0].len()), one);
        assert_eq!(summary(&plan, 0), "and 3 more");
    }

    #[test]
    fn link_that_gets_an_owner_keeps_its_target() {
        let meta = |uid| Metadata {
            mode: 0o777,
            uid,
            gid: 0,
        };
        for (old, what) in [(b"y", "same target"), (b"z", "symbolic link gets a target")] {
            let stat = Stat {
                kind: Kind::Symlink,
                dev: 1,
                ino: 2,
                ctime_ns: 3,
                size: 1,
                meta: meta(0),
            };
            let mut entry = new_file(b"/a", 0o777, false);
            entry.change = Change::Replace {
                base: Base::new(stat, Some(sha256(old))),
                content: entry.change.content().unwrap(),
                meta: meta(33),
            };
            let plan = Plan::new(vec![entry]).unwrap();
            let line = format!("'/a': {what}, mode 0777, owner 33:0");
            assert_eq!(summary(&plan, 999), line);
        }
    }

    /// The quotes of a long path that is shortened stay, and no other path hides behind it.
    #[test]
    fn long_paths_are_shortened_inside_of_their_quotes() {
        let long = [&b"/srv/"[..], &[0xff; 250], b"/", &[0xff; 250]].concat();
        let plan = Plan::new(vec![
            new_file(&long, 0o644, false),
            new_file(b"/srv/z; /etc/shadow: removed; z", 0o644, false),
        ])
        .unwrap();
        let all = summary(&plan, 7 << 10);
        assert!(all.len() < 600, "{all}");
        assert_eq!(all.matches('\'').count(), 4, "{all}");
        assert!(
            all.starts_with("'/srv/z; /etc/shadow: removed; z': new"),
            "{all}"
        );
    }
}
