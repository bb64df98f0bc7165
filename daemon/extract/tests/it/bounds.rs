//! Programs that make too much: an extraction ends soon, with a refusal.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use remit_extract::{LISTED_NAMES, PLAN_ENTRIES, RefusalReason};
use remit_plan::{PATH_DEPTH, PathError};

use crate::scene::{Scene, at, seen};

#[test]
fn directories_of_any_depth_are_refused() {
    const DEPTH: usize = 4_000;
    let scene = Scene::new();
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut here = nix::fcntl::open(&seen("etc"), flags, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&here, "d", Mode::S_IRWXU).unwrap();
        here = openat(&here, "d", flags, Mode::empty()).unwrap();
    }
    let path = "/etc".to_owned() + &"/d".repeat(PATH_DEPTH);
    let deep = RefusalReason::Path(PathError::Deep);
    let extraction = scene.is_refused(&[(&path, deep)]);
    assert_eq!(extraction.entries().len(), PATH_DEPTH - 1);
}

#[test]
fn removed_directories_of_any_depth_are_refused() {
    let scene = Scene::with("", |lower| {
        fs::create_dir_all(lower.join("d/".repeat(PATH_DEPTH + 10))).unwrap();
    });
    fs::remove_dir_all(seen("d")).unwrap();
    let path = "/d".repeat(PATH_DEPTH + 1);
    scene.is_refused(&[(&path, RefusalReason::Path(PathError::Deep))]);
}

#[test]
fn many_names_end_the_extraction() {
    let scene = Scene::new();
    fs::create_dir(seen("etc/many")).unwrap();
    File::create(seen("etc/many/0")).unwrap();
    // Names of one file in the raw directory, because those need less memory of the kernel.
    let raw = at("upper/etc/many");
    for number in 1..=LISTED_NAMES {
        fs::hard_link(raw.join("0"), raw.join(number.to_string())).unwrap();
    }
    let begin = Instant::now();
    scene.is_refused(&[("/etc/many", RefusalReason::ManyNames)]);
    // A tenth of a second on an idle machine; a million times as much would not end.
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn many_entries_end_the_extraction() {
    let scene = Scene::new();
    fs::create_dir(seen("etc/many")).unwrap();
    for number in 0..PLAN_ENTRIES {
        let name = format!("etc/many/{number:05}");
        fs::create_dir(seen(&name)).unwrap();
    }
    let path = format!("/etc/many/{:05}", PLAN_ENTRIES - 1);
    let extraction = scene.is_refused(&[(&path, RefusalReason::ManyEntries)]);
    assert_eq!(extraction.entries().len(), PLAN_ENTRIES);
}

#[test]
fn many_bytes_of_the_host_end_the_extraction() {
    let scene = Scene::with("", |lower| {
        let file = File::create(lower.join("etc/huge")).unwrap();
        file.set_len(remit_extract::BASE_BYTES + 1).unwrap();
    });
    fs::remove_file(seen("etc/huge")).unwrap();
    scene.is_refused(&[("/etc/huge", RefusalReason::ManyBaseBytes)]);
}
