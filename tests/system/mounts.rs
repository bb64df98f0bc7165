//! Mounts of the sandbox follow the host's, and keep none of them busy. The daemon works with the options of `/proc`, or says
//! that it cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use remit_common::admin::{AdminReply, AdminRequest};
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::test_dir::{TestDir, missing};
use remit_wire::client;

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

    /// Without MNT_DETACH, so it fails while any namespace that does not follow uses the mount.
    fn unmount(&self) -> nix::Result<()> {
        umount2(&self.0, MntFlags::empty())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Gives this thread and its daemon a mount namespace. Otherwise sandboxes of other tests would copy its mounts
/// and keep them busy. Propagation is shared, as on a host, so the daemon follows.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root may");
    for how in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | how, none).expect("root may");
    }
}

#[test]
fn later_mount_is_visible_and_read_only() {
    own_mounts();
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let test_dir = TestDir::new();
    let before = caller
        .run(argv(&["ls", &test_dir.path().display().to_string()]))
        .expect("user A has a grant");
    assert_eq!(stdout(&before), "");

    let tmpfs = Tmpfs::on(test_dir.directory("later"));
    fs::write(tmpfs.0.join("file"), "new\n").expect("it is ours");
    let file = tmpfs.0.join("file").display().to_string();
    let attack = daemon.program("remit-attack").display().to_string();
    // Twice: right after the change, and after the daemon could follow it.
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
fn earlier_mount_is_unmountable() {
    own_mounts();
    let test_dir = TestDir::new();
    let tmpfs = Tmpfs::on(test_dir.directory("earlier"));
    let daemon = Daemon::start(Options::default());
    let _ = Caller::new(&daemon, &user_a())
        .run(argv(&["true"]))
        .expect("user A has a grant");
    tmpfs.unmount().expect("the daemon keeps it busy");
    daemon.stop();
}

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

/// mkfs opens the device exclusively, which fails while any namespace has it mounted.
#[test]
fn idle_daemon_does_not_keep_device_busy() {
    own_mounts();
    let test_dir = TestDir::new();
    let image = test_dir.path().join("image");
    fs::File::create(&image)
        .and_then(|file| file.set_len(8 << 20))
        .expect("the directory is writable");
    let Some(device) = Loop::of(&image) else {
        return missing("a loop device");
    };
    // The kernel releases mounts of a sandbox a moment after its end.
    let mkfs = || {
        let end = Instant::now() + Duration::from_secs(20);
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
    let directory = test_dir.directory("disk");
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
    mounted().expect("root may mount");
    let _ = caller.run(argv(&["true"])).expect("user A has a grant");
    umount2(&directory, MntFlags::empty()).expect("the daemon keeps it busy");
    mkfs();
    daemon.stop();
}

/// Time limit for a short request; on a busy machine at least one of ten must meet it.
const SHORT: Duration = Duration::from_millis(100);

#[test]
fn requests_stay_fast_during_hashing_with_many_mounts() {
    own_mounts();
    let test_dir = TestDir::new();
    let all: Vec<_> = (0..500)
        .map(|number| Tmpfs::on(test_dir.directory(&number.to_string())))
        .collect();
    let large = test_dir.path().join("gigabyte");
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
    let took: Vec<Duration> = (0..10)
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

/// Mounts another `/proc` with these options in the namespace of [`own_mounts`].
fn mount_proc(options: &str) {
    let flags = MsFlags::empty();
    mount(Some("proc"), "/proc", Some("proc"), flags, Some(options)).expect("root may mount");
}

#[test]
fn callers_are_known_with_a_proc_that_hides_processes() {
    for options in ["hidepid=2,gid=64300", "hidepid=1,gid=64300", "hidepid=2"] {
        own_mounts();
        mount_proc(options);
        let daemon = Daemon::start(Options::default());
        let lock = AdminRequest::Lock {
            why: "a drill".into(),
            kill: false,
        };
        for request in [lock, AdminRequest::Unlock] {
            let done = daemon.administer(request);
            let is_done = matches!(done, Ok(AdminReply::Done(_)));
            assert!(is_done, "{options}: {done:?}");
        }
        let user = user_a();
        // Only root can unset it, and only then it can be set.
        for login in [u32::MAX, user.uid] {
            fs::write("/proc/thread-self/loginuid", login.to_string()).expect("we are root");
        }
        let ran = daemon.remit(&user, &["run", "true"]);
        assert!(ran.status.success(), "{options}: {ran:?}");
        let login = &daemon.records("intent")[0]["REMIT_LOGINUID"];
        assert_eq!(*login, user.uid.to_string(), "{options}");
        daemon.is_well();
        daemon.stop();
    }
}

#[test]
fn start_names_a_proc_that_hides_callers() {
    own_mounts();
    let mut daemon = Daemon::start(Options::default());
    assert!(daemon.end_alone());
    mount_proc("hidepid=4,gid=64300");
    let said = daemon.refuses_to_restart();
    assert!(
        said.contains("/proc is mounted with hidepid=ptraceable"),
        "{said}"
    );
    assert!(said.contains("mount -o remount,hidepid=2 /proc"), "{said}");
    assert_eq!(daemon.job_processes(), []);
}
