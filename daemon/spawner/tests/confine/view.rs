//! A view of the machine: what its root sees, changes and cannot reach.

use super::common::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use remit_confine::*;
use remit_extract::{CopiedMachine, extract};
use remit_plan::{Change, Entry, Metadata, New};
use remit_sys::Closing;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

pub(super) fn profile() -> ViewProfile {
    ViewProfile {
        groups: vec![4],
        area: (64 << 20, 10_000),
        sees_all: false,
        names: Vec::new(),
        limits: LIMITS,
    }
}

/// Runs it in a cgroup of its own, in which nothing is left.
fn run_alone(sandbox: &Sandbox, fixture: &Fixture, argv: &[&str]) -> Ran {
    let cgroup = fixture.cgroup();
    let with = With {
        cgroup: Some(&cgroup),
        ..With::default()
    };
    let ran = run_in(sandbox, fixture, argv, &with);
    assert!(!cgroup.populated().unwrap(), "something is left");
    ran
}

pub(super) fn run_in_view(sandbox: &Sandbox, argv: &[&str]) -> Ran {
    let fixture = fixture();
    let ran = run_alone(sandbox, &fixture, argv);
    end(fixture);
    ran
}

pub(super) fn view() -> Sandbox {
    compile_view(&profile(), &probe().unwrap()).unwrap()
}

pub(super) fn sh(script: &str) -> Ran {
    let jobs = Jobs::new();
    let ran = jobs.sh(script);
    end(jobs.fixture);
    ran
}

/// Jobs of one worker, which walks through the machine once. Each has a copy of its own.
pub(super) struct Jobs {
    sandbox: Sandbox,
    pub(super) fixture: Fixture,
}

impl Jobs {
    pub(super) fn new() -> Jobs {
        Jobs::within(view())
    }

    pub(super) fn within(sandbox: Sandbox) -> Jobs {
        Jobs {
            sandbox,
            fixture: fixture(),
        }
    }

    pub(super) fn run(&self, argv: &[&str]) -> Ran {
        let ran = run_alone(&self.sandbox, &self.fixture, argv);
        assert!(ran.status.code().is_some(), "{ran:?}");
        ran
    }

    /// Runs a script, which has to end well, and returns what a plan of its changes has.
    pub(super) fn changes(&self, script: &str) -> String {
        let cgroup = self.fixture.cgroup();
        let with = With {
            cgroup: Some(&cgroup),
            ..With::default()
        };
        let argv = ["sh", "-c", script];
        let job = start(&self.sandbox, &self.fixture, &argv, &with).unwrap();
        progress(&job);
        let kept = job.reports.kept_view(&Closing::by(drop)).unwrap();
        let ran = finish(job);
        assert_eq!(ran.code(), Some(0), "{ran:?}");
        assert!(!cgroup.populated().unwrap());
        look(&kept, || {
            let found = extract(&CopiedMachine::open(&kept.tree).unwrap());
            let entries = found.entries().iter().map(one_line);
            let refusals = found.refusals.iter().map(ToString::to_string);
            let lines: Vec<String> = entries.chain(refusals).collect();
            format!("{}\nscratch {}\n", lines.join("\n"), found.scratch)
        })
    }

    pub(super) fn sh(&self, script: &str) -> Ran {
        let script = format!("PATH=/usr/sbin:/sbin:$PATH; {script}");
        self.run(&["sh", "-c", &script])
    }
}

/// A directory on the machine's root file system, which a view copies. Removed on drop.
pub(super) struct Tree(pub(super) PathBuf);

impl Tree {
    pub(super) fn new() -> Tree {
        Self::new_in("/opt")
    }

