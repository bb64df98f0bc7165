//! Directories that the plan's user may not read: an opaque layer of the mask shows them with nothing in them.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use remit_extract::{Omission, RefusalReason};

use crate::scene::{Scene, append, at, chmod, entries, put, run, seen, set_attribute};

const PRIVATE: &str = "/etc/private";

/// A private directory of the host with names in it, and a mask above it.
fn scene() -> Scene {
    let mask = |path: &str, mode: u32| {
        let dir = at("mask").join(path);
        fs::create_dir_all(&dir).unwrap();
        set_attribute(&dir, "trusted.overlay.opaque", b"y");
        chmod(&dir, mode);
    };
    let mut scene = Scene::with("/mnt/mask:", |lower: &Path| {
        put(&lower.join("etc/private/key"), b"SECRET\n", 0o600, 0);
        put(&lower.join("etc/private/sub/in"), b"in\n", 0o644, 0);
        symlink("key", lower.join("etc/private/link")).unwrap();
        put(&lower.join("var/log/private/sub/in"), b"in\n", 0o644, 0);
        let list = "/.\n/etc\n/etc/private\n/etc/private/key\n/etc/private/gone\n/etc/dir/a\n";
        put(
            &lower.join("var/lib/dpkg/info/shop.list"),
            list.as_bytes(),
            0o644,
            0,
        );
        let list = "/.\n/etc\n/etc/private\n/etc/private/gone\n/etc/private/gone/x\n/etc/dir/a\n";
        put(
            &lower.join("var/lib/dpkg/info/other.list"),
            list.as_bytes(),
            0o644,
            0,
        );
        for dir in ["etc/private", "var/log/private"] {
            chmod(&lower.join(dir), 0o700);
            mask(dir, 0o700);
        }
    });
    scene.emptied = [&b"/etc/private"[..], b"/var/log/private"]
        .map(<[u8]>::to_vec)
        .into();
    scene
}

fn names(path: &str) -> usize {
    fs::read_dir(seen(path)).unwrap().count()
}

#[test]
fn new_names_and_a_new_owner_are_planned() {
    let scene = scene();
    assert_eq!(names("etc/private"), 0);
    put(&seen("etc/private/new"), b"mine\n", 0o640, 5);
    put(&seen("etc/private/made/deep/x"), b"", 0o600, 0);
    chown(seen("etc/private"), Some(0), Some(7)).unwrap();
    chmod(&seen("etc/private"), 0o710);
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    assert_eq!(
        entries(&extraction),
        [
            "m/etc/private",
            "+/etc/private/made",
            "+/etc/private/made/deep",
            "+/etc/private/made/deep/x",
            "+/etc/private/new"
        ]
    );
    let notes: Vec<_> = extraction.notes.iter().map(|note| note.omission).collect();
    assert_eq!(notes, [Omission::HiddenNames]);
    assert_eq!(extraction.notes[0].path, PRIVATE.as_bytes());
    assert!(extraction.plan().is_ok());
}

/// Whatever it is, and with whatever bytes.
#[test]
fn name_that_is_there_is_refused_with_the_same_words() {
    let mut words = Vec::new();
    for (name, make) in [
        (
            "key",
            &(|at: &Path| put(at, b"SECRET\n", 0o600, 0)) as &dyn Fn(&Path),
        ),
        ("key", &|at| put(at, b"other", 0o644, 7)),
        ("key", &|at| fs::create_dir(at).unwrap()),
        ("key", &|at| symlink("x", at).unwrap()),
        ("key", &|at| run("mkfifo", &[at.to_str().unwrap()])),
        ("sub", &|at| put(&at.join("new"), b"", 0o644, 0)),
        ("sub", &|at| put(&at.join("in"), b"in\n", 0o644, 0)),
        ("sub", &|at| put(at, b"", 0o644, 0)),
        ("link", &|at| symlink("key", at).unwrap()),
        ("link", &|at| symlink("other", at).unwrap()),
    ] {
        let scene = scene();
        make(&seen("etc/private").join(name));
        let extraction =
            scene.is_refused(&[(&format!("{PRIVATE}/{name}"), RefusalReason::HiddenName)]);
        assert_eq!(entries(&extraction), [""; 0]);
        words.push(extraction.refusals[0].reason.to_string());
    }
    words.dedup();
    assert_eq!(
        words,
        ["its directory is hidden in copies of the machine, and has something of that name"]
    );
}

