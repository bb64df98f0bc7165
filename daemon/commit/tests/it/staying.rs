//! New directories in which a service has made files since: an undo leaves them, and takes back all else or nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use remit_edit::{Action, Edit};
use remit_sys::sys;

use crate::interrupted::{calls, injected};
use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

/// What a package of a service makes: programs, a directory of logs, one of state with a file in it.
pub fn package() -> Vec<Edit> {
    let directory = |name: &str, mode, uid| Edit {
        mode: Some(mode),
        uid: Some(uid),
        ..edit(name, Action::CreateDirectory)
    };
    vec![
        write("etc/accounts", "root\nserver\n"),
        edit("etc/old", Action::Remove),
        mode("etc/kept", 0o600),
        directory("etc/log", 0o750, 7),
        directory("etc/lib", 0o755, 0),
        directory("etc/lib/state", 0o700, 7),
        directory("etc/lib/empty", 0o755, 7),
        write("etc/lib/state/default", "made\n"),
        write("etc/lib/unit", "made\n"),
    ]
}

pub fn prepare() {
    for directory in ["etc", "state"] {
        let _ = fs::remove_dir_all(at(directory));
        fs::create_dir(at(directory)).unwrap();
    }
    put("etc/accounts", b"root\n", 0o644, 0);
    put("etc/old", b"old\n", 0o644, 0);
    put("etc/kept", b"kept\n", 0o644, 0);
}

/// Makes what the service makes.
pub fn start_service() {
    put("etc/log/access", b"theirs\n", 0o640, 7);
    put("etc/lib/state/db", b"theirs\n", 0o600, 7);
}

/// Returns the tree as it was, and the directories of the service with what it made.
fn expected(old: &Tree, now: &Tree) -> Tree {
    let stays = ["log", "log/access", "lib", "lib/state", "lib/state/db"];
    let stays = stays.map(|name| at("etc").join(name));
    let mut expect = old.clone();
    expect.extend(
        stays
            .iter()
            .map(|path| (path.clone(), now.get(path).unwrap().clone())),
    );
    expect
}

#[test]
fn directories_of_a_service_stay_and_all_else_is_undone() {
    for disk in [MEMORY, Disk::Ext4] {
        for is_partly in [false, true] {
            let _scene = Scene::new(disk);
            prepare();
            let old = tree();
            let id = done(&package());
            start_service();
            let expect = expected(&old, &tree());
            let undone = match is_partly {
                true => undo_partly(&id),
                false => undo(&id),
            };
            undone.is_done();
            let etc = at("etc").display().to_string();
            assert_eq!(
                undone.text,
                format!(
                    "undone: 6 changes\n\
                     '{etc}/lib': it stays, with mode 0755 and owner 0:0, as something else is in it: 'state'\n\
                     '{etc}/lib/state': it stays, with mode 0700 and owner 7:0, as something else is in it\n\
                     '{etc}/log': it stays, with mode 0750 and owner 7:0, as something else is in it\n"
                )
            );
            assert_eq!(tree(), expect, "{disk:?} {is_partly}");
            assert!(kept().is_empty(), "{:?}", kept());
        }
    }
}

#[test]
fn kill_at_each_step_leaves_all_or_nothing_undone() {
    let _scene = Scene::new(MEMORY);
    let begin = || {
        prepare();
        let old = tree();
        let id = done(&package());
        start_service();
        (expected(&old, &tree()), id)
    };
    let (_, first) = begin();
    let calls = calls(&["undo", &state(), &first], None);
    assert!(calls.len() > 20, "{}", calls.len());
    let (mut olds, mut news, mut said) = (0, 0, 0);
    for call in &calls {
        let (expect, id) = begin();
        let new = tree();
        let arguments = ["undo", &state(), &id];
        let killed = end(start(&injected(call, "signal=SIGKILL"), &arguments, None));
        assert_ne!(killed.code, Some(0), "{call:?}");
        let recovered = recover();
        recovered.is_done();
        if recovered.text.contains("it stays") {
            said += 1;
            let names = |text: &str| recovered.text.contains(text);
            assert!(names("'state'") && !names("'db'"), "{}", recovered.text);
        }
        match tree() == new {
            true => {
                news += 1;
                undo(&id).is_done();
            }
            false => olds += 1,
        }
        assert_eq!(tree(), expect, "{call:?}");
        assert!(kept().is_empty(), "{call:?}: {:?}", kept());
    }
    assert!(olds > 5 && news > 10 && said > 0, "{olds} {news} {said}");
}

/// An undo that was taken back has marked what stayed then.
#[test]
fn marks_of_an_undo_that_was_taken_back_are_not_those_of_the_next() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let old = tree();
    let id = done(&package());
    start_service();
    let call = ("renameat2".to_owned(), 3);
    let arguments = ["undo", &state(), &id];
    end(start(&injected(&call, "signal=SIGKILL"), &arguments, None));
    recover().is_done();
    fs::remove_file(at("etc/log/access")).unwrap();
    fs::remove_file(at("etc/lib/state/db")).unwrap();
    undo(&id).is_done();
    assert_eq!(tree(), old);
    assert!(kept().is_empty());
}

