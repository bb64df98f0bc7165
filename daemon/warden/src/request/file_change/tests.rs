use std::fs::DirBuilder;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use remit_plan::{Base, Change, Content, Entry, Kind, Plan, PlanDirectories, Source, Stat, sha256};

use remit_common::wire::Purpose;
use remit_policy::{Ask, MachineTable};

use super::*;
use crate::request::fixture::{named, spec};
use crate::startup::confinement;

/// A directory of one test.
struct Scene(PathBuf);

impl Scene {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("remit-undo-{name}-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("own")).unwrap();
        Self(dir)
    }

    /// Returns the undo of a commit that replaced `own/current`, whose old inode is this one, and the directories where the
    /// old file may be: that of the journal, and the private one.
    fn undo(&self, kind: Kind, ino: u64) -> (Undo, [PathBuf; 2]) {
        let meta = Metadata {
            mode: 0o777,
            uid: 0,
            gid: 0,
        };
        let stat = Stat {
            kind,
            dev: 1,
            ino,
            ctime_ns: 3,
            size: 3,
            meta,
        };
        let entry = Entry {
            path: PlanPath::new(self.0.join("own/current").as_os_str().as_bytes()).unwrap(),
            change: Change::Replace {
                base: Base::new(stat, Some(sha256(b"old"))),
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
        let (mut journal, _) = Journal::begin(&plan, &PlanDirectories::new());
        journal[usize::try_from(Journal::PHASE).unwrap()] = Phase::Kept as u8;
        let id = plan.id();
        let kept = self.0.join("commits").join(&id);
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join("journal"), &journal).unwrap();
        let private = self.0.join("own").join(format!(".remit-{id}"));
        let undo = Undo {
            directory: self.0.join("commits"),
            id,
            allowed: vec![vec![PlanPath::new(self.0.as_os_str().as_bytes()).unwrap()]],
            protected: Rc::default(),
            with_contents: false,
        };
        (undo, [kept, private])
    }

    /// Makes an old link or an old file, to be moved to where it is kept. Returns its inode.
    fn old(&self, kind: Kind) -> u64 {
        let old = self.0.join("old");
        match kind {
            Kind::Symlink => symlink("old", &old).unwrap(),
            _ => fs::write(&old, "old").unwrap(),
        }
        fs::symlink_metadata(&old).unwrap().ino()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make_private(directory: &Path, owner: u32, mode: u32) {
    DirBuilder::new().recursive(true).create(directory).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
    chown(directory, Some(owner), Some(owner)).unwrap();
}

#[test]
fn page_of_an_undo_has_the_targets_of_links() {
    for at in 0..2 {
        let scene = Scene::new("targets");
        let (undo, kept) = scene.undo(Kind::Symlink, scene.old(Kind::Symlink));
        make_private(&kept[at], 0, 0o700);
        fs::rename(scene.0.join("old"), kept[at].join("0")).unwrap();
        symlink("new", scene.0.join("own/current")).unwrap();
        let lines = undo.page().unwrap().lines.join("\n");
        let words = [
            "again a symbolic link to 'old'",
            "the commit left a symbolic link to 'new'",
        ];
        assert!(words.iter().all(|word| lines.contains(word)), "{lines}");
    }
}

/// The approver of an undo reads which commit it is, also after an undo that has failed: that writes to the journal.
#[test]
fn page_of_an_undo_begins_with_its_commit() {
    let scene = Scene::new("head");
    let (undo, [kept, _]) = scene.undo(Kind::File, 1);
    let journal = kept.join("journal");
    let made = fs::metadata(&journal).unwrap().created().unwrap();
    let made_ms = timers::millis(made.duration_since(UNIX_EPOCH).unwrap());
    let head = format!("undoes commit {} of {}", undo.id, utc(made_ms));
    for _ in 0..2 {
        assert_eq!(undo.page().unwrap().lines[0], head);
        let file = File::options().append(true).open(&journal).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
    }
}

/// Attack: an id that leads to another journal, and one whose commit is undone.
#[test]
fn undo_is_judged_by_the_paths_of_a_journal_that_can_be_undone() {
    let scene = Scene::new("asked");
    let (undo, [kept, _]) = scene.undo(Kind::File, 1);
    let text = format!(
        "[[command]]\nname = \"site.undo\"\nsummary = \"x\"\neffect = \"change\"\nprofile = \"host\"\n\
         argv = [\"/usr/libexec/remit/remit-commit\", \"undo\", \"{}\", \"{{id}}\"]\n\
         args.id = {{ type = \"string\", pattern = \"[0-9a-z./]+\", max = 99 }}\n",
        undo.directory.display()
    );
    let policy = crate::request::fixture::Scene::of(&text, &MachineTable::default()).policy;
    let asked = |args: &[(&str, &str)]| {
        let purpose = Purpose::Change {
            reason: "a test".to_owned(),
        };
        let mut call = Call::new(spec(named("site.undo", args), purpose), Vec::new()).unwrap();
        call.read_undone(&policy);
        match call.ask(&[]) {
            Ask::Paths { paths, .. } => {
                assert!(call.held > paths.iter().map(|path| path.as_bytes().len()).sum());
                paths.iter().map(ToString::to_string).collect()
            }
            Ask::Command { .. } => Vec::new(),
            other => panic!("{other:?}"),
        }
    };
    let id = undo.id.as_str();
    let current = scene.0.join("own/current").display().to_string();
    assert_eq!(asked(&[("id", id)]), [current]);
    let (above, other) = (format!("../commits/{id}"), "0".repeat(32));
    let (above, other) = (above.as_str(), other.as_str());
    for args in [
        &[][..],
        &[("id", above)],
        &[("id", other)],
        &[("id", id), ("id", other)],
    ] {
        assert_eq!(asked(args), [""; 0], "{args:?}");
    }
    let mut journal = fs::read(kept.join("journal")).unwrap();
    journal[usize::try_from(Journal::PHASE).unwrap()] = Phase::Gone as u8;
    fs::write(kept.join("journal"), &journal).unwrap();
    assert_eq!(asked(&[("id", id)]), [""; 0]);
    fs::remove_file(kept.join("journal")).unwrap();
    let why = undo.journal().unwrap_err();
    assert!(why.ends_with("its undo is not kept any more"), "{why}");
}

/// Returns what an undo finds of the old file, by its bytes or its target, once `change` was made to the private
/// directory, in which the file is.
fn put_back(kind: Kind, owner: u32, change: impl FnOnce(&Path)) -> Option<Vec<u8>> {
    put_back_in(&Scene::new("exchanged"), kind, owner, change)
}

fn put_back_in(
    scene: &Scene,
    kind: Kind,
    owner: u32,
    change: impl FnOnce(&Path),
) -> Option<Vec<u8>> {
    let (undo, [_, private]) = scene.undo(kind, scene.old(kind));
    make_private(&private, owner, 0o700);
    fs::rename(scene.0.join("old"), private.join("0")).unwrap();
    change(&private);
    let read = undo.put_back(10, 10).unwrap().remove(0).1;
    if kind == Kind::Symlink {
        let lines = undo.page().unwrap().lines.join("\n");
        let is_named = lines.contains("again a symbolic link to 'old'");
        assert_eq!(is_named, read.is_some(), "{lines}");
        assert!(!lines.contains("forged"), "{lines}");
    }
    read
}

/// Puts something else in the slot, with the inode of nothing that was there.
fn forge(private: &Path, make: impl FnOnce(&Path)) {
    fs::rename(private.join("0"), private.join("1")).unwrap();
    make(&private.join("0"));
}

/// The owner of the directory above exchanges the private directory, or what seems to be in it.
#[test]
fn old_file_of_a_forged_private_directory_is_unknown() {
    let none = |_: &Path| ();
    let owned = |private: &Path| make_private(private, 1000, 0o700);
    let opened = |private: &Path| make_private(private, 0, 0o755);
    let linked = |private: &Path| {
        let other = private.with_file_name("other");
        fs::rename(private, &other).unwrap();
        symlink(other, private).unwrap();
    };
    let above = |private: &Path| {
        let (own, other) = (private.parent().unwrap(), private.parent().unwrap());
        let other = other.with_file_name("other");
        fs::rename(own, &other).unwrap();
        symlink(other, own).unwrap();
    };
    for kind in [Kind::File, Kind::Symlink] {
        for owner in [0, remit_sys::NOBODYS] {
            assert_eq!(put_back(kind, owner, none), Some(b"old".to_vec()));
            assert_eq!(put_back(kind, owner, owned), None);
            assert_eq!(put_back(kind, owner, opened), None);
            assert_eq!(put_back(kind, owner, linked), None);
            assert_eq!(put_back(kind, owner, above), None);
        }
        for make in [
            |slot: &Path| fs::write(slot, "forged").unwrap(),
            |slot: &Path| symlink("forged", slot).unwrap(),
            // To a file that exists, and to the old one.
            |slot: &Path| symlink("/etc/passwd", slot).unwrap(),
            |slot: &Path| symlink("1", slot).unwrap(),
            // A test that opened it would wait.
            |slot: &Path| mkfifo(slot, Mode::S_IRUSR).unwrap(),
        ] {
            assert_eq!(put_back(kind, 0, |private| forge(private, make)), None);
        }
    }
}

/// A user answers the kernel for a file system that is mounted on the private directory.
#[test]
fn old_file_in_a_mount_on_the_private_directory_is_unknown() {
    let scene = Scene::new("mounted");
    let in_thread = || {
        // Of this thread alone.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).unwrap();
        put_back_in(&scene, Kind::File, 0, |private| {
            let inside = private.join("0");
            let bind = private.with_file_name("bind");
            fs::rename(private, &bind).unwrap();
            make_private(private, 0, 0o700);
            let tmpfs = Some("tmpfs");
            mount(tmpfs, private, tmpfs, MsFlags::empty(), Some("mode=700")).unwrap();
            fs::write(&inside, "").unwrap();
            // The inode is right, so only the device of the directory differs.
            let from = Some(&bind.join("0"));
            mount(from, &inside, none, MsFlags::MS_BIND, none).unwrap();
        })
    };
    let read = std::thread::scope(|scope| scope.spawn(in_thread).join());
    assert_eq!(read.unwrap(), None);
}

/// As the daemon's children are: with its capabilities, its paths and its system calls.
#[test]
fn old_file_is_read_in_the_daemons_own_sandbox() {
    for kind in [Kind::File, Kind::Symlink] {
        // The child may not remove it.
        let scene = Scene::new("confined");
        let confine = |_: &Path| confinement::enter_layers();
        let read = || put_back_in(&scene, kind, remit_sys::NOBODYS, confine);
        let mut answer = remit_sys::in_child(|| read().unwrap_or_default()).unwrap();
        let bytes = loop {
            let mut ready = [PollFd::new(answer.fd(), PollFlags::POLLIN)];
            assert!(poll(&mut ready, PollTimeout::NONE).unwrap() > 0);
            if let Some(bytes) = answer.read().unwrap() {
                break bytes;
            }
        };
        assert_eq!(bytes, b"old", "{kind:?}");
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
    let (mut journal, _) = Journal::begin(&plan, &PlanDirectories::new());
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
    let (mut journal, _) = Journal::begin(&plan, &PlanDirectories::new());
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
        let (journal, _) = Journal::begin(&plan, &PlanDirectories::new());
        let protected = Protected {
            paths: vec![PlanPath::new(own).unwrap()].into(),
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

#[test]
fn undo_holds_while_the_same_is_protected() {
    let undo = Undo {
        directory: "/nonexistent".into(),
        id: "ab".repeat(16),
        allowed: Vec::new(),
        protected: Rc::default(),
        with_contents: false,
    };
    assert_eq!(undo.check_protected(&Protected::default()), Ok(()));
    let path = PlanPath::new("/home/boss").unwrap();
    for other in [
        Protected {
            paths: vec![path].into(),
            ..Protected::default()
        },
        Protected {
            gids: [900].into(),
            ..Protected::default()
        },
        Protected {
            has_unknown_homes: true,
            ..Protected::default()
        },
    ] {
        let refusal = undo.check_protected(&other).unwrap_err();
        assert_eq!(refusal.code, Code::ApprovalVoid, "{refusal:?}");
    }
}
