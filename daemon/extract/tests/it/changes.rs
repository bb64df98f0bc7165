//! Changes that can be planned, each compared with what the overlay shows.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::Path;

use remit_extract::{ContentError, ContentSource};

use crate::oracle::check;
use crate::scene::{Scene, append, at, chmod, ctime_ns, entries, host, put, run, seen};

/// Makes a change in an overlay, and compares the entries.
#[track_caller]
fn planned(change: impl FnOnce(), expect: &[&str]) {
    let scene = Scene::new();
    change();
    assert_eq!(entries(&check(&scene)), expect);
}

#[test]
fn nothing_changed_has_no_entry() {
    planned(|| {}, &[]);
}

#[test]
fn file_written_is_new() {
    planned(|| put(&seen("etc/new"), b"new\n", 0o604, 3), &["+/etc/new"]);
}

#[test]
fn setuid_file_keeps_its_bits() {
    planned(
        || put(&seen("etc/new"), b"new\n", 0o6755, 3),
        &["+/etc/new"],
    );
}

#[test]
fn large_file_is_read_in_pieces() {
    let bytes = vec![b'x'; (3 << 20) + 1];
    planned(|| put(&seen("etc/new"), &bytes, 0o600, 0), &["+/etc/new"]);
}

#[test]
fn file_replaced_by_rename_is_replaced() {
    planned(
        || {
            put(&seen("etc/hosts.new"), b"::1\n", 0o600, 9);
            fs::rename(seen("etc/hosts.new"), seen("etc/hosts")).unwrap();
        },
        &["~/etc/hosts"],
    );
}

#[test]
fn file_appended_is_replaced() {
    planned(
        || append(&seen("etc/dir/sub/c"), b"x"),
        &["~/etc/dir/sub/c"],
    );
}

#[test]
fn file_emptied_is_replaced() {
    planned(
        || fs::write(seen("etc/hosts"), b"").unwrap(),
        &["~/etc/hosts"],
    );
}

#[test]
fn mode_and_owner_of_file_are_metadata() {
    planned(|| chmod(&seen("etc/hosts"), 0o4711), &["m/etc/hosts"]);
    planned(
        || chown(seen("etc/dir/a"), Some(0), Some(12)).unwrap(),
        &["m/etc/dir/a"],
    );
}

#[test]
fn mode_and_owner_of_directory_are_metadata() {
    planned(
        || {
            chmod(&seen("etc/dir"), 0o2770);
            chown(seen("etc/empty"), Some(4), None).unwrap();
            append(&seen("etc/dir/b"), b"x");
        },
        &["m/etc/dir", "~/etc/dir/b", "m/etc/empty"],
    );
}

#[test]
fn directories_made_are_new() {
    planned(
        || {
            put(&seen("etc/x/y/z"), b"z", 0o644, 0);
            chmod(&seen("etc/x"), 0o1777);
            symlink("y/z", seen("etc/x/l")).unwrap();
        },
        &["+/etc/x", "+/etc/x/l", "+/etc/x/y", "+/etc/x/y/z"],
    );
}

#[test]
fn removed_paths_have_entries_each() {
    planned(
        || {
            fs::remove_file(seen("etc/hosts")).unwrap();
            fs::remove_file(seen("etc/link")).unwrap();
            fs::remove_dir(seen("etc/empty")).unwrap();
            fs::remove_dir_all(seen("etc/dir")).unwrap();
        },
        &[
            "-/etc/dir",
            "-/etc/dir/a",
            "-/etc/dir/b",
            "-/etc/dir/sub",
            "-/etc/dir/sub/c",
            "-/etc/dir/sub/link",
            "-/etc/empty",
            "-/etc/hosts",
            "-/etc/link",
        ],
    );
}

#[test]
fn directory_removed_and_made_again_hides_what_was_in_it() {
    planned(
        || {
            fs::remove_dir_all(seen("etc/dir")).unwrap();
            put(&seen("etc/dir/b"), b"other", 0o644, 0);
            put(&seen("etc/dir/sub/new"), b"new", 0o644, 0);
        },
        &[
            "-/etc/dir/a",
            "~/etc/dir/b",
            "-/etc/dir/sub/c",
            "-/etc/dir/sub/link",
            "+/etc/dir/sub/new",
        ],
    );
}

