//! A worker walks through what has changed since its last walk, and through nothing else. Each way to hide something is seen.

use super::common::*;
use super::view::{Jobs, Tree};
use super::view_emptied::{list, list_of};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, statfs};
use remit_confine::sys;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Jobs {
    fn reads(&self, path: &Path) -> bool {
        let ran = self.run(&["cat", path.to_str().unwrap()]);
        assert!(ran.out.is_empty() || ran.out == "SECRET\n", "{ran:?}");
        !ran.out.is_empty()
    }
}

/// A directory that others' walks cannot enter, mounted at a path that only this process and its jobs have.
struct Own {
    inside: PathBuf,
    at: Tree,
    _outer: Tree,
}

impl Own {
    fn new() -> Own {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let (outer, at) = (Tree::new(), Tree::new());
        outer.dir("in", 0o755);
        let inside = outer.0.join("in");
        mode(&outer.0, 0o700);
        mount(Some(&inside), &at.0, none, MsFlags::MS_BIND, none).unwrap();
        Own {
            inside,
            at,
            _outer: outer,
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        umount2(&self.at.0, MntFlags::MNT_DETACH).unwrap();
    }
}

/// Returns true if somebody has opened the directory since the last call.
fn is_opened(watch: &Inotify) -> bool {
    match watch.read_events() {
        Err(Errno::EAGAIN) => false,
        events => !events.unwrap().is_empty(),
    }
}

/// A directory whose opening is reported.
struct Seen {
    dir: PathBuf,
    watch: Inotify,
    /// If this machine's kernel reports all changes of it.
    is_watched: bool,
    jobs: Jobs,
}

impl Seen {
    fn new(own: &Own) -> Seen {
        let dir = own.inside.join("a/b/c");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), "").unwrap();
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        watch.add_watch(&dir, AddWatchFlags::IN_OPEN).unwrap();
        let systems = fs::read_to_string("/proc/filesystems").unwrap();
        let is_watched = statfs(&dir).unwrap().filesystem_type() == EXT4_SUPER_MAGIC
            && !systems.contains("\tnfsd\n")
            && Path::new("/sys/class").is_dir()
            && !Path::new("/sys/class/ksmbd-control").exists();
        Seen {
            dir,
            watch,
            is_watched,
            jobs: Jobs::new(),
        }
    }

    /// Returns true if the next copy looks into it.
    fn looks(&self) -> bool {
        is_opened(&self.watch);
        assert_eq!(self.jobs.run(&["true"]).code(), Some(0));
        is_opened(&self.watch)
    }

    /// Others can make more reports meanwhile than the kernel keeps, so once is enough.
    fn rests(&self) -> bool {
        !self.is_watched || (0..20).any(|_| !self.looks())
    }
}

