//! Machines that change, hold or do not answer while they are looked at. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::Laid;
use common::laid::goals;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo, setfsuid};
use remit_prove::report::Report;
use remit_prove::text::text;

const AGENT: &str = "about = \"\"\nagent = \"agent\"\nprograms = [\"/usr/sbin/cron\"]\nuser = [{ name = \"agent\", uid = 5001 }]\n";
const AT_MOST: Duration = Duration::from_secs(30);

fn why<'r>(report: &'r Report, path: &str) -> Option<&'r str> {
    let found = report.unknown.iter().find(|(of, _)| of == path);
    found.map(|(_, why)| why.as_str())
}

/// A file system of a program that never answers would hold each look at it forever.
#[test]
fn file_system_that_does_not_answer_is_left_out() {
    let files = "[[file]]\npath = \"/srv/fuse\"\n[[file]]\npath = \"/etc/crontab\"\n\
                text = \"* * * * * root /srv/fuse/bin/run\\n* * * * * root /srv/agent/run\\n\"\n\
                [[file]]\npath = \"/srv/agent\"\nowner = \"agent\"\n";
    let laid = Laid::out("fuse", &format!("{AGENT}{files}"));
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .unwrap();
    let number = device.as_raw_fd();
    let (send, receive) = channel();
    let target = laid.root().join("srv/fuse");
    let looking = thread::spawn(move || {
        // The mount is seen by this thread alone.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let (none, private) = (None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
        mount(none, "/", none, private, none).unwrap();
        let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("x"),
            &target,
            Some("fuse"),
            flags,
            Some(options.as_str()),
        )
        .unwrap();
        send.send(laid.report()).unwrap();
        nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH).unwrap();
    });
    let report = receive.recv_timeout(AT_MOST);
    // It ends what still asks.
    drop(device);
    looking.join().unwrap();
    let report = report.unwrap();
    let why = why(&report, "/srv/fuse").unwrap();
    assert!(
        why.contains("a file system of fuse is not looked at"),
        "{why}"
    );
    assert_eq!(goals(&report.subjects[0]), ["root"]);
}

/// A lease holds each open until it is given back, 45 s by default (fcntl(2)).
#[test]
fn lease_does_not_hold_the_look() {
    let files = "[[file]]\npath = \"/etc/cron.hourly/x\"\nmode = \"755\"\nowner = \"agent\"\ntext = \"#!/bin/sh\\n\"\n\
                [[file]]\npath = \"/etc/cron.d/x\"\ntext = \"* * * * * root /x\\n\"\n";
    let laid = Laid::out("lease", &format!("{AGENT}{files}"));
    let held = ["etc/cron.hourly/x", "etc/cron.d/x"].map(|path| {
        let file = OpenOptions::new()
            .write(true)
            .open(laid.root().join(path))
            .unwrap();
        // The signal of a broken lease ends a process, but this one.
        let set = |what: i32, value: i32| {
            // SAFETY: it takes numbers alone.
            #[allow(unsafe_code)]
            let done = unsafe { libc::fcntl(file.as_raw_fd(), what, value) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        };
        set(10, libc::SIGURG);
        set(libc::F_SETLEASE, libc::F_WRLCK);
        file
    });
    let (send, receive) = channel();
    let looking = thread::spawn(move || send.send(laid.report()));
    let report = receive.recv_timeout(AT_MOST).unwrap();
    drop(held);
    looking.join().unwrap().unwrap();
    // Owner and mode are known all the same.
    assert_eq!(goals(&report.subjects[0]), ["root"]);
    for path in ["/etc/cron.hourly/x", "/etc/cron.d/x"] {
        let why = why(&report, path).unwrap_or_else(|| panic!("{path} {:?}", report.unknown));
        assert!(why.contains("held by a lease"), "{path}: {why}");
    }
}

/// The kind, content and owner of a path change all the time: each look ends with an answer.
#[test]
fn paths_that_change_are_answered() {
    let files = "[[file]]\npath = \"/etc/cron.d/a\"\ntext = \"\"\n[[file]]\npath = \"/srv/agent\"\nowner = \"agent\"\n";
    let laid = Laid::out("changing", &format!("{AGENT}{files}"));
    let done = AtomicBool::new(false);
    let locations = [
        "etc/cron.d/a",
        "etc/cron.d/b",
        "etc/systemd/system/x.service",
        "etc/cron.d",
    ];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_usize;
            while !done.load(Ordering::Relaxed) {
                for location in locations {
                    number = number.wrapping_add(1);
                    change(&laid.root().join(location), number);
                }
            }
        });
        for _ in 0..100 {
            let report = laid.report();
            assert_eq!(report.subjects.len(), 1);
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn change(path: &Path, number: usize) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
    let _ = path.parent().map(fs::create_dir_all);
    match number % 7 {
        0 => drop(fs::write(
            path,
            "* * * * * root /srv/agent/x\n[Service]\nExecStart=/srv/agent/x\n",
        )),
        1 => drop(fs::create_dir(path)),
        2 => drop(symlink("../../srv/agent", path)),
        3 => drop(mkfifo(path, Mode::S_IRWXU)),
        4 => drop(symlink(path, path)),
        5 => drop(File::create(path).and_then(|file| file.set_len(1 << 30))),
        _ => {
            let _ = fs::write(path, "#!/srv/agent/x\n");
            let _ = chown(path, Some(5001), None);
        }
    }
}

