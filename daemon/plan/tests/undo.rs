//! What an approver reads of an undo of files of accounts, and of modes of programs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use remit_plan::{
    Base, BeforeUndo, Change, Content, Entry, FileCapabilities, FoundDirectory, Kind, Metadata,
    New, OldCapabilities, Plan, PlanPath, Source, Stat, sha256,
};

const META: Metadata = Metadata {
    mode: 0o640,
    uid: 0,
    gid: 0,
};

fn content(bytes: &str) -> Content {
    Content {
        size: bytes.len() as u64,
        sha256: sha256(bytes.as_bytes()),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    }
}

fn base(bytes: &str, is_read: bool) -> Base {
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: bytes.len() as u64,
        meta: META,
    };
    Base::new(stat, is_read.then(|| sha256(bytes.as_bytes())))
}

/// A table as it is and as it will be again.
struct Tables<'a>(Option<(&'a str, &'a str)>);

impl BeforeUndo for Tables<'_> {
    fn link_target(&self, _: usize, _: bool) -> Option<Vec<u8>> {
        None
    }

    fn directory(&self, _: usize) -> Option<FoundDirectory> {
        None
    }

    fn accounts(&self, _: usize) -> Option<[Vec<u8>; 2]> {
        self.0.map(|(now, again)| [now.into(), again.into()])
    }
}

/// A commit has made `now` of `again`.
fn risks(at: &str, change: Change, tables: Option<(&str, &str)>) -> Vec<String> {
    let path = PlanPath::new(at).unwrap();
    let plan = Plan::new(vec![Entry { path, change }]).unwrap();
    let lines = plan.undo_page(&Tables(tables)).lines;
    let risks = lines.iter().filter_map(|line| line.strip_prefix("RISK: "));
    let risks = risks.map(|risk| risk.strip_prefix(at).unwrap_or(risk));
    // The first is that of the path.
    risks.skip(1).map(str::to_owned).collect()
}

#[test]
fn undo_names_what_accounts_get() {
    let root = "root:x:0:0::/root:/bin/bash\n";
    let user = "root2:x:0:0::/root:/bin/bash\n";
    for (at, now, again, expect) in [
        (
            "/etc/group",
            "sudo:x:27:\n",
            "sudo:x:27:bot\n",
            &[": 'bot' becomes a member of group 'sudo'"][..],
        ),
        ("/etc/group", "sudo:x:27:bot\n", "sudo:x:27:\n", &[]),
        (
            "/etc/passwd",
            root,
            &format!("{root}{user}"),
            &[
                ": account 'root2' is root (uid 0)",
                ": account 'root2' has the number of account 'root'",
                ": the first group of account 'root2' becomes 0",
            ],
        ),
        (
            "/etc/shadow",
            "root:!:1::::::\n",
            "root:!:1::::::\nbob:$6$salt$hash:1::::::\n",
            &[": account 'bob' gets a password"],
        ),
        (
            "/etc/gshadow",
            "sudo:*::\n",
            "sudo:$6$salt$hash::bot\n",
            &[
                ": group 'sudo' gets a password: whoever knows it joins the group",
                ": 'bot' becomes a member of group 'sudo'",
            ],
        ),
        (
            "/etc/subuid",
            "",
            "bot:165536:65536\n",
            &[": account 'bot' may act as users 165536 to 231071"],
        ),
    ] {
        // A commit of lines has not read its table.
        for is_read in [true, false] {
            let change = Change::Replace {
                base: base(again, is_read),
                content: content(now),
                meta: META,
            };
            let found = risks(at, change, Some((now, again)));
            assert_eq!(found, expect, "{at} {is_read}");
            assert!(!found.iter().any(|line| line.contains("hash")), "{found:?}");
            let unread = risks(at, change, None);
            assert_eq!(
                unread,
                [": its bytes were not read: whom it gives what is not known"]
            );
        }
    }
}

#[test]
fn undo_of_new_and_of_removed_tables_names_what_accounts_get() {
    let line = "bot:165536:65536\n";
    let removed = Change::Remove {
        base: base(line, true),
    };
    let made = Change::Create {
        new: New::File(content(line)),
        meta: META,
    };
    let set = Change::SetMetadata {
        base: base(line, true),
        meta: Metadata {
            mode: 0o600,
            ..META
        },
    };
    let fact = ": account 'bot' may act as users 165536 to 231071".to_owned();
    assert!(risks("/etc/subuid", removed, Some(("", line))).contains(&fact));
    assert!(risks("/etc/subuid", made, Some((line, ""))).is_empty());
    assert!(
        risks("/etc/subuid", set, None)
            .iter()
            .all(|risk| !risk.contains("not read"))
    );
}

#[test]
fn undo_of_a_mode_says_the_capabilities_of_the_file() {
    let own = FileCapabilities {
        permitted: 1 << 12,
        inheritable: 0,
        is_effective: true,
    };
    for (own, end) in [(Some(own), ", capabilities cap_net_admin+ep"), (None, "")] {
        let base = Base {
            capabilities: OldCapabilities::Read(own),
            ..base("", true)
        };
        let meta = Metadata {
            mode: 0o600,
            ..META
        };
        let change = Change::SetMetadata { base, meta };
        let path = PlanPath::new("/srv/dumpcap").unwrap();
        let plan = Plan::new(vec![Entry { path, change }]).unwrap();
        let lines = plan.undo_page(&Tables(None)).lines;
        let line = format!(
            "'/srv/dumpcap' again mode 0640, owner 0:0; the commit left mode 0600, owner 0:0{end}"
        );
        assert_eq!(lines.last(), Some(&line));
        let risk = "RISK: /srv/dumpcap: who executes it gets capabilities: cap_net_admin";
        assert_eq!(lines.contains(&risk.to_owned()), own.is_some(), "{lines:?}");
    }
}