#[test]
fn what_has_not_changed_is_not_looked_at_again() {
    let own = Own::new();
    let seen = Seen::new(&own);
    let (dir, jobs) = (&seen.dir, &seen.jobs);
    let (looks, rests) = (|| seen.looks(), || seen.rests());
    assert!(looks(), "nothing is known");
    assert!(rests(), "nothing has changed");
    fs::write(dir.join("file"), "contents hide nothing").unwrap();
    assert!(rests(), "contents have changed");
    // One that hides nothing: over what is hidden lies a layer, and who makes that opens the directory.
    mode(&dir.join("file"), 0o664);
    assert!(looks(), "a mode has changed");
    assert!(rests(), "nothing has changed since");
    fs::write(dir.join("new"), "").unwrap();
    assert!(looks(), "it has a new name");
    assert!(rests(), "it has no new name since");
    fs::rename(dir.join("new"), own.inside.join("elsewhere")).unwrap();
    assert!(looks(), "one of its names is elsewhere");
    fs::create_dir(dir.join("empty")).unwrap();
    assert!(looks(), "it has a new directory");
    assert!(rests(), "it has no new directory since");
    fs::remove_dir(dir.join("empty")).unwrap();
    assert!(looks(), "one of its directories is removed");
    let (more, none) = (Tree::new(), None::<&str>);
    mount(
        Some("tmpfs"),
        &more.0,
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
    assert!(looks(), "something is mounted");
    assert!(rests(), "nothing is mounted since");
    umount2(&more.0, MntFlags::MNT_DETACH).unwrap();
    assert!(looks(), "something is unmounted");
    // Nobody forgets what is hidden, either.
    fs::write(own.at.0.join("a/secret"), "SECRET\n").unwrap();
    mode(&own.at.0.join("a/secret"), 0o600);
    for _ in 0..3 {
        assert!(!jobs.reads(&own.at.0.join("a/secret")));
    }
    mode(&own.at.0.join("a/secret"), 0o644);
    assert!(jobs.reads(&own.at.0.join("a/secret")));
    end(seen.jobs.fixture);
}

/// Nobody reports what becomes of an empty directory but to the one around it, and the new one can have its inode.
#[test]
fn empty_directory_that_is_made_again_is_looked_at() {
    let own = Own::new();
    let seen = Seen::new(&own);
    let empty = own.inside.join("empty");
    let has_same_inode = (0..20).any(|_| {
        fs::create_dir(&empty).unwrap();
        assert_eq!(seen.jobs.run(&["true"]).code(), Some(0));
        let before = fs::metadata(&empty).unwrap().ino();
        fs::remove_dir(&empty).unwrap();
        fs::DirBuilder::new().mode(0o700).create(&empty).unwrap();
        let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
        watch.add_watch(&empty, AddWatchFlags::IN_OPEN).unwrap();
        assert_eq!(seen.jobs.run(&["true"]).code(), Some(0));
        assert!(is_opened(&watch));
        let after = fs::metadata(&empty).unwrap().ino();
        fs::remove_dir(&empty).unwrap();
        before == after
    });
    assert!(has_same_inode || !seen.is_watched);
    end(seen.jobs.fixture);
}

/// Servers in the kernel that set access lists without a report, as this process and its jobs see the kernel.
#[test]
fn while_a_server_is_silent_all_is_looked_at() {
    let own = Own::new();
    let seen = Seen::new(&own);
    let tree = Tree::new();
    let systems = fs::read_to_string("/proc/filesystems").unwrap() + "nodev\tnfsd\n";
    let systems = tree.file("filesystems", 0o644, 0, &systems);
    tree.dir("class", 0o755);
    tree.dir("class/ksmbd-control", 0o755);
    let class = tree.0.join("class").to_str().unwrap().to_owned();
    assert!(seen.rests());
    for (fake, at) in [(&systems, "/proc/filesystems"), (&class, "/sys/class")] {
        let none = None::<&str>;
        mount(Some(fake.as_str()), at, none, MsFlags::MS_BIND, none).unwrap();
        for _ in 0..3 {
            assert!(seen.looks(), "{at}");
        }
        umount2(at, MntFlags::MNT_DETACH).unwrap();
        assert!(seen.rests(), "{at}");
    }
    end(seen.jobs.fixture);
}

/// What is changed, and which file cannot be read then.
type Change = (&'static str, &'static str, fn(&Path));

const ABOVE: &str = "the mode of a directory above";
const CHANGES: [Change; 18] = [
    ("its mode", "file", |dir| mode(&dir.join("file"), 0o600)),
    ("its mode, by a descriptor", "file", |dir| {
        let file = File::open(dir.join("file")).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .unwrap();
    }),
    ("its mode, by another name", "file", |dir| {
        mode(&dir.join("elsewhere/deep/er/link"), 0o600);
    }),
    ("its group", "of-group", |dir| {
        chown(dir.join("of-group"), Some(0), Some(0)).unwrap();
    }),
    ("its access list", "file", |dir| {
        let file = File::open(dir.join("file")).unwrap();
        sys::set_xattr(&file, c"system.posix_acl_access", &list(4)).unwrap();
    }),
    ("an access list less", "listed", |dir| {
        let file = File::open(dir.join("listed")).unwrap();
        sys::remove_xattr(&file, c"system.posix_acl_access").unwrap();
    }),
    ("its group, in place", "file", |dir| {
        chown(dir.join("file"), None, Some(4)).unwrap();
        mode(&dir.join("file"), 0o607);
    }),
    ("its directory's mode", "file", |dir| mode(dir, 0o700)),
    ("its directory's right to be entered", "file", |dir| {
        mode(dir, 0o744)
    }),
    ("its directory's access list", "file", |dir| {
        let dir = File::open(dir).unwrap();
        sys::set_xattr(&dir, c"system.posix_acl_access", &list(4)).unwrap();
    }),
    (ABOVE, "file", |dir| {
        mode(dir.parent().unwrap(), 0o700);
    }),
    ("another file instead", "file", |dir| {
        fs::rename(dir.join("private"), dir.join("file")).unwrap();
    }),
    ("another file instead, exchanged", "file", |dir| {
        let (one, two) = (dir.join("private"), dir.join("file"));
        let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
        let here = nix::fcntl::AT_FDCWD;
        nix::fcntl::renameat2(here, &one, here, &two, flags).unwrap();
    }),
    ("a new file instead", "file", |dir| {
        fs::remove_file(dir.join("file")).unwrap();
        fs::write(dir.join("file"), "SECRET\n").unwrap();
        mode(&dir.join("file"), 0o600);
    }),
    ("a link to a private file instead", "file", |dir| {
        fs::remove_file(dir.join("file")).unwrap();
        fs::hard_link(dir.join("private"), dir.join("file")).unwrap();
    }),
    ("another directory instead of its own", "file", |dir| {
        let moved = dir.with_extension("moved");
        fs::rename(dir, &moved).unwrap();
        fs::rename(moved.join("closed"), dir).unwrap();
    }),
    (
        "a directory from beside instead of its own",
        "file",
        |dir| {
            fs::rename(dir, dir.with_extension("moved")).unwrap();
            fs::rename(dir.with_extension("closed"), dir).unwrap();
        },
    ),
    ("a new directory instead of its own", "file", |dir| {
        fs::remove_dir_all(dir).unwrap();
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("file"), "SECRET\n").unwrap();
        mode(&dir.join("file"), 0o600);
    }),
];

