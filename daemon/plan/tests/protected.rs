//! Files of accounts that no plan may change so that an approver is somebody else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use remit_plan::{
    Base, Change, Content, Entry, Kind, Metadata, New, PlanPath, Protected, Source, Stat, View,
    sha256,
};

const META: Metadata = Metadata {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

fn protected() -> Protected {
    Protected {
        paths: [
            "/etc/remit",
            "/home/boss",
            "/var/spool/cron/boss",
            "/var/spool/cron/crontabs/boss",
        ]
        .map(|path| PlanPath::new(path).unwrap())
        .to_vec()
        .into(),
        names: [b"boss".to_vec(), b"remit-admin".to_vec()].into(),
        uids: [1000].into(),
        gids: [900].into(),
        has_unknown_homes: false,
    }
}

fn content(bytes: &str) -> Content {
    Content {
        size: bytes.len() as u64,
        sha256: sha256(bytes.as_bytes()),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    }
}

fn base(kind: Kind, bytes: &str) -> Base {
    let stat = Stat {
        kind,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: bytes.len() as u64,
        meta: META,
    };
    let sha256 = (kind != Kind::Directory).then(|| sha256(bytes.as_bytes()));
    Base::new(stat, sha256)
}

fn refusal(at: &str, change: Change, old: Option<&str>, new: Option<&str>) -> Option<&'static str> {
    let entry = Entry {
        path: PlanPath::new(at).unwrap(),
        change,
    };
    protected().refuses(&View {
        entry: &entry,
        old: old.map(str::as_bytes),
        new: new.map(str::as_bytes),
    })
}

fn replaced(at: &str, old: &str, new: &str) -> Option<&'static str> {
    let change = Change::Replace {
        base: base(Kind::File, old),
        content: content(new),
        meta: META,
    };
    refusal(at, change, Some(old), Some(new))
}

fn created(at: &str, new: &str) -> Option<&'static str> {
    let change = Change::Create {
        new: New::File(content(new)),
        meta: META,
    };
    refusal(at, change, None, Some(new))
}

fn removed(at: &str, old: Option<&str>) -> Option<&'static str> {
    let base = base(Kind::File, old.unwrap_or_default());
    refusal(at, Change::Remove { base }, old, None)
}

fn linked(at: &str, to: &str) -> Option<&'static str> {
    let change = Change::Create {
        new: New::Link(content(to)),
        meta: META,
    };
    refusal(at, change, None, Some(to))
}

#[test]
fn no_range_has_root_or_an_approver() {
    let old = "boss:100000:65536\n1000:400000:10\n";
    let root = "it lets an account act as root, or as somebody who approves";
    let plain = "a range that it adds is none of plain numbers";
    let own = "it lets an account act as users of somebody who approves";
    let account = "it changes the account or the group of somebody who approves";
    for (at, id) in [("/etc/subuid", 1000), ("/etc/subgid", 900)] {
        for (line, expect) in [
            // What useradd(8) adds.
            ("bot:165536:65536".to_owned(), None),
            ("bot:1:499".to_owned(), None),
            ("# a comment: of ranges".to_owned(), None),
            ("bot:0:1".to_owned(), Some(root)),
            ("bot:0:4294967295".to_owned(), Some(root)),
            (format!("bot:{id}:1"), Some(root)),
            (format!("bot:{}:100", id - 99), Some(root)),
            (format!("bot:{}:99", id - 99), None),
            ("bot:0x0:1".to_owned(), Some(plain)),
            ("bot:4294967296:1".to_owned(), Some(plain)),
            ("bot:165535:1".to_owned(), Some(own)),
            ("bot:300000:100001".to_owned(), Some(own)),
            ("boss:165536:65536".to_owned(), Some(account)),
            ("1000:165536:65536".to_owned(), Some(account)),
            (" boss:165536:65536".to_owned(), Some(account)),
        ] {
            assert_eq!(
                replaced(at, old, &format!("{old}{line}\n")),
                expect,
                "{at} {line}"
            );
        }
        assert_eq!(replaced(at, old, "boss:100000:65536\n"), Some(account));
        // Not what it adds.
        assert_eq!(replaced(at, "x:0:1\n", "x:0:1\ny:65536:5\n"), None);
    }
}