#[test]
fn directory_that_was_only_touched_is_no_entry() {
    let scene = scene();
    run("touch", &["/mnt/merged/etc/private"]);
    put(&seen("etc/private/new"), b"", 0o644, 0);
    fs::remove_file(seen("etc/private/new")).unwrap();
    let extraction = scene.extract();
    assert_eq!(
        (entries(&extraction).len(), extraction.refusals.len()),
        (0, 0)
    );
}

/// A plan of that would have to remove what the job did not see.
#[test]
fn directory_that_was_removed_is_refused() {
    for script in [
        "rm -r etc/private",
        "rm -r etc/private; mkdir -m 700 etc/private",
        "rm -r etc/private; mkdir -m 700 etc/private; touch etc/private/new",
        "mv etc/private etc/moved",
        "mv etc/private etc/moved; mkdir -m 700 etc/private",
        "rm -r etc/private; touch etc/private",
        "rm -r etc/private; ln -s dir etc/private",
    ] {
        let scene = scene();
        run("sh", &["-c", &format!("cd /mnt/merged && {script}")]);
        let extraction = scene.is_refused(&[(PRIVATE, RefusalReason::HiddenChanged)]);
        let removed = entries(&extraction);
        assert!(
            !removed.iter().any(|entry| entry.starts_with('-')),
            "{script}: {removed:?}"
        );
    }
}

#[test]
fn directory_beneath_a_removed_one_is_refused() {
    for script in ["rm -r etc", "rm -r etc; mkdir -p etc/private"] {
        let scene = scene();
        run("sh", &["-c", &format!("cd /mnt/merged && {script}")]);
        let extraction = scene.extract();
        let is_named = |path: &str| {
            let mut all = extraction.refusals.iter();
            all.any(|one| one.path == path.as_bytes() && one.reason == RefusalReason::HiddenChanged)
        };
        assert!(is_named(PRIVATE), "{script}: {:?}", extraction.refusals);
        let beneath = |entry: &String| entry.contains("/etc/private/");
        assert!(!entries(&extraction).iter().any(beneath), "{script}");
        assert!(extraction.plan().is_err());
    }
}

/// In directories of logs only new directories count, and one that is there is none.
#[test]
fn directory_of_logs_has_new_directories_alone() {
    let scene = scene();
    put(&seen("var/log/private/new/x"), b"", 0o644, 0);
    put(&seen("var/log/private/sub/in"), b"x", 0o644, 0);
    put(&seen("var/log/private/file"), b"x", 0o644, 0);
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    assert_eq!(entries(&extraction), ["+/var/log/private/new"]);
}

/// The host's change is not lost, and not answered.
#[test]
fn name_that_the_host_made_meanwhile_is_refused() {
    let scene = scene();
    put(&seen("etc/private/new"), b"x", 0o644, 0);
    append(&seen("etc/private/new"), b"y");
    put(&at("lower").join("etc/private/new"), b"xy", 0o644, 0);
    scene.is_refused(&[("/etc/private/new", RefusalReason::HiddenName)]);
}

/// dpkg would leave them there, and not know it.
#[test]
fn packages_with_files_in_it_cannot_change() {
    for (script, is_refused) in [
        ("rm shop.list", true),
        ("echo /etc >shop.list", true),
        ("rm shop.list; echo /etc >shop.list", true),
        ("touch shop.list", false),
        // An upgrade with the same paths: its conffile would stay the old one.
        ("echo x >shop.md5sums", true),
        ("echo x >shop.conffiles; echo x >shop.postinst", true),
        (
            "echo x >new.md5sums; echo x >shop.list.x; echo x >shop",
            false,
        ),
        ("rm other.list", false),
        ("echo /etc/private/key >new.list", false),
    ] {
        let scene = scene();
        run(
            "sh",
            &[
                "-c",
                &format!("cd /mnt/merged/var/lib/dpkg/info && {script}"),
            ],
        );
        let extraction = scene.extract();
        let refusal = RefusalReason::HiddenOfPackage;
        let expect = is_refused.then_some(("/etc/private/key", &refusal));
        let refusals = extraction.refusals.iter();
        let found: Vec<_> = refusals
            .map(|one| (std::str::from_utf8(&one.path).unwrap(), &one.reason))
            .collect();
        assert_eq!(found, expect.into_iter().collect::<Vec<_>>(), "{script}");
    }
}