/// A directory with a file that can be read, and with what the changes need.
fn lay(dir: &Path) {
    fs::create_dir_all(dir.join("elsewhere/deep/er")).unwrap();
    let beside = dir.with_extension("closed");
    fs::create_dir(dir.join("closed")).unwrap();
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("file"), "SECRET\n").unwrap();
    mode(&beside.join("file"), 0o600);
    for (name, of_file, group) in [
        ("file", 0o644, 0),
        ("of-group", 0o640, 4),
        ("listed", 0o600, 0),
        ("private", 0o600, 0),
        ("closed/file", 0o600, 0),
    ] {
        fs::write(dir.join(name), "SECRET\n").unwrap();
        chown(dir.join(name), Some(0), Some(group)).unwrap();
        mode(&dir.join(name), of_file);
    }
    let listed = File::open(dir.join("listed")).unwrap();
    let name = c"system.posix_acl_access";
    sys::set_xattr(&listed, name, &list_of(4, 4, 0)).unwrap();
    fs::hard_link(dir.join("file"), dir.join("elsewhere/deep/er/link")).unwrap();
}

/// One worker, which knows all of it when the changes are made, each in a part of its own: one directory, several, and one
/// inside of them.
#[test]
fn each_change_that_hides_is_seen() {
    let own = Own::new();
    let jobs = Jobs::new();
    let mut all = Vec::new();
    for (depth, beneath) in ["", "dir", "dir/one/two"].into_iter().enumerate() {
        for (number, (what, name, change)) in CHANGES.iter().enumerate() {
            // It would hide those of all others.
            if depth == 0 && *what == ABOVE {
                continue;
            }
            let dir = format!("top-{depth}-{number}/{beneath}");
            let dir = dir.trim_end_matches('/');
            lay(&own.inside.join(dir));
            let file = own.at.0.join(dir).join(name);
            all.push((depth, what, change, own.inside.join(dir), file));
        }
    }
    let script = r#"for file do cat "$file" 2>/dev/null || echo; done"#;
    let files = all.iter().map(|(.., file)| file.to_str().unwrap());
    let argv: Vec<&str> = ["sh", "-c", script, "sh"]
        .into_iter()
        .chain(files)
        .collect();
    let read = || {
        let out = jobs.run(&argv).out;
        assert_eq!(out.lines().count(), all.len(), "{out}");
        let is_read = out.lines().map(|line| line == "SECRET");
        let read = all.iter().zip(is_read).filter(|(_, is_read)| *is_read);
        read.map(|((depth, what, ..), _)| (*depth, **what))
            .collect::<Vec<_>>()
    };
    assert_eq!(read().len(), all.len());
    assert_eq!(read().len(), all.len());
    for (.., change, dir, _) in &all {
        change(dir);
    }
    assert_eq!(read(), []);
    assert_eq!(read(), []);
    end(jobs.fixture);
}