/// uidmap makes the files, so its undo removes them.
#[test]
fn files_of_ranges_come_and_go_without_those_of_approvers() {
    for at in ["/etc/subuid", "/etc/subgid"] {
        assert_eq!(created(at, "bot:165536:65536\n"), None);
        assert!(created(at, "bot:0:1\n").is_some());
        assert_eq!(removed(at, Some("bot:165536:65536\n")), None);
        assert!(removed(at, Some("boss:165536:65536\n")).is_some());
        assert!(removed(at, None).is_some());
        assert!(linked(at, "/tmp/x").is_some());
    }
    assert!(linked("/etc/passwd", "/tmp/x").is_some());
    assert!(removed("/etc/passwd", Some("")).is_some());
}

const DIRECTORIES: [&str; 4] = [
    "/etc/userdb",
    "/usr/lib/userdb",
    "/usr/local/lib/userdb",
    "/lib/userdb",
];

/// nss-systemd(8) reads an account from each.
#[test]
fn user_records_are_refused_but_memberships_of_others() {
    for dir in DIRECTORIES {
        for (name, is_refused) in [
            ("bot.user", true),
            ("1001.user", true),
            ("bot.user-privileged", true),
            ("sudo.group", true),
            ("27.group", true),
            ("sudo.group-privileged", true),
            ("bot:boss.membership", true),
            ("boss:sudo.membership", true),
            ("bot:remit-admin.membership", true),
            ("1000:sudo.membership", true),
            ("bot:900.membership", true),
            ("bot.membership", true),
            ("x/bot:sudo.membership", true),
            ("README", true),
            ("bot:sudo.membership", false),
        ] {
            let at = format!("{dir}/{name}");
            assert_eq!(created(&at, "").is_some(), is_refused, "{at}");
            assert_eq!(removed(&at, Some("")).is_some(), is_refused, "{at}");
        }
        let unknown = Protected {
            has_unknown_homes: true,
            ..protected()
        };
        let change = Change::Create {
            new: New::File(content("")),
            meta: META,
        };
        let entry = Entry {
            path: PlanPath::new(format!("{dir}/bot:sudo.membership")).unwrap(),
            change,
        };
        let view = View {
            entry: &entry,
            old: None,
            new: Some(b""),
        };
        assert!(unknown.refuses(&view).is_some());
    }
    assert_eq!(created("/etc/userdb2/bot.user", ""), None);
}

#[test]
fn directories_of_accounts_stay_those_of_root() {
    for at in DIRECTORIES.into_iter().chain(["/var/lib/extrausers"]) {
        for (mode, uid, is_refused) in [
            (0o755, 0, false),
            (0o700, 0, false),
            (0o775, 0, true),
            (0o757, 0, true),
            (0o755, 1001, true),
        ] {
            let meta = Metadata { mode, uid, gid: 0 };
            let made = Change::Create {
                new: New::Directory,
                meta,
            };
            let moded = Change::SetMetadata {
                base: base(Kind::Directory, ""),
                meta,
            };
            for change in [made, moded] {
                let found = refusal(at, change, None, None).is_some();
                assert_eq!(found, is_refused, "{at} {change:?}");
            }
        }
        assert!(linked(at, "/home/bot/users").is_some());
        assert!(created(at, "").is_some());
        let base = base(Kind::Directory, "");
        assert_eq!(refusal(at, Change::Remove { base }, None, None), None);
    }
}

/// cron's package makes them, and its undo removes them.
#[test]
fn directories_of_crontabs_come_and_go_without_those_of_approvers() {
    let beneath = "remit, or somebody who approves, has files beneath it";
    for (at, mode, uid, expect) in [
        ("/var/spool/cron", 0o755, 0, None),
        ("/var/spool/cron/crontabs", 0o1730, 0, None),
        ("/var/spool/cron/crontabs", 0o700, 0, None),
        ("/var/spool/cron/crontabs", 0o730, 0, Some(beneath)),
        ("/var/spool/cron/crontabs", 0o1733, 0, Some(beneath)),
        ("/var/spool/cron/crontabs", 0o1730, 1001, Some(beneath)),
        ("/var/spool/cron", 0o1777, 0, Some(beneath)),
        ("/var/spool", 0o755, 0, Some(beneath)),
        ("/home", 0o755, 0, Some(beneath)),
    ] {
        let meta = Metadata { mode, uid, gid: 5 };
        let made = Change::Create {
            new: New::Directory,
            meta,
        };
        let base = base(Kind::Directory, "");
        let set = Change::SetMetadata { base, meta };
        for change in [made, set] {
            assert_eq!(refusal(at, change, None, None), expect, "{at} {change:?}");
        }
    }
    for at in ["/var/spool/cron", "/var/spool/cron/crontabs"] {
        let base = base(Kind::Directory, "");
        assert_eq!(refusal(at, Change::Remove { base }, None, None), None);
        assert_eq!(linked(at, "/home/bot"), Some(beneath));
        assert_eq!(removed(at, Some("")), Some(beneath));
        let own = format!("{at}/boss");
        let why = Some("it belongs to remit, or to somebody who approves");
        assert_eq!(created(&own, ""), why);
        assert_eq!(removed(&own, Some("")), why);
        assert_eq!(created(&format!("{at}/bot"), ""), None);
    }
    let base = base(Kind::Directory, "");
    assert!(refusal("/home", Change::Remove { base }, None, None).is_some());
}

