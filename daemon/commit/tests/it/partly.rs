//! An undo that leaves what somebody else has changed since.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use remit_edit::{Action, Edit};
use remit_plan::{Bundle, Change, Entry, Journal, Phase, Plan};

use crate::forgotten::age;
use crate::interrupted::{calls, injected};
use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

pub fn phase(id: &str) -> Phase {
    let bytes = fs::read(at(&format!("state/{id}/journal"))).unwrap();
    Journal::phase_of(&bytes).unwrap()
}

/// Nothing private is left beside the paths.
#[track_caller]
fn is_clean() {
    let is_private = |path: &std::path::Path| path.to_string_lossy().contains(".remit-");
    assert!(!tree().keys().any(|path| is_private(path)), "{:?}", tree());
}

#[test]
fn whole_undo_is_the_same_with_and_without_the_word() {
    let _scene = Scene::new(MEMORY);
    let edits = sixty();
    let old = tree();
    let id = done(&edits);
    let undone = undo_partly(&id);
    undone.is_done();
    assert_eq!(undone.text, "undone: 60 changes\n");
    assert_eq!(tree(), old);
    assert!(kept().is_empty());
}

#[test]
fn what_somebody_else_has_changed_is_left_and_the_rest_is_undone() {
    let _scene = Scene::new(Disk::Ext4);
    let edits = sixty();
    let old = tree();
    let id = done(&edits);
    // Replaced, written, another mode, removed, a new name in a directory of the commit, and a path that is taken.
    put("etc/.other", b"theirs", 0o644, 0);
    fs::rename(at("etc/.other"), at("etc/changed/0")).unwrap();
    append("etc/changed/1", b"theirs");
    fs::set_permissions(at("etc/meta/2"), fs::Permissions::from_mode(0o604)).unwrap();
    fs::remove_file(at("etc/made/3")).unwrap();
    put("etc/made/deep/theirs", b"theirs", 0o644, 0);
    put("etc/removed/1", b"theirs", 0o644, 0);
    let undone = undo_partly(&id);
    undone.is_done();
    let words = [
        "changed/0': it is another file",
        "changed/1': ",
        "meta/2': its mode or owner has changed",
        "made/3': it does not exist",
        "made/deep': it stays, with mode 0750 and owner 0:9, as something else is in it\n",
        "made': it stays, with mode 0755 and owner 0:0, as something else is in it: 'deep'",
        "removed': it exists",
    ];
    for word in words {
        assert!(undone.text.contains(word), "{word}: {}", undone.text);
    }
    assert_eq!(phase(&id), Phase::Parted);
    is_clean();
    let new = tree();
    let mut expect = old.clone();
    let changed = [
        "etc/changed/0",
        "etc/changed/1",
        "etc/meta/2",
        "etc/removed",
    ];
    for path in changed.map(at) {
        assert!(new.contains_key(&path), "{path:?}");
        expect.retain(|known, _| !known.starts_with(&path));
    }
    for path in expect.keys() {
        assert_eq!(new.get(path), expect.get(path), "{path:?}");
    }
    assert_eq!(read("etc/changed/0"), b"theirs");
    assert_eq!(read("etc/changed/1"), b"new 1\ntheirs");
    assert_eq!(read("etc/made/deep/theirs"), b"theirs");
    assert!(!at("etc/made/deep/1").exists() && !at("etc/made/4").exists());
    // What was there is kept: by its position in the plan.
    let old_files = fs::read_dir(at(&format!("state/{id}"))).unwrap();
    let old_files = old_files.map(|entry| entry.unwrap().path());
    let bytes: Vec<Vec<u8>> = old_files.filter_map(|path| fs::read(path).ok()).collect();
    for old in ["old 0\n", "old 1\n", "gone\n"] {
        assert!(bytes.iter().any(|kept| kept == old.as_bytes()), "{old}");
    }
    undo(&id).is_refused("not a commit that is done and kept");
    undo_partly(&id).is_refused("not a commit that is done and kept");
    let before = tree();
    recover().is_done();
    assert_eq!((tree(), kept()), (before, vec![id]));
}

