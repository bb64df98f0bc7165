//! An undo with contents: new directories that others have changed go whole, and are kept.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use remit_edit::Action;
use remit_plan::Phase;

use crate::forgotten::age;
use crate::interrupted::{calls, injected};
use crate::partly::phase;
use crate::scene::*;
use crate::staying::{package, prepare, start_service};

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

/// The service has written to a file of the commit, too, and its manager has given it a directory.
fn run_service() {
    start_service();
    append("etc/lib/state/default", b"theirs\n");
    chown(at("etc/lib/empty"), Some(9), Some(9)).unwrap();
    put("etc/lib/state/a/b/c", b"theirs\n", 0o600, 7);
}

/// Returns the bytes of a file in a directory that is kept.
fn kept_bytes(id: &str, directory: &str, name: &str) -> Option<Vec<u8>> {
    let mut slots: Vec<PathBuf> = fs::read_dir(at(&format!("state/{id}")))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let beside = at(&format!("etc/.remit-{id}"));
    slots.extend(
        fs::read_dir(beside)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path()),
    );
    let mut found = slots.iter().filter(|slot| slot.join(directory).exists());
    fs::read(found.next()?.join(name)).ok()
}

/// Undoes with contents, and is killed at this call.
fn killed_undo(id: &str, call: &(String, usize)) -> Result {
    let arguments = ["undo", &state(), id, "--with-contents"];
    end(start(&injected(call, "signal=SIGKILL"), &arguments, None))
}

#[test]
fn directories_of_a_service_go_with_all_in_them_and_are_kept() {
    for disk in [MEMORY, Disk::Ext4] {
        let _scene = Scene::new(disk);
        prepare();
        let old = tree();
        let id = done(&package());
        run_service();
        let new = tree();
        let refused = undo(&id);
        refused.is_refused(
            "etc/lib/state/default': its size has changed; an undo with contents (--with-contents) takes",
        );
        assert_eq!(tree(), new);
        let undone = undo_with_contents(&id);
        undone.is_done();
        assert_eq!(tree(), old, "{disk:?}");
        let etc = at("etc").display().to_string();
        let line = |name: &str, slot: usize| {
            format!(
                "'{etc}/{name}': it is kept with all that is in it, beside the journal, as '{slot}'"
            )
        };
        let lines = [line("log", 7), line("lib/state", 4)].join("; ");
        assert_eq!(undone.text, format!("undone: 9 changes; {lines}\n"));
        assert_eq!(
            kept_bytes(&id, "a/b", "db").as_deref(),
            Some(&b"theirs\n"[..])
        );
        assert_eq!(
            kept_bytes(&id, "a/b", "a/b/c").as_deref(),
            Some(&b"theirs\n"[..])
        );
        assert_eq!(phase(&id), Phase::Parted);
        undo_with_contents(&id).is_refused("not a commit that is done and kept");
        recover().is_done();
        assert_eq!(phase(&id), Phase::Parted);
        age(&id);
        recover().is_done();
        assert_eq!((phase(&id), tree()), (Phase::Parted, old));
        assert_eq!(
            kept_bytes(&id, "a/b", "db").as_deref(),
            Some(&b"theirs\n"[..])
        );
    }
}

#[test]
fn without_changes_of_others_it_is_a_whole_undo() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let old = tree();
    let id = done(&package());
    let undone = undo_with_contents(&id);
    undone.is_done();
    assert_eq!(undone.text, "undone: 9 changes\n");
    assert_eq!(tree(), old);
    assert!(kept().is_empty());
}

/// What was there before the commit is somebody's in any case.
#[test]
fn changes_of_others_in_other_directories_are_in_the_way() {
    let mount_in = || {
        fs::create_dir(at("etc/lib/state/disk")).unwrap();
        let flags = MsFlags::empty();
        mount(
            Some("none"),
            &at("etc/lib/state/disk"),
            Some("tmpfs"),
            flags,
            None::<&str>,
        )
        .unwrap();
        put("etc/lib/state/disk/file", b"theirs\n", 0o600, 7);
    };
    let replace_directory = || {
        fs::rename(at("etc/log"), at("etc/log-old")).unwrap();
        fs::create_dir(at("etc/log")).unwrap();
    };
    let cases: [(&dyn Fn(), &str); 5] = [
        (&|| append("etc/accounts", b"another\n"), "etc/accounts': "),
        (
            &|| put("etc/old", b"theirs\n", 0o644, 0),
            "etc/old': it exists",
        ),
        (
            &|| fs::set_permissions(at("etc/kept"), fs::Permissions::from_mode(0o604)).unwrap(),
            "etc/kept': its mode or owner has changed\n",
        ),
        (&mount_in, "etc/lib/state': a file system is mounted in it"),
        (&replace_directory, "etc/log': it is another file"),
    ];
    for (change, words) in cases {
        let _scene = Scene::new(MEMORY);
        prepare();
        let id = done(&package());
        run_service();
        change();
        let new = tree();
        undo_with_contents(&id).is_refused(words);
        assert_eq!(tree(), new, "{words}");
        assert_eq!(phase(&id), Phase::Kept);
    }
}

/// With what decides about logins the machine would not be as it was.
#[test]
fn where_logins_are_decided_nothing_of_others_goes() {
    let _scene = Scene::new(MEMORY);
    prepare();
    fs::create_dir_all(at("etc/systemd")).unwrap();
    let drop_ins = "etc/systemd/ssh.service.d";
    let id = done(&[edit(drop_ins, Action::CreateDirectory)]);
    put(&format!("{drop_ins}/x.conf"), b"theirs", 0o644, 0);
    let new = tree();
    undo_with_contents(&id).is_refused("ssh.service.d': it is not empty");
    assert_eq!(tree(), new);
}