/// libnss-extrausers reads them as those of /etc.
#[test]
fn tables_of_extra_users_are_judged_as_those_of_the_machine() {
    let at = |name: &str| format!("/var/lib/extrausers/{name}");
    for (name, good, bad) in [
        (
            "passwd",
            "bot:x:1001:1001::/:/bin/sh\n",
            "boss:x:1001:1001::/:/bin/sh\n",
        ),
        ("passwd", "", "bot:x:1000:1001::/:/bin/sh\n"),
        ("group", "bots:x:1001:bot\n", "remit-admin:x:1001:bot\n"),
        ("group", "", "bots:x:900:bot\n"),
        ("shadow", "bot:!:1::::::\n", "boss:$6$a:1::::::\n"),
    ] {
        assert_eq!(created(&at(name), good), None, "{good}");
        assert!(created(&at(name), bad).is_some(), "{bad}");
        assert_eq!(removed(&at(name), Some(good)), None, "{good}");
    }
    assert!(removed(&at("passwd"), Some("boss:x:5:5::/:\n")).is_some());
    assert!(created(&at("other"), "").is_some());
}

/// What a commit takes away from a mode does not come again, and what it adds to no range goes.
#[test]
fn undo_is_judged_by_what_it_makes() {
    let meta = |mode, gid| Metadata { mode, uid: 0, gid };
    let based = |meta| {
        let mut base = base(Kind::File, "x:!:1::::::\n");
        base.stat.meta = meta;
        base
    };
    let refuses = |at: &str, change: Change, now: &str, again: &str| {
        let entry = Entry {
            path: PlanPath::new(at).unwrap(),
            change,
        };
        protected().refuses(&View {
            entry: &entry.reversed(),
            old: Some(now.as_bytes()),
            new: Some(again.as_bytes()),
        })
    };
    for (before, after, is_refused) in [
        (meta(0o640, 42), meta(0o640, 42), false),
        (meta(0o640, 42), meta(0o644, 42), false),
        (meta(0o644, 42), meta(0o640, 42), true),
        (meta(0o640, 42), meta(0o640, 0), true),
        (meta(0o640, 0), meta(0o640, 42), false),
    ] {
        let base = based(before);
        let set = Change::SetMetadata { base, meta: after };
        let replaced = Change::Replace {
            base,
            content: content("y:!:1::::::\n"),
            meta: after,
        };
        for change in [set, replaced] {
            let found = refuses("/etc/shadow", change, "y:!:1::::::\n", "x:!:1::::::\n");
            assert_eq!(found.is_some(), is_refused, "{change:?}");
        }
    }
    let of_ranges = Change::Replace {
        base: base(Kind::File, ""),
        content: content(""),
        meta: META,
    };
    for (now, again, is_refused) in [
        ("bot:0:1\n", "", false),
        ("", "bot:0:1\n", true),
        ("", "bot:165536:65536\n", false),
        ("boss:165536:65536\n", "", true),
    ] {
        let found = refuses("/etc/subuid", of_ranges, now, again);
        assert_eq!(found.is_some(), is_refused, "{now} {again}");
    }
    let made = Change::Create {
        new: New::File(content("")),
        meta: META,
    };
    assert_eq!(refuses("/etc/subuid", made, "bot:165536:65536\n", ""), None);
    assert!(refuses("/etc/subuid", made, "boss:165536:65536\n", "").is_some());
}