#[test]
fn directory_removed_and_made_equal_is_equal() {
    let scene = Scene::new();
    fs::remove_dir_all(seen("etc/dir/sub")).unwrap();
    put(&seen("etc/dir/sub/c"), &[7; 100_000], 0o755, 0);
    symlink("c", seen("etc/dir/sub/link")).unwrap();
    let extraction = check(&scene);
    assert_eq!(entries(&extraction), <[&str; 0]>::default());
    assert_eq!(extraction.equal, 2);
}

#[test]
fn renamed_file_is_removed_and_new() {
    planned(
        || fs::rename(seen("etc/hosts"), seen("etc/dir/hosts")).unwrap(),
        &["+/etc/dir/hosts", "-/etc/hosts"],
    );
}

#[test]
fn renamed_directory_is_copied() {
    planned(
        || {
            let error = fs::rename(seen("etc/dir"), seen("etc/moved")).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::CrossesDevices);
            run("mv", &["/mnt/merged/etc/dir/sub", "/mnt/merged/etc/moved"]);
        },
        &[
            "-/etc/dir/sub",
            "-/etc/dir/sub/c",
            "-/etc/dir/sub/link",
            "+/etc/moved",
            "+/etc/moved/c",
            "+/etc/moved/link",
        ],
    );
}

#[test]
fn links_are_new_replaced_and_removed() {
    planned(
        || {
            symlink("/nowhere", seen("etc/new")).unwrap();
            fs::remove_file(seen("etc/link")).unwrap();
            symlink("dir/a", seen("etc/link")).unwrap();
            fs::remove_file(seen("etc/dir/sub/link")).unwrap();
        },
        &["-/etc/dir/sub/link", "~/etc/link", "+/etc/new"],
    );
}

#[test]
fn file_and_link_replace_each_other() {
    planned(
        || {
            fs::remove_file(seen("etc/hosts")).unwrap();
            symlink("dir/a", seen("etc/hosts")).unwrap();
            lchown(seen("etc/hosts"), Some(3), Some(4)).unwrap();
            fs::remove_file(seen("etc/link")).unwrap();
            put(&seen("etc/link"), b"text", 0o4750, 5);
            // One step of ln(1) or of a program that writes beside it.
            symlink("b", seen("etc/dir/new")).unwrap();
            fs::rename(seen("etc/dir/new"), seen("etc/dir/a")).unwrap();
        },
        &["~/etc/dir/a", "~/etc/hosts", "~/etc/link"],
    );
}

#[test]
fn link_with_another_owner_is_replaced() {
    planned(
        || lchown(seen("etc/link"), Some(3), Some(4)).unwrap(),
        &["~/etc/link"],
    );
}

#[test]
fn names_of_any_bytes_are_planned() {
    let scene = Scene::new();
    let long = [b'n'; 255];
    let names: [&[u8]; 7] = [
        b"new\nline",
        b"\x1b[31m",
        b"\xff\xfe",
        b" ",
        b"...",
        "…\u{202e}".as_bytes(),
        &long,
    ];
    for name in names {
        put(&seen("etc").join(OsStr::from_bytes(name)), name, 0o644, 0);
    }
    assert_eq!(check(&scene).entries().len(), names.len());
}

#[test]
fn touched_paths_are_dropped_and_counted() {
    let scene = Scene::new();
    for path in ["etc/hosts", "etc/dir/a", "etc/dir/sub"] {
        run("touch", &[seen(path).to_str().unwrap()]);
    }
    run("touch", &["-h", "/mnt/merged/etc/link"]);
    let extraction = check(&scene);
    assert_eq!(entries(&extraction), <[&str; 0]>::default());
    assert_eq!((extraction.equal, extraction.scratch), (3, 0));
}