/// A service removes files and directories of the package, replaces others, and has one open for writing.
#[test]
fn what_is_gone_replaced_or_open_goes_with_its_directory() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let old = tree();
    let id = done(&[
        edit("etc/lib", Action::CreateDirectory),
        edit("etc/lib/a", Action::CreateDirectory),
        edit("etc/lib/a/b", Action::CreateDirectory),
        write("etc/lib/a/b/c", "made\n"),
        edit("etc/log", Action::CreateDirectory),
        write("etc/log/open", "made\n"),
    ]);
    fs::remove_dir_all(at("etc/lib/a/b")).unwrap();
    let open = File::options()
        .write(true)
        .open(at("etc/log/open"))
        .unwrap();
    undo_with_contents(&id).is_done();
    assert_eq!(tree(), old);
    drop(open);
}

#[test]
fn kill_at_each_step_leaves_all_or_nothing_undone() {
    for disk in [MEMORY, Disk::Ext4] {
        let _scene = Scene::new(disk);
        let begin = || {
            prepare();
            let old = tree();
            let id = done(&package());
            run_service();
            (old, id)
        };
        let (_, first) = begin();
        let calls = calls(&["undo", &state(), &first, "--with-contents"], None);
        assert!(calls.len() > 20, "{}", calls.len());
        let (mut olds, mut news) = (0, 0);
        for call in &calls {
            let (old, id) = begin();
            let new = tree();
            let killed = killed_undo(&id, call);
            assert_ne!(killed.code, Some(0), "{call:?}");
            recover().is_done();
            match tree() == new {
                true => {
                    news += 1;
                    undo_with_contents(&id).is_done();
                }
                false => olds += 1,
            }
            assert_eq!(tree(), old, "{call:?}");
            assert_eq!(phase(&id), Phase::Parted, "{call:?}");
            let bytes = kept_bytes(&id, "a/b", "a/b/c");
            assert_eq!(bytes.as_deref(), Some(&b"theirs\n"[..]), "{call:?}");
        }
        assert!(olds > 5 && news > 10, "{olds} {news}");
    }
}

/// What an undo of this kind has marked, and took back, is not what the next one finds.
#[test]
fn marks_of_an_undo_that_was_taken_back_are_forgotten() {
    for is_partly in [true, false] {
        let _scene = Scene::new(MEMORY);
        prepare();
        let id = done(&package());
        run_service();
        killed_undo(&id, &("renameat2".to_owned(), 3));
        recover().is_done();
        append("etc/accounts", b"another\n");
        match is_partly {
            true => undo_partly(&id).is_done(),
            false => {
                fs::write(at("etc/accounts"), b"root\nserver\n").unwrap();
                undo_with_contents(&id).is_done();
            }
        }
        assert_eq!(phase(&id), Phase::Parted);
        age(&id);
        recover().is_done();
        assert_eq!(kept().is_empty(), is_partly, "{:?}", kept());
    }
}

/// Nothing of others is kept then, so its age counts.
#[test]
fn old_commit_is_forgotten_after_an_undo_that_was_taken_back() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let id = done(&package());
    run_service();
    killed_undo(&id, &("renameat2".to_owned(), 3));
    recover().is_done();
    assert_eq!(phase(&id), Phase::Kept);
    age(&id);
    recover().is_done();
    assert!(kept().is_empty(), "{:?}", kept());
}

/// A power cut comes between, and the service makes its directory again before the recovery.
#[test]
fn what_was_taken_away_before_a_kill_is_never_removed() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let id = done(&package());
    run_service();
    // The first rename is that of the directory of logs.
    killed_undo(&id, &("renameat2".to_owned(), 1));
    fs::rename(at("etc/log"), at(&format!("state/{id}/7"))).unwrap();
    fs::create_dir(at("etc/log")).unwrap();
    let recovered = recover();
    recovered.is_done();
    let words =
        "somebody has made it again, and what was taken away is kept beside the journal, as '7'";
    assert!(recovered.text.contains(words), "{}", recovered.text);
    undo(&id).is_refused("etc/log': it is another file\n");
    undo_with_contents(&id).is_refused("etc/log': it is another file\n");
    let access = || {
        kept_bytes(&id, "access", "access").is_some()
            || at(&format!("state/{id}/7/access")).exists()
    };
    age(&id);
    recover().is_done();
    assert!(access());
    fs::remove_dir(at("etc/log")).unwrap();
    undo_with_contents(&id).is_done();
    assert_eq!(phase(&id), Phase::Parted);
    age(&id);
    recover().is_done();
    assert!(access());
}

/// Attack: the owner of the directory above gives another private directory the name of the commit's.
#[test]
fn private_directory_of_somebody_else_is_not_emptied() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let id = done(&package());
    run_service();
    undo_with_contents(&id).is_done();
    let other = format!("etc/.remit-{id}");
    put(&format!("{other}/7.1/precious"), b"precious", 0o600, 0);
    fs::set_permissions(at(&other), fs::Permissions::from_mode(0o700)).unwrap();
    age(&id);
    recover().is_done();
    assert_eq!(read(&format!("{other}/7.1/precious")), b"precious");
}