#[test]
fn commit_of_which_all_was_changed_is_over() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let id = done(&[write("etc/a", "new")]);
    append("etc/a", b"theirs");
    undo(&id).is_refused("etc/a");
    assert_eq!(phase(&id), Phase::Kept);
    let undone = undo_partly(&id);
    undone.is_done();
    assert!(
        undone.text.starts_with("undone: 0 changes; left"),
        "{}",
        undone.text
    );
    assert_eq!(
        (read("etc/a"), phase(&id)),
        (b"newtheirs".to_vec(), Phase::Parted)
    );
}

/// Runs `between` while an undo waits before its step number `step`, counted from 1.
fn with(id: &str, words: &[&str], step: usize, between: impl FnOnce()) -> Result {
    let (directory, before) = (state(), tree());
    let arguments = [&["undo", &directory, id], words].concat();
    let mut child = start(&delayed(step, 700), &arguments, None);
    // The step before it is made, and the file of this one is looked at.
    while step > 1 && tree() == before || !has_leases(child.id()) {
        is_running(&mut child);
    }
    held(&child, between);
    end(child)
}

/// Returns true if a process that strace(1) runs holds a lease.
fn has_leases(tracer: u32) -> bool {
    let children = format!("/proc/{tracer}/task/{tracer}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let mut leases = locks.lines().filter(|line| line.contains("LEASE"));
    leases.any(|line| {
        let holder = line.split_whitespace().nth(4).unwrap_or_default();
        children.split_whitespace().any(|child| child == holder)
    })
}

/// Somebody who watches a file can come between again and again: that file is left.
#[test]
fn file_that_changes_in_the_window_is_left_and_the_rest_is_made_again() {
    let _scene = Scene::new(MEMORY);
    for name in ["etc/a", "etc/b", "etc/c"] {
        put(name, b"old", 0o644, 0);
    }
    let edits = ["etc/a", "etc/b", "etc/c"].map(|name| write(name, "new"));
    let id = done(&edits);
    let replace = || {
        put("etc/.other", b"theirs", 0o644, 0);
        fs::rename(at("etc/.other"), at("etc/b")).unwrap();
    };
    let undone = with(&id, &["--partly"], 2, replace);
    undone.is_done();
    assert!(
        undone.text.contains("etc/b': it is another file"),
        "{}",
        undone.text
    );
    let bytes = ["etc/a", "etc/b", "etc/c"].map(read);
    assert_eq!(
        bytes,
        [b"old".to_vec(), b"theirs".to_vec(), b"old".to_vec()]
    );
    assert_eq!(phase(&id), Phase::Parted);
    is_clean();
}

#[test]
fn writer_that_comes_in_the_window_keeps_one_file_alone() {
    let _scene = Scene::new(MEMORY);
    for name in ["etc/a", "etc/b"] {
        put(name, b"old\n", 0o644, 0);
    }
    let id = done(&[write("etc/a", "new\n"), edit("etc/b", Action::Remove)]);
    let mut other = None;
    let opened = || other = Some(writer("etc/a", || append("etc/a", b"theirs\n")));
    let undone = with(&id, &["--partly"], 2, opened);
    other.unwrap().join().unwrap();
    undone.is_done();
    assert!(undone.text.contains("etc/a': "), "{}", undone.text);
    assert_eq!(
        (read("etc/a"), read("etc/b")),
        (b"new\ntheirs\n".to_vec(), b"old\n".to_vec())
    );
}

#[test]
fn kill_at_each_step_leaves_what_the_next_one_finishes() {
    let _scene = Scene::new(MEMORY);
    let prepare = || {
        for directory in ["etc", "state"] {
            let _ = fs::remove_dir_all(at(directory));
            fs::create_dir(at(directory)).unwrap();
        }
        for name in ["etc/a", "etc/b", "etc/gone/c", "etc/c", "etc/moved/a"] {
            put(name, b"old", 0o644, 0);
        }
        let old = tree();
        let id = done(&[
            write("etc/a", "new"),
            write("etc/b", "new"),
            edit("etc/gone/c", Action::Remove),
            edit("etc/gone", Action::Remove),
            edit("etc/made", Action::CreateDirectory),
            write("etc/made/d", "new"),
            edit("etc/made/link", Action::Link(b"d".to_vec())),
            mode("etc/c", 0o600),
            write("etc/moved/a", "new"),
        ]);
        fs::set_permissions(at("etc/c"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::rename(at("etc/moved"), at("etc/elsewhere")).unwrap();
        put("etc/.other", b"theirs", 0o644, 0);
        fs::rename(at("etc/.other"), at("etc/b")).unwrap();
        (old, id)
    };
    let (_, first) = prepare();
    let calls = calls(&["undo", &state(), &first, "--partly"], None);
    assert!(calls.len() > 10, "{}", calls.len());
    let mut again = 0;
    for call in &calls {
        let (old, id) = prepare();
        let arguments = ["undo", &state(), &id, "--partly"];
        let killed = end(start(&injected(call, "signal=SIGKILL"), &arguments, None));
        assert_ne!(killed.code, Some(0), "{call:?}");
        recover().is_done();
        if phase(&id) != Phase::Parted {
            again += 1;
            undo_partly(&id).is_done();
        }
        let what = format!("{call:?}: {:?}", tree());
        assert_eq!(phase(&id), Phase::Parted, "{what}");
        assert_eq!(read("etc/b"), b"theirs", "{what}");
        let others = ["etc/b", "etc/c", "etc/moved", "etc/elsewhere"].map(at);
        let is_others = |path: &std::path::Path| {
            path.to_string_lossy().contains(".remit-")
                || others.iter().any(|other| path.starts_with(other))
        };
        let without = |tree: Tree| -> Tree {
            let rest = tree.into_iter().filter(|(path, _)| !is_others(path));
            rest.collect()
        };
        assert_eq!(without(tree()), without(old), "{what}");
    }
    assert!(
        again > 5 && again < calls.len(),
        "{again} of {}",
        calls.len()
    );
}

/// What has no old file is left, too, and a directory that cannot be found.
#[test]
fn each_path_that_is_left_is_on_record() {
    let old_bytes = |id: &str| {
        let kept = fs::read_dir(at(&format!("state/{id}"))).unwrap();
        kept.filter_map(|entry| fs::read(entry.unwrap().path()).ok())
            .any(|bytes| bytes == b"old")
    };
    let append_to_new = || append("etc/new", b"theirs");
    let set_mode = || fs::set_permissions(at("etc/m"), fs::Permissions::from_mode(0o604)).unwrap();
    let move_away = || fs::rename(at("etc/d"), at("etc/e")).unwrap();
    let changes: [(&str, &dyn Fn()); 3] = [
        ("etc/new", &append_to_new),
        ("etc/m", &set_mode),
        ("etc/d/a", &move_away),
    ];
    for (path, change) in changes {
        let _scene = Scene::new(MEMORY);
        for name in ["etc/a", "etc/m", "etc/d/a"] {
            put(name, b"old", 0o644, 0);
        }
        let id = done(&[
            write("etc/a", "new"),
            write("etc/d/a", "new"),
            mode("etc/m", 0o600),
            write("etc/new", "new"),
        ]);
        change();
        let undone = undo_partly(&id);
        undone.is_done();
        assert!(undone.text.contains(path), "{path}: {}", undone.text);
        assert_eq!(
            (read("etc/a"), phase(&id)),
            (b"old".to_vec(), Phase::Parted)
        );
        recover().is_done();
        assert_eq!(phase(&id), Phase::Parted);
        assert_eq!(old_bytes(&id), path == "etc/d/a", "{path}");
    }
}

/// Whoever races the whole undo to a mixed end takes nothing away from the partial one.
#[test]
fn undo_that_cannot_be_taken_back_can_be_tried_again() {
    let _scene = Scene::new(MEMORY);
    for name in ["etc/a", "etc/b", "etc/c"] {
        put(name, b"old", 0o644, 0);
    }
    let id = done(&["etc/a", "etc/b", "etc/c"].map(|name| write(name, "new")));
    let replace = |name: &str| {
        put("etc/.other", b"theirs", 0o644, 0);
        fs::rename(at("etc/.other"), at(name)).unwrap();
    };
    let mixed = with(&id, &[], 2, || {
        replace("etc/c");
        replace("etc/b");
    });
    assert_eq!(mixed.code, Some(3), "{}", mixed.text);
    assert_eq!(read("etc/a"), b"new");
    recover().is_done();
    assert_eq!(phase(&id), Phase::Kept);
    undo_partly(&id).is_done();
    let bytes = ["etc/a", "etc/b", "etc/c"].map(read);
    assert_eq!(
        bytes,
        [&b"old"[..], b"theirs", b"theirs"].map(<[u8]>::to_vec)
    );
    assert_eq!(phase(&id), Phase::Parted);
}

/// Runs `f` with a full file system at `etc/own`: no inode is free in it.
fn with_full_disk(owner: u32, f: impl FnOnce(&dyn Fn(bool))) {
    let options = Some("size=1m,nr_inodes=12,mode=755");
    let flags = nix::mount::MsFlags::empty();
    fs::create_dir_all(at("etc/own")).unwrap();
    nix::mount::mount(Some("none"), &at("etc/own"), Some("tmpfs"), flags, options).unwrap();
    std::os::unix::fs::chown(at("etc/own"), Some(owner), None).unwrap();
    f(&|is_full| {
        for number in 0..12 {
            let path = at(&format!("etc/own/full{number}"));
            match is_full {
                true => drop(fs::write(path, b"")),
                false => drop(fs::remove_file(path)),
            }
        }
    });
    nix::mount::umount(&at("etc/own")).unwrap();
}

#[test]
fn full_disk_of_somebody_else_keeps_no_other_path_from_its_undo() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    with_full_disk(7, |fill| {
        let id = done(&[write("etc/a", "new"), write("etc/own/new", "new")]);
        fill(true);
        let undone = undo_partly(&id);
        undone.is_done();
        assert!(undone.text.contains("etc/own/new'"), "{}", undone.text);
        assert_eq!(
            (read("etc/a"), phase(&id)),
            (b"old".to_vec(), Phase::Parted)
        );
        fill(false);
    });
}

/// Its steps are made, so it must not say that nothing was changed.
#[test]
fn partial_undo_that_cannot_be_written_to_disk_goes_on_later() {
    let _scene = Scene::new(MEMORY);
    for name in ["etc/a", "etc/b"] {
        put(name, b"old", 0o644, 0);
    }
    let id = done(&["etc/a", "etc/b"].map(|name| write(name, "new")));
    append("etc/b", b"theirs");
    let arguments = ["undo", &state(), &id, "--partly"];
    let call = ("syncfs".to_owned(), 1);
    let failed = end(start(&injected(&call, "error=EIO"), &arguments, None));
    assert_eq!(failed.code, Some(4), "{}", failed.text);
    let words = "undone: 1 change; cannot write to disk";
    assert!(failed.text.starts_with(words), "{}", failed.text);
    assert_eq!((read("etc/a"), phase(&id)), (b"old".to_vec(), Phase::Kept));
    undo_partly(&id).is_done();
    assert_eq!(phase(&id), Phase::Parted);
}

/// Root's own disk is the machine's matter: the next try goes on, and the whole undo does.
#[test]
fn full_disk_of_root_is_tried_again() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    with_full_disk(0, |fill| {
        for is_partly in [true, false] {
            let id = done(&[write("etc/a", "new"), write("etc/own/new", "new")]);
            fill(true);
            let undone = undo_partly(&id);
            assert_eq!(undone.code, Some(4), "{}", undone.text);
            assert_eq!((read("etc/a"), phase(&id)), (b"old".to_vec(), Phase::Kept));
            recover().is_done();
            fill(false);
            let again = if is_partly {
                undo_partly(&id)
            } else {
                undo(&id)
            };
            again.is_done();
            assert!(!at("etc/own/new").exists() && kept().is_empty());
            assert_eq!(read("etc/a"), b"old");
        }
    });
}

/// A kill between a step and its check leaves the new file in its slot, and who has it open writes to it.
#[test]
fn new_file_that_somebody_wrote_to_after_a_kill_is_kept() {
    let kept_bytes = |id: &str| fs::read(at(&format!("state/{id}/0"))).ok();
    for what in ["partly", "whole", "recovery"] {
        for written in [b"".as_slice(), b"theirs"] {
            let _scene = Scene::new(MEMORY);
            put("etc/a", b"old", 0o644, 0);
            let id = done(&[write("etc/a", "new")]);
            let slot = at(&format!("state/{id}/0"));
            let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let here = nix::fcntl::AT_FDCWD;
            nix::fcntl::renameat2(here, &at("etc/a"), here, &slot, exchange).unwrap();
            append(slot.to_str().unwrap(), written);
            let journal = fs::File::options()
                .write(true)
                .open(at(&format!("state/{id}/journal")))
                .unwrap();
            if what == "recovery" {
                let undone = [Phase::Undone as u8];
                journal.write_all_at(&undone, Journal::PHASE).unwrap();
            }
            let undone = match what {
                "partly" => undo_partly(&id),
                "whole" => undo(&id),
                _ => recover(),
            };
            undone.is_done();
            assert_eq!(read("etc/a"), b"old", "{what}");
            is_clean();
            if written.is_empty() {
                assert!(kept().is_empty(), "{what}");
                continue;
            }
            let words = "etc/a': somebody wrote to its new file, which is kept beside the journal";
            assert!(undone.text.contains(words), "{what}: {}", undone.text);
            assert_eq!(phase(&id), Phase::Parted, "{what}");
            assert_eq!(kept_bytes(&id).unwrap(), b"newtheirs", "{what}");
            recover().is_done();
            assert_eq!(kept_bytes(&id).unwrap(), b"newtheirs", "{what}");
            age(&id);
            recover().is_done();
            assert!(kept().is_empty(), "{what}");
        }
    }
}

/// The same kill, after the step has exchanged a file that somebody put at the path just before.
#[test]
fn file_of_somebody_else_in_the_slot_is_kept() {
    for is_partly in [true, false] {
        let _scene = Scene::new(MEMORY);
        put("etc/a", b"old", 0o644, 0);
        let id = done(&[write("etc/a", "new")]);
        put("etc/b", b"theirs", 0o644, 0);
        fs::rename(at("etc/b"), at("etc/a")).unwrap();
        let slot = at(&format!("state/{id}/0"));
        let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
        let here = nix::fcntl::AT_FDCWD;
        nix::fcntl::renameat2(here, &at("etc/a"), here, &slot, exchange).unwrap();
        let undone = match is_partly {
            true => undo_partly(&id),
            false => undo(&id),
        };
        assert!(
            undone.text.contains("etc/a': it is another file"),
            "{}",
            undone.text
        );
        assert_eq!(
            (read("etc/a"), read(&format!("state/{id}/0"))),
            (b"old".to_vec(), b"theirs".to_vec())
        );
        let left = match is_partly {
            true => Phase::Parted,
            false => Phase::Kept,
        };
        assert_eq!(phase(&id), left);
    }
}

/// What a partial undo has undone is not the matter of the whole one that goes on.
#[test]
fn killed_undo_after_a_partial_one_takes_back_its_own_steps_alone() {
    let _scene = Scene::new(MEMORY);
    let begin = || {
        for name in ["etc/a", "etc/gone", "etc/m"] {
            put(name, b"old", 0o644, 0);
        }
        let old = tree();
        let id = done(&[
            write("etc/a", "new"),
            edit("etc/gone", Action::Remove),
            mode("etc/m", 0o600),
            write("etc/own/new", "new"),
            write("etc/own/other", "new"),
        ]);
        (old, id)
    };
    with_full_disk(0, |fill| {
        for call in 1..=4 {
            let (old, id) = begin();
            fill(true);
            assert_eq!(undo_partly(&id).code, Some(4));
            fill(false);
            let partly = tree();
            assert_ne!(partly, old);
            let call = ("renameat2".to_owned(), call);
            let arguments = ["undo", &state(), &id];
            let killed = end(start(&injected(&call, "signal=SIGKILL"), &arguments, None));
            assert_ne!(killed.code, Some(0), "{call:?}");
            assert_eq!(phase(&id), Phase::Undoing);
            recover().is_done();
            assert_eq!(phase(&id), Phase::Kept);
            assert_eq!(tree(), partly, "{call:?}");
            undo(&id).is_done();
            assert_eq!(tree(), old, "{call:?}");
            assert!(kept().is_empty());
        }
    });
}

/// Attack: the second try takes changed bytes of a file that nobody read for those of the commit, and gives them to root.
#[test]
fn changed_bytes_that_no_plan_has_get_no_set_id() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o4755, 0);
    put("etc/b", b"old", 0o644, 0);
    let to_user = Edit {
        uid: Some(7),
        ..mode("etc/a", 0o755)
    };
    let bundle = Bundle::decode(plan(&[to_user, write("etc/b", "new")])).unwrap();
    let unread = bundle.plan().entries().iter().map(|entry| {
        let mut change = entry.change;
        if let Change::SetMetadata { base, .. } = &mut change {
            base.sha256 = None;
        }
        let path = entry.path.clone();
        Entry { path, change }
    });
    let plan = Plan::new(unread.collect()).unwrap();
    let input = Bundle::new(&plan, b"new", b"old").unwrap();
    commit(input.as_bytes()).is_done();
    fs::write(at("etc/a"), b"bad").unwrap();
    let undone = undo_partly(&plan.id());
    undone.is_done();
    assert!(
        undone.text.contains("etc/a': its bytes have changed"),
        "{}",
        undone.text
    );
    let seen = fs::metadata(at("etc/a")).unwrap();
    assert_eq!((seen.uid(), seen.mode() & 0o7777), (7, 0o755));
    assert_eq!(read("etc/b"), b"old");
}

