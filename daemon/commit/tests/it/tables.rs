//! Tables of passwords, which a plan of a copy changes by their lines.

use std::fs::{self, File, OpenOptions};

use nix::fcntl::{FcntlArg, fcntl};
use nix::mount::{MsFlags, mount};
use remit_edit::Edit;
use remit_plan::{Base, Bundle, Change, Content, Entry, Plan, PlanPath, Source, sha256};

use crate::interrupted::injected;
use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");
const OLD: &[u8] = b"root:$y$abc:1:0:99999:7:::\nbob:$6$x:1:0:99999:7:::\nold:!:1::::::\n";

/// A scene whose `etc` is `/etc`.
fn scene() -> Scene {
    let scene = Scene::new(MEMORY);
    let none = None::<&str>;
    mount(Some(&at("etc")), "/etc", none, MsFlags::MS_BIND, none).unwrap();
    put("etc/shadow", OLD, 0o640, 42);
    scene
}

/// Returns the bundle of changes of lines by somebody who may not read the table.
fn lines(text: &[u8]) -> Vec<u8> {
    let base = found("etc/shadow").unwrap().base;
    let meta = base.stat.meta;
    let base = Base {
        sha256: None,
        ..base
    };
    let content = Content {
        size: text.len() as u64,
        sha256: sha256(text),
        source: Source::Lines,
        capabilities: None,
        mtime: None,
    };
    let change = Change::Replace {
        base,
        content,
        meta,
    };
    let path = PlanPath::new("/etc/shadow").unwrap();
    let plan = Plan::new(vec![Entry { path, change }]).unwrap();
    let bundle = Bundle::new(&plan, text, &[]).unwrap();
    bundle.as_bytes().to_vec()
}

/// As lckpwdf(3) does.
fn locked() -> File {
    locked_as(File::options().write(true), libc::F_WRLCK)
}

fn locked_as(how: &OpenOptions, kind: i32) -> File {
    let file = how.open(at("etc/.pwd.lock")).unwrap();
    let whole = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLK(&whole)).unwrap();
    file
}

#[test]
fn table_is_not_changed_while_another_program_has_its_lock() {
    let _scene = scene();
    put("etc/.pwd.lock", b"", 0o600, 0);
    put("etc/other", b"old", 0o644, 0);
    let input = lines(b"+new:!:2::::::\n");
    let before = tree();
    let is_busy = |result: Result| {
        assert_eq!(result.code, Some(6), "{}", result.text);
        assert!(result.text.contains("'/etc/.pwd.lock'"), "{}", result.text);
    };
    let lock = locked();
    is_busy(commit(&input));
    assert_eq!(tree(), before);
    commit(&plan(&[write("etc/other", "new")])).is_done();
    drop(lock);
    // An account that may only read the file cannot keep a commit out.
    let lock = locked_as(File::options().read(true), libc::F_RDLCK);
    commit(&input).is_done();
    drop(lock);
    let after = tree();
    let lock = locked();
    is_busy(undo(&id_of(&input)));
    assert_eq!(tree(), after);
    drop(lock);
    undo(&id_of(&input)).is_done();
    assert_eq!(read("etc/shadow"), OLD);
    // What must not be kept from its paths goes on.
    let input = lines(b"+other:!:2::::::\n");
    commit(&input).is_done();
    let _lock = locked();
    undo_partly(&id_of(&input)).is_done();
    assert_eq!(read("etc/shadow"), OLD);
}

#[test]
fn recovery_goes_on_without_the_lock() {
    let _scene = scene();
    put("etc/.pwd.lock", b"", 0o600, 0);
    let input = lines(b"+new:!:2::::::\n");
    let before = tree();
    // The first rename is that of the journal.
    let call = ("renameat2".to_owned(), 2);
    let arguments = ["commit", &state()];
    end(start(
        &injected(&call, "signal=SIGKILL"),
        &arguments,
        Some(&input),
    ));
    let _lock = locked();
    recover().is_done();
    assert_eq!(read("etc/shadow"), OLD);
    assert_eq!(
        tree().keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
}

#[test]
fn commit_that_makes_the_lock_is_undone() {
    let _scene = scene();
    let made = [("etc/.pwd.lock", ""), ("etc/group", "new:x:1:\n")].map(|(name, text)| {
        let path = PlanPath::new(format!("/{name}")).unwrap();
        let edit = Edit {
            path,
            ..write(name, text)
        };
        edit.apply(None).unwrap().unwrap()
    });
    let bundle = remit_edit::bundle(made.into()).unwrap();
    let input = bundle.as_bytes().to_vec();
    commit(&input).is_done();
    undo(&id_of(&input)).is_done();
    assert!(!at("etc/.pwd.lock").exists() && !at("etc/group").exists());
}

#[test]
fn only_the_lines_change_and_an_undo_gives_the_table_back() {
    let _scene = scene();
    let before = tree();
    let input = lines(b"+new:!:2::::::\n-old::1::::::\n<bob::1:0:99999:7:::\n>bob::1:0:30:7:::\n");
    commit(&input).is_done();
    let expect = b"root:$y$abc:1:0:99999:7:::\nbob:$6$x:1:0:30:7:::\nnew:!:2::::::\n";
    assert_eq!(read("etc/shadow"), expect);
    let (now, then) = (tree(), before.clone());
    let facts = |tree: &Tree| {
        let facts = &tree[&at("etc/shadow")];
        (facts.mode, facts.owner)
    };
    assert_eq!(facts(&now), facts(&then));
    undo(&id_of(&input)).is_done();
    assert_eq!(tree(), before);
}

#[test]
fn another_table_than_that_of_the_plan_stays() {
    let _scene = scene();
    for (text, words) in [
        (
            &b"+bob:!:2::::::\n"[..],
            "'bob' has a line in it; plan again",
        ),
        (b"-eve::1\n", "'eve' has no line in it; plan again"),
        (b"<eve::1\n>eve::2\n", "'eve' has no line in it; plan again"),
    ] {
        let before = tree();
        commit(&lines(text)).is_refused(words);
        assert_eq!(tree(), before);
    }
    let input = lines(b"+new:!:2::::::\n");
    // Of the same length, so only its time differs.
    fs::write(
        at("etc/shadow"),
        [&b"ROOT"[..], OLD.get(4..).unwrap()].concat(),
    )
    .unwrap();
    let before = tree();
    commit(&input).is_refused("it has changed");
    assert_eq!(tree(), before);
}

#[test]
fn table_that_was_written_after_the_commit_stays() {
    let _scene = scene();
    let input = lines(b"+new:!:2::::::\n");
    commit(&input).is_done();
    append("etc/shadow", b"late:!:3::::::\n");
    let before = tree();
    undo(&id_of(&input)).is_refused("its size has changed");
    assert_eq!(tree(), before);
}
