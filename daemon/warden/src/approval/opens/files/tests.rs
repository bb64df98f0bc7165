use std::fs;
use std::path::PathBuf;

use remit_plan::{Base, Content as PlanContent, Metadata, OldCapabilities, PlanPath, Stat, sha256};

use super::*;

const META: Metadata = Metadata {
    mode: 0o644,
    uid: 0,
    gid: 7,
};

struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("remit-opens-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        Self(root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn content(bytes: &[u8], source: Source) -> PlanContent {
    PlanContent {
        size: bytes.len() as u64,
        sha256: sha256(bytes),
        source,
        capabilities: None,
        mtime: None,
    }
}

fn base(kind: Kind, capabilities: OldCapabilities) -> Base {
    let stat = Stat {
        kind,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: 4,
        meta: Metadata {
            mode: 0o600,
            ..META
        },
    };
    Base {
        stat,
        sha256: (kind == Kind::File).then_some([1; 32]),
        capabilities,
    }
}

fn entry(path: &str, change: Change) -> Entry {
    let path = PlanPath::new(path).unwrap();
    Entry { path, change }
}

/// Returns what the program gets of each entry, in their order.
fn asked(root: &Path, entries: &[(Entry, Option<&[u8]>)]) -> Vec<FileChange> {
    let mut bytes = FileBytes {
        machine: root,
        left: FILES,
    };
    let views = entries.iter().map(|(entry, new)| View {
        entry,
        old: None,
        new: *new,
    });
    views.map(|view| bytes.change(&view)).collect()
}

fn contents(root: &Path, entries: &[(Entry, Option<&[u8]>)]) -> Vec<Option<Content>> {
    let asked = asked(root, entries).into_iter();
    asked
        .map(|one| one.after.map(|after| after.content))
        .collect()
}

#[test]
fn each_kind_of_change_is_asked_about_as_it_is() {
    let root = Root::new("kinds");
    let create = |new| Change::Create { new, meta: META };
    let file = content(b"new", Source::Bundle);
    let entries = [
        (entry("/etc/a", create(New::File(file))), Some(&b"new"[..])),
        (entry("/etc/b", create(New::Directory)), None),
        (
            entry("/etc/c", create(New::Link(content(b"a", Source::Bundle)))),
            Some(b"a"),
        ),
        (
            entry("/etc/d", create(New::File(content(b"x", Source::Upload)))),
            None,
        ),
        (
            entry(
                "/etc/e",
                Change::SetMetadata {
                    base: base(Kind::File, OldCapabilities::Unread),
                    meta: META,
                },
            ),
            None,
        ),
        (
            entry(
                "/etc/f",
                Change::Remove {
                    base: base(Kind::File, OldCapabilities::Unread),
                },
            ),
            None,
        ),
    ];
    let asked = asked(&root.0, &entries);
    let found: Vec<_> = asked
        .iter()
        .map(|one| one.after.as_ref().map(|after| &after.content))
        .collect();
    let (text, link) = (b"new".to_vec().into(), b"a".to_vec().into());
    assert_eq!(
        found,
        [
            Some(&Content::File(text)),
            Some(&Content::Directory),
            Some(&Content::Link(link)),
            Some(&Content::Unknown),
            Some(&Content::Same),
            None
        ]
    );
    let after = asked[0].after.as_ref().unwrap();
    assert_eq!((after.uid, after.gid, after.mode), (0, 7, 0o644));
    assert_eq!(&asked[0].path[..], b"/etc/a");
}

/// What is left out of the question is unknown, not empty.
#[test]
fn bytes_beyond_the_bounds_are_unknown() {
    let root = Root::new("bounds");
    let (most, more) = (vec![b'x'; FILE], vec![b'x'; FILE + 1]);
    let new = |at: usize, bytes: &[u8]| {
        let new = New::File(content(bytes, Source::Bundle));
        entry(&format!("/etc/{at}"), Change::Create { new, meta: META })
    };
    assert_eq!(
        contents(&root.0, &[(new(0, &more), Some(&more))]),
        [Some(Content::Unknown)]
    );
    let all: Vec<_> = (0..20)
        .map(|at| (new(at, &most), Some(&most[..])))
        .collect();
    let known = contents(&root.0, &all);
    let is_known = |one: &&Option<Content>| matches!(one, Some(Content::File(_)));
    assert_eq!(known.iter().filter(is_known).count(), FILES / FILE);
    assert_eq!(known.last(), Some(&Some(Content::Unknown)));
}

#[test]
fn lines_of_a_table_are_put_into_the_table_of_the_machine() {
    let root = Root::new("table");
    fs::write(root.0.join("etc/shadow"), "root:$y$secret:1::::::\n").unwrap();
    let lines = b"+bot:!:1::::::\n";
    let change = Change::Replace {
        base: base(Kind::File, OldCapabilities::Unread),
        content: content(lines, Source::Lines),
        meta: META,
    };
    let entries = [(entry("/etc/shadow", change), Some(&lines[..]))];
    let table = b"root:$y$secret:1::::::\nbot:!:1::::::\n".to_vec();
    assert_eq!(
        contents(&root.0, &entries),
        [Some(Content::File(table.into()))]
    );
    // A table with other lines is none of this plan.
    fs::write(root.0.join("etc/shadow"), "bot:*:1::::::\n").unwrap();
    assert_eq!(contents(&root.0, &entries), [Some(Content::Unknown)]);
    fs::remove_file(root.0.join("etc/shadow")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", root.0.join("etc/shadow")).unwrap();
    assert_eq!(contents(&root.0, &entries), [Some(Content::Unknown)]);
}

/// A requester writes into the plan that nobody has read them.
#[test]
fn capabilities_that_a_plan_leaves_out_are_read_from_the_file() {
    let root = Root::new("capabilities");
    let path = root.0.join("etc/tool");
    fs::write(&path, "x").unwrap();
    let own = FileCapabilities {
        permitted: 1 << 7,
        inheritable: 1 << 13,
        is_effective: true,
    };
    sys::set_xattr(
        File::open(&path).unwrap(),
        sys::FILE_CAPABILITIES,
        &own.encode(),
    )
    .unwrap();
    let bits = |capabilities| {
        let base = base(Kind::File, capabilities);
        let change = Change::SetMetadata { base, meta: META };
        let asked = asked(&root.0, &[(entry("/etc/tool", change), None)]);
        asked[0].after.as_ref().unwrap().capabilities
    };
    assert_eq!(bits(OldCapabilities::Unread), 1 << 7);
    assert_eq!(bits(OldCapabilities::Read(Some(own))), 1 << 7);
    // Of another file than the plan says, which is not committed.
    assert_eq!(bits(OldCapabilities::Read(None)), 1 << 7);
    let of_another_root = [
        &3_u32.to_le_bytes()[..3],
        &[3],
        &[0x80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[9; 4],
    ]
    .concat();
    assert_eq!(permitted_capabilities(&of_another_root), 1 << 7 | 1 << 32);
    assert_eq!(permitted_capabilities(&[]), 0);
}