/// Attack: the bundle shows another old target than the link has.
#[test]
fn link_with_another_old_target_than_shown_is_refused() {
    let _scene = Scene::new(MEMORY);
    fs::create_dir_all(at("etc")).unwrap();
    std::os::unix::fs::symlink("secret", at("etc/a")).unwrap();
    let bundle = Bundle::decode(plan(&[edit("etc/a", Action::Link(b"new".to_vec()))])).unwrap();
    let mut entries = bundle.plan().entries().to_vec();
    let Change::Replace { base, .. } = &mut entries[0].change else {
        panic!("{entries:?}")
    };
    base.sha256 = Some(remit_plan::sha256(b"public"));
    let plan = Plan::new(entries).unwrap();
    let input = Bundle::new(&plan, b"new", b"public").unwrap();
    commit(input.as_bytes()).is_refused("it leads elsewhere");
    assert_eq!(fs::read_link(at("etc/a")).unwrap().to_str(), Some("secret"));
}

#[test]
fn undo_takes_one_word_more() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let (id, directory) = (done(&[write("etc/a", "new")]), state());
    for words in [
        &["--part"][..],
        &["--partly", "--partly"],
        &["--partly", "x"],
    ] {
        let all = [&["undo", &directory, &id], words].concat();
        end(start(&[], &all, None)).is_refused("usage");
    }
    assert_eq!(phase(&id), Phase::Kept);
}
