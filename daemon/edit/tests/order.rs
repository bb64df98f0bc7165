//! What of many paths people read first.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use remit_edit::sort_worst_first;
use remit_plan::{
    Base, Change, Content, Entry, Kind, Metadata, New, PlanPath, Stat, View, risk_sentences, sha256,
};

const fn meta(mode: u32) -> Metadata {
    Metadata {
        mode,
        uid: 0,
        gid: 0,
    }
}

fn base(mode: u32, bytes: &[u8]) -> Base {
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: bytes.len() as u64,
        meta: meta(mode),
    };
    Base::new(stat, Some(sha256(bytes)))
}

fn entry(at: &str, change: Change) -> Entry {
    let path = PlanPath::new(at).unwrap();
    Entry { path, change }
}

fn made(at: &str, mode: u32, bytes: &[u8]) -> Entry {
    let new = New::File(Content::bundled(bytes));
    let meta = meta(mode);
    entry(at, Change::Create { new, meta })
}

fn replaced(at: &str, modes: (u32, u32), old: &[u8], new: &[u8]) -> Entry {
    let change = Change::Replace {
        base: base(modes.0, old),
        content: Content::bundled(new),
        meta: meta(modes.1),
    };
    entry(at, change)
}

const fn unknown(entry: &Entry) -> View<'_> {
    View {
        entry,
        old: None,
        new: None,
    }
}

/// Attack: `apt-get install` in a copy, with other bytes of sshd.
#[test]
fn what_belongs_to_no_package_of_the_plan_is_named_and_shown_first() {
    const LIST: &str = "/var/lib/dpkg/info/tool.list";
    let programs: Vec<String> = (0..50).map(|at| format!("/usr/bin/a{at:02}")).collect();
    let lists: String = programs.iter().map(|path| format!("{path}\n")).collect();
    let evil = "/usr/sbin/sshd";
    // A new list has what was there before, too: that belongs to another package.
    let forged = format!("{lists}{evil}\n");
    let run = |list: Entry, old: Option<&str>, new: Option<&str>, is_upgrade: bool| {
        let of_package = |path: &String| match is_upgrade {
            true => replaced(path, (0o755, 0o755), b"a", b"b"),
            false => made(path, 0o755, b"b"),
        };
        let mut entries: Vec<Entry> = programs.iter().map(of_package).collect();
        entries.push(replaced(evil, (0o755, 0o755), b"a", b"b"));
        entries.push(list);
        let views = entries
            .iter()
            .map(|entry| match entry.path.to_string() == LIST {
                true => View {
                    entry,
                    old: old.map(str::as_bytes),
                    new: new.map(str::as_bytes),
                },
                false => unknown(entry),
            });
        let mut views: Vec<View<'_>> = views.collect();
        let sentences = risk_sentences(views.iter().copied());
        sort_worst_first(&mut views, true);
        (views[0].entry.path.to_string(), sentences)
    };
    let program = "it is a program, and its content changes";
    for (what, old, is_first) in [
        ("its list does not have it", Some(lists.as_str()), true),
        ("its old list does not have it", Some(&lists), true),
        ("the old list is not known", None, false),
    ] {
        let new = if what.starts_with("its list") {
            &lists
        } else {
            &forged
        };
        let list = replaced(LIST, (0o644, 0o644), b"old", new.as_bytes());
        let (first, sentences) = run(list, old, Some(new), true);
        assert_eq!(first == evil, is_first, "{what}");
        let sentence = format!("{evil}, /usr/bin/a00, [… 49 more …]: {program}");
        assert_eq!(
            sentences.contains(&sentence),
            is_first,
            "{what}: {sentences:?}"
        );
    }
    for new in [&lists, &forged] {
        let list = made(LIST, 0o644, new.as_bytes());
        let (first, sentences) = run(list, None, Some(new), false);
        assert_eq!(first, evil);
        assert!(
            sentences.contains(&format!("{evil}: {program}")),
            "{sentences:?}"
        );
    }
}

/// Attack: documents before it in a plan of many paths hide a setting.
#[test]
fn settings_come_before_data() {
    let entries: Vec<Entry> = (0..30)
        .map(|at| made(&format!("/a/doc{at}"), 0o644, b"x"))
        .chain([made("/etc/unheard-of.conf", 0o644, b"x")])
        .collect();
    let mut views: Vec<View<'_>> = entries.iter().map(unknown).collect();
    sort_worst_first(&mut views, true);
    assert_eq!(views[0].entry.path.to_string(), "/etc/unheard-of.conf");
}
