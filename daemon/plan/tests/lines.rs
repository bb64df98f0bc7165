//! Plans that change a table of passwords by its lines: which there can be, and what people read of them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use remit_plan::{
    Base, Bundle, Change, Content, Entry, Kind, Metadata, OldCapabilities, Plan, PlanPath,
    Protected, Source, Stat, View, canonical, risks, sha256,
};

const META: Metadata = Metadata {
    mode: 0o640,
    uid: 0,
    gid: 42,
};
const TEXT: &[u8] = b"+new:!:2::::::\n<bob::1:0:99:7:::\n>bob::1:0:30:7:::\n";

fn of_lines(at: &str, text: &[u8], read: Option<[u8; 32]>) -> Entry {
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: 900,
        meta: META,
    };
    let content = Content {
        size: text.len() as u64,
        sha256: sha256(text),
        source: Source::Lines,
        capabilities: None,
        mtime: None,
    };
    let base = Base {
        stat,
        sha256: read,
        capabilities: OldCapabilities::Unread,
    };
    let change = Change::Replace {
        base,
        content,
        meta: META,
    };
    Entry {
        path: PlanPath::new(at).unwrap(),
        change,
    }
}

fn view<'a>(entry: &'a Entry, text: &'a [u8]) -> View<'a> {
    View {
        entry,
        old: None,
        new: Some(text),
    }
}

#[test]
fn only_unread_tables_are_changed_by_lines() {
    for at in ["/etc/shadow", "/etc/gshadow"] {
        assert!(Plan::new(vec![of_lines(at, TEXT, None)]).is_ok());
    }
    for (at, read) in [
        ("/etc/shadow", Some([7; 32])),
        ("/etc/passwd", None),
        ("/etc/shadow-", None),
        ("/srv/etc/shadow", None),
    ] {
        let refused = Plan::new(vec![of_lines(at, TEXT, read)]).unwrap_err();
        assert!(refused.to_string().contains("by its lines"), "{refused}");
    }
    let mut created = of_lines("/etc/shadow", TEXT, None);
    let (new, meta) = (created.change.makes().unwrap(), META);
    created.change = Change::Create { new, meta };
    assert!(Plan::new(vec![created]).is_err());
}

#[test]
fn bundle_with_other_lines_is_refused() {
    for (text, is_good) in [
        (TEXT, true),
        (b"root::0::::::\n", false),
        (b"+a:!:1", false),
    ] {
        let plan = Plan::new(vec![of_lines("/etc/shadow", text, None)]).unwrap();
        assert_eq!(Bundle::new(&plan, text, &[]).is_ok(), is_good, "{text:?}");
        assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
    }
}

/// Nobody packs them, and the digest is another one than for a file with these bytes.
#[test]
fn lines_are_in_the_bundle_and_in_the_digest() {
    let mut entry = of_lines("/etc/shadow", TEXT, None);
    entry.change.pack();
    assert!(entry.change.is_of_lines());
    let plan = Plan::new(vec![entry]).unwrap();
    let text = String::from_utf8(canonical(&plan)).unwrap();
    assert!(text.contains("lines"), "{text}");
}

#[test]
fn the_risks_of_lines_are_new_passwords_and_members() {
    let entry = of_lines("/etc/shadow", TEXT, None);
    assert!(!view(&entry, TEXT).is_unread());
    let sentences = |at: &str, text: &[u8]| -> Vec<String> {
        let entry = of_lines(at, text, None);
        let found = risks(&view(&entry, text));
        found.iter().skip(1).map(ToString::to_string).collect()
    };
    for (at, text, expect) in [
        ("/etc/shadow", &b"+eve:!:2::::::\n"[..], &[][..]),
        (
            "/etc/shadow",
            b"+eve:$6$x:2\n",
            &["account 'eve' gets a password"],
        ),
        (
            "/etc/shadow",
            b"+eve::2\n",
            &["nobody needs a password for account 'eve'"],
        ),
        ("/etc/shadow", b"-eve::2\n", &["'eve' loses its line"]),
        (
            "/etc/gshadow",
            b"+new:$6$x::\n+open:::\n",
            &["group 'new' gets a password: whoever knows it joins the group"],
        ),
        (
            "/etc/shadow",
            b"<eve::2:::::0:\n>eve::2::::::\n",
            &["when account 'eve' or its password ends is changed"],
        ),
        (
            "/etc/gshadow",
            b"<sudo::root:ann\n>sudo::root,eve:ann,eve\n+new:!::bob\n",
            &[
                "'eve' becomes a member of group 'sudo'",
                "'bob' becomes a member of group 'new'",
                "'eve' may add members to group 'sudo'",
            ],
        ),
    ] {
        assert_eq!(sentences(at, text), expect, "{text:?}");
    }
}

#[test]
fn lines_of_approvers_stay() {
    let protected = Protected {
        names: [b"boss".to_vec()].into(),
        ..Protected::default()
    };
    let refuses = |text: &[u8]| {
        let entry = of_lines("/etc/shadow", text, None);
        protected.refuses(&view(&entry, text))
    };
    assert_eq!(refuses(TEXT), None);
    for text in [
        &b"+boss::1\n"[..],
        b"-boss\n",
        b"=boss::1\n",
        b"no lines",
        b"+a:!:1\n-boss\n",
    ] {
        assert!(refuses(text).is_some(), "{text:?}");
    }
    let unknown = Protected {
        has_unknown_homes: true,
        ..Protected::default()
    };
    let entry = of_lines("/etc/shadow", TEXT, None);
    assert!(unknown.refuses(&view(&entry, TEXT)).is_some());
}