    fn new_in(dir: &str) -> Tree {
        let path = nix::unistd::mkdtemp(&format!("{dir}/remit-view-XXXXXX")[..]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Tree(path)
    }

    pub(super) fn file(&self, name: &str, mode: u32, owner: u32, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(super) fn dir(&self, name: &str, mode: u32) {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(super) fn at(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn each_step_is_done() {
    let ran = sh("exit 3");
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    let kernel = probe().unwrap();
    for step in Step::ALL {
        let here = match step {
            Step::Exec | Step::Loginuid | Step::Mounts | Step::Plan | Step::Arguments => false,
            Step::Landlock => kernel.landlock_abi > 0,
            Step::Keyring => kernel.keyrings,
            _ => true,
        };
        assert_eq!(done.contains(&step), here, "{}: {done:?}", step.name());
    }
    assert_eq!((ran.code(), ran.err.as_str()), (Some(3), ""));
}

#[test]
fn self_test_tries_each_layer_of_a_view() {
    let findings = super::witness::ask(&view()).unwrap();
    for finding in &findings {
        println!(
            "{}: {}: {}",
            finding.layer.name(),
            finding.detail,
            finding.held
        );
    }
    assert!(findings.iter().all(|finding| finding.held));
    for layer in [Layer::UserNamespace, Layer::Mask, Layer::ReadOnlyMounts] {
        assert!(findings.iter().any(|finding| finding.layer == layer));
    }
}

#[test]
fn root_changes_the_view_and_nothing_of_the_machine() {
    let tree = Tree::new();
    let file = tree.file("file", 0o644, 0, "old\n");
    let others = tree.file("others", 0o644, 33, "");
    tree.dir("dir", 0o755);
    tree.file("dir/in", 0o644, 0, "in\n");
    let before = fs::metadata(&file).unwrap();
    let script = format!(
        "cd {0} && id -u && stat -c '%u:%g %a' file others && echo new >file && cat file && chown 33:33 file && \
         chmod 4755 file && stat -c '%u:%g %a' file && rm -r dir && mkdir -p dir/deep && ln -s x link && \
         mv others moved && ls -A . dir && echo made >/etc/remit-view-made && cat /etc/remit-view-made",
        tree.at()
    );
    let ran = sh(&script);
    assert_eq!((ran.code(), ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let want =
        "0\n0:0 644\n33:33 644\nnew\n33:33 4755\n.:\ndir\nfile\nlink\nmoved\n\ndir:\ndeep\nmade\n";
    assert_eq!(ran.out, want);
    let after = fs::metadata(&file).unwrap();
    let all = |stat: &fs::Metadata| {
        (
            stat.ino(),
            stat.ctime_nsec(),
            stat.mode(),
            stat.uid(),
            stat.len(),
        )
    };
    assert_eq!(all(&before), all(&after));
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
    assert_eq!(fs::metadata(&others).unwrap().uid(), 33);
    assert!(tree.0.join("dir/in").exists() && !tree.0.join("link").exists());
    assert!(!PathBuf::from("/etc/remit-view-made").exists());
}

#[test]
fn unreadable_stays_unreadable() {
    let tree = Tree::new();
    let key = tree.file("key", 0o600, 0, "SECRET\n");
    let groups = tree.file("groups", 0o640, 0, "SECRET\n");
    chown(&groups, Some(0), Some(4)).unwrap();
    let user = tree.file("user", 0o600, 1000, "SECRET\n");
    let set_id = tree.file("set-id", 0o4711, 0, "SECRET\n");
    tree.dir("private", 0o700);
    tree.file("private/in", 0o644, 0, "SECRET\n");
    let jobs = Jobs::new();
    for (script, is_read) in [
        ("cat key", false),
        ("cp key copy; cat copy", false),
        ("chmod 644 key; cat key", false),
        ("chown 0:0 key; cat key", false),
        ("mv key moved; cat moved; chmod 644 moved; cat moved", false),
        ("ln key link; cat link", false),
        ("tar cf - key | strings; dd if=key", false),
        ("setfacl -m u:0:r key; cat key", false),
        ("cat user", false),
        ("cat set-id", false),
        ("cat private/in", false),
        ("ls private", false),
        ("chmod 755 private; cat private/in", false),
        ("mv private other; cat other/in", false),
        ("rm -r private; mkdir private; cat private/in", false),
        ("cd / && mv opt opt2; cat opt2/*/key", false),
        ("cat /proc/1/root/$PWD/key /proc/self/root/$PWD/key", false),
        ("ls /root", false),
        ("cat groups", true),
    ] {
        let ran = jobs.sh(&format!("cd {} && {{ {script}; }} 2>&1", tree.at()));
        // With its end: errors name files of other tests in /opt, which have that word in their names.
        let has_read = ran.out.contains("SECRET\n");
        assert_eq!(has_read, is_read, "{script}: {}", ran.out);
    }
    let ran = jobs.sh("cut -d: -f1,2 /etc/shadow; stat -c '%u %a' /etc/shadow");
    let real = fs::read_to_string("/etc/shadow").unwrap();
    assert_eq!(ran.out.lines().count(), real.lines().count() + 1, "{ran:?}");
    assert!(ran.out.lines().all(|line| !line.contains('$')), "{ran:?}");
    for path in [&key, &groups, &user, &set_id] {
        assert_eq!(fs::read_to_string(path).unwrap(), "SECRET\n");
    }
    end(jobs.fixture);
}

/// Administrators put scripts with passwords beside the programs of packages.
#[test]
fn unreadable_beside_programs_stays_unreadable_and_set_id_programs_are_shown() {
    for (dir, shows_set_id) in [("/usr/lib", true), ("/usr/share", false)] {
        let tree = Tree::new_in(dir);
        tree.file("script.pl", 0o640, 0, "SECRET\n");
        tree.file("foreign", 0o4700, 33, "SECRET\n");
        tree.file("helper", 0o4750, 0, "SECRET\n");
        tree.file("open", 0o755, 0, "SECRET\n");
        tree.dir("private", 0o700);
        tree.file("private/in", 0o644, 0, "SECRET\n");
        let read = "for f in *; do cat $f/in $f 2>/dev/null | grep -q SECRET && echo $f; done";
        let ran = sh(&format!("cd {} && {read}", tree.at()));
        let expect = match shows_set_id {
            true => "helper\nopen\n",
            false => "open\n",
        };
        assert_eq!(ran.out, expect, "{dir}: {ran:?}");
    }
}

fn has_input(file: &fs::File) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

#[test]
fn nothing_outside_is_reached() {
    let tree = Tree::new();
    let socket = tree.0.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let fifo = tree.0.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let python = |code: &str| format!("/usr/bin/python3 -c '{code}'");
    let connect = python(&format!(
        "import socket; socket.socket(socket.AF_UNIX).connect(\"{}\")",
        socket.display()
    ));
    let script = [
        "mount -t tmpfs x /mnt",
        "umount /proc",
        "mount -o remount,rw /proc",
        "mount -o remount,bind,rw /sys",
        "unshare -m true",
        "unshare -U true",
        "unshare -n true",
        "nsenter -t 1 -m true",
        "mknod /dev/disk b 253 0",
        "mknod /opt/disk c 1 3",
        "echo 1 >/proc/sys/kernel/panic",
        "echo x >/sys/kernel/mm/ksm/run",
        "hostname other",
        "date -s 2000-01-01",
        "kill -9 1",
        "chroot /proc/1/root true",
        "cat /proc/kcore",
        "head -c 1 /dev/mem",
        "ls /sys/fs/cgroup/* | grep -q .",
        "ip link add x type dummy",
        connect.as_str(),
        "dmesg -c",
        "renice -n -5 $$",
    ];
    let jobs = Jobs::new();
    for line in script {
        let ran = jobs.sh(&format!("({line}) >/dev/null"));
        // 126 and 127: it was not tried.
        assert!(matches!(ran.code(), Some(1..126)), "{line}: {ran:?}");
    }
    // With a reader on the machine's side, this would not block.
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&fifo)
        .unwrap();
    let ran = jobs.sh(&format!("echo x 1<>{} && echo DONE", fifo.display()));
    assert_eq!(ran.out, "DONE\n");
    assert!(!has_input(&reader));
    end(jobs.fixture);
}

/// Locks of the machine's files, held by the machine: a job in a copy takes its own, and nobody else on the machine does.
#[test]
fn locks_of_the_machine_are_not_met() {
    let tree = Tree::new();
    let file = tree.file("lock", 0o666, 0, "");
    let paths = [file.as_str(), tree.at(), "/etc/passwd"];
    let held = paths.map(|path| {
        let file = fs::File::open(path).unwrap();
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockSharedNonblock).unwrap()
    });
    let tries = paths.map(|path| format!("flock -n {path} echo locked; "));
    let outside = std::process::Command::new("sh")
        .args(["-c", &tries.concat()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&outside.stdout), "");
    assert_eq!(sh(&tries.concat()).out, "locked\n".repeat(paths.len()));
    drop(held);
}

/// The machine's own inode would give its locks, and a flush of its file system.
#[test]
fn systemctl_of_the_machine_is_not_met() {
    const MACHINE: &str = "/usr/bin/systemctl";
    let Ok(file) = fs::File::open(MACHINE) else {
        return;
    };
    let device = file.metadata().unwrap().dev();
    let bytes = file.metadata().unwrap().size();
    let _held = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockSharedNonblock).unwrap();
    let ran = sh(
        "cd /run/remit-plan && flock -n systemctl echo locked && stat -c '%s %d' systemctl && \
                  ./systemctl --version >/dev/null && echo runs; echo x 2>/dev/null >>systemctl || echo fixed",
    );
    let lines: Vec<&str> = ran.out.lines().collect();
    let [locked, numbers, runs, fixed] = lines.as_slice() else {
        panic!("{ran:?}")
    };
    assert_eq!([*locked, *runs, *fixed], ["locked", "runs", "fixed"]);
    let (size, of_copy) = numbers.split_once(' ').unwrap();
    assert_eq!(size, bytes.to_string());
    assert_ne!(of_copy, device.to_string());
}

#[test]
fn it_is_alone_in_its_namespaces() {
    let ran = sh(
        "ps -e -o pid= | wc -l; ls -A /run /tmp; cat /proc/self/uid_map; cat /proc/net/dev | grep -c :; \
         grep -E '^(CapEff|CapBnd|CapInh|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status; ipcs -m | grep -c 0x; \
         ls /proc/self/fd",
    );
    let lines: Vec<&str> = ran.out.lines().collect();
    let text = lines.join("\n");
    assert!(text.contains("home"), "{text}");
    let caps = "00000000800400fb";
    for line in [
        format!("CapEff:\t{caps}"),
        format!("CapBnd:\t{caps}"),
        "CapInh:\t0000000000000000".to_owned(),
        "CapAmb:\t0000000000000000".to_owned(),
        "NoNewPrivs:\t1".to_owned(),
        "Seccomp:\t2".to_owned(),
    ] {
        assert!(lines.contains(&line.as_str()), "{line}: {text}");
    }
    assert!(text.contains(" 65536"), "{text}");
}

#[test]
fn area_is_bounded() {
    let mut small = profile();
    small.area = (1 << 20, 100);
    let sandbox = compile_view(&small, &probe().unwrap()).unwrap();
    let tree = Tree::new();
    let script = format!(
        "cd {0}; head -c 4m /dev/zero >big; i=0; while [ $i -lt 200 ] && touch f$i; do i=$((i+1)); done; echo $i",
        tree.at()
    );
    let ran = run_in_view(&sandbox, &["sh", "-c", &script]);
    assert!(ran.err.contains("No space left"), "{ran:?}");
    let made: u32 = ran.out.trim().parse().unwrap();
    assert!(made < 100, "{made}");
    assert_eq!(fs::read_dir(&tree.0).unwrap().count(), 0);
}

#[test]
fn programs_of_every_day_work() {
    let (tree, jobs) = (Tree::new(), Jobs::new());
    for (script, want) in [
        ("cd $T && su -s /bin/sh -c 'id -u' nobody", "65534\n"),
        (
            "cd $T && install -o 33 -g 33 -m 640 /etc/passwd h && stat -c '%u %g %a' h",
            "33 33 640\n",
        ),
        ("chroot / /bin/echo in", "in\n"),
        (
            "/usr/bin/python3 -c 'import pty; pty.spawn([\"tty\"])' </dev/null",
            "/dev/pts/0\r\n",
        ),
        ("echo x >/dev/shm/x && cat /dev/shm/x", "x\n"),
        (
            "/usr/bin/python3 -c 'import socket; s=socket.socket(); s.bind((\"127.0.0.1\", 80)); print(\"bound\")'",
            "bound\n",
        ),
        (
            "mkfifo $T/p && (echo through >$T/p & cat $T/p)",
            "through\n",
        ),
        ("df -P / | tail -n 1 | cut -d' ' -f1", "overlay\n"),
        ("sync; flock $T/l echo locked", "locked\n"),
    ] {
        let ran = jobs.sh(&format!("T={}; {script}", tree.at()));
        assert_eq!(
            (ran.out.as_str(), ran.code()),
            (want, Some(0)),
            "{script}: {ran:?}"
        );
    }
    end(jobs.fixture);
}

#[test]
fn it_needs_a_cgroup() {
    let fixture = fixture();
    let refused = without_cgroup(&view(), &fixture, uid());
    assert!(refused.is_err());
    end(fixture);
}

/// A mount that a view shows and does not copy, with a file that everybody can write to.
struct Other(Tree);

impl Other {
    fn new() -> Other {
        let tree = Tree::new();
        for name in ["lower", "area", "at"] {
            tree.dir(name, 0o755);
        }
        let path = |name: &str| tree.0.join(name);
        let none = None::<&str>;
        let flags = MsFlags::empty();
        mount(Some("tmpfs"), &path("area"), Some("tmpfs"), flags, none).unwrap();
        tree.dir("area/up", 0o755);
        tree.dir("area/work", 0o755);
        let options = format!(
            "lowerdir={0}/lower,upperdir={0}/area/up,workdir={0}/area/work",
            tree.at()
        );
        mount(
            Some("overlay"),
            &path("at"),
            Some("overlay"),
            flags,
            Some(options.as_str()),
        )
        .unwrap();
        tree.file("at/file", 0o666, 0, "old\n");
        Other(tree)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        for name in ["at", "area"] {
            let _ = umount2(&self.0.0.join(name), MntFlags::MNT_DETACH);
        }
    }
}

#[test]
fn mount_that_cannot_be_copied_is_read_only() {
    let other = Other::new();
    let script = format!("cd {}/at && cat file && echo new >file", other.0.at());
    let ran = sh(&script);
    assert_eq!(
        (ran.out.as_str(), ran.code()),
        ("old\n", Some(2)),
        "{ran:?}"
    );
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    assert_eq!(
        fs::read_to_string(other.0.0.join("at/file")).unwrap(),
        "old\n"
    );
}

/// Does something as root of the user namespace of a kept view, and returns what it says.
fn look(view: &KeptView, say: impl FnOnce() -> String) -> String {
    let (out, end) = nix::unistd::pipe().unwrap();
    let child = || {
        sys::set_namespace(view.users.as_fd(), libc::CLONE_NEWUSER).unwrap();
        sys::become_user(0, 0, &[]).unwrap();
        sys::write(end.as_fd(), say().as_bytes()).unwrap();
        0
    };
    let (pid, _pidfd) = sys::fork(sys::ForkCall::Clone3, None, child).unwrap();
    drop(end);
    let text = read_all(out);
    sys::wait(pid, 0).unwrap();
    text
}

fn one_line(entry: &Entry) -> String {
    let meta = |meta: Metadata| format!("{}:{} {:o}", meta.uid, meta.gid, meta.mode);
    let path = entry.path.to_string();
    match &entry.change {
        Change::Create { new, meta: own } => {
            let what = match new {
                New::File(content) => format!("file of {}", content.size),
                New::Directory => "directory".to_owned(),
                New::Link(_) => "link".to_owned(),
            };
            format!("new {what} {path} {}", meta(*own))
        }
        Change::Replace {
            base,
            content,
            meta: own,
        } => {
            format!(
                "{path} {} -> {} {}",
                base.stat.size,
                content.size,
                meta(*own)
            )
        }
        Change::ReplaceKind { new, meta: own, .. } => {
            let what = match new {
                New::Link(_) => "a link",
                New::File(_) | New::Directory => "a file",
            };
            format!("{path} becomes {what} {}", meta(*own))
        }
        Change::SetMetadata { base, meta: own } => {
            format!("{path} {} -> {}", meta(base.stat.meta), meta(*own))
        }
        Change::Remove { base } => format!("remove {path} read {}", base.sha256.is_some()),
    }
}

/// Runs a script in a view, and returns what it would change, after the job's end.
pub(super) fn changes(script: &str) -> String {
    let jobs = Jobs::new();
    let found = jobs.changes(script);
    end(jobs.fixture);
    found
}

/// As old as it has to be: what changes after the start of a view is refused.
pub(super) fn settle() {
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_millis(40) {
        std::thread::yield_now();
    }
}

#[test]
fn what_was_written_is_a_plan() {
    let tree = Tree::new();
    tree.file("file", 0o644, 33, "old\n");
    tree.file("same", 0o644, 0, "same\n");
    tree.file("mode", 0o644, 0, "mode\n");
    tree.file("gone", 0o644, 0, "gone\n");
    tree.file("secret", 0o600, 0, "SECRET\n");
    tree.dir("dir", 0o755);
    tree.file("dir/in", 0o644, 0, "in\n");
    settle();
    let script = format!(
        "cd {} && echo newer >file && touch same && chown 33:4 mode && chmod 2750 mode && rm gone secret && \
         rm -r dir && mkdir -m 700 made && echo made >made/in && ln -s file link && echo x >/tmp/x && \
         echo line >/var/log/remit-view-test",
        tree.at()
    );
    let at = tree.at();
    let want = [
        format!("remove {at}/dir read false"),
        format!("remove {at}/dir/in read true"),
        format!("{at}/file 4 -> 6 33:33 644"),
        format!("remove {at}/gone read true"),
        format!("new link {at}/link 0:0 777"),
        format!("new directory {at}/made 0:0 700"),
        format!("new file of 5 {at}/made/in 0:0 644"),
        format!("{at}/mode 0:0 644 -> 33:4 2750"),
        format!("remove {at}/secret read false"),
        "scratch 1\n".to_owned(),
    ];
    assert_eq!(changes(&script), want.join("\n"));
    assert_eq!(fs::read_to_string(tree.0.join("file")).unwrap(), "old\n");
}

#[test]
fn package_is_a_plan() {
    let tree = Tree::new();
    let number = tree.at().rsplit_once("view-").unwrap().1;
    let name = format!("remit-test-{number}").to_lowercase();
    fs::create_dir_all(tree.0.join("deb/DEBIAN")).unwrap();
    tree.file(
        "deb/DEBIAN/control",
        0o644,
        0,
        &format!("Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <a@b.c>\nDescription: test\n"),
    );
    tree.file(
        "deb/DEBIAN/conffiles",
        0o644,
        0,
        &format!("/etc/{name}.conf\n"),
    );
    tree.file(
        "deb/DEBIAN/postinst",
        0o755,
        0,
        &format!("#!/bin/sh\nset -e\ninstall -d -o 33 -g 4 -m 2750 /var/lib/{name}\n"),
    );
    fs::create_dir_all(tree.0.join("deb/etc")).unwrap();
    tree.file(&format!("deb/etc/{name}.conf"), 0o644, 0, "conf\n");
    let built = std::process::Command::new("dpkg-deb")
        .args(["--root-owner-group", "-b"])
        .args([tree.0.join("deb"), tree.0.join("one.deb")])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    // A database of its own: this machine's names accounts that tests do not have.
    for name in ["db", "db/info", "db/updates", "db/triggers"] {
        tree.dir(name, 0o755);
    }
    tree.file("db/status", 0o644, 0, "");
    settle();
    let db = format!("{}/db", tree.at());
    let script = format!(
        "PATH=/usr/sbin:/sbin:$PATH; dpkg --admindir={db} -i {}/one.deb >&2",
        tree.at()
    );
    let found = changes(&script);
    for line in [
        format!("new file of 5 /etc/{name}.conf 0:0 644\n"),
        format!("new directory /var/lib/{name} 33:4 2750\n"),
        format!("{db}/info/{name}.postinst 0:0 755\n"),
        format!("{db}/status 0 -> "),
    ] {
        assert!(found.contains(&line), "{line}: {found}");
    }
    assert!(!found.contains("cannot plan"), "{found}");
    assert!(!PathBuf::from(format!("/etc/{name}.conf")).exists());
}

/// As in the daemon: the extraction is a job of its own, whose only right is to read the view.
#[test]
fn extraction_is_a_job_without_other_rights() {
    let tree = Tree::new();
    tree.file("file", 0o644, 33, "old\n");
    let key = tree.file("key", 0o600, 0, "SECRET\n");
    let mine = tree.file("mine", 0o600, 33, "MINE\n");
    let built = PathBuf::from(env!("CARGO_BIN_EXE_remit-spawner")).with_file_name("remit-extract");
    let program = tree.0.join("remit-extract");
    fs::copy(&built, &program).unwrap();
    settle();
    let (sandbox, fixture) = (view(), fixture());
    let cgroup = fixture.cgroup();
    let with = With {
        cgroup: Some(&cgroup),
        ..With::default()
    };
    let script = format!(
        "cd {} && echo new >file && install -o 33 -m 600 /dev/null made",
        tree.at()
    );
    let job = start(&sandbox, &fixture, &["sh", "-c", &script], &with).unwrap();
    progress(&job);
    let kept = job.reports.kept_view(&Closing::by(drop)).unwrap();
    assert_eq!(finish(job).code(), Some(0));
    let profile = ExtractProfile { limits: LIMITS };
    let sandbox = compile_extract(&profile, &probe().unwrap()).unwrap();
    let cgroup = fixture.cgroup();
    let with = With {
        cgroup: Some(&cgroup),
        kept: Some(Kept {
            users: kept.users.as_fd(),
            tree: kept.tree.as_fd(),
        }),
        ..With::default()
    };
    let ran = |argv: &[&str]| run_in(&sandbox, &fixture, argv, &with);
    let found = ran(&[program.to_str().unwrap()]);
    assert_eq!(
        (found.code(), found.err.as_str()),
        (Some(0), ""),
        "{found:?}"
    );
    // The bundle has bytes that are no text: its paths and contents are.
    for part in [
        format!("{}/file", tree.at()),
        format!("{}/made", tree.at()),
        "new\n".into(),
        "old\n".into(),
    ] {
        assert!(found.out.contains(&part), "{part}: {found:?}");
    }
    let caps = ran(&[
        "sh",
        "-c",
        "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status",
    ]);
    assert_eq!(
        caps.out,
        "CapEff:\t0000000000000004\nCapBnd:\t0000000000000004\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    for line in [
        format!("cat {key}"),
        format!("cat {mine}"),
        format!("echo x >{}/file", tree.at()),
        "echo x >/proc/self/fd/3/area/0/up/x".to_owned(),
        "chmod 600 /proc/self/fd/3/area/0/up".to_owned(),
        format!("cat /proc/self/fd/3/view{key}"),
        "cat /etc/shadow".to_owned(),
        "kill -9 1".to_owned(),
        "unshare -m true".to_owned(),
        "/usr/bin/python3 -c 'import socket; socket.socket()'".to_owned(),
    ] {
        let ran = ran(&["sh", "-c", &format!("{{ {line}; }} 2>/dev/null")]);
        assert!(matches!(ran.code(), Some(1..126)), "{line}: {ran:?}");
        assert!(
            !ran.out.contains("SECRET") && !ran.out.contains("MINE"),
            "{line}: {ran:?}"
        );
    }
    // A view and its profile belong together.
    let without = With {
        cgroup: Some(&cgroup),
        ..With::default()
    };
    assert!(!matches!(
        run_in(&sandbox, &fixture, &["true"], &without).progress,
        Progress::Executed(_)
    ));
    assert!(!matches!(
        run_in(&view(), &fixture, &["true"], &with).progress,
        Progress::Executed(_)
    ));
    end(fixture);
}

#[test]
fn what_must_stay_hidden_makes_no_plan() {
    let tree = Tree::new();
    tree.file("secret", 0o600, 0, "SECRET\n");
    settle();
    for (script, want) in [
        (
            "mv secret moved",
            "/moved': it was moved from a path that you cannot read",
        ),
        (
            "rm secret && echo x >secret",
            "/secret': you cannot read what is there now",
        ),
    ] {
        let found = changes(&format!("cd {} && {script}", tree.at()));
        assert!(found.contains(want), "{script}: {found}");
    }
}

#[test]
fn kept_view_is_read_only_and_keeps_its_secrets() {
    let tree = Tree::new();
    tree.file("key", 0o600, 0, "SECRET\n");
    let (sandbox, fixture) = (view(), fixture());
    let cgroup = fixture.cgroup();
    let with = With {
        cgroup: Some(&cgroup),
        ..With::default()
    };
    let job = start(&sandbox, &fixture, &["true"], &with).unwrap();
    progress(&job);
    let kept = job.reports.kept_view(&Closing::by(drop)).unwrap();
    assert_eq!(finish(job).code(), Some(0));
    end(fixture);
    let text = look(&kept, || {
        let at = |path: &str| format!("/proc/self/fd/{}/{path}", kept.tree.as_raw_fd());
        let key = fs::read(at(&format!("view{}/key", tree.at())));
        let made = ["view/x", "area/0/up/x", "low/0/x", "x"].map(|path| fs::write(at(path), "x"));
        let mode = fs::metadata(at(&format!("mask/0{}/key", tree.at()))).unwrap();
        let errors = made.map(|made| made.unwrap_err().raw_os_error());
        format!(
            "{:?} {errors:?} {}",
            key.unwrap_err().raw_os_error(),
            mode.uid()
        )
    });
    assert_eq!(
        text,
        "Some(13) [Some(30), Some(30), Some(30), Some(30)] 65534"
    );
}

/// Mounts that are taken away on drop, the last one first.
#[derive(Default)]
pub(super) struct Mounted(Vec<PathBuf>);

impl Mounted {
    pub(super) fn mount(&mut self, source: &str, at: PathBuf, kind: Option<&str>, flags: MsFlags) {
        fs::create_dir_all(&at).unwrap();
        self.mount_on(source, at, kind, flags);
    }

    pub(super) fn mount_on(
        &mut self,
        source: &str,
        at: PathBuf,
        kind: Option<&str>,
        flags: MsFlags,
    ) {
        mount(Some(source), &at, kind, flags, None::<&str>).unwrap();
        self.0.push(at);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for at in self.0.iter().rev() {
            let _ = umount2(at, MntFlags::MNT_DETACH);
        }
    }
}

#[test]
fn what_a_mount_covers_is_hidden() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    tree.dir("dir", 0o755);
    tree.file("dir/key", 0o600, 0, "SECRET\n");
    tree.file("dir/open", 0o644, 0, "SECRET\n");
    let conf = tree.file("conf", 0o644, 0, "SECRET\n");
    mounted.mount("ramfs", tree.0.join("dir"), Some("ramfs"), MsFlags::empty());
    mounted.mount_on("/dev/null", conf.into(), None, MsFlags::MS_BIND);
    let ran = sh(&format!(
        "cd {}; cat dir/key dir/open conf; ls; echo $?",
        tree.at()
    ));
    assert_eq!(ran.out, "conf\ndir\n0\n", "{ran:?}");
}

#[test]
fn secrets_in_a_subvolume_are_hidden() {
    let tree = Tree::new();
    let image = tree.0.join("image");
    fs::File::create(&image)
        .unwrap()
        .set_len(128 << 20)
        .unwrap();
    let run = |program: &str, args: &[&str]| {
        let done = std::process::Command::new(program).args(args).output();
        done.is_ok_and(|done| done.status.success())
    };
    let (image, at) = (image.to_str().unwrap().to_owned(), tree.0.join("at"));
    let at = at.to_str().unwrap();
    tree.dir("at", 0o755);
    let there =
        run("/sbin/mkfs.btrfs", &["-q", &image]) && run("mount", &["-o", "loop", &image, at]);
    if !has("btrfs and its tools", there) {
        return;
    }
    let _mounted = Mounted(vec![at.into()]);
    assert!(run("btrfs", &["subvolume", "create", &format!("{at}/sub")]));
    tree.file("at/key", 0o600, 0, "SECRET\n");
    tree.file("at/sub/key", 0o600, 0, "SECRET\n");
    tree.dir("at/sub/private", 0o700);
    tree.file("at/sub/private/open", 0o644, 0, "SECRET\n");
    tree.file("at/sub/open", 0o644, 0, "open\n");
    let ran = sh(&format!(
        "cd {at}; cat key sub/key sub/private/open sub/open; echo x >sub/new && cat sub/new"
    ));
    assert_eq!(ran.out, "open\nx\n", "{ran:?}");
}

#[test]
fn what_has_a_long_path_is_hidden() {
    let tree = Tree::new();
    let name = "d".repeat(200);
    let deep: PathBuf = std::iter::once(tree.0.clone())
        .chain((0..5).map(|_| PathBuf::from(&name)))
        .collect();
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("key"), "SECRET\n").unwrap();
    fs::set_permissions(deep.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    tree.file("near", 0o644, 0, "near\n");
    let ran = sh(&format!(
        "cd {}; cat near; cat */*/*/*/*/key; cat */*/*/*/key; ls */*/*/*/*",
        tree.at()
    ));
    assert_eq!(ran.out, "near\n", "{ran:?}");
}

/// What a user makes costs that user's own directory, not the view.
#[test]
fn directory_of_a_user_with_too_much_is_hidden_as_a_whole() {
    let tree = Tree::new();
    for name in ["many", "few"] {
        tree.dir(name, 0o755);
        chown(tree.0.join(name), Some(1000), Some(1000)).unwrap();
    }
    for number in 0..3_500 {
        tree.file(&format!("many/{number}"), 0o600, 1000, "x");
    }
    tree.file("few/key", 0o600, 1000, "SECRET\n");
    tree.file("few/open", 0o644, 1000, "open\n");
    let ran = sh(&format!("cd {}; ls many; cat few/key few/open", tree.at()));
    assert_eq!(ran.out, "open\n", "{ran:?}");
}

#[test]
fn mounts_beneath_a_private_directory_are_not_shown() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    tree.dir("private", 0o700);
    for number in 0..300 {
        let at = tree.0.join(format!("private/{number}"));
        mounted.mount("tmpfs", at, Some("tmpfs"), MsFlags::empty());
    }
    tree.file("private/7/open", 0o644, 0, "SECRET\n");
    let ran = sh(&format!("cat {}/private/7/open; echo $?", tree.at()));
    assert_eq!(ran.out, "1\n", "{ran:?}");
}

/// The mounts that are not attached have a number, too.
#[test]
fn what_is_written_is_planned_where_it_was_written() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    let empty = MsFlags::empty();
    for name in ["lower", "upper", "middle", "m"] {
        tree.dir(name, 0o755);
    }
    // Overlays of overlays of overlays: the kernel refuses one more.
    for (at, low) in [("middle", "lower"), ("m", "middle")] {
        let at = tree.0.join(at);
        let options = format!("lowerdir={0}/{low}:{0}/upper", tree.at());
        mount(
            Some("overlay"),
            &at,
            Some("overlay"),
            empty,
            Some(options.as_str()),
        )
        .unwrap();
        mounted.0.push(at);
    }
    fs::create_dir(tree.0.join("lower/in")).unwrap();
    mounted.mount_on("tmpfs", tree.0.join("m/in"), Some("tmpfs"), empty);
    for name in ["z1", "z2"] {
        mounted.mount("tmpfs", tree.0.join(name), Some("tmpfs"), empty);
        fs::set_permissions(tree.0.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    settle();
    let found = changes(&format!(
        "cd {} && echo one >z1/file; ls m 2>/dev/null; true",
        tree.at()
    ));
    assert_eq!(
        found,
        format!("new file of 4 {}/z1/file 0:0 644\nscratch 0\n", tree.at())
    );
}

#[test]
fn many_mounts_cost_no_view() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    for number in 0..300 {
        mounted.mount(
            "tmpfs",
            tree.0.join(format!("{number:03}")),
            Some("tmpfs"),
            MsFlags::empty(),
        );
    }
    let deep = tree.0.join("d/".repeat(60));
    mounted.mount("ramfs", deep, Some("ramfs"), MsFlags::empty());
    let large = tree.file("large", 0o644, 0, &"x".repeat(2 << 20));
    let over = tree.file("over", 0o644, 0, "under\n");
    mounted.mount_on(&large, over.into(), None, MsFlags::MS_BIND);
    let ran = sh(&format!(
        "cd {}; echo x >000/x && cat 000/x; cat over; ls 299",
        tree.at()
    ));
    assert_eq!(ran.out, "x\n", "{ran:?}");
}

#[test]
fn sockets_and_pipes_of_other_mounts_are_not_the_machines() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    tree.dir("source", 0o755);
    let source = tree.0.join("source");
    let _listener = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    fs::set_permissions(source.join("socket"), fs::Permissions::from_mode(0o666)).unwrap();
    nix::unistd::mkfifo(
        &source.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    fs::set_permissions(source.join("fifo"), fs::Permissions::from_mode(0o666)).unwrap();
    tree.file("source/lock", 0o666, 0, "");
    let at = tree.0.join("at");
    mounted.mount(source.to_str().unwrap(), at.clone(), None, MsFlags::MS_BIND);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &at, None::<&str>, flags, None::<&str>).unwrap();
    let file = fs::File::open(source.join("lock")).unwrap();
    let _held = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(source.join("fifo"))
        .unwrap();
    let ran = sh(&format!(
        "cd {}; /usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"socket\")' 2>&1 | tail -n 1; \
         flock -n lock echo locked; echo x 1<>fifo; touch new 2>/dev/null || echo fixed",
        at.display()
    ));
    assert!(
        ran.out.contains("refused") && ran.out.ends_with("locked\nfixed\n"),
        "{ran:?}"
    );
    assert!(!has_input(&reader));
}

/// What root of a view uses up is the job's, whatever uid it takes.
#[test]
fn limits_hold_over_all_users_of_a_view() {
    let before = inotify_instances();
    let script = "import os, time, ctypes\nlibc = ctypes.CDLL(None)\nwhile libc.inotify_init1(0) >= 0: pass\n\
                  made = 0\nfor n in range(300):\n  try: pid = os.fork()\n  except OSError: break\n  \
                  if pid == 0:\n    os.setresuid(n + 1, n + 1, n + 1)\n    time.sleep(60)\n  made += 1\nprint(made, flush=True)\n\
                  time.sleep(60)";
    let (sandbox, fixture) = (view(), fixture());
    let cgroup = fixture.cgroup();
    let with = With {
        cgroup: Some(&cgroup),
        ..With::default()
    };
    let job = start(
        &sandbox,
        &fixture,
        &["/usr/bin/python3", "-c", script],
        &with,
    )
    .unwrap();
    let mut line = [0; 64];
    wait_readable(&job.stdout);
    let length = sys::read(job.stdout.as_fd(), &mut line).unwrap();
    let made: u64 = String::from_utf8_lossy(&line[..length])
        .trim()
        .parse()
        .unwrap();
    assert!((10..=LIMITS.nproc + 3).contains(&made), "{made}");
    assert_eq!(inotify_instances(), before);
    end_with(fixture, [job]);
}

/// Instances that root can make now, of at most 64.
fn inotify_instances() -> usize {
    let make =
        |_: &usize| nix::sys::inotify::Inotify::init(nix::sys::inotify::InitFlags::empty()).ok();
    let made: Vec<_> = (0..64).map_while(|n| make(&n)).collect();
    made.len()
}

/// With a layer switched off, what it refuses is possible.
#[cfg(feature = "mutate")]
mod without {
    use super::*;

