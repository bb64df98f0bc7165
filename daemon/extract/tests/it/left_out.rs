//! What is left out of a plan: special files, scratch directories, attributes of overlays, links between new files.

use std::fs;
use std::os::unix::net::UnixListener;

use remit_extract::{Extraction, Omission};
use remit_plan::PlanPath;

use crate::scene::{Scene, append, chmod, entries, put, run, seen, set_attribute};

fn notes(extraction: &Extraction) -> Vec<(String, Omission)> {
    let notes = extraction.notes.iter();
    notes
        .map(|note| (String::from_utf8(note.path.clone()).unwrap(), note.omission))
        .collect()
}

#[test]
fn special_files_have_notes() {
    let scene = Scene::new();
    let _socket = UnixListener::bind(seen("etc/socket")).unwrap();
    run("mkfifo", &["/mnt/merged/etc/a\nfifo"]);
    run("mknod", &["/mnt/merged/etc/null", "c", "1", "3"]);
    put(&seen("etc/new"), b"", 0o644, 0);
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    assert_eq!(entries(&extraction), ["+/etc/new"]);
    let expect = [
        ("/etc/a\nfifo".to_owned(), Omission::Fifo),
        ("/etc/null".to_owned(), Omission::Device),
        ("/etc/socket".to_owned(), Omission::Socket),
    ];
    assert_eq!(notes(&extraction), expect);
    let text = extraction.notes[0].to_string();
    assert_eq!(text, "'/etc/a\\nfifo' is left out: it is a FIFO");
}

#[test]
fn notes_are_counted_beyond_their_number() {
    let scene = Scene::new();
    fs::create_dir(seen("etc/new")).unwrap();
    for number in 0..remit_extract::MESSAGES + 3 {
        let path = seen("etc/new").join(number.to_string());
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let extraction = scene.extract();
    assert_eq!(extraction.notes.len(), remit_extract::MESSAGES);
    assert_eq!(extraction.further_notes, 3);
}

#[test]
fn scratch_directories_have_only_new_directories() {
    let scene = Scene::new();
    append(&seen("var/log/app.log"), b"x");
    put(&seen("var/log/nginx/access.log"), b"x", 0o644, 0);
    fs::remove_dir_all(seen("var/log/old")).unwrap();
    put(&seen("var/cache/apt/y"), b"y", 0o644, 0);
    fs::remove_file(seen("var/cache/apt/x")).unwrap();
    fs::create_dir(seen("var/cache/apt/x")).unwrap();
    append(&seen("var/cache/debconf/config.dat"), b"x");
    put(&seen("tmp/x/y/z"), b"", 0o644, 0);
    put(&seen("var/tmp/z"), b"", 0o644, 0);
    chmod(&seen("var/tmp"), 0o700);
    run("mkfifo", &["/mnt/merged/tmp/fifo"]);
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    let expect = [
        "+/tmp/x",
        "+/tmp/x/y",
        "~/var/cache/debconf/config.dat",
        "+/var/log/nginx",
    ];
    assert_eq!(entries(&extraction), expect);
    extraction.plan().unwrap();
    // app.log, access.log, old, apt/y, apt/x, z, fifo, var/tmp, var/tmp/z.
    assert_eq!(extraction.scratch, 9);
    let first = extraction.first_scratch.as_ref();
    assert_eq!(first.map(PlanPath::as_bytes), Some(&b"/tmp/fifo"[..]));
    assert_eq!(extraction.notes, []);
}

#[test]
fn answers_of_packages_are_removed_with_their_cache() {
    let scene = Scene::new();
    fs::remove_dir_all(seen("var/cache")).unwrap();
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    let expect = ["-/var/cache/debconf", "-/var/cache/debconf/config.dat"];
    assert_eq!(entries(&extraction), expect);
    assert_eq!(extraction.scratch, 2);
}

#[test]
fn attributes_of_overlays_have_notes() {
    let scene = Scene::new();
    put(&seen("etc/new"), b"", 0o644, 0);
    set_attribute(&seen("etc/new"), "user.overlay.opaque", b"y");
    set_attribute(&seen("etc/dir"), "user.overlay.redirect", b"/etc");
    let extraction = scene.extract();
    assert_eq!(extraction.refusals, []);
    assert_eq!(entries(&extraction), ["+/etc/new"]);
    let note = Omission::OverlayAttributes;
    let expect = [("/etc/dir".to_owned(), note), ("/etc/new".to_owned(), note)];
    assert_eq!(notes(&extraction), expect);
}

#[test]
fn links_between_new_files_have_notes() {
    let scene = Scene::new();
    put(&seen("etc/new"), b"x", 0o644, 0);
    fs::hard_link(seen("etc/new"), seen("etc/new2")).unwrap();
    fs::hard_link(seen("etc/hosts"), seen("etc/hosts2")).unwrap();
    let extraction = crate::oracle::check(&scene);
    assert_eq!(
        entries(&extraction),
        ["+/etc/hosts2", "+/etc/new", "+/etc/new2"]
    );
    let paths = ["/etc/hosts2", "/etc/new", "/etc/new2"];
    let expect = paths.map(|path| (path.to_owned(), Omission::HardLinks(2)));
    assert_eq!(notes(&extraction), expect);
    assert_eq!(extraction.equal, 1);
}