/// The kernel keeps a bounded number of reports.
#[test]
fn lost_reports_are_a_change() {
    let tree = Tree::new();
    let secret = PathBuf::from(tree.file("secret", 0o644, 0, "SECRET\n"));
    let jobs = Jobs::new();
    assert!(jobs.reads(&secret));
    let most = fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    // Reports of one thing are one, so of many; none of them is of what is beside the secret.
    let many = Tree::new();
    for number in 0..=most {
        let path = many.0.join(number.to_string());
        fs::write(&path, "").unwrap();
        mode(&path, 0o600);
    }
    mode(&secret, 0o600);
    assert!(!jobs.reads(&secret));
    assert!(!jobs.reads(&secret));
    end(jobs.fixture);
}

/// A mount hides what is beneath it, and shows something else.
#[test]
fn each_change_of_mounts_is_seen() {
    let own = Own::new();
    let dir = own.inside.join("dir");
    lay(&dir);
    let file = own.at.0.join("dir/file");
    let jobs = Jobs::new();
    assert!(jobs.reads(&file));
    assert!(jobs.reads(&file));
    let (none, on) = (None::<&str>, own.at.0.join("dir"));
    mount(Some(&dir.join("closed")), &on, none, MsFlags::MS_BIND, none).unwrap();
    assert!(!jobs.reads(&file));
    umount2(&on, MntFlags::MNT_DETACH).unwrap();
    // While it was covered, no walk looked at it.
    assert!(!jobs.reads(&own.at.0.join("dir/private")));
    assert!(jobs.reads(&file));
    end(jobs.fixture);
}

/// Adds a key, has a directory be encrypted with it, or removes it: ioctl(2) requests of linux/fscrypt.h.
const ENCRYPT: &str = r#"
import fcntl, os, struct, sys
what, path = sys.argv[1:3]
directory = os.open(path, os.O_RDONLY)
def by(name):
    return struct.pack("<II", 2, 0) + name.ljust(32, b"\0")
if what == "add":
    key = bytearray(by(b"") + struct.pack("<II", 64, 0) + bytes(32) + bytes(range(64)))
    fcntl.ioctl(directory, 0xC0506617, key)
    print(key[8:24].hex(), end="")
elif what == "use":
    name = bytes.fromhex(sys.argv[3])
    fcntl.ioctl(directory, 0x800C6613, bytearray(struct.pack("<BBBBB3x", 2, 1, 4, 3, 0) + name))
else:
    key = bytearray(by(bytes.fromhex(sys.argv[3])) + bytes(24))
    fcntl.ioctl(directory, 0xC0406618, key)
    sys.exit(struct.unpack_from("<I", key, 40)[0])
"#;

/// A key changes the names in its directories, and nobody reports that.
#[test]
fn encrypted_directory_is_looked_at_each_time() {
    let own = Own::new();
    let run = |program: &str, args: &[&str]| {
        let done = std::process::Command::new(program).args(args).output();
        let done = done.ok().filter(|done| done.status.success())?;
        Some(String::from_utf8(done.stdout).unwrap())
    };
    let crypt = |words: &[&str]| run("python3", &[&["-c", ENCRYPT], words].concat());
    let image = own.inside.join("image");
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    mode(&image, 0o600);
    let at = own.at.0.join("at");
    fs::create_dir(&at).unwrap();
    let (image, on) = (image.to_str().unwrap(), at.to_str().unwrap());
    let name = run("/sbin/mkfs.ext4", &["-q", "-O", "encrypt", image])
        .and_then(|_| run("mount", &["-o", "loop", image, on]))
        .and_then(|_| crypt(&["add", on]));
    if !has("ext4 with encryption", name.is_some()) {
        return;
    }
    let name = name.unwrap();
    let dir = at.join("a/b/encrypted");
    fs::create_dir_all(&dir).unwrap();
    assert!(crypt(&["use", dir.to_str().unwrap(), &name]).is_some());
    for (file, of_file) in [("open", 0o644), ("secret", 0o600)] {
        fs::write(dir.join(file), "SECRET\n").unwrap();
        mode(&dir.join(file), of_file);
    }
    nix::unistd::sync();
    assert!(crypt(&["remove", on, &name]).is_some());
    assert!(!dir.join("secret").exists());
    let jobs = Jobs::new();
    for _ in 0..2 {
        assert_eq!(jobs.run(&["true"]).code(), Some(0));
    }
    assert_eq!(crypt(&["add", on]), Some(name));
    assert!(dir.join("secret").exists());
    assert!(jobs.reads(&dir.join("open")));
    assert!(!jobs.reads(&dir.join("secret")));
    // Who watches a file system keeps nobody from unmounting it.
    umount2(&at, MntFlags::empty()).unwrap();
    end(jobs.fixture);
}