    fn both(layer: Layer, script: &str) -> [String; 2] {
        let off = view_without(&profile(), &probe().unwrap(), layer).unwrap();
        let script = format!("PATH=/usr/sbin:/sbin:$PATH; ({script}) 2>/dev/null && echo DONE");
        [view(), off].map(|sandbox| run_in_view(&sandbox, &["sh", "-c", &script]).out)
    }

    #[test]
    fn each_layer_of_a_view_is_needed() {
        let tree = Tree::new();
        tree.file("key", 0o600, 0, "SECRET\n");
        tree.dir("private", 0o700);
        tree.file("private/key", 0o644, 0, "SECRET\n");
        let other = Other::new();
        for (layer, script, without) in [
            (
                Layer::Mask,
                format!("cat {}/key", tree.at()),
                "SECRET\nDONE\n",
            ),
            (
                Layer::Mask,
                format!("cat {}/private/key", tree.at()),
                "SECRET\nDONE\n",
            ),
            (
                Layer::UserNamespace,
                "head -c 0 /proc/slabinfo".into(),
                "DONE\n",
            ),
            (Layer::UserNamespace, "chown 70000 /opt".into(), "DONE\n"),
            (
                Layer::Capabilities,
                "mount -t tmpfs x /mnt || hostname x || ip link add a type dummy".into(),
                "",
            ),
            (Layer::SeccompRefused, "unshare -U true".into(), "DONE\n"),
            (
                Layer::ReadOnlyMounts,
                format!("echo x >{}/at/file", other.0.at()),
                "DONE\n",
            ),
        ] {
            let [with, off] = both(layer, &script);
            assert_eq!(with, "", "{}: {script}", layer.name());
            assert_eq!(off, without, "without {}: {script}", layer.name());
        }
    }
}

/// The others of `Layer::ALL` are parts of how a view is made, and cannot be left out.
#[cfg(feature = "mutate")]
#[test]
fn disabled_layer_of_a_view_is_detected() {
    const LAYERS: [Layer; 14] = [
        Layer::Capabilities,
        Layer::PidNamespace,
        Layer::SeccompSockets,
        Layer::SeccompRefused,
        Layer::SeccompUnknown,
        Layer::Descriptors,
        Layer::Rlimits,
        Layer::Scheduling,
        Layer::NetworkNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::CgroupNamespace,
        Layer::UserNamespace,
        Layer::Mask,
    ];
    for layer in LAYERS {
        let sandbox = view_without(&profile(), &probe().unwrap(), layer).unwrap();
        let findings = super::witness::ask(&sandbox).unwrap();
        let broken: Vec<_> = findings.iter().filter(|found| !found.held).collect();
        let is_detected = broken.iter().any(|found| found.layer == layer);
        assert!(is_detected, "{} is not missed: {broken:?}", layer.name());
    }
}
