//! Upper directories of a program that wants to harm its extraction, or a later commit. `bounds.rs` has those that make too much.

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use remit_extract::{FILE_BYTES, NEW_BYTES, NodeKind, Omission, RefusalReason};
use remit_plan::{Change, NAME_BYTES, PATH_BYTES, PathError};

use crate::oracle::check;
use crate::scene::{Scene, chmod, entries, put, run, seen, set_attribute};

/// A commit keeps what it prepares beneath such names.
#[test]
fn names_of_remit_are_neither_removed_nor_moved_nor_entered() {
    let scene = Scene::with("", |lower| {
        put(&lower.join("etc/.remit-1/x"), b"kept", 0o644, 0);
        put(&lower.join("etc/.remit-2"), b"kept", 0o644, 0);
    });
    fs::remove_dir_all(seen("etc/.remit-1")).unwrap();
    fs::rename(seen("etc/.remit-2"), seen("etc/moved")).unwrap();
    put(&seen("etc/dir/.remit-3"), b"", 0o644, 0);
    let reason = RefusalReason::Path(PathError::Reserved);
    let extraction = scene.extract();
    let refusals: Vec<_> = extraction
        .refusals
        .iter()
        .map(|one| (String::from_utf8_lossy(&one.path), &one.reason))
        .collect();
    for path in ["/etc/.remit-1", "/etc/.remit-2", "/etc/dir/.remit-3"] {
        assert!(refusals.contains(&(path.into(), &reason)), "{refusals:?}");
    }
    assert_eq!(entries(&extraction), ["+/etc/moved"]);
    assert!(extraction.plan().is_err());
}

#[test]
fn path_longer_than_the_kernel_takes_is_refused() {
    let scene = Scene::new();
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut here = nix::fcntl::open(&seen("etc"), flags, Mode::empty()).unwrap();
    let name = "n".repeat(NAME_BYTES);
    let (mut path, mut refused) = ("/etc".to_owned(), None);
    for _ in 0..PATH_BYTES / NAME_BYTES + 2 {
        mkdirat(&here, name.as_str(), Mode::S_IRWXU).unwrap();
        here = openat(&here, name.as_str(), flags, Mode::empty()).unwrap();
        path = format!("{path}/{name}");
        refused = refused.or((path.len() > PATH_BYTES).then(|| path.clone()));
    }
    let long = RefusalReason::Path(PathError::Long);
    scene.is_refused(&[(&refused.unwrap(), long)]);
}

#[test]
fn large_attribute_is_refused() {
    let scene = Scene::new();
    put(&seen("etc/new"), b"x", 0o644, 0);
    set_attribute(&seen("etc/new"), "user.bomb", &[7; 60_000]);
    scene.is_refused(&[("/etc/new", RefusalReason::Attribute(b"user.bomb".to_vec()))]);
}

/// They take no block.
#[test]
fn sparse_files_count_by_their_size() {
    let scene = Scene::new();
    for number in 0..=NEW_BYTES / FILE_BYTES {
        let file = File::create(seen(&format!("etc/sparse-{number}"))).unwrap();
        file.set_len(FILE_BYTES).unwrap();
    }
    let last = format!("/etc/sparse-{}", NEW_BYTES / FILE_BYTES);
    let all = NEW_BYTES + FILE_BYTES;
    scene.is_refused(&[(&last, RefusalReason::ManyNewBytes(all))]);
}

/// The plan has the link and its text, and nothing of what it leads to.
#[test]
fn links_are_not_followed() {
    let scene = Scene::new();
    let long = "/..".repeat(1_300) + "/etc/shadow";
    for (name, target) in [
        ("up", "../../../../../../etc/shadow"),
        ("self", "self"),
        ("long", long.as_str()),
        ("line", "a\nb\u{1b}[31m"),
        ("proc", "/proc/self/fd/0"),
    ] {
        symlink(target, seen("etc").join(name)).unwrap();
    }
    let extraction = check(&scene);
    let made = ["line", "long", "proc", "self", "up"].map(|name| format!("+/etc/{name}"));
    assert_eq!(entries(&extraction), made);
}

/// A commit would write through it. One in place of a file is exchanged with it.
#[test]
fn link_in_place_of_a_directory_is_refused() {
    let scene = Scene::new();
    fs::remove_dir_all(seen("etc/dir")).unwrap();
    symlink("/tmp", seen("etc/dir")).unwrap();
    let (old, new) = (NodeKind::Directory, NodeKind::Link);
    scene.is_refused(&[("/etc/dir", RefusalReason::OtherKind { old, new })]);
}

/// Rights that a file gives by its mode are a part of the entry, whoever owns it.
#[test]
fn rights_by_mode_and_owner_are_in_the_entry() {
    let scene = Scene::new();
    put(&seen("etc/a"), b"x", 0o6755, 0);
    put(&seen("etc/b"), b"x", 0o4755, 33);
    fs::create_dir(seen("etc/c")).unwrap();
    chown(seen("etc/c"), Some(0), Some(4)).unwrap();
    chmod(&seen("etc/c"), 0o3777);
    let extraction = check(&scene);
    let modes: Vec<_> = extraction
        .entries()
        .iter()
        .filter_map(|entry| match &entry.change {
            Change::Create { meta, .. } => Some((meta.mode, meta.uid, meta.gid)),
            _ => None,
        })
        .collect();
    let expect = [(0o6755, 0, 0), (0o4755, 33, 33), (0o3777, 0, 4)];
    assert_eq!(modes, expect);
}

/// Names of one file, over directories and kinds of mounts: each is a file of its own in the plan.
#[test]
fn names_of_one_file_are_files_of_their_own() {
    let scene = Scene::new();
    put(&seen("etc/one"), b"x", 0o644, 0);
    for name in ["etc/two", "var/log/three", "root/four"] {
        fs::hard_link(seen("etc/one"), seen(name)).unwrap();
    }
    run("mkfifo", &["/mnt/merged/etc/fifo"]);
    fs::hard_link(seen("etc/fifo"), seen("etc/fifo-2")).unwrap();
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    assert_eq!(
        entries(&extraction),
        ["+/etc/one", "+/etc/two", "+/root/four"]
    );
    let links = |omission: &Omission| matches!(omission, Omission::HardLinks(4));
    let recorded = extraction.notes.iter().filter(|note| links(&note.omission));
    assert_eq!(recorded.count(), 3);
}
