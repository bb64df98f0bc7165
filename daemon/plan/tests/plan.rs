//! Plans as a client makes them: encodings, risks, and what no plan may change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::fs;
use std::io;

use proptest::prelude::*;
use remit_plan::{
    Base, Change, Conflict, Content, DirectoryId, Entry, FileCapabilities, Journal, Kind, Metadata,
    New, OldCapabilities, Plan, PlanDirectories, PlanDirectory, PlanError, PlanPath, Protected,
    Risk, Source, Stat, UndoMark, View, canonical, needs_approval, risk_sentences, risks, sha256,
};

const META: Metadata = Metadata {
    mode: 0o640,
    uid: 0,
    gid: 42,
};

/// The mode of a link.
const OF_LINKS: Metadata = Metadata {
    mode: 0o777,
    uid: 0,
    gid: 0,
};
const ROOT: Metadata = Metadata {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

fn path(text: &str) -> PlanPath {
    PlanPath::new(text).unwrap()
}

fn base(kind: Kind, bytes: &[u8]) -> Base {
    Base {
        stat: Stat {
            kind,
            dev: 1,
            ino: 7,
            ctime_ns: 99,
            size: bytes.len() as u64,
            meta: META,
        },
        sha256: (kind == Kind::File).then(|| sha256(bytes)),
        capabilities: OldCapabilities::Unread,
    }
}

fn entry(at: &str, change: Change) -> Entry {
    Entry {
        path: path(at),
        change,
    }
}

fn created(at: &str, bytes: &[u8]) -> Entry {
    let new = New::File(Content::bundled(bytes));
    entry(at, Change::Create { new, meta: ROOT })
}

fn removed(at: &str, kind: Kind) -> Entry {
    entry(
        at,
        Change::Remove {
            base: base(kind, b"x"),
        },
    )
}

fn directory(at: &str) -> Entry {
    let new = New::Directory;
    entry(at, Change::Create { new, meta: META })
}

fn capabilities() -> impl Strategy<Value = Option<FileCapabilities>> + Clone {
    let some = (1..1_u64 << 41, 0..1_u64 << 41, any::<bool>());
    prop::option::of(
        some.prop_map(|(permitted, inheritable, is_effective)| FileCapabilities {
            permitted,
            inheritable,
            is_effective,
        }),
    )
}

fn change() -> impl Strategy<Value = Change> {
    let meta = (0..0o10000_u32, any::<u16>(), any::<u16>()).prop_map(|(mode, uid, gid)| Metadata {
        mode,
        uid: uid.into(),
        gid: gid.into(),
    });
    let stat = (
        any::<u64>(),
        any::<u64>(),
        any::<i64>(),
        any::<u64>(),
        meta.clone(),
    );
    let base = (stat, any::<[u8; 32]>(), 0..3_usize, capabilities()).prop_map(
        |((dev, ino, ctime, size, meta), sha256, kind, own)| {
            let kind = [Kind::File, Kind::Directory, Kind::Symlink][kind];
            let ctime_ns = i128::from(ctime) * 1000;
            let stat = Stat {
                kind,
                dev,
                ino,
                ctime_ns,
                size,
                meta,
            };
            Base {
                stat,
                // Of a link, not all planners read the target.
                sha256: (kind == Kind::File || kind == Kind::Symlink && ino % 2 == 0)
                    .then_some(sha256),
                capabilities: match kind {
                    Kind::File if ino % 3 != 0 => OldCapabilities::Read(own),
                    _ => OldCapabilities::Unread,
                },
            }
        },
    );
    let target = (1..4096_u64, any::<[u8; 32]>()).prop_map(|(size, sha256)| Content {
        size,
        sha256,
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    });
    let owner = (any::<u16>(), any::<u16>()).prop_map(|(uid, gid)| Metadata {
        mode: 0o777,
        uid: uid.into(),
        gid: gid.into(),
    });
    let content = (
        0..1000_u64,
        any::<[u8; 32]>(),
        capabilities(),
        any::<Option<i64>>(),
    );
    let content = content.prop_map(|(size, sha256, capabilities, mtime)| Content {
        size,
        sha256,
        source: Source::Bundle,
        capabilities,
        mtime,
    });
    let is = |kind: Kind| move |base: &Base| base.stat.kind == kind;
    prop_oneof![
        (content.clone(), meta.clone()).prop_map(|(content, meta)| Change::Create {
            new: New::File(content),
            meta
        }),
        meta.clone().prop_map(|meta| Change::Create {
            new: New::Directory,
            meta
        }),
        (target.clone(), owner.clone()).prop_map(|(target, meta)| Change::Create {
            new: New::Link(target),
            meta
        }),
        (
            base.clone().prop_filter("a link", is(Kind::Symlink)),
            content.clone(),
            meta.clone()
        )
            .prop_map(|(base, content, meta)| Change::ReplaceKind {
                base,
                new: New::File(content),
                meta
            }),
        (
            base.clone().prop_filter("a file", is(Kind::File)),
            target.clone(),
            owner.clone()
        )
            .prop_map(|(base, target, meta)| Change::ReplaceKind {
                base,
                new: New::Link(target),
                meta
            }),
        (
            base.clone().prop_filter("a link", is(Kind::Symlink)),
            target,
            owner
        )
            .prop_map(|(base, content, meta)| Change::Replace {
                base,
                content,
                meta
            }),
        (
            base.clone().prop_filter("a file", is(Kind::File)),
            content,
            meta.clone()
        )
            .prop_map(|(base, content, meta)| Change::Replace {
                base,
                content,
                meta
            }),
        (
            base.clone()
                .prop_filter("no link", |base| base.stat.kind != Kind::Symlink),
            meta
        )
            .prop_map(|(mut base, meta)| {
                if base.capabilities.known().is_some() {
                    base.stat.meta = Metadata {
                        mode: base.stat.meta.mode,
                        ..meta
                    };
                }
                Change::SetMetadata { base, meta }
            }),
        base.prop_map(|base| Change::Remove { base }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    prop::collection::btree_map("/[a-z]{1,9}(/[^/\0.]{1,9}){0,3}", change(), 1..9).prop_filter_map(
        "a plan",
        |entries| {
            let entries = entries.into_iter().map(|(at, change)| {
                Some(Entry {
                    path: PlanPath::new(at).ok()?,
                    change,
                })
            });
            Plan::new(entries.collect::<Option<_>>()?).ok()
        },
    )
}

proptest! {
    #[test]
    fn plan_is_decoded_as_it_was_encoded(plan in plan(), at: prop::sample::Index, byte: u8) {
        let bytes = plan.encode();
        prop_assert_eq!(&Plan::decode(&bytes).unwrap(), &plan);
        prop_assert!(Plan::decode(&bytes[..at.index(bytes.len())]).is_err());
        prop_assert!(Plan::decode(&[&bytes[..], b"\0"].concat()).is_err());
        // Another plan has other canonical bytes, whatever its encoding is.
        let mut damaged = bytes.clone();
        damaged[at.index(bytes.len())] = byte;
        if let Ok(other) = Plan::decode(&damaged) {
            prop_assert_eq!(other == plan, canonical(&other) == canonical(&plan));
        }
    }

    /// A purge of the package finds paths by it (`packaging/deb/postrm`), without a program that reads journals.
    #[test]
    fn control_character_follows_each_path_of_a_journal(plan in plan()) {
        let (bytes, _) = Journal::begin(&plan, &PlanDirectories::new());
        for entry in plan.entries() {
            let path = entry.path.as_bytes();
            let ends = |found: &[u8]| found.strip_prefix(path).is_some_and(|rest| rest[0] < b' ');
            prop_assert!(bytes.windows(path.len() + 1).any(ends), "{}", entry.path);
        }
    }

    #[test]
    fn journal_is_decoded_as_it_began(plan in plan(), at: prop::sample::Index, byte: u8) {
        let (mut bytes, rows_at) = Journal::begin(&plan, &PlanDirectories::new());
        let journal = Journal::decode(&bytes).unwrap();
        prop_assert!(!journal.is_staged());
        prop_assert_eq!((&journal.plan, journal.inodes), (&plan, vec![0; plan.entries().len()]));
        let of = |number: usize| u8::try_from(number % 200 + 1).unwrap();
        let entries = plan.entries().iter().zip(1..);
        let hashes: Vec<_> = entries
            .map(|(entry, number)| entry.change.has_journaled_hash().then_some([of(number); 32]))
            .collect();
        let inodes: Vec<u64> = (1..).take(plan.entries().len()).collect();
        let parents: BTreeSet<_> = plan.entries().iter().map(|entry| entry.path.parent().to_vec()).collect();
        let directories: PlanDirectories = (1..).zip(&parents).map(|(ino, path)| {
            let own = DirectoryId { ino, born_ns: 3, uid: 4 };
            let mount = (ino % 2 == 0).then_some((5, own));
            (path.clone(), PlanDirectory { own, mount })
        }).collect();
        let rows = Journal::encode_rows(&plan, &inodes, &hashes, &directories);
        prop_assert_eq!(bytes.len() - usize::try_from(rows_at).unwrap(), rows.len());
        let of_directories = PlanDirectory::BYTES * parents.len();
        prop_assert_eq!(rows.len(), 8 * inodes.len() + 32 * hashes.iter().flatten().count() + of_directories);
        let mut written = bytes[..usize::try_from(rows_at).unwrap()].to_vec();
        written.extend(rows);
        let read = Journal::decode(&written).unwrap();
        prop_assert!(read.is_staged());
        prop_assert_eq!(written.len() as u64, read.marks_at());
        prop_assert_eq!(&read.directories, &directories);
        // What no release wrote.
        let mut other = written.clone();
        other[13..16].copy_from_slice(b"01\n");
        prop_assert!(Journal::decode(&other).is_err());
        let marks = [UndoMark::Due, UndoMark::Undone, UndoMark::Stays];
        let marks: Vec<_> = marks.into_iter().cycle().take(inodes.len()).collect();
        let part = at.index(marks.len() + 1);
        written.extend(marks[..part].iter().map(|mark| *mark as u8));
        let read = Journal::decode(&written).unwrap();
        prop_assert_eq!((&read.inodes, &read.hashes), (&inodes, &hashes));
        prop_assert_eq!(&read.marks, &marks[..part]);
        written.resize(written.len() + marks.len() - part + 1, 0);
        prop_assert!(Journal::decode(&written).is_err());
        prop_assert!(Journal::decode(&bytes[..at.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Journal::decode(&bytes);
    }

    #[test]
    fn operations_name_each_entry_once_and_in_order(plan in plan()) {
        let order = plan.operations();
        let entries = plan.entries();
        prop_assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), entries.len());
        for (at, first) in order.iter().enumerate() {
            for second in &order[at + 1..] {
                let (first, second) = (&entries[*first], &entries[*second]);
                let is_removed = matches!(first.change, Change::Remove { .. });
                let above = if is_removed { (second, first) } else { (first, second) };
                prop_assert!(!(above.0.path.is_in(above.1.path.as_bytes())));
            }
        }
    }
}

fn link_to(target: &[u8]) -> Base {
    let mut base = base(Kind::Symlink, target);
    base.stat.meta.mode = 0o777;
    base.sha256 = Some(sha256(target));
    base
}

#[test]
fn link_is_a_risk_that_asks_a_person() {
    let target = b"../sites-available/a";
    let new = New::Link(Content::bundled(target));
    let meta = Metadata {
        mode: 0o777,
        uid: 0,
        gid: 0,
    };
    let entry = entry("/etc/nginx/sites-enabled/a", Change::Create { new, meta });
    let view = View {
        entry: &entry,
        old: None,
        new: Some(target),
    };
    let risk = "it is a link: whoever can change '../sites-available/a' changes what is read or written here";
    let all: Vec<String> = risks(&view).iter().map(Risk::to_string).collect();
    assert_eq!(all, ["programs of root may have settings in it", risk]);
    let asks = needs_approval(&view, &[path("/etc/nginx")]);
    assert_eq!(asks.as_deref(), Some(risk));
    let forged = b"/srv/x' changes nothing: 'y";
    let view = View {
        new: Some(forged),
        ..view
    };
    let risk = risks(&view)
        .into_iter()
        .next_back()
        .map(|risk| risk.to_string());
    let quoted = "'/srv/x\\' changes nothing: \\'y' changes what is read";
    assert!(risk.unwrap().contains(quoted));
}

#[test]
fn link_to_what_decides_about_logins_can_lock_out() {
    let base = link_to(b"usr/etc");
    for (at, locks) in [("/etc", true), ("/home", true), ("/srv/current", false)] {
        let change = Change::Replace {
            base,
            content: Content::bundled(b"elsewhere"),
            meta: base.stat.meta,
        };
        let plan = Plan::new(vec![entry(at, change)]).unwrap();
        assert_eq!(plan.can_lock_out().is_some(), locks, "{at}");
    }
}

/// What a file becomes if it is a link with this target.
fn turned_to_link(old: &[u8], target: &[u8]) -> Change {
    Change::ReplaceKind {
        base: base(Kind::File, old),
        new: New::Link(Content::bundled(target)),
        meta: OF_LINKS,
    }
}

/// What a link becomes if it is a file with these bytes.
fn turned_to_file(target: &[u8], new: &[u8], mode: u32) -> Change {
    Change::ReplaceKind {
        base: link_to(target),
        new: New::File(Content::bundled(new)),
        meta: Metadata { mode, ..ROOT },
    }
}

#[test]
fn only_a_file_and_a_link_replace_each_other() {
    let refused = |change: Change| {
        Plan::new(vec![entry("/a", change)])
            .unwrap_err()
            .to_string()
    };
    let (file, link) = (
        New::File(Content::bundled(b"y")),
        New::Link(Content::bundled(b"y")),
    );
    let directory = base(Kind::Directory, b"");
    let no_hash = Base {
        sha256: None,
        ..directory
    };
    let kinds = [
        (base(Kind::File, b"x"), file, META),
        (link_to(b"x"), link, OF_LINKS),
        (no_hash, file, META),
        (no_hash, link, OF_LINKS),
        (base(Kind::File, b"x"), New::Directory, META),
        (link_to(b"x"), New::Directory, META),
    ];
    for (base, new, meta) in kinds {
        let why = refused(Change::ReplaceKind { base, new, meta });
        assert!(
            why.contains("which a plan cannot change so"),
            "{why} {new:?}"
        );
    }
    let moded = Change::ReplaceKind {
        base: base(Kind::File, b"x"),
        new: link,
        meta: META,
    };
    assert!(refused(moded).contains("impossible target or mode"));
    let beneath = vec![
        entry("/a", turned_to_link(b"x", b"y")),
        created("/a/b", b"z"),
    ];
    assert!(Plan::new(beneath).is_err());
    // A file of accounts stays a file.
    let protected = Protected::default();
    for change in [
        turned_to_link(b"x", b"y"),
        turned_to_file(b"x", b"y", 0o644),
    ] {
        let entry = entry("/etc/passwd", change);
        let view = View {
            entry: &entry,
            old: Some(b"x"),
            new: Some(b"y"),
        };
        assert!(protected.refuses(&view).is_some(), "{entry:?}");
    }
}

/// A commit of it would only answer whether the file has these bytes.
#[test]
fn mode_and_owner_that_stay_are_refused() {
    for (kind, meta, is_refused) in [
        (Kind::File, META, true),
        (Kind::Directory, META, true),
        (Kind::File, Metadata { mode: 0, ..META }, false),
        (Kind::File, Metadata { uid: 1, ..META }, false),
        (Kind::File, Metadata { gid: 1, ..META }, false),
    ] {
        let base = base(kind, b"x");
        let plan = Plan::new(vec![entry("/a", Change::SetMetadata { base, meta })]);
        assert_eq!(plan.is_err(), is_refused, "{kind:?} {meta:?}: {plan:?}");
    }
}

#[test]
fn plan_with_conflicting_entries_is_refused() {
    let refused = |entries| matches!(Plan::new(entries), Err(PlanError::Entry { .. }));
    assert!(refused(vec![created("/a", b"x"), created("/a", b"y")]));
    assert!(refused(vec![created("/a", b"x"), created("/a/b", b"y")]));
    assert!(refused(vec![
        removed("/a", Kind::Directory),
        created("/a/b/c", b"y")
    ]));
    assert!(refused(vec![directory("/a"), removed("/a/b", Kind::File)]));
    assert!(refused(vec![removed("/a", Kind::Special)]));
    assert!(
        Plan::new(vec![
            created("/a/b", b"y"),
            directory("/a"),
            created("/a-b", b"y")
        ])
        .is_ok()
    );
    assert!(
        Plan::new(vec![
            removed("/a", Kind::Directory),
            removed("/a/b", Kind::File)
        ])
        .is_ok()
    );
    assert_eq!(Plan::new(Vec::new()), Err(PlanError::Empty));
    let many = (0..20_001)
        .map(|at| created(&format!("/{at}"), b""))
        .collect();
    assert_eq!(Plan::new(many), Err(PlanError::Many));
    let large = Content {
        size: 200 << 20,
        sha256: [0; 32],
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let large = |at: &str| {
        entry(
            at,
            Change::Create {
                new: New::File(large),
                meta: META,
            },
        )
    };
    let six: Vec<_> = ["/a", "/b", "/c", "/d", "/e", "/f"].map(large).into();
    assert!(Plan::new(six[..5].to_vec()).is_ok());
    assert_eq!(Plan::new(six), Err(PlanError::Bytes));
    let hashed = Change::Remove {
        base: Base {
            sha256: Some([0; 32]),
            ..base(Kind::Directory, b"")
        },
    };
    assert!(refused(vec![entry("/a", hashed)]));
}

const RAW: FileCapabilities = FileCapabilities {
    permitted: 1 << 13,
    inheritable: 0,
    is_effective: true,
};

fn capable(own: FileCapabilities) -> Content {
    Content {
        capabilities: Some(own),
        ..Content::bundled(b"y")
    }
}

#[test]
fn only_a_new_file_gets_capabilities_and_a_time() {
    let known = OldCapabilities::Read(Some(RAW));
    let none = FileCapabilities {
        permitted: 0,
        ..RAW
    };
    let create = |new| Change::Create { new, meta: ROOT };
    let replace = |base, content| Change::Replace {
        base,
        content,
        meta: ROOT,
    };
    let base_of = |kind, capabilities| Base {
        capabilities,
        ..base(kind, b"x")
    };
    let lines = Content {
        source: Source::Lines,
        ..capable(RAW)
    };
    let of_time = Content {
        mtime: Some(-1),
        ..Content::bundled(b"y")
    };
    let unread = Base {
        sha256: None,
        ..base(Kind::File, b"x")
    };
    let link = Base {
        stat: Stat {
            meta: OF_LINKS,
            ..base(Kind::Symlink, b"x").stat
        },
        ..base(Kind::Symlink, b"x")
    };
    for (at, change, is_plan) in [
        ("/a", create(New::File(capable(RAW))), true),
        (
            "/a",
            replace(base_of(Kind::File, known), Content::bundled(b"y")),
            true,
        ),
        ("/a", replace(base(Kind::File, b"x"), capable(RAW)), true),
        ("/a", create(New::Link(capable(RAW))), false),
        ("/a", create(New::File(of_time)), true),
        ("/a", create(New::Link(of_time)), false),
        ("/a", create(New::File(capable(none))), false),
        ("/etc/shadow", replace(unread, lines), false),
        (
            "/a",
            Change::Replace {
                base: link,
                content: capable(RAW),
                meta: OF_LINKS,
            },
            false,
        ),
        (
            "/a",
            Change::SetMetadata {
                base: base_of(Kind::File, known),
                meta: Metadata {
                    mode: 0o600,
                    ..base(Kind::File, b"x").stat.meta
                },
            },
            true,
        ),
        // The kernel would take them away.
        (
            "/a",
            Change::SetMetadata {
                base: base_of(Kind::File, known),
                meta: Metadata {
                    uid: 5,
                    ..base(Kind::File, b"x").stat.meta
                },
            },
            false,
        ),
        (
            "/a",
            Change::Remove {
                base: base_of(Kind::File, known),
            },
            true,
        ),
        (
            "/a",
            Change::Remove {
                base: base_of(Kind::Directory, known),
            },
            false,
        ),
        (
            "/a",
            Change::Remove {
                base: base_of(Kind::File, OldCapabilities::Read(Some(none))),
            },
            false,
        ),
    ] {
        let found = Plan::new(vec![entry(at, change)]);
        assert_eq!(found.is_ok(), is_plan, "{change:?} {found:?}");
    }
}

/// As a set-id bit: an approver is shown them, nobody is spared an approval, and the digest is of them.
#[test]
fn capabilities_are_a_risk_that_asks_a_person() {
    let replaced = |old, new| {
        let base = Base {
            capabilities: old,
            ..base(Kind::File, b"y")
        };
        let content = Content {
            capabilities: new,
            ..Content::bundled(b"y")
        };
        entry(
            "/srv/x",
            Change::Replace {
                base,
                content,
                meta: META,
            },
        )
    };
    let bind = FileCapabilities {
        permitted: 1 << 10,
        inheritable: 1 << 10,
        is_effective: false,
    };
    let (none, raw) = (
        OldCapabilities::Read(None),
        OldCapabilities::Read(Some(RAW)),
    );
    let mut digests = BTreeSet::new();
    for (old, new, risk) in [
        (
            none,
            Some(RAW),
            Some("who executes it gets capabilities: cap_net_raw"),
        ),
        (
            raw,
            Some(bind),
            Some("who executes it gets capabilities: cap_net_bind_service"),
        ),
        (
            raw,
            Some(RAW),
            Some("who executes it gets capabilities: cap_net_raw"),
        ),
        (raw, None, None),
        (none, None, None),
        (OldCapabilities::Unread, None, None),
    ] {
        let entry = replaced(old, new);
        let view = View {
            entry: &entry,
            old: Some(b"y"),
            new: Some(b"y"),
        };
        let found: Vec<String> = risks(&view).iter().map(Risk::to_string).collect();
        assert_eq!(
            found,
            risk.into_iter().collect::<Vec<_>>(),
            "{old:?} {new:?}"
        );
        assert_eq!(needs_approval(&view, &[path("/srv")]).as_deref(), risk);
        assert!(
            digests.insert(Plan::new(vec![entry]).unwrap().digest()),
            "{old:?} {new:?}"
        );
    }
    // Files of accounts get none, whoever approves.
    let group = entry(
        "/etc/group",
        Change::Create {
            new: New::File(capable(RAW)),
            meta: ROOT,
        },
    );
    let view = View {
        entry: &group,
        old: None,
        new: Some(b"y"),
    };
    let why = Protected::default().refuses(&view);
    assert_eq!(why, Some("nobody executes it, so it gets no capabilities"));
}

/// Attack: `chmod 0755` of a program that one group may execute gives everybody what it can do.
#[test]
fn mode_of_a_file_with_capabilities_is_the_risk_of_these() {
    let mode = |mode| Metadata { mode, ..ROOT };
    for (capabilities, own) in [
        (OldCapabilities::Read(Some(RAW)), Some("cap_net_raw")),
        (OldCapabilities::Read(None), None),
        (OldCapabilities::Unread, None),
    ] {
        let base = Base {
            stat: Stat {
                meta: mode(0o754),
                ..base(Kind::File, b"x").stat
            },
            capabilities,
            ..base(Kind::File, b"x")
        };
        let change = Change::SetMetadata {
            base,
            meta: mode(0o755),
        };
        let made = entry("/srv/dumpcap", change);
        let risk = own.map(|own| format!("who executes it gets capabilities: {own}"));
        for entry in [&made, &made.reversed()] {
            let view = View {
                entry,
                old: None,
                new: None,
            };
            let found: Vec<String> = risks(&view).iter().map(Risk::to_string).collect();
            let found = found.into_iter().find(|risk| risk.contains("capabilities"));
            assert_eq!(found, risk, "{entry:?}");
            let asks = needs_approval(&view, &[path("/srv")]);
            assert!(risk.is_none() || asks == risk, "{asks:?}");
        }
    }
}

#[test]
fn hostile_encodings_take_no_memory() {
    // A length of 2^56 entries, and of 2^56 bytes in a path.
    let length = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for body in [&length[..], &[&[1][..], &length].concat()] {
        let bytes = [b"remit plan 4\n", body].concat();
        assert!(matches!(Plan::decode(&bytes), Err(PlanError::Format(_))));
    }
    assert!(matches!(
        Plan::decode(&vec![0; 9 << 20]),
        Err(PlanError::Format(_))
    ));
    assert!(matches!(
        Plan::decode(b"remit plan 1\n\0"),
        Err(PlanError::Format(_))
    ));
}

#[test]
fn conflicts_name_what_has_changed() {
    let replaced = Change::Replace {
        base: base(Kind::File, b"x"),
        content: Content::bundled(b"y"),
        meta: META,
    };
    let plan = Plan::new(vec![entry("/a", replaced), created("/b", b"y")]).unwrap();
    let stat = base(Kind::File, b"x").stat;
    let found = |now: Option<Stat>, other: Option<Stat>| {
        let look = |at: &PlanPath| match at.as_bytes() {
            b"/a" => Ok(now),
            _ => Ok(other),
        };
        said(plan.conflict(look))
    };
    assert_eq!(found(Some(stat), None), None);
    assert_eq!(found(None, Some(stat)).unwrap(), "/a: it does not exist");
    assert_eq!(found(Some(stat), Some(stat)).unwrap(), "/b: it exists");
    // What cannot be seen is no conflict.
    let unseen = |_: &PlanPath| Err(io::ErrorKind::PermissionDenied.into());
    assert_eq!(plan.conflict(unseen), None);
    for (now, why) in [
        (
            Stat {
                kind: Kind::Symlink,
                ..stat
            },
            "it is of another kind",
        ),
        (Stat { ino: 8, ..stat }, "it is another file"),
        (Stat { size: 2, ..stat }, "its size has changed"),
        (
            Stat {
                ctime_ns: 100,
                ..stat
            },
            "it has changed",
        ),
        (
            Stat {
                meta: Metadata {
                    mode: 0o600,
                    ..META
                },
                ..stat
            },
            "its mode has changed",
        ),
        (
            Stat {
                meta: Metadata { uid: 1, ..META },
                ..stat
            },
            "its owner has changed",
        ),
    ] {
        assert_eq!(found(Some(now), None).unwrap(), format!("/a: {why}"));
    }
}

fn said(conflict: Option<Conflict>) -> Option<String> {
    conflict.map(|found| format!("{}: {}", found.path, found.why))
}

/// It has to find no conflict at a path that the undo leaves, or goes on from.
#[test]
fn conflicts_of_an_undo_are_those_that_refuse_it() {
    let old = base(Kind::File, b"x");
    let replaced = Change::Replace {
        base: old,
        content: Content::bundled(b"new"),
        meta: ROOT,
    };
    let moded = Change::SetMetadata {
        base: old,
        meta: ROOT,
    };
    let created = created("/a", b"new").change;
    let removed = Change::Remove { base: old };
    let new = Stat {
        ino: 9,
        size: 3,
        meta: ROOT,
        ..old.stat
    };
    let with = |stat: Stat, mode: u32, uid: u32| Stat {
        meta: Metadata {
            mode,
            uid,
            ..stat.meta
        },
        ..stat
    };
    let other = Stat { ino: 8, ..new };
    let larger = Stat { size: 4, ..new };
    let set = Stat {
        meta: ROOT,
        ..old.stat
    };
    // Its owner is that of before, and its mode is not: a kill between the two calls.
    let between = Stat {
        meta: Metadata {
            mode: ROOT.mode,
            ..META
        },
        ..old.stat
    };
    let another = Some("it is another file");
    let owner = Some("its mode or owner has changed");
    for (change, now, expect) in [
        (replaced, Some(new), None),
        (replaced, Some(Stat { ctime_ns: 5, ..new }), None),
        (replaced, Some(other), another),
        (replaced, Some(larger), Some("its size has changed")),
        (replaced, Some(with(new, 0o600, 0)), owner),
        (replaced, Some(with(new, 0o644, 1)), owner),
        (replaced, None, Some("it does not exist")),
        (replaced, Some(old.stat), None),
        (moded, Some(set), None),
        (moded, Some(Stat { size: 4, ..set }), None),
        (moded, Some(old.stat), None),
        (moded, Some(between), None),
        (moded, Some(with(set, 0o600, 0)), owner),
        (moded, Some(with(set, 0o644, 1)), owner),
        (moded, Some(other), another),
        (moded, None, Some("it does not exist")),
        (created, Some(new), None),
        (created, Some(other), another),
        (created, Some(with(new, 0o600, 0)), owner),
        (created, None, None),
        (removed, None, None),
        (removed, Some(old.stat), None),
        (removed, Some(other), Some("it exists")),
    ] {
        let plan = Plan::new(vec![entry("/a", change)]).unwrap();
        let inodes = [if change.makes().is_some() { 9 } else { 0 }];
        let found = committed(&plan, &inodes).conflict(|_| Ok(now));
        let expect = expect.map(|why| format!("/a: {why}"));
        assert_eq!(said(found), expect, "{change:?} {now:?}");
    }
    // Its service has made new directories its own: they stay, or go with all that is in them.
    let plan = vec![directory("/s"), directory("/s/d"), entry("/s/d/x", created)];
    let journal = committed(&Plan::new(plan).unwrap(), &[9, 9, 9]);
    for now in [None, Some(other), Some(with(new, 0o700, 7))] {
        assert_eq!(journal.conflict(|_| Ok(now)), None);
    }
}

fn committed(plan: &Plan, inodes: &[u64]) -> Journal {
    let none = PlanDirectories::new();
    let (mut bytes, rows_at) = Journal::begin(plan, &none);
    bytes.truncate(usize::try_from(rows_at).unwrap());
    bytes.extend(Journal::encode_rows(plan, inodes, &[], &none));
    Journal::decode(&bytes).unwrap()
}

fn risks_of(at: &str, old: &str, new: &str) -> Vec<String> {
    let entry = created(at, new.as_bytes());
    let view = View {
        entry: &entry,
        old: Some(old.as_bytes()),
        new: Some(new.as_bytes()),
    };
    risks(&view).iter().map(ToString::to_string).collect()
}

#[test]
fn risks_are_true_sentences_about_the_bytes() {
    let shadow = "root:*:1::::::\nann:$6$a:1::::::\nbob:$6$b:1::::::\nnew:!:1::::::\n";
    let changed = "root:*:1::::::\nann:$6$c:1::::::\nbob:!$6$b:1::::::\nnew::1::::::\n";
    assert_eq!(
        risks_of("/etc/shadow", shadow, changed),
        [
            "it holds passwords",
            "nobody needs a password for account 'new'",
            "account 'ann' gets a password",
            "account 'bob' loses its password",
        ]
    );
    assert_eq!(
        risks_of("/etc/shadow", shadow, shadow),
        ["it holds passwords"]
    );
    assert_eq!(
        risks_of(
            "/etc/group",
            "sudo:x:27:ann\n",
            "sudo:x:27:ann,b\x1bob\nnew:x:5:ann\n"
        ),
        [
            "it defines accounts and groups",
            "'b\\x1bob' becomes a member of group 'sudo'",
            "'ann' becomes a member of group 'new'",
        ]
    );
    assert_eq!(
        risks_of(
            "/etc/passwd",
            "root:x:0:0::/:/bin/sh\n",
            "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\n"
        ),
        [
            "it defines accounts and groups",
            "account 'toor' is root (uid 0)",
            "account 'toor' has the number of account 'root'",
            "the first group of account 'toor' becomes 0",
        ]
    );
    for (at, what) in [
        ("/etc/sudoers.d/ops", "root"),
        ("/etc/pam.d/sshd", "log in"),
        ("/etc/ssh/sshd_config.d/a.conf", "ssh"),
        ("/home/ann/.ssh/authorized_keys", "with a key"),
        ("/etc/cron.d/job", "by themselves"),
        ("/etc/systemd/system/a.service", "by themselves"),
        ("/etc/ld.so.preload", "every program loads"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "load"),
        ("/boot/vmlinuz", "boots"),
        ("/etc/fstab", "boots"),
        ("/etc/fstab", "makes units of it"),
        ("/etc/crypttab", "makes units of it"),
        ("/etc/veritytab", "makes units of it"),
        ("/etc/integritytab", "boots"),
        ("/etc/postgresql/15/main/start.conf", "makes units of it"),
        ("/etc/init.d/a", "run by themselves"),
        ("/etc/rc.local", "run by themselves"),
        ("/etc/nftables.conf", "reached"),
        ("/etc/profile.d/a.sh", "logins"),
    ] {
        let found = risks_of(at, "", "x");
        assert!(
            found.iter().any(|risk| risk.contains(what)),
            "{at}: {found:?}"
        );
    }
    let many: String = (0..100).map(|at| format!("u{at}:$6$a:1::::::\n")).collect();
    assert!(
        risks_of("/etc/shadow", "", &many).contains(&"36 more such changes of accounts".to_owned())
    );
}

#[test]
fn modes_and_owners_that_open_something_are_risks() {
    let of = |change| {
        let entry = entry("/srv/a", change);
        let view = View {
            entry: &entry,
            old: None,
            new: None,
        };
        risks(&view).into_iter().collect::<Vec<_>>()
    };
    let file = New::File(Content::bundled(b""));
    let (uid, gid) = (64_001, 64_001);
    for (new, mode, expect) in [
        (file, 0o640, &[][..]),
        (file, 0o644, &[]),
        (file, 0o4644, &[Risk::SetId]),
        (file, 0o2644, &[Risk::SetId]),
        (file, 0o666, &[Risk::WorldWritable]),
        (file, 0o660, &[Risk::GroupWritable]),
        (file, 0o744, &[Risk::Executable]),
        (New::Directory, 0o755, &[]),
        (New::Directory, 0o2755, &[Risk::SetGidDirectory]),
        (New::Directory, 0o777, &[Risk::WorldWritable]),
        (New::Directory, 0o1777, &[Risk::WorldWritable]),
        (New::Directory, 0o775, &[Risk::GroupWritable]),
    ] {
        let meta = Metadata { mode, ..ROOT };
        assert_eq!(of(Change::Create { new, meta }), expect, "{mode:o}");
        for meta in [Metadata { uid, ..meta }, Metadata { gid, ..meta }] {
            let found = of(Change::Create { new, meta });
            assert!(found.contains(&Risk::Owner), "{meta:?}");
        }
    }
    for (kind, from, to, expect) in [
        (Kind::File, 0o644, 0o600, &[][..]),
        (Kind::File, 0o600, 0o640, &[Risk::Opened]),
        (Kind::File, 0o644, 0o744, &[Risk::Executable]),
        (Kind::File, 0o755, 0o755, &[]),
        (Kind::Directory, 0o700, 0o701, &[Risk::Opened]),
        (Kind::Directory, 0o1775, 0o775, &[Risk::Opened]),
        (Kind::Directory, 0o2775, 0o2755, &[]),
        (Kind::Directory, 0o755, 0o2755, &[Risk::SetGidDirectory]),
    ] {
        let mut base = base(kind, b"x");
        base.stat.meta = Metadata {
            mode: from,
            uid,
            gid,
        };
        let meta = Metadata {
            mode: to,
            ..base.stat.meta
        };
        let found = of(Change::SetMetadata { base, meta });
        assert_eq!(found, expect, "{from:o} {to:o}");
        if kind == Kind::File {
            let content = Content::bundled(b"y");
            let change = Change::Replace {
                base,
                content,
                meta,
            };
            let is_program = (from | to) & 0o111 != 0;
            let expect: Vec<Risk> = is_program
                .then_some(Risk::Program)
                .into_iter()
                .chain(expect.to_vec())
                .collect();
            assert_eq!(of(change), expect, "{from:o} {to:o}");
        }
        let meta = Metadata { uid: 0, ..meta };
        let found = of(Change::SetMetadata { base, meta });
        assert!(found.contains(&Risk::Owner), "{found:?}");
    }
}

/// One who trusts a new key has to know who else may have it.
#[test]
fn private_content_that_its_requester_can_know_is_a_risk() {
    let of = |change, new: Option<&[u8]>| {
        let entry = entry("/srv/a/key", change);
        let view = View {
            entry: &entry,
            old: None,
            new,
        };
        let asks = needs_approval(&view, &[path("/srv/a")]);
        assert_eq!(asks, None, "{entry:?}");
        risks(&view).contains(&Risk::Known)
    };
    let made = |bytes: &[u8], mode| Change::Create {
        new: New::File(Content::bundled(bytes)),
        meta: Metadata { mode, ..ROOT },
    };
    for (bytes, mode, expect) in [
        (&b"key"[..], 0o600, true),
        (b"key", 0o640, true),
        (b"key", 0, true),
        (b"key", 0o644, false),
        (b"key", 0o604, false),
        (b"", 0o600, false),
    ] {
        assert_eq!(of(made(bytes, mode), Some(bytes)), expect, "{mode:o}");
    }
    // What an undo puts back.
    assert!(!of(made(b"key", 0o600), None));
    for (from, to, bytes, expect) in [
        (0o644, 0o600, &b"key"[..], true),
        (0o644, 0o640, b"key", true),
        (0o604, 0o600, b"key", true),
        (0o600, 0o600, b"key", false),
        (0o640, 0o600, b"key", false),
        (0o644, 0o644, b"key", false),
        (0o644, 0o600, b"x", false),
    ] {
        let mut base = base(Kind::File, b"x");
        base.stat.meta = Metadata { mode: from, ..ROOT };
        let replaced = Change::Replace {
            base,
            content: Content::bundled(bytes),
            meta: Metadata { mode: to, ..ROOT },
        };
        assert_eq!(of(replaced, Some(bytes)), expect, "{from:o} {to:o}");
        assert!(!of(replaced, None), "an undo");
    }
}

#[test]
fn content_beneath_a_new_directory_that_is_closed_is_known_to_its_requester() {
    for (mode, expect) in [
        (0o700, true),
        (0o750, true),
        (0o754, true),
        (0o755, false),
        (0o711, false),
    ] {
        let directory = Change::Create {
            new: New::Directory,
            meta: Metadata { mode, ..ROOT },
        };
        let file = |bytes| Change::Create {
            new: New::File(Content::bundled(bytes)),
            meta: ROOT,
        };
        let entries = [
            ("/srv/keys", directory),
            ("/srv/keys/a/b", file(b"key")),
            ("/srv/keys/empty", file(b"")),
            ("/srv/keys.old", file(b"key")),
        ];
        let entries = entries.map(|(at, change)| entry(at, change));
        let views = entries.iter().map(|entry| View {
            entry,
            old: None,
            new: entry.change.content().map(|_| &b"key"[..]),
        });
        let known = "/srv/keys/a/b: modes close it to others, but the requester of this change can know its content";
        let expect = Vec::from_iter(expect.then(|| known.to_owned()));
        let found = risk_sentences(views).into_iter();
        let found: Vec<String> = found.filter(|risk| risk.contains("close it")).collect();
        assert_eq!(found, expect, "{mode:o}");
    }
}

/// A line before an account's own, or with another spelling of 0, is the account for glibc.
#[test]
fn root_accounts_are_found_in_other_spellings() {
    let old = "ann:x:5:5::/:/bin/sh\n";
    for line in ["toor:x:00:0::/:\n", " toor:x:-0:0::/:\n", "toor:x:+0:\n"] {
        for new in [
            format!("{line}{old}"),
            format!("{line}toor:x:7:7::/:\n{old}"),
        ] {
            let found = risks_of("/etc/passwd", old, &new);
            let toor = "account 'toor' is root (uid 0)".to_owned();
            assert!(found.contains(&toor), "{new}: {found:?}");
        }
    }
    let evil = " root:$6$evil:1::::::\nroot:!:1::::::\n";
    let found = risks_of("/etc/shadow", "root:!:1::::::\n", evil);
    assert!(
        found.contains(&"account 'root' gets a password".to_owned()),
        "{found:?}"
    );
}

#[test]
fn what_approves_cannot_be_planned() {
    let protected = Protected {
        paths: ["/etc/remit", "/var/lib/remit", "/home/boss"]
            .map(path)
            .to_vec()
            .into(),
        names: [b"boss".to_vec(), b"remit-admin".to_vec()].into(),
        uids: [1000].into(),
        gids: [900].into(),
        has_unknown_homes: false,
    };
    let refuses = |at: &str, old: Option<&str>, new: Option<&str>| {
        let entry = created(at, b"");
        let view = View {
            entry: &entry,
            old: old.map(str::as_bytes),
            new: new.map(str::as_bytes),
        };
        protected.refuses(&view).is_some()
    };
    for at in [
        "/proc/sys/kernel/x",
        "/sys/a",
        "/dev/null",
        "/run/a",
        "/etc/remit",
        "/etc/remit/policy.d/a",
        "/home/boss/.ssh/authorized_keys",
        "/etc",
        "/var",
        "/home",
    ] {
        assert!(refuses(at, None, Some("")), "{at}");
    }
    for at in [
        "/etc/nginx/a",
        "/etc/remit2",
        "/home/ann/a",
        "/processes",
        "/var/lib/a",
    ] {
        assert!(!refuses(at, None, Some("")), "{at}");
    }
    let group = "sudo:x:27:\nremit-admin:x:900:boss\n";
    assert!(!refuses(
        "/etc/group",
        Some(group),
        Some("sudo:x:27:ann\nremit-admin:x:900:boss\n")
    ));
    for new in [
        "sudo:x:27:\nremit-admin:x:900:boss,agent\n",
        "sudo:x:27:\n",
        "remit-admin:x:900:boss\nother:x:900:agent\n",
    ] {
        assert!(refuses("/etc/group", Some(group), Some(new)), "{new}");
    }
    let passwd = "boss:x:1000:1000::/home/boss:/bin/sh\n";
    assert!(!refuses(
        "/etc/passwd",
        Some(passwd),
        Some(&format!("{passwd}ann:x:1001:1001::/:/bin/sh\n"))
    ));
    for line in [
        "evil:x:1000:5::/:/bin/sh\n",
        "evil:x:5:900::/:/bin/sh\n",
        "boss:x:0:0::/:/bin/sh\n",
    ] {
        assert!(
            refuses(
                "/etc/passwd",
                Some(passwd),
                Some(&format!("{passwd}{line}"))
            ),
            "{line}"
        );
    }
    assert!(refuses(
        "/etc/shadow",
        Some("boss:!:\n"),
        Some("boss:$6$a:\n")
    ));
    assert!(refuses("/etc/shadow", Some("boss:!:\n"), None));
    let gone = removed("/etc/passwd", Kind::File);
    assert!(
        protected
            .refuses(&View {
                entry: &gone,
                old: None,
                new: None
            })
            .is_some()
    );
}

/// Accounts and what decides on them: each of these gives somebody what `Protected` says that no plan can give.
#[test]
fn approvers_are_protected_from_other_spellings_and_owners() {
    let path = |path: &str| PlanPath::new(path).unwrap();
    let protected = Protected {
        paths: [path("/etc/remit"), path("/home/boss")].to_vec().into(),
        names: [b"boss".to_vec(), b"remit-admin".to_vec()].into(),
        uids: [1000].into(),
        gids: [900].into(),
        has_unknown_homes: false,
    };
    let replaced = |at: &str, meta: Metadata| {
        let change = Change::Replace {
            base: base(Kind::File, b"x"),
            content: Content::bundled(b"y"),
            meta,
        };
        entry(at, change)
    };
    let passes = |entry: &Entry, old: &str, new: &str| {
        let (old, new) = (Some(old.as_bytes()), Some(new.as_bytes()));
        protected.refuses(&View { entry, old, new }).is_none()
    };
    let owned = Metadata {
        uid: 64_001,
        ..META
    };
    let open = Metadata {
        mode: 0o666,
        ..META
    };
    let chown = |meta| {
        let change = Change::SetMetadata {
            base: base(Kind::File, b"x"),
            meta,
        };
        entry("/etc/passwd", change)
    };
    let passwd = "boss:x:1000:1000::/home/boss:/bin/sh\n";
    let shadow = "boss:!:\n";
    let mut holes = Vec::new();
    for (what, passed) in [
        // nss_files(5) skips blanks at the beginning of a line (fgetpwent.c, nss_readline.c).
        (
            "a line of 'boss' with a blank before it in /etc/shadow",
            passes(
                &replaced("/etc/shadow", META),
                shadow,
                &format!(" boss:$6$evil:\n{shadow}"),
            ),
        ),
        (
            "a line of 'boss' with a blank before it in /etc/passwd",
            passes(
                &replaced("/etc/passwd", META),
                passwd,
                &format!("\tboss:x:64001:64001::/home/agent:/bin/sh\n{passwd}"),
            ),
        ),
        (
            "a uid in another spelling",
            passes(
                &replaced("/etc/passwd", META),
                passwd,
                &format!("{passwd}evil:x:-18446744073709550616:5::/:/bin/sh\n"),
            ),
        ),
        (
            "a gid before a NUL",
            passes(
                &replaced("/etc/group", META),
                "sudo:x:27:\n",
                "sudo:x:27:\nevil:x:900\0:\n",
            ),
        ),
        (
            "more lines than are compared",
            passes(&replaced("/etc/group", META), "", &"a\n".repeat(70_000)),
        ),
        (
            "/etc/shadow with another group",
            passes(
                &replaced("/etc/shadow", Metadata { gid: 5, ..META }),
                shadow,
                shadow,
            ),
        ),
        (
            "/etc/passwd owned by an agent",
            passes(&chown(owned), "x", "x"),
        ),
        (
            "/etc/passwd writable by everybody",
            passes(&chown(open), "x", "x"),
        ),
        (
            "/etc/passwd with the same lines and another owner",
            passes(&replaced("/etc/passwd", owned), passwd, passwd),
        ),
    ] {
        holes.extend(passed.then_some(what));
    }
    assert!(holes.is_empty(), "{holes:#?}");
    let added = format!("{passwd}ann:x:1001:1001::/:/bin/sh\n");
    assert!(passes(&replaced("/etc/passwd", META), passwd, &added));
    let closed = Metadata {
        mode: 0o600,
        gid: 0,
        ..META
    };
    assert!(passes(&chown(closed), "x", "x"));
}

/// The names of approvers may be missing then, so no table is compared by them.
#[test]
fn unknown_approvers_refuse_each_change_of_lines() {
    let known = Protected {
        names: [b"boss".to_vec()].into(),
        ..Protected::default()
    };
    let unknown = Protected {
        has_unknown_homes: true,
        ..known.clone()
    };
    for at in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
        let change = Change::Replace {
            base: base(Kind::File, b"x"),
            content: Content::bundled(b"y"),
            meta: META,
        };
        let entry = entry(at, change);
        let view = View {
            entry: &entry,
            old: Some(b"ann:x:5:5\n"),
            new: Some(b"ann:x:6:6\n"),
        };
        assert_eq!(known.refuses(&view), None, "{at}");
        assert!(unknown.refuses(&view).is_some(), "{at}");
    }
    let kept = Change::SetMetadata {
        base: base(Kind::File, b"x"),
        meta: Metadata {
            mode: 0o600,
            ..META
        },
    };
    let kept = entry("/etc/passwd", kept);
    let (old, new) = (None, None);
    let view = View {
        entry: &kept,
        old,
        new,
    };
    assert_eq!(unknown.refuses(&view), None);
}

/// Without an approval a plan may give no more than its own bytes: a plan with a risk is refused.
#[test]
fn what_gives_root_or_a_secret_is_a_risk_that_asks_a_person() {
    let asks = |entry: &Entry, named: &[&str]| {
        let (old, new) = (None, Some(&b"x"[..]));
        let view = View { entry, old, new };
        let named: Vec<_> = named.iter().map(|own| path(own)).collect();
        needs_approval(&view, &named).is_some()
    };
    let wide = ["/etc", "/usr", "/usr/local", "/root", "/var", "/var/lib"];
    let mut holes = Vec::new();
    for at in [
        // Read or run as root, by ifup, NetworkManager, ufw, the kernel, PAM, D-Bus, systemd-tmpfiles, systemd-binfmt.
        "/etc/network/if-up.d/x",
        "/etc/network/interfaces",
        "/etc/NetworkManager/dispatcher.d/x",
        "/etc/ufw/before.init",
        "/etc/sysctl.d/x.conf",
        "/etc/update-motd.d/x",
        "/usr/share/dbus-1/system-services/x.service",
        "/etc/dbus-1/system.d/x.conf",
        "/etc/tmpfiles.d/x.conf",
        "/etc/binfmt.d/x.conf",
        // Credentials are lines of tmpfiles.d and keys of root (systemd.system-credentials(7)); images add to /usr and /etc.
        "/etc/credstore/tmpfiles.extra",
        "/usr/lib/credstore.encrypted/ssh.authorized_keys.root",
        "/var/lib/extensions/x.raw",
        "/var/lib/confexts/x/etc/x",
        "/var/lib/portables/x.raw",
        "/etc/apt/sources.list.d/x.list",
        "/etc/dhcp/dhclient-exit-hooks.d/x",
        "/etc/kernel/postinst.d/x",
        "/etc/logrotate.conf",
        "/root/.bashrc",
        "/usr/local/sbin/x",
        "/usr/bin/ls",
        "/var/lib/dpkg/info/x.postinst",
    ] {
        if !asks(&created(at, b"x"), &wide) {
            holes.push(at.to_owned());
        }
    }
    let at = "/etc/nginx/key.pem";
    for (mode, uid, gid, what) in [
        (0o644, 0, 0, "becomes readable by everybody"),
        (0o600, 64_001, 0, "gets another owner"),
        (0o660, 0, 64_001, "can be written by another group"),
    ] {
        for kind in [Kind::File, Kind::Directory] {
            let mut base = base(kind, b"x");
            base.stat.meta.mode = 0o600;
            let meta = Metadata { mode, uid, gid };
            let entry = entry(at, Change::SetMetadata { base, meta });
            if !asks(&entry, &["/etc/nginx"]) {
                holes.push(format!("{at} ({kind:?}) {what}"));
            }
        }
    }
    assert!(holes.is_empty(), "{holes:#?}");
    // What a rule names is its author's decision.
    for (at, named) in [
        ("/etc/nginx/sites/a", &["/etc/nginx"][..]),
        ("/etc/motd", &["/etc", "/etc/motd"]),
        ("/var/lib/app/a", &["/var/lib/app"]),
        ("/srv/a", &["/srv"]),
        ("/home/ann/app/.env", &["/home/ann/app"]),
    ] {
        assert!(!asks(&created(at, b"x"), named), "{at}");
    }
    for (at, named) in [
        ("/home/ann/.config/systemd/user/a.service", "/home/ann"),
        ("/srv/app/.profile", "/srv/app"),
        ("/root/.vimrc", "/root"),
        (
            "/srv/home/ann/.config/systemd/user/a.service",
            "/srv/home/ann",
        ),
    ] {
        assert!(asks(&created(at, b"x"), &[named]), "{at}");
    }
    assert!(asks(&created("/etc/nginx2", b"x"), &["/etc/nginx", "/etc"]));
    assert!(asks(
        &created("/etc/sudoers.d/x", b"x"),
        &["/etc/sudoers.d"]
    ));
}

/// The warden checks a plan in its loop. Old and new bytes are the client's, and both can be all short lines.
#[test]
fn accounts_of_many_lines_are_compared_in_linear_time() {
    let (old, new) = ("b\n".repeat(128 << 10), "a\n".repeat(380 << 10));
    let compared = |most: usize, times: usize| {
        let cut = |text: &str| {
            text.as_bytes()
                .get(..most.min(text.len()))
                .unwrap()
                .to_vec()
        };
        let (old, new) = (cut(&old), cut(&new));
        let entry = created("/etc/passwd", &new);
        let view = View {
            entry: &entry,
            old: Some(&old),
            new: Some(&new),
        };
        // proc(5), "schedstat": nanoseconds on the processor.
        let used = || -> u64 {
            let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let before = used();
        for _ in 0..times {
            assert_eq!(Protected::default().refuses(&view), None);
        }
        used() - before
    };
    // The same bytes: the kernel counts by ticks.
    let (small, large) = (compared(8 << 10, 32), compared(64 << 10, 4));
    assert!(
        large < small * 3,
        "8 times the lines: {small} ns, {large} ns"
    );
}

#[test]
fn plan_with_a_needless_byte_is_refused() {
    let meta = Metadata {
        mode: 0o155,
        uid: 0,
        gid: 0,
    };
    let new = New::Directory;
    let plan = Plan::new(vec![entry("/a", Change::Create { new, meta })]).unwrap();
    let bytes = plan.encode();
    let at = bytes.iter().rposition(|byte| *byte == 0o155).unwrap();
    // The same number in two bytes.
    let longer = [&bytes[..at], &[0o155 | 0x80, 0], &bytes[at + 1..]].concat();
    assert_eq!(Plan::decode(&bytes).as_ref(), Ok(&plan));
    let error = Plan::decode(&longer).unwrap_err().to_string();
    assert!(error.contains("needless bytes"), "{error}");
}
