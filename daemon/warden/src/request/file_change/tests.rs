use remit_plan::{Base, Change, Content, Entry, Kind, OldCapabilities, Plan, Source, Stat, sha256};

use super::*;

#[test]
fn page_of_an_undo_has_the_targets_of_links() {
    let name = format!("remit-undo-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    let meta = Metadata {
        mode: 0o777,
        uid: 0,
        gid: 0,
    };
    let stat = Stat {
        kind: Kind::Symlink,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: 3,
        meta,
    };
    let path = dir.join("current");
    let entry = Entry {
        path: PlanPath::new(path.as_os_str().as_bytes()).unwrap(),
        change: Change::Replace {
            base: Base {
                stat,
                sha256: Some(sha256(b"old")),
                capabilities: OldCapabilities::Unread,
            },
            content: Content {
                size: 3,
                sha256: sha256(b"new"),
                source: Source::Bundle,
                capabilities: None,
                mtime: None,
            },
            meta,
        },
    };
    let plan = Plan::new(vec![entry]).unwrap();
    let (mut journal, _) = Journal::begin(&plan);
    journal[usize::try_from(Journal::PHASE).unwrap()] = Phase::Kept as u8;
    let id = plan.id();
    let undo = Undo {
        directory: dir.clone(),
        id: id.clone(),
        allowed: vec![vec![PlanPath::new(dir.as_os_str().as_bytes()).unwrap()]],
        protected: Rc::default(),
        with_contents: false,
    };
    for kept in [dir.join(&id), dir.join(format!(".remit-{id}"))] {
        fs::create_dir_all(dir.join(&id)).unwrap();
        fs::create_dir_all(&kept).unwrap();
        fs::write(dir.join(&id).join("journal"), &journal).unwrap();
        std::os::unix::fs::symlink("old", kept.join("0")).unwrap();
        std::os::unix::fs::symlink("new", &path).unwrap();
        let lines = undo.page().unwrap().lines.join("\n");
        fs::remove_dir_all(&dir).unwrap();
        let words = [
            "again a symbolic link to 'old'",
            "now a symbolic link to 'new'",
        ];
        assert!(words.iter().all(|word| lines.contains(word)), "{lines}");
    }
}

/// As many names as the commit made are not those names.
#[test]
fn names_of_others_in_a_new_directory_are_counted_by_name_and_inode() {
    let name = format!("remit-undo-names-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    let meta = Metadata {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let content = Content {
        size: 1,
        sha256: sha256(b"x"),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let paths = [dir.clone(), dir.join("a"), dir.join("b")];
    let entries = paths.iter().map(|path| Entry {
        path: PlanPath::new(path.as_os_str().as_bytes()).unwrap(),
        change: Change::Create {
            new: match path == &dir {
                true => New::Directory,
                false => New::File(content),
            },
            meta,
        },
    });
    let plan = Plan::new(entries.collect()).unwrap();
    let (mut journal, _) = Journal::begin(&plan);
    journal[usize::try_from(Journal::PHASE).unwrap()] = Phase::Kept as u8;
    let mut journal = Journal::decode(&journal).unwrap();
    let undo = Undo {
        directory: dir.clone(),
        id: plan.id(),
        allowed: Vec::new(),
        protected: Rc::default(),
        with_contents: true,
    };
    let write = |name: &str| fs::write(dir.join(name), "x").unwrap();
    let changes: [(&dyn Fn(), usize); 5] = [
        (&|| (), 0),
        (&|| fs::remove_file(dir.join("b")).unwrap(), 0),
        (&|| write("c"), 1),
        (
            &|| {
                fs::remove_file(dir.join("b")).unwrap();
                write("c");
            },
            1,
        ),
        (
            &|| {
                write("new");
                fs::rename(dir.join("new"), dir.join("b")).unwrap();
            },
            1,
        ),
    ];
    for (at, (change, expect)) in changes.iter().enumerate() {
        fs::create_dir(&dir).unwrap();
        write("a");
        write("b");
        journal.inodes = paths
            .iter()
            .map(|path| fs::metadata(path).unwrap().ino())
            .collect();
        change();
        let found = Machine::new(&undo, &journal).directory(0).unwrap().others;
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, *expect, "{at}");
    }
}

