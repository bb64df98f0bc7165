//! What people read of a change of files of accounts: who gets what by it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use remit_plan::{
    Base, Change, Content, Context, Entry, Kind, Metadata, PlanPath, Source, Stat, View,
    risk_sentences, risks, sha256,
};

const META: Metadata = Metadata {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

fn replaced(at: &str, old: &str, new: &str) -> Entry {
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: old.len() as u64,
        meta: META,
    };
    let content = Content {
        size: new.len() as u64,
        sha256: sha256(new.as_bytes()),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let change = Change::Replace {
        base: Base::new(stat, Some(sha256(old.as_bytes()))),
        content,
        meta: META,
    };
    Entry {
        path: PlanPath::new(at).unwrap(),
        change,
    }
}

/// Without the one that the path has.
fn facts(at: &str, old: &str, new: &str) -> Vec<String> {
    let entry = replaced(at, old, new);
    let view = View {
        entry: &entry,
        old: Some(old.as_bytes()),
        new: Some(new.as_bytes()),
    };
    let all = risks(&view);
    all.iter().skip(1).map(ToString::to_string).collect()
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbot:x:1001:1001::/home/bot:/bin/sh\n";
const GROUP: &str = "root:x:0:\nsudo:x:27:ann\nbots:x:5000:\n";

#[test]
fn lines_that_give_root_are_facts() {
    let root_twice = format!("root::0:0::/:/bin/sh\n{PASSWD}");
    let changed = |from: &str, to: &str| {
        assert!(PASSWD.contains(from));
        PASSWD.replace(from, to)
    };
    for (new, expect) in [
        // a) pam_unix takes the second field, unless it is 'x'.
        (
            changed("bot:x", "bot:$6$a$b"),
            &["account 'bot' gets a password"][..],
        ),
        (
            changed("bot:x", "bot:"),
            &["nobody needs a password for account 'bot'"],
        ),
        (changed("bot:x", "bot:!"), &[]),
        (changed("bot:x", "bot:*"), &[]),
        (
            format!("{PASSWD}toor:x:0:0::/root:/bin/sh\n"),
            &[
                "account 'toor' is root (uid 0)",
                "account 'toor' has the number of account 'root'",
                "the first group of account 'toor' becomes 0",
                // What its home was is not known.
            ],
        ),
        (
            root_twice,
            &[
                "account 'root' is root (uid 0)",
                "nobody needs a password for account 'root'",
                "shell or home of account 'root' changes",
            ],
        ),
        (
            changed("bot:x:1001", "bot:x:0"),
            &[
                "account 'bot' is root (uid 0)",
                "account 'bot' has the number of account 'root'",
                "'bot' gets another number",
            ],
        ),
        // d) the first group, the shell, the home.
        (
            changed("1001:1001", "1001:27"),
            &["the first group of account 'bot' becomes 27"],
        ),
        (
            changed("/bin/sh", "/bin/bash"),
            &["shell or home of account 'bot' changes"],
        ),
        (
            changed("/root", "/home/bot"),
            &[
                "account 'root' is root (uid 0)",
                "shell or home of account 'root' changes",
            ],
        ),
        (
            format!("{PASSWD}eve:x:1002:27::/home/eve:/bin/sh\n"),
            &["the first group of account 'eve' becomes 27"],
        ),
        (
            format!("{PASSWD}eve:x:1001:1002::/home/eve:/bin/sh\n"),
            &[
                "account 'eve' has the number of account 'bot'",
                "the first group of account 'eve' becomes 1002",
            ],
        ),
        (
            format!("{PASSWD}_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"),
            &[],
        ),
        (
            changed(":root:", ":The Root:"),
            &["account 'root' is root (uid 0)"],
        ),
        (changed(":1001::/", ":1001:a bot:/"), &[]),
        (PASSWD.to_owned(), &[]),
    ] {
        assert_eq!(facts("/etc/passwd", PASSWD, &new), expect, "{new}");
    }
}

#[test]
fn the_order_of_lines_of_an_account_counts() {
    let two = "bot:x:1001:5::/:/bin/sh\nbot:x:0:5::/:/bin/sh\n";
    let turned = "bot:x:0:5::/:/bin/sh\nbot:x:1001:5::/:/bin/sh\n";
    for new in [turned, "bot:x:0:5::/:/bin/sh\n"] {
        let found = facts("/etc/passwd", two, new);
        assert_eq!(found[0], "account 'bot' is root (uid 0)", "{found:?}");
    }
    let two = "bob:!:1::::::\nbob:$6$a:1::::::\n";
    let turned = "bob:$6$a:1::::::\nbob:!:1::::::\n";
    let password = "account 'bob' gets a password";
    for new in [turned, "bob:$6$a:1::::::\n"] {
        assert_eq!(facts("/etc/shadow", two, new), [password]);
    }
    let removed = facts("/etc/shadow", "bob:$6$a:1::::::\n", "bob:!:1::::::\n");
    assert_eq!(removed, ["account 'bob' loses its password"]);
}

#[test]
fn members_of_every_line_and_of_each_number_are_facts() {
    for (new, expect) in [
        // b) initgroups reads all lines.
        (
            format!("{GROUP}sudo:x:27:bot\n"),
            &["'bot' becomes a member of group 'sudo'"][..],
        ),
        (
            format!("sudo:x:27:\n{GROUP}sudo:x:27:bot\n"),
            &["'bot' becomes a member of group 'sudo'"],
        ),
        // c) the kernel knows numbers.
        (
            format!("{GROUP}games:x:27:bot\n"),
            &[
                "group 'games' has the number of group 'sudo'",
                "'bot' becomes a member of group 'games'",
            ],
        ),
        (
            GROUP.replace(":5000", ":27"),
            &[
                "group 'bots' has the number of group 'sudo'",
                "'bots' gets another number",
            ],
        ),
        (
            GROUP.replace(":27", ":5000"),
            &[
                "group 'sudo' has the number of group 'bots'",
                "'sudo' gets another number",
            ],
        ),
        (GROUP.replace(":27", ":28"), &["'sudo' gets another number"]),
        // e) newgrp(1) asks for it.
        (
            GROUP.replace("sudo:x", "sudo:$6$a"),
            &["group 'sudo' gets a password: whoever knows it joins the group"],
        ),
        (GROUP.replace("sudo:x", "sudo:!"), &[]),
        (GROUP.replace("sudo:x", "sudo:"), &[]),
        // groupadd
        (format!("{GROUP}eve:x:1002:\n"), &[]),
        (GROUP.replace(":ann", ":"), &[]),
        (GROUP.to_owned(), &[]),
    ] {
        assert_eq!(facts("/etc/group", GROUP, &new), expect, "{new}");
    }
    let old = "sudo:*::ann\n";
    for (new, expect) in [
        (
            "sudo:$6$a::ann\n",
            &["group 'sudo' gets a password: whoever knows it joins the group"][..],
        ),
        (
            "sudo:*:eve:ann\nsudo:*::bot\n",
            &[
                "'bot' becomes a member of group 'sudo'",
                "'eve' may add members to group 'sudo'",
            ],
        ),
        ("sudo:*::ann\neve:!::\n", &[]),
    ] {
        assert_eq!(facts("/etc/gshadow", old, new), expect, "{new}");
    }
}

#[test]
fn each_new_range_is_a_fact_and_low_ones_come_first() {
    let old = "ann:100000:65536\nold:0:1\n";
    let new = format!("{old}bot:165536:65536\n1002:65535:2\nbob:0:1\nbad:x:1\n");
    for (at, what) in [("/etc/subuid", "users"), ("/etc/subgid", "groups")] {
        let low = "with numbers of root or of accounts";
        assert_eq!(
            facts(at, old, &new),
            [
                format!("account '1002' may act as {what} 65535 to 65536, {low}"),
                format!("account 'bob' may act as {what} 0 to 0, {low}"),
                format!("account 'bot' may act as {what} 165536 to 231071"),
            ]
        );
        assert!(facts(at, &new, old).is_empty());
    }
}

#[test]
fn accounts_of_other_directories_have_the_same_facts() {
    let found = facts(
        "/var/lib/extrausers/passwd",
        "",
        "toor:x:0:65534::/:/bin/sh\n",
    );
    assert_eq!(found, ["account 'toor' is root (uid 0)"]);
    let entry = replaced("/etc/userdb/bot:sudo.membership", "", "");
    let change = Change::Create {
        new: entry.change.makes().unwrap(),
        meta: META,
    };
    let view = View {
        entry: &Entry { change, ..entry },
        old: None,
        new: Some(b""),
    };
    let all: Vec<String> = risks(&view).iter().map(ToString::to_string).collect();
    assert_eq!(
        all,
        [
            "it defines accounts and groups",
            "'bot' becomes a member of group 'sudo'"
        ]
    );
}

/// The page has so many facts, and many that nobody needs do not hide the one that counts.
#[test]
fn a_flood_hides_no_fact() {
    let list = |first: &str, count: usize| {
        let names: Vec<String> = (1..=count).map(|at| format!("{first}{at}")).collect();
        names.join(",")
    };
    let sentences = |all: &[(&str, &str, &str)]| {
        let entries: Vec<Entry> = all
            .iter()
            .map(|(at, old, new)| replaced(at, old, new))
            .collect();
        let views = entries.iter().zip(all);
        risk_sentences(views.map(|(entry, (_, old, new))| View {
            entry,
            old: Some(old.as_bytes()),
            new: Some(new.as_bytes()),
        }))
    };
    let sudo = "/etc/group: 'bot' becomes a member of group 'sudo'".to_owned();
    let plain = "adm:x:4:\nsudo:x:27:\n";
    let one = format!("aaa:x:5000:{}\nadm:x:4:\nsudo:x:27:bot\n", list("m", 64));
    let found = sentences(&[("/etc/group", plain, &one)]);
    assert_eq!(found[1], sudo, "{found:?}");
    let more = "/etc/group: and 60 more become members of group 'aaa'".to_owned();
    assert!(found.contains(&more), "{found:?}");
    // Many new groups, many old ones, and many new accounts.
    let new: String = (0..200)
        .map(|at| format!("a{at}:x:{}:m\n", 5000 + at))
        .collect();
    let many = format!("{new}adm:x:4:\nsudo:x:27:bot\n");
    let old: String = (0..200)
        .map(|at| format!("a{at}:x:{}:\n", 5000 + at))
        .collect();
    let passwords: String = (0..200).map(|at| format!("a{at}:$6$x:1::::::\n")).collect();
    for before in [plain.to_owned(), format!("{old}{plain}")] {
        let all = [
            ("/etc/group", before.as_str(), many.as_str()),
            ("/etc/shadow", "", &passwords),
        ];
        let found = sentences(&all);
        assert!(found.contains(&sudo), "{found:?}");
        assert!(found.len() <= 33, "{found:?}");
    }
    let roots: String = (0..200)
        .map(|at| format!("r{at}:x:0:0::/:/bin/sh\n"))
        .collect();
    let all = [
        ("/etc/group", plain, many.as_str()),
        ("/etc/passwd", "", &roots),
    ];
    assert!(sentences(&all).contains(&sudo));
}

/// A stranger sends plans, and the daemon reads them before it decides anything.
#[test]
fn time_grows_with_the_tables_and_no_faster() {
    // proc(5), "schedstat": nanoseconds on the processor.
    let used = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let cost = |lines: usize, times: usize| {
        let long = "x".repeat(lines * 4);
        let numbers = |range: std::ops::Range<usize>| -> String {
            range.map(|at| format!("n{at}:x:7:\n")).collect()
        };
        let old = format!("a:{long}:1:{long}:{long}:{long}:{long}\nb:x:7:\n");
        let new = "a:y:7:5:c:d:e\nb:x:7:m\n".repeat(lines) + &numbers(0..lines);
        let start = used();
        for at in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
            let entry = replaced(at, &old, &new);
            let (old, new) = (Some(old.as_bytes()), Some(new.as_bytes()));
            let entry = &entry;
            for _ in 0..times {
                assert!(!risks(&View { entry, old, new }).is_empty());
            }
        }
        used() - start
    };
    // The same bytes: the kernel counts by ticks.
    let (few, many) = (cost(125, 32), cost(4000, 1));
    assert!(many < few * 6, "32 times the lines: {few} ns, {many} ns");
}

#[test]
fn the_first_group_has_its_name_if_the_plan_knows_it() {
    let new = PASSWD.replace("1001:1001", "1001:27");
    let entries = [
        replaced("/etc/group", GROUP, GROUP),
        replaced("/etc/passwd", PASSWD, &new),
    ];
    let texts = [(GROUP, GROUP), (PASSWD, &new)];
    let views = entries.iter().zip(texts).map(|(entry, (old, new))| View {
        entry,
        old: Some(old.as_bytes()),
        new: Some(new.as_bytes()),
    });
    let expect = "/etc/passwd: the first group of account 'bot' becomes 27 ('sudo')";
    assert_eq!(
        risk_sentences(views).last().map(String::as_str),
        Some(expect)
    );
}

/// Attack: a number that sudo or docker has, without a line of that group in the plan.
#[test]
fn the_first_group_of_a_new_account_is_a_fact_unless_the_plan_makes_it() {
    const TABLE: &str = "root:x:0:\nsudo:x:27:\ndocker:x:998:\n";
    let with = |line: &str| format!("{TABLE}{line}\n");
    for (account, groups, expect) in [
        // The group is on the machine.
        ("evil:x:27:27::/home/evil:/bin/bash", None, Some("27")),
        ("evil:x:1002:998::/:/bin/sh", None, Some("998")),
        ("evil:x:1002:1002::/:/bin/sh", None, Some("1002")),
        (
            "evil:x:27:27::/:/bin/sh",
            Some(TABLE.to_owned()),
            Some("27 ('sudo')"),
        ),
        (
            "evil:x:1002:998::/:/bin/sh",
            Some(with("evil:x:1002:")),
            Some("998 ('docker')"),
        ),
        // It is new, and close to root, or it has the number of another.
        (
            "evil:x:1002:990::/:/bin/sh",
            Some(with("lxd:x:990:")),
            Some("990 ('lxd')"),
        ),
        (
            "evil:x:1002:27::/:/bin/sh",
            Some(with("evil:x:27:")),
            Some("27 ('sudo')"),
        ),
        // useradd, useradd -r, adduser --system
        (
            "eve:x:1002:1002::/home/eve:/bin/sh",
            Some(with("eve:x:1002:")),
            None,
        ),
        (
            "svc:x:997:994::/nonexistent:/usr/sbin/nologin",
            Some(with("svc:x:994:")),
            None,
        ),
        ("svc:x:997:65534::/:/usr/sbin/nologin", None, None),
    ] {
        let passwd = format!("{PASSWD}{account}\n");
        let tables = groups
            .iter()
            .map(|groups| ("/etc/group", TABLE, groups.as_str()));
        let tables: Vec<_> = tables.chain([("/etc/passwd", PASSWD, &*passwd)]).collect();
        let entries: Vec<Entry> = tables
            .iter()
            .map(|(at, old, new)| replaced(at, old, new))
            .collect();
        let views = || {
            let views = entries.iter().zip(&tables);
            views.map(|(entry, (_, old, new))| View {
                entry,
                old: Some(old.as_bytes()),
                new: Some(new.as_bytes()),
            })
        };
        let name = account.split(':').next().unwrap();
        let fact = expect.map(|gid| format!("the first group of account '{name}' becomes {gid}"));
        let found = risk_sentences(views()).into_iter();
        let found = found.filter_map(|risk| Some(risk.strip_prefix("/etc/passwd: ")?.to_owned()));
        let found: Vec<String> = found.filter(|risk| risk.contains("first group")).collect();
        assert_eq!(found, Vec::from_iter(fact.clone()), "{account}");
        // Each entry alone has the same.
        let context = Context::new(views());
        let last = context.risks(&views().next_back().unwrap());
        let last = last.iter().map(ToString::to_string);
        let last: Vec<String> = last.filter(|risk| risk.contains("first group")).collect();
        assert_eq!(last, Vec::from_iter(fact), "{account}");
    }
    // What the table was is not known: nothing is new in it.
    let entries = [
        replaced("/etc/group", "", TABLE),
        replaced(
            "/etc/passwd",
            PASSWD,
            &format!("{PASSWD}evil:x:1002:27::/:\n"),
        ),
    ];
    let [group, passwd] = &entries;
    let passwd_text = format!("{PASSWD}evil:x:1002:27::/:\n");
    let views = [
        View {
            entry: group,
            old: None,
            new: Some(TABLE.as_bytes()),
        },
        View {
            entry: passwd,
            old: Some(PASSWD.as_bytes()),
            new: Some(passwd_text.as_bytes()),
        },
    ];
    let found = risk_sentences(views.into_iter());
    let fact = "/etc/passwd: the first group of account 'evil' becomes 27 ('sudo')";
    assert!(found.contains(&fact.to_owned()), "{found:?}");
}