/// Without the right to read everything: what could not be entered is unknown, and not clean.
#[test]
fn locations_that_cannot_be_entered_are_unknown() {
    let files = "[[file]]\npath = \"/etc/cron.d\"\nmode = \"700\"\n[[file]]\npath = \"/etc/cron.d/x\"\ntext = \"\"\n\
                [[file]]\npath = \"/etc/sudoers\"\nmode = \"400\"\ntext = \"agent ALL = NOPASSWD: ALL\\n\"\n\
                [[file]]\npath = \"/usr/bin/sudo\"\nmode = \"4755\"\ntext = \"x\"\n";
    let laid = Laid::out("unreadable", &format!("{AGENT}{files}"));
    assert_eq!(goals(&laid.report().subjects[0]), ["root"]);
    let report = thread::spawn(move || {
        // Of this thread alone; with the uid its capabilities for files go.
        setfsuid(Uid::from_raw(5001));
        let report = laid.report();
        setfsuid(Uid::from_raw(0));
        report
    });
    let report = report.join().unwrap();
    let shown = text(&report, true);
    assert!(goals(&report.subjects[0]).is_empty(), "{shown}");
    for path in ["/etc/cron.d", "/etc/sudoers", "/etc/shadow"] {
        let why = why(&report, path).unwrap_or_else(|| panic!("{path} {:?}", report.unknown));
        assert!(why.ends_with("; permission denied"), "{path}: {why}");
    }
}

/// More reasons than are kept: a path that is unknown is no missing one, which anybody could make.
#[test]
fn thousands_of_unknown_paths_are_not_missing() {
    let laid = Laid::out(
        "unknown",
        &format!("{AGENT}[[file]]\npath = \"/srv\"\nowner = \"agent\"\n"),
    );
    let table: String = (0..3000)
        .map(|number| format!("* * * * * root /srv/loop{number}/x\n"))
        .collect();
    for number in 0..3000 {
        symlink(
            format!("loop{number}"),
            laid.root().join(format!("srv/loop{number}")),
        )
        .unwrap();
    }
    fs::create_dir_all(laid.root().join("etc")).unwrap();
    fs::write(laid.root().join("etc/crontab"), table).unwrap();
    fs::set_permissions(
        laid.root().join("etc/crontab"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let report = laid.report();
    assert!(report.unknown.len() + report.more_unknown >= 3000);
    // The links themselves can be replaced.
    assert_eq!(goals(&report.subjects[0]), ["root"]);
}

/// As packages install them they have nothing to run.
#[test]
fn directories_of_jobs_are_unknown_if_they_have_jobs() {
    for (files, is_unknown) in [
        ("atjobs/.SEQ", false),
        ("atjobs/.SEQ atjobs/a0000101bc", true),
        ("at/.SEQ at/spool/", false),
        ("at/a0000101bc", true),
        (
            "localauthority/10-vendor.d/ localauthority/50-local.d/",
            false,
        ),
        ("localauthority/50-local.d/x.pkla", true),
        ("localauthority/50-local.d/.x/", true),
    ] {
        let mut toml = AGENT.to_owned();
        let mut path = String::new();
        for file in files.split(' ') {
            let (directory, name) = file.split_once('/').unwrap();
            path = match directory {
                "atjobs" => "/var/spool/cron/atjobs".to_owned(),
                "at" => "/var/spool/at".to_owned(),
                directory => format!("/etc/polkit-1/{directory}"),
            };
            let text = if name.ends_with('/') {
                ""
            } else {
                "text = ''\n"
            };
            let name = name.trim_end_matches('/');
            toml += &format!("[[file]]\npath = '{path}/{name}'\n{text}");
        }
        let report = Laid::out("jobs", &toml).report();
        assert_eq!(why(&report, &path).is_some(), is_unknown, "{files}");
    }
}
