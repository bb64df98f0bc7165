//! The sandbox's mounts follow the host's, and keep none of them busy.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use remit_common::admin::AdminRequest;
use remit_common::client;
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::place::{Place, missing};

/// A mounted tmpfs. Unmounted with its value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn on(directory: PathBuf) -> Self {
        mount(
            Some("tmpfs"),
            &directory,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=1m,mode=0777"),
        )
        .expect("root may mount");
        Self(directory)
    }

    /// Without MNT_DETACH: fails while anybody, in any namespace that does not follow, uses it.
    fn unmount(&self) -> nix::Result<()> {
        umount2(&self.0, MntFlags::empty())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// What this thread mounts, and the daemon that it starts sees, is its own: the sandboxes of another test would have a
/// copy of it, and keep it busy. Shared as the host's is: the daemon follows it.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    for how in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | how, none).expect("root may");
    }
}

#[test]
fn a_mount_made_after_the_start_is_seen_and_is_read_only() {
    own_mounts();
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let place = Place::new();
    let before = caller
        .run(argv(&["ls", &place.path().display().to_string()]))
        .expect("user A has a grant");
    assert_eq!(stdout(&before), "");

    let tmpfs = Tmpfs::on(place.directory("later"));
    fs::write(tmpfs.0.join("file"), "new\n").expect("it is ours");
    let file = tmpfs.0.join("file").display().to_string();
    let attack = daemon.program("remit-attack").display().to_string();
    // Twice: right after the change, and once the daemon has had time to follow it.
    for _ in 0..2 {
        let seen = caller
            .run(argv(&["cat", &file]))
            .expect("user A has a grant");
        assert_eq!(stdout(&seen), "new\n", "{seen:?}");
        let new = tmpfs.0.join("attacked").display().to_string();
        let refused = caller
            .run(argv(&[&attack, "create", &new]))
            .expect("user A has a grant");
        assert!(stdout(&refused).contains("EROFS"), "{refused:?}");
        assert!(!Path::new(&new).exists());
    }
    tmpfs.unmount().expect("the daemon keeps it busy");
    let gone = caller
        .run(argv(&["cat", &file]))
        .expect("user A has a grant");
    assert_eq!(stdout(&gone), "", "{gone:?}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_mount_that_was_there_at_the_start_can_be_unmounted() {
    own_mounts();
    let place = Place::new();
    let tmpfs = Tmpfs::on(place.directory("earlier"));
    let daemon = Daemon::start(Options::default());
    let _ = Caller::new(&daemon, &user_a())
        .run(argv(&["true"]))
        .expect("user A has a grant");
    tmpfs.unmount().expect("the daemon keeps it busy");
    daemon.stop();
}

/// A loop device of a file. Detached with its value.
struct Loop(String);

impl Loop {
    fn of(image: &Path) -> Option<Self> {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| Self(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// mkfs asks the kernel for the device alone, which it does not get while any namespace has it mounted.
#[test]
fn an_unmounted_device_can_be_made_anew_while_the_daemon_idles() {
    own_mounts();
    let place = Place::new();
    let image = place.path().join("image");
    fs::File::create(&image)
        .and_then(|file| file.set_len(8 << 20))
        .expect("the place is ours");
    let Some(device) = Loop::of(&image) else {
        return missing("a loop device");
    };
    // The kernel lets go of what a sandbox has had a moment after that has ended.
    let mkfs = || {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let output = Command::new("mkfs.ext4")
                .args(["-q", "-F", &device.0])
                .output()
                .expect("e2fsprogs is installed");
            if output.status.success() {
                break;
            }
            assert!(Instant::now() < end, "{output:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    mkfs();
    let directory = place.directory("disk");
    let mounted = || {
        mount(
            Some(device.0.as_str()),
            &directory,
            Some("ext4"),
            MsFlags::empty(),
            None::<&str>,
        )
    };
    mounted().expect("root may mount");
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let seen = caller
        .run(argv(&["ls", &directory.display().to_string()]))
        .expect("user A has a grant");
    assert_eq!(stdout(&seen), "lost+found\n");
    umount2(&directory, MntFlags::empty()).expect("the daemon keeps it busy");
    mkfs();
    // And once more with one that came and went while the daemon ran.
    mounted().expect("root may mount");
    let _ = caller.run(argv(&["true"])).expect("user A has a grant");
    umount2(&directory, MntFlags::empty()).expect("the daemon keeps it busy");
    mkfs();
    daemon.stop();
}

/// A short request is answered within this, of three on a busy machine at least one.
const SHORT: Duration = Duration::from_millis(100);

#[test]
fn with_500_file_systems_and_a_gigabyte_being_hashed_short_requests_are_answered_at_once() {
    own_mounts();
    let place = Place::new();
    let all: Vec<_> = (0..500)
        .map(|number| Tmpfs::on(place.directory(&number.to_string())))
        .collect();
    let large = place.path().join("gigabyte");
    let file = fs::File::create(&large).expect("it is ours");
    file.set_len(1 << 30).expect("there is room for a hole");
    fs::set_permissions(&large, fs::Permissions::from_mode(0o644)).expect("it is ours");

    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let path = large.display().to_string();
    let hashing = caller
        .run(at_once(argv(&["sha256sum", &path])))
        .expect("user A has a grant");
    let socket = daemon.runtime().admin_socket();
    let took: Vec<Duration> = (0..3)
        .map(|_| {
            let start = Instant::now();
            client::admin(&socket, AdminRequest::Status).expect("root may ask");
            start.elapsed()
        })
        .collect();
    assert!(took.iter().any(|time| *time < SHORT), "{took:?}");
    let listed = caller
        .run(argv(&["sh", "-c", "grep -c . /proc/self/mountinfo"]))
        .expect("user A has a grant");
    let seen: usize = stdout(&listed).trim().parse().expect("a number");
    assert!(seen >= 500, "{seen} mounts are seen");
    assert_eq!(
        caller.end_of(hashing.job).ending.and_then(|e| e.exit),
        Some(0)
    );
    drop(all);
    daemon.is_well();
    daemon.stop();
}