#[test]
fn base_older_than_plan_is_planned() {
    let mut scene = Scene::new();
    append(&seen("etc/hosts"), b"x");
    scene.started_ns = ctime_ns(&host("etc/hosts")) + 2_000_000_001;
    assert_eq!(entries(&check(&scene)), ["~/etc/hosts"]);
}

#[test]
fn directory_in_which_the_host_makes_files_is_planned() {
    let mut scene = Scene::new();
    put(&seen("etc/dir/new"), b"x", 0o644, 0);
    fs::write(host("etc/dir/other"), b"y").unwrap();
    scene.started_ns = ctime_ns(&host("etc/dir"));
    assert_eq!(entries(&check(&scene)), ["+/etc/dir/new"]);
}

#[test]
fn nested_overlays_have_entries_of_their_own() {
    let mut scene = Scene::new();
    put(&at("data-lower/a"), b"a", 0o644, 0);
    put(&at("data-lower/b"), b"b", 0o644, 0);
    chmod(&at("data-lower"), 0o750);
    // The upper directory of the outer one has the mount point itself.
    append(&seen("etc/hosts"), b"x");
    run("touch", &["/mnt/merged/srv/data"]);
    scene.nest("/srv/data", "data-");
    fs::remove_file(seen("srv/data/a")).unwrap();
    append(&seen("srv/data/b"), b"x");
    put(&seen("srv/data/new/c"), b"c", 0o644, 0);
    put(&seen("srv/x"), b"x", 0o644, 0);
    let machine = scene.machine();
    let extraction = remit_extract::extract(&machine);
    assert_eq!(extraction.refusals, []);
    let expect = [
        "~/etc/hosts",
        "-/srv/data/a",
        "~/srv/data/b",
        "+/srv/data/new",
        "+/srv/data/new/c",
        "+/srv/x",
    ];
    assert_eq!(entries(&extraction), expect);
    let plan = extraction.plan().unwrap();
    let mut bytes = Vec::new();
    for entry in plan.entries() {
        let sink = &mut |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        ContentSource::new(&machine).write_new(entry, sink).unwrap();
    }
    assert_eq!(bytes, b"127.0.0.1\nxbxcx");
}

#[test]
fn whiteout_of_the_host_is_nothing() {
    let device = |path: &Path| run("mknod", &[path.to_str().unwrap(), "c", "0", "0"]);
    let scene = Scene::with("", |lower| {
        device(&lower.join("etc/layer"));
        device(&lower.join("etc/other"));
    });
    put(&seen("etc/other"), b"x", 0o644, 0);
    assert_eq!(entries(&scene.extract()), ["+/etc/other"]);
}

#[test]
fn bytes_changed_after_extraction_are_an_error() {
    let scene = Scene::new();
    put(&seen("etc/new"), b"new\n", 0o644, 0);
    append(&seen("etc/hosts"), b"x");
    let machine = scene.machine();
    let source = ContentSource::new(&machine);
    let plan = remit_extract::extract(&machine).plan().unwrap();
    fs::write(at("upper/etc/new"), b"NEW\n").unwrap();
    fs::write(at("upper/etc/hosts"), b"").unwrap();
    fs::write(at("lower/etc/hosts"), b"127.0.0.2\n").unwrap();
    for entry in plan.entries() {
        let new = source.write_new(entry, &mut |_| Ok(()));
        assert!(matches!(new, Err(ContentError::Changed)), "{new:?}");
    }
    let entry = &plan.entries()[0];
    let shown = plan.shown_old()[0].unwrap();
    let old = source.write_old(entry, shown, &mut |_| Ok(()));
    assert!(matches!(old, Err(ContentError::Changed)), "{old:?}");
}

#[test]
fn sink_that_fails_ends_the_copy() {
    let scene = Scene::new();
    put(&seen("etc/new"), b"new\n", 0o644, 0);
    let machine = scene.machine();
    let plan = remit_extract::extract(&machine).plan().unwrap();
    let full = &mut |_: &[u8]| Err(std::io::Error::other("full"));
    let copied = ContentSource::new(&machine).write_new(&plan.entries()[0], full);
    assert!(matches!(copied, Err(ContentError::Sink(_))), "{copied:?}");
}
