use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::audit::chain::Chain;
use crate::audit::record::{Event, Record};

struct Scene {
    dir: PathBuf,
    log: PathBuf,
    chain: Chain,
}

impl Scene {
    fn set(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("remit-file-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let log = dir.join("audit.jsonl");
        let chain = Chain::open(&dir.join("head"), [1; 16], |_| false).unwrap();
        Self { dir, log, chain }
    }

    fn write(&mut self, lines: &mut JsonLines) -> String {
        let record = Record::new(Event::Start, "x");
        let linked = self.chain.link(record, 0).unwrap();
        lines.write(&linked, true).unwrap();
        self.chain.commit(&linked, true).unwrap();
        remit_trail::hex(&self.chain.newest().hash)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn half_record_is_cut_off_at_start() {
    let mut scene = Scene::set("half");
    let mut lines = JsonLines::open(&scene.log).unwrap();
    assert!(!lines.ends_with(""));
    let first = scene.write(&mut lines);
    let second = scene.write(&mut lines);
    assert!(lines.ends_with(&second) && !lines.ends_with(&first));
    let whole = scene.text();
    for half in ["", "{", "{\"MESSAGE\":\"x", "\0\0\0"] {
        fs::write(&scene.log, format!("{whole}{half}")).unwrap();
        let mut lines = JsonLines::open(&scene.log).unwrap();
        assert_eq!(scene.text(), whole);
        assert_eq!(
            lines.incidents().unwrap().is_some(),
            !half.is_empty(),
            "{half:?}"
        );
        lines.clear_incidents();
        assert_eq!(lines.incidents().unwrap(), None);
        assert!(lines.ends_with(&second));
    }
    fs::write(&scene.log, "{\"half").unwrap();
    assert!(JsonLines::open(&scene.log).is_ok());
    assert_eq!(scene.text(), "");
    // A file that never was an audit log is not cut.
    fs::write(&scene.log, "something else").unwrap();
    assert!(JsonLines::open(&scene.log).is_err());
    assert_eq!(scene.text(), "something else");
}

/// Nothing can be synced on this device.
#[test]
fn file_that_was_moved_is_synced_before_the_next_begins() {
    let mut scene = Scene::set("synced");
    let mut lines = JsonLines::open(&scene.log).unwrap();
    scene.write(&mut lines);
    lines.file = File::open("/dev/zero").unwrap();
    fs::rename(&scene.log, scene.dir.join("moved")).unwrap();
    let incidents = lines.incidents().unwrap().unwrap();
    assert!(
        incidents.contains(
            "a new one was begun; the end of the file before cannot be written to the disk"
        ),
        "{incidents}"
    );
}

#[test]
fn foreign_change_to_file_is_reported_once() {
    let mut scene = Scene::set("befell");
    let log = scene.log.clone();
    let mut lines = JsonLines::open(&log).unwrap();
    scene.write(&mut lines);
    let moved = scene.dir.join("moved");
    type Deed<'a> = Box<dyn Fn() + 'a>;
    let cut = |to: u64| {
        OpenOptions::new()
            .write(true)
            .open(&log)
            .unwrap()
            .set_len(to)
            .unwrap()
    };
    let append = |text: &str| {
        OpenOptions::new()
            .append(true)
            .open(&log)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap()
    };
    let deeds: [(&str, Deed); 8] = [
        (
            "moved or removed",
            Box::new(|| fs::rename(&log, &moved).unwrap()),
        ),
        ("removed", Box::new(|| fs::remove_file(&log).unwrap())),
        ("was cut from", Box::new(|| cut(0))),
        ("was cut from", Box::new(|| cut(20))),
        ("wrote 7 bytes", Box::new(|| append("garbage"))),
        ("wrote 5 bytes", Box::new(|| append("line\n"))),
        (
            "replaced by another file",
            Box::new(|| {
                fs::copy(&log, &moved).unwrap();
                fs::rename(&moved, &log).unwrap();
            }),
        ),
        ("", Box::new(|| {})),
    ];
    for (incidents, deed) in deeds {
        scene.write(&mut lines);
        deed();
        let reported = lines.incidents().unwrap();
        assert_eq!(reported.is_some(), !incidents.is_empty());
        assert!(
            reported.unwrap_or_default().contains(incidents),
            "{incidents}"
        );
        assert_eq!(lines.incidents().unwrap().is_some(), !incidents.is_empty());
        lines.clear_incidents();
        let hash = scene.write(&mut lines);
        assert!(lines.ends_with(&hash), "a line of its own: {incidents}");
        assert_eq!(lines.incidents().unwrap(), None, "{incidents}");
    }
}

#[test]
fn foreign_bytes_stay_own_line_on_full_disk() {
    let mut scene = Scene::set("full");
    let mut lines = JsonLines::open(&scene.log).unwrap();
    scene.write(&mut lines);
    fs::write(&scene.log, "garbage").unwrap();
    let read_only = File::open(&scene.log).unwrap();
    let file = std::mem::replace(&mut lines.file, read_only);
    for _ in 0..2 {
        assert!(lines.incidents().is_err());
    }
    lines.file = file;
    assert!(lines.incidents().unwrap().is_some());
    lines.clear_incidents();
    let hash = scene.write(&mut lines);
    assert!(lines.ends_with(&hash) && scene.text().starts_with("garbage\n{"));
}

#[test]
fn a_file_that_others_could_write_is_refused() {
    let scene = Scene::set("unsafe");
    let log = &scene.log;
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    symlink("/dev/null", log).unwrap();
    assert!(JsonLines::open(log).is_err(), "a link");
    fs::remove_file(log).unwrap();
    fs::create_dir(log).unwrap();
    assert!(JsonLines::open(log).is_err(), "a directory");
    fs::remove_dir(log).unwrap();
    nix::unistd::mkfifo(log, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(JsonLines::open(log).is_err(), "a pipe");
    fs::remove_file(log).unwrap();
    fs::write(log, "").unwrap();
    mode(log, 0o620);
    assert!(JsonLines::open(log).is_err(), "a file of all");
    mode(log, 0o600);
    mode(&scene.dir, 0o777);
    assert!(JsonLines::open(log).is_err(), "a directory of all");
    mode(&scene.dir, 0o755);
    let mut lines = JsonLines::open(log).unwrap();
    fs::remove_file(log).unwrap();
    symlink("/dev/null", log).unwrap();
    assert!(lines.incidents().is_err(), "a link, later");
    fs::remove_file(log).unwrap();
    assert!(lines.incidents().unwrap().is_some(), "and it goes on");
}