#[test]
fn changed_file_of_the_commit_is_still_in_the_way() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let id = done(&package());
    start_service();
    append("etc/lib/state/default", b"theirs");
    let new = tree();
    undo(&id).is_refused("etc/lib/state/default': ");
    assert_eq!(tree(), new);
}

/// A service manager sets mode and owner of the directories of a service; without a file in one it is another's change.
#[test]
fn directory_with_another_mode_stays_if_something_is_in_it() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let id = done(&package());
    put("etc/log/access", b"theirs\n", 0o640, 7);
    let set =
        |name: &str| fs::set_permissions(at(name), fs::Permissions::from_mode(0o711)).unwrap();
    set("etc/lib/empty");
    undo(&id).is_refused("etc/lib/empty': its mode or owner has changed");
    fs::set_permissions(at("etc/lib/empty"), fs::Permissions::from_mode(0o755)).unwrap();
    set("etc/log");
    let undone = undo(&id);
    undone.is_done();
    assert!(
        undone.text.contains("etc/log': it stays, with mode 0711"),
        "{}",
        undone.text
    );
    assert_eq!(fs::metadata(at("etc/log")).unwrap().mode() & 0o7777, 0o711);
}

/// Attack: somebody puts a file or another directory where a unit of sshd is configured, so that an undo leaves that there.
#[test]
fn directory_that_decides_about_logins_or_is_another_one_does_not_stay() {
    let _scene = Scene::new(MEMORY);
    prepare();
    fs::create_dir_all(at("etc/systemd")).unwrap();
    let drop_ins = "etc/systemd/ssh.service.d";
    let id = done(&[
        edit(drop_ins, Action::CreateDirectory),
        edit("etc/log", Action::CreateDirectory),
    ]);
    let file_of_others = format!("{drop_ins}/x.conf");
    put(&file_of_others, b"theirs", 0o644, 0);
    undo(&id).is_refused("ssh.service.d': it is not empty");
    fs::remove_file(at(&file_of_others)).unwrap();
    fs::rename(at("etc/log"), at("etc/log-old")).unwrap();
    put("etc/log/access", b"theirs", 0o644, 0);
    undo(&id).is_refused("etc/log': it is another file");
}

/// Names of others cannot look like lines of remit's.
#[test]
fn names_are_escaped_and_counted() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let id = done(&[edit("etc/log", Action::CreateDirectory)]);
    for name in ["a'\nundone: all", "b", "c", "d", "e"] {
        put(&format!("etc/log/{name}"), b"", 0o644, 7);
    }
    let undone = undo(&id);
    undone.is_done();
    let names = r"in it: 'a\'\nundone: all', 'b', 'c' and 2 more";
    assert!(undone.text.contains(names), "{}", undone.text);
    assert_eq!(undone.text.lines().count(), 2);
}

/// Attack: names of others are secrets, as those of sessions are, and the output of the undo is the requester's.
#[test]
fn only_names_that_all_may_list_are_in_the_output() {
    let _scene = Scene::new(MEMORY);
    let directories = [
        ("etc/all", 0o755, true),
        ("etc/all/below", 0o755, true),
        ("etc/group", 0o750, false),
        ("etc/others", 0o705, false),
        ("etc/sessions", 0o1733, false),
        ("etc/reach", 0o711, false),
        ("etc/private", 0o700, false),
        ("etc/private/below", 0o755, false),
        ("etc/list", 0o755, false),
        ("etc/list/below", 0o755, false),
        ("srv/closed/below", 0o755, false),
    ];
    // USER_OBJ, USER 1000 without any right, GROUP_OBJ, MASK, OTHER. acl(5).
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 0, 1000),
        (4, 5, u32::MAX),
        (0x10, 5, u32::MAX),
        (0x20, 5, u32::MAX),
    ] {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    for is_partly in [false, true] {
        prepare();
        let closed = at("srv/closed");
        fs::create_dir_all(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let edits = directories.map(|(name, mode, _)| Edit {
            mode: Some(mode),
            ..edit(name, Action::CreateDirectory)
        });
        let id = done(&edits);
        for (name, ..) in directories {
            put(
                &format!("{name}/their-{}", name.replace('/', "-")),
                b"",
                0o600,
                7,
            );
        }
        let listed = fs::File::open(at("etc/list")).unwrap();
        sys::set_xattr(&listed, c"system.posix_acl_access", &list).unwrap();
        let undone = match is_partly {
            true => undo_partly(&id),
            false => undo(&id),
        };
        undone.is_done();
        for (name, _, is_public) in directories {
            let start = format!("'{}': it stays, with mode ", at(name).display());
            let line = undone.text.lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("{name}: {}", undone.text));
            assert_eq!(line.contains("their-"), is_public, "{line}");
            assert_eq!(
                line.ends_with(", as something else is in it"),
                !is_public,
                "{line}"
            );
        }
        fs::remove_dir_all(at("srv")).unwrap();
    }
}
