//! Owners and modes that make a file trusted: they are set only with the bytes that were approved.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use remit_edit::{Action, Edit};
use remit_plan::{Base, Bundle, Change, Entry, Plan};

use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");
const SAFE: &[u8] = b"#!/bin/sh\ntrue\n";
/// Of the same length.
const EVIL: &[u8] = b"#!/bin/sh\nevil\n";

fn owned(relative: &str, uid: u32, bits: u32) -> Edit {
    Edit {
        uid: Some(uid),
        gid: Some(uid),
        ..mode(relative, bits)
    }
}

fn open(relative: &str) -> File {
    OpenOptions::new().write(true).open(at(relative)).unwrap()
}

/// Writes from the start, as an owner does, in place.
fn overwrite(relative: &str, bytes: &[u8]) {
    open(relative).write_all(bytes).unwrap();
}

fn grouped(relative: &str, gid: u32) -> Edit {
    Edit {
        gid: Some(gid),
        ..edit(relative, Action::Keep)
    }
}

/// Returns owner, mode and bytes.
fn seen(relative: &str) -> (u32, u32, Vec<u8>) {
    let seen = fs::metadata(at(relative)).unwrap();
    (seen.uid(), seen.mode() & 0o7777, read(relative))
}

/// The same edits by somebody who may not read the files.
fn unread(edits: &[Edit]) -> Vec<u8> {
    let bundle = Bundle::decode(plan(edits)).unwrap();
    let entries = bundle.plan().entries().iter().map(|entry| {
        let Change::SetMetadata { base, meta } = entry.change else {
            panic!("{entry:?}");
        };
        let base = Base {
            sha256: None,
            ..base
        };
        let path = entry.path.clone();
        let change = Change::SetMetadata { base, meta };
        Entry { path, change }
    });
    let plan = Plan::new(entries.collect()).unwrap();
    Bundle::new(&plan, &[], &[]).unwrap().as_bytes().to_vec()
}