/// Returns what the page of an undo says: `/etc/group` is as a commit left it, and was `again` before, with this mode.
fn undo_of_groups(name: &str, again: &[u8], mode: u32) -> Result<Vec<String>, String> {
    let name = format!("remit-undo-{name}-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    let now = fs::read("/etc/group").unwrap();
    fs::write(dir.join("0"), again).unwrap();
    let meta = Metadata {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: fs::metadata(dir.join("0")).unwrap().ino(),
        ctime_ns: 3,
        size: again.len() as u64,
        meta: Metadata { mode, ..meta },
    };
    let entry = Entry {
        path: PlanPath::new("/etc/group").unwrap(),
        change: Change::Replace {
            base: Base::new(stat, Some(sha256(again))),
            content: Content {
                size: now.len() as u64,
                sha256: sha256(&now),
                source: Source::Bundle,
                capabilities: None,
                mtime: None,
            },
            meta,
        },
    };
    let plan = Plan::new(vec![entry]).unwrap();
    let (mut journal, _) = Journal::begin(&plan);
    journal[usize::try_from(Journal::PHASE).unwrap()] = Phase::Kept as u8;
    let id = plan.id();
    fs::create_dir_all(dir.join(&id)).unwrap();
    fs::write(dir.join(&id).join("journal"), &journal).unwrap();
    fs::rename(dir.join("0"), dir.join(&id).join("0")).unwrap();
    let protected = Protected {
        names: [b"boss".to_vec()].into(),
        gids: [900].into(),
        ..Protected::default()
    };
    let undo = Undo {
        directory: dir.clone(),
        id,
        allowed: vec![vec![PlanPath::new("/etc").unwrap()]],
        protected: Rc::new(protected),
        with_contents: false,
    };
    let lines = undo.page().map(|page| page.lines);
    fs::remove_dir_all(&dir).unwrap();
    lines
}

/// A commit has taken bot out of its groups.
#[test]
fn page_of_an_undo_says_what_accounts_get() {
    let now = String::from_utf8(fs::read("/etc/group").unwrap()).unwrap();
    let again = now.replace("\ndisk:x:6:", "\ndisk:x:6:bot") + "new:x:6:\n";
    let lines = undo_of_groups("members", again.as_bytes(), 0o644).unwrap();
    let risks: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("RISK"))
        .collect();
    assert_eq!(
        risks,
        [
            "RISK: /etc/group: it defines accounts and groups",
            "RISK: /etc/group: group 'new' has the number of group 'disk'",
            "RISK: /etc/group: 'bot' becomes a member of group 'disk'",
        ]
    );
}

#[test]
fn undo_gives_an_account_file_no_mode_again() {
    let now = fs::read("/etc/group").unwrap();
    let same = undo_of_groups("same", &now, 0o644);
    assert!(same.is_ok(), "{same:?}");
    let wider = undo_of_groups("wider", &now, 0o664);
    assert!(
        wider.clone().is_err_and(|why| why.contains("no more bits")),
        "{wider:?}"
    );
    let own = undo_of_groups("own", &[&now[..], b"evil:x:900:bot\n"].concat(), 0o644);
    assert!(
        own.clone().is_err_and(|why| why.contains("approves")),
        "{own:?}"
    );
}

/// An approver has a crontab in the directory by now: without contents the undo leaves it.
#[test]
fn undo_with_contents_takes_nothing_of_approvers() {
    let own = "/var/spool/cron/crontabs/boss";
    for (with_contents, own, is_refused) in [
        (true, own, true),
        (false, own, false),
        (true, "/var/spool/at/boss", false),
    ] {
        let meta = Metadata {
            mode: 0o1730,
            uid: 0,
            gid: 0,
        };
        let new = New::Directory;
        let path = PlanPath::new("/var/spool/cron/crontabs").unwrap();
        let change = Change::Create { new, meta };
        let plan = Plan::new(vec![Entry { path, change }]).unwrap();
        let (journal, _) = Journal::begin(&plan);
        let protected = Protected {
            paths: vec![PlanPath::new(own).unwrap()],
            ..Protected::default()
        };
        let undo = Undo {
            directory: "/nonexistent".into(),
            id: plan.id(),
            allowed: vec![vec![PlanPath::new("/var/spool").unwrap()]],
            protected: Rc::new(protected),
            with_contents,
        };
        let judged = undo.judge(&Journal::decode(&journal).unwrap());
        assert_eq!(judged.is_err(), is_refused, "{judged:?}");
    }
}
