//! What a plan changes, on one line, for a record: an auditor reads it where the plan itself is gone.

use std::fmt::Write;

use remit_common::text;

use crate::plan::{Change, Entry};
use crate::{Plan, View, hex};

/// Who may not read a file must not guess its bytes by their hash.
const READ_BY_ALL: u32 = 0o004;

/// Returns `PATH: what becomes of it, sha256 HASH` of each entry, with `; ` between them: as many as fit into `cap` bytes,
/// then how many are left. A path that is not plain is quoted as in a shell. A file that not everybody may read has no
/// hash, unless it is an upload: the record of its upload has it.
#[must_use]
pub fn summary(plan: &Plan, cap: usize) -> String {
    let mut all = String::new();
    for (index, entry) in plan.entries().iter().enumerate() {
        let mark = if index == 0 { "" } else { "; " };
        let one = of_entry(entry);
        if all.len() + mark.len() + one.len() > cap {
            let left = plan.entries().len() - index;
            let _ = write!(all, "{mark}and {left} more");
            break;
        }
        all.push_str(mark);
        all.push_str(&one);
    }
    all
}

fn of_entry(entry: &Entry) -> String {
    let view = View {
        entry,
        old: None,
        new: None,
    };
    let path = text::command_line(&[entry.path.as_bytes()], crate::PATH_BYTES);
    let mut one = format!("{path}: {}", view.what());
    let meta = match entry.change {
        Change::Create { meta, .. } | Change::Replace { meta, .. } => Some(meta),
        Change::SetMetadata { .. } | Change::Remove { .. } => None,
    };
    let is_public = meta.is_some_and(|meta| meta.mode & READ_BY_ALL != 0);
    let content = entry.change.content();
    if let Some(content) = content.filter(|content| is_public || content.is_uploaded) {
        let _ = write!(one, ", sha256 {}", hex(&content.sha256));
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Content, Metadata, New};
    use crate::{PlanPath, sha256};

    fn new_file(path: &str, mode: u32, is_uploaded: bool) -> Entry {
        let content = Content {
            size: 1,
            sha256: sha256(b"y"),
            is_uploaded,
        };
        let (uid, gid) = (0, 0);
        Entry {
            path: PlanPath::new(path.as_bytes()).unwrap(),
            change: Change::Create {
                new: New::File(content),
                meta: Metadata { mode, uid, gid },
            },
        }
    }

    #[test]
    fn each_path_has_its_change_and_the_hash_of_what_all_may_read() {
        let hash = hex(&sha256(b"y"));
        let plan = Plan::new(vec![
            new_file("/a", 0o644, false),
            new_file("/b; /c: removed", 0o600, false),
            new_file("/d", 0o600, true),
        ])
        .unwrap();
        let all = summary(&plan, 4096);
        let parts: Vec<&str> = all.split("; /").collect();
        assert!(parts[0].starts_with("/a: new file of 1 byte"), "{all}");
        assert!(parts[0].ends_with(&format!("sha256 {hash}; '/b")), "{all}");
        assert!(parts[1].starts_with("c: removed': new file"), "{all}");
        assert!(!parts[1].contains("sha256"), "{all}");
        assert!(
            parts[2].contains("upload") && parts[2].ends_with(&hash),
            "{all}"
        );
        let one = of_entry(&plan.entries()[0]).len();
        assert_eq!(summary(&plan, one), format!("{}; and 2 more", &all[..one]));
        assert_eq!(summary(&plan, 0), "and 3 more");
    }
}