/// Injects something at the first call of this name.
pub fn injected(call: &str, what: &str) -> Vec<String> {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:{what}");
    [
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &trace,
        "-e",
        &inject,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Whoever got the file writes to it in place. The undo gave root's name and the old set-id bit to these bytes.
#[test]
fn undo_of_an_owner_is_refused_for_other_bytes() {
    let _scene = Scene::new(MEMORY);
    for is_read in [true, false] {
        for (bits, mode) in [(0o4755, 0o755), (0o644, 0o644)] {
            put("etc/job", SAFE, bits, 0);
            let edits = [owned("etc/job", 1000, mode)];
            let input = if is_read {
                plan(&edits)
            } else {
                unread(&edits)
            };
            let id = id_of(&input);
            commit(&input).is_done();
            overwrite("etc/job", EVIL);
            undo(&id).is_refused("its bytes have changed");
            assert_eq!(seen("etc/job"), (1000, mode, EVIL.to_vec()));
            append("etc/job", b"more");
            undo(&id).is_refused("its size has changed");
            let writer = open("etc/job");
            writer.set_len(SAFE.len() as u64).unwrap();
            overwrite("etc/job", SAFE);
            undo(&id).is_refused("open for writing");
            drop(writer);
            assert_eq!(seen("etc/job"), (1000, mode, SAFE.to_vec()));
            undo(&id).is_done();
            assert_eq!(seen("etc/job"), (0, bits, SAFE.to_vec()));
        }
    }
}

/// A mode that lets others write: the undo made their bytes those of root alone.
#[test]
fn undo_of_a_mode_that_others_wrote_by_is_refused() {
    let _scene = Scene::new(MEMORY);
    put("etc/job", SAFE, 0o644, 0);
    let input = plan(&[mode("etc/job", 0o666)]);
    commit(&input).is_done();
    overwrite("etc/job", EVIL);
    undo(&id_of(&input)).is_refused("its bytes have changed");
    assert_eq!(seen("etc/job"), (0, 0o666, EVIL.to_vec()));
}

/// A descriptor from before the commit writes to what is root's afterwards.
#[test]
fn commit_that_takes_a_file_from_its_writers_is_refused_while_one_has_it_open() {
    let _scene = Scene::new(MEMORY);
    for (uid, bits, edit) in [
        (1000, 0o644, owned("etc/job", 0, 0o644)),
        (1000, 0o755, mode("etc/job", 0o4755)),
        (0, 0o666, mode("etc/job", 0o644)),
        (0, 0o664, mode("etc/job", 0o644)),
        (0, 0o664, grouped("etc/job", 7)),
    ] {
        put("etc/job", SAFE, bits, uid);
        let input = plan(&[edit]);
        let mut writer = open("etc/job");
        commit(&input).is_refused("somebody has it open for writing");
        writer.write_all(EVIL).unwrap();
        assert_eq!(seen("etc/job"), (uid, bits, EVIL.to_vec()));
        drop(writer);
        commit(&input).is_refused("it has changed");
    }
}

/// The file is open for writing before its owner changes, and after that.
#[test]
fn writer_that_comes_while_the_owner_changes_ends_the_commit() {
    let _scene = Scene::new(MEMORY);
    for call in ["fchown", "fchmod"] {
        put("etc/job", SAFE, 0o644, 1000);
        let input = plan(&[owned("etc/job", 0, 0o600)]);
        let wrapper = injected(call, "delay_enter=900000:when=1");
        let mut child = start(&wrapper, &["commit", &state()], Some(&input));
        let journal = at(&format!("state/{}/journal", id_of(&input)));
        while !fs::read(&journal).is_ok_and(|bytes| bytes.get(16) == Some(&b'A')) {
            is_running(&mut child);
        }
        let writer = held(&child, || writer("etc/job", || overwrite("etc/job", EVIL)));
        end(child).is_refused("opens it for writing");
        writer.join().unwrap();
        assert_eq!(seen("etc/job"), (1000, 0o644, EVIL.to_vec()), "{call}");
        assert!(kept().is_empty());
    }
}

/// A file gets another name while its mode changes: a set-id program would be where nobody looks.
#[test]
fn name_that_a_file_gets_while_its_mode_changes_ends_the_commit() {
    let _scene = Scene::new(MEMORY);
    put("etc/job", SAFE, 0o755, 0);
    let input = plan(&[mode("etc/job", 0o4755)]);
    let wrapper = injected("fchmod", "delay_enter=900000:when=1");
    let mut child = start(&wrapper, &["commit", &state()], Some(&input));
    let journal = at(&format!("state/{}/journal", id_of(&input)));
    while !fs::read(&journal).is_ok_and(|bytes| bytes.get(16) == Some(&b'A')) {
        is_running(&mut child);
    }
    held(&child, || {
        fs::hard_link(at("etc/job"), at("etc/other")).unwrap();
    });
    end(child).is_refused("it got another name");
    assert_eq!(seen("etc/other"), (0, 0o755, SAFE.to_vec()));
}

/// A log is open for writing all the time. Who may read it is no question of its bytes.
#[test]
fn mode_of_a_file_that_is_being_written_is_changed_and_undone() {
    let _scene = Scene::new(MEMORY);
    for (uid, bits, new) in [
        (0, 0o640, mode("etc/log", 0o644)),
        (7, 0o644, mode("etc/log", 0o600)),
        (7, 0o640, grouped("etc/log", 9)),
    ] {
        put("etc/log", b"one\n", bits, uid);
        let mut writer = OpenOptions::new().append(true).open(at("etc/log")).unwrap();
        let input = plan(&[new]);
        commit(&input).is_done();
        writer.write_all(b"two\n").unwrap();
        undo(&id_of(&input)).is_done();
        assert_eq!(seen("etc/log"), (uid, bits, b"one\ntwo\n".to_vec()));
        assert_eq!(fs::metadata(at("etc/log")).unwrap().gid(), uid);
    }
}

/// The way back after a kill is the same step as an undo.
#[test]
fn recovery_gives_no_owner_to_bytes_that_somebody_else_wrote() {
    let _scene = Scene::new(MEMORY);
    for is_read in [true, false] {
        for call in ["fchmod", "pwrite64"] {
            // The third write of a phase or row is that of `D`.
            let what = match call {
                "fchmod" => "signal=SIGKILL:when=1",
                _ => "signal=SIGKILL:when=3",
            };
            let killed = || {
                let _ = fs::remove_dir_all(at("state"));
                fs::create_dir(at("state")).unwrap();
                put("etc/job", SAFE, 0o4755, 0);
                let edits = [owned("etc/job", 1000, 0o750)];
                let input = if is_read {
                    plan(&edits)
                } else {
                    unread(&edits)
                };
                let result = end(start(
                    &injected(call, what),
                    &["commit", &state()],
                    Some(&input),
                ));
                assert_ne!(result.code, Some(0), "{call}");
                let left = seen("etc/job");
                assert_eq!(left.0, 1000, "{call}: {left:?}");
                left
            };
            // Nobody wrote: it goes back.
            killed();
            recover().is_done();
            assert_eq!(seen("etc/job"), (0, 0o4755, SAFE.to_vec()), "{call}");
            assert!(kept().is_empty());
            // In place.
            let (uid, bits, _) = killed();
            overwrite("etc/job", EVIL);
            let recovered = recover();
            recovered.is_done();
            assert!(
                recovered.text.contains("its bytes have changed"),
                "{}",
                recovered.text
            );
            assert_eq!(seen("etc/job"), (uid, bits, EVIL.to_vec()), "{call}");
            // By a descriptor, later.
            let (uid, bits, _) = killed();
            let mut writer = open("etc/job");
            recover().is_done();
            writer.write_all(EVIL).unwrap();
            assert_eq!(seen("etc/job"), (uid, bits, EVIL.to_vec()), "{call}");
        }
    }
}

/// Nothing but owner and mode says what a partial undo had done when it was killed.
#[test]
fn undo_that_was_killed_between_owner_and_mode_goes_on() {
    let _scene = Scene::new(MEMORY);
    for (uid, bits, new) in [(33, 0o600, (0, 0o644)), (0, 0o644, (33, 0o4755))] {
        for is_partly in [true, false] {
            put("etc/job", SAFE, bits, uid);
            let id = done(&[owned("etc/job", new.0, new.1)]);
            let kill = injected("fchmod", "signal=SIGKILL:when=1");
            let words = ["undo", &state(), &id, "--partly"];
            let killed = end(start(&kill, &words, None));
            assert_ne!(killed.code, Some(0), "{}", killed.text);
            let half = (uid, new.1 & 0o777, SAFE.to_vec());
            assert_eq!(seen("etc/job"), half);
            recover().is_done();
            let undone = match is_partly {
                true => undo_partly(&id),
                false => undo(&id),
            };
            undone.is_done();
            assert_eq!(seen("etc/job"), (uid, bits, SAFE.to_vec()));
            assert!(kept().is_empty(), "{}", undone.text);
        }
    }
}

/// The bytes count for such an undo as for each.
#[test]
fn killed_undo_gives_no_owner_to_bytes_that_somebody_else_wrote() {
    let _scene = Scene::new(MEMORY);
    put("etc/job", SAFE, 0o644, 0);
    let id = done(&[owned("etc/job", 33, 0o666)]);
    let kill = injected("fchmod", "signal=SIGKILL:when=1");
    end(start(&kill, &["undo", &state(), &id, "--partly"], None));
    overwrite("etc/job", EVIL);
    undo(&id).is_refused("its bytes have changed");
    assert_eq!(seen("etc/job"), (0, 0o666, EVIL.to_vec()));
}

#[test]
fn recovery_that_was_killed_between_owner_and_mode_goes_on() {
    let _scene = Scene::new(MEMORY);
    put("etc/job", SAFE, 0o644, 0);
    let input = plan(&[owned("etc/job", 33, 0o4755)]);
    let kill = |call: &str, number: usize, words: &[&str], input: Option<&[u8]>| {
        let what = format!("signal=SIGKILL:when={number}");
        let killed = end(start(&injected(call, &what), words, input));
        assert_ne!(killed.code, Some(0), "{}", killed.text);
    };
    kill("pwrite64", 3, &["commit", &state()], Some(&input));
    assert_eq!(seen("etc/job"), (33, 0o4755, SAFE.to_vec()));
    kill("fchmod", 1, &["recover", &state()], None);
    assert_eq!(seen("etc/job"), (0, 0o755, SAFE.to_vec()));
    recover().is_done();
    assert_eq!(seen("etc/job"), (0, 0o644, SAFE.to_vec()));
    assert!(kept().is_empty(), "{:?}", kept());
}

/// An error in a later step takes the owner back at once.
#[test]
fn way_back_gives_no_owner_to_a_file_that_somebody_opens() {
    let _scene = Scene::new(MEMORY);
    put("etc/job", SAFE, 0o4755, 0);
    put("etc/z", b"old", 0o644, 0);
    let input = plan(&[owned("etc/job", 1000, 0o755), edit("etc/z", Action::Remove)]);
    // The first rename is that of the journal.
    let mut child = start(&delayed(2, 900), &["commit", &state()], Some(&input));
    while fs::metadata(at("etc/job")).unwrap().uid() == 0 {
        is_running(&mut child);
    }
    let writer = held(&child, || writer("etc/job", || overwrite("etc/job", EVIL)));
    let result = end(child);
    writer.join().unwrap();
    assert_eq!(result.code, Some(3), "{}", result.text);
    assert_eq!(seen("etc/job"), (1000, 0o755, EVIL.to_vec()));
    assert_eq!(read("etc/z"), b"old");
    recover().is_done();
    assert_eq!(seen("etc/job"), (1000, 0o755, EVIL.to_vec()));
}

/// A writer that opens the file while an undo takes it back for root.
#[test]
fn writer_that_comes_while_an_undo_takes_the_owner_back_ends_the_undo() {
    let _scene = Scene::new(MEMORY);
    put("etc/job", SAFE, 0o600, 0);
    let input = plan(&[owned("etc/job", 1000, 0o644)]);
    let id = id_of(&input);
    commit(&input).is_done();
    let wrapper = injected("fchown", "delay_enter=900000:when=1");
    let mut child = start(&wrapper, &["undo", &state(), &id], None);
    let journal = at(&format!("state/{id}/journal"));
    while fs::read(&journal).unwrap().get(16) != Some(&b'u') {
        is_running(&mut child);
    }
    let writer = held(&child, || writer("etc/job", || overwrite("etc/job", EVIL)));
    end(child).is_refused("opens it for writing");
    writer.join().unwrap();
    assert_eq!(seen("etc/job"), (1000, 0o644, EVIL.to_vec()));
    fs::set_permissions(at("etc/job"), fs::Permissions::from_mode(0o644)).unwrap();
    undo(&id).is_refused("its bytes have changed");
}

/// A recovery that gives root's name back: the writer opens the file after the bytes were compared.
#[test]
fn writer_that_comes_while_a_recovery_takes_the_owner_back_keeps_the_file() {
    let _scene = Scene::new(MEMORY);
    put("etc/job", SAFE, 0o4755, 0);
    let input = plan(&[owned("etc/job", 1000, 0o755)]);
    let kill = injected("pwrite64", "signal=SIGKILL:when=3");
    let killed = end(start(&kill, &["commit", &state()], Some(&input)));
    assert_ne!(killed.code, Some(0));
    assert_eq!(seen("etc/job"), (1000, 0o755, SAFE.to_vec()));
    let wrapper = injected("fchown", "delay_enter=900000:when=1");
    let mut child = start(&wrapper, &["recover", &state()], None);
    while lease("etc/job").is_none() {
        is_running(&mut child);
    }
    let writer = held(&child, || writer("etc/job", || overwrite("etc/job", EVIL)));
    let recovered = end(child);
    writer.join().unwrap();
    recovered.is_done();
    assert!(
        recovered.text.contains("opens it for writing"),
        "{}",
        recovered.text
    );
    assert_eq!(seen("etc/job"), (1000, 0o755, EVIL.to_vec()));
}
