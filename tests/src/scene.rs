//! Prepares an attack: files, listeners and victims that the job may use as far as permissions allow, and an observer.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::attack::objects::{Object, Queue, Waiter, pipe_size, write_hint};
use crate::process::{Identity, was_killed};
use crate::test_dir::{TestDir, copy, unique};

/// The environment of scenes.
#[derive(Debug)]
pub struct AttackFixture {
    /// A directory that sandboxes see.
    pub dir: PathBuf,
    /// The job's identity.
    pub job: Identity,
    /// The owner of victims that an attack knows by pid. `None` is the job's own uid.
    pub stranger: Option<Identity>,
    /// The attack program.
    pub program: PathBuf,
    /// The pid of the attacked daemon, or of another root process in its stead.
    pub daemon: u32,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// A file that only root may read, such as the audit log.
    pub audit_log: PathBuf,
}

impl AttackFixture {
    /// Builds an environment without a daemon. This process and files of root are used instead.
    #[must_use]
    pub fn without_daemon(test_dir: &TestDir, job: Identity) -> Self {
        let program = test_dir.program(&crate::test_dir::built().join("remit-attack"));
        let audit_log = test_dir.directory("state").join("audit.jsonl");
        fs::write(&audit_log, "{}\n").expect("the directory is ours");
        fs::set_permissions(&audit_log, fs::Permissions::from_mode(0o600))
            .expect("the file is ours");
        let socket = test_dir.path().join("daemon.sock");
        // The socket must have a listener until this process ends.
        std::mem::forget(UnixListener::bind(&socket).expect("the directory is ours"));
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o660))
            .expect("the socket is ours");
        Self {
            dir: test_dir.directory("fixture"),
            job,
            stranger: None,
            program,
            daemon: std::process::id(),
            socket,
            audit_log,
        }
    }
}

/// Reports after the attack if the host changed.
type Witness = Box<dyn FnOnce() -> bool>;

/// A prepared attack.
pub struct Scene {
    /// The attack program for this scene.
    pub program: PathBuf,
    /// Its arguments after the attack's name.
    pub arguments: Vec<String>,
    witness: Option<Witness>,
    victim: Option<Victim>,
}

impl Scene {
    /// Returns true if the host changed, `None` if nothing can be observed.
    #[must_use]
    pub fn touched(mut self) -> Option<bool> {
        let touched = self.witness.take().map(|witness| witness());
        drop(self.victim.take());
        touched
    }

    /// Returns the command line of the attack.
    #[must_use]
    pub fn argv(&self, id: &str) -> Vec<String> {
        let mut argv = vec![self.program.display().to_string(), id.to_owned()];
        argv.extend(self.arguments.iter().cloned());
        argv
    }
}

/// A process outside every sandbox.
struct Victim(Child);

impl Victim {
    /// Its standard input is the scene's file, if there is one.
    fn start(fixture: &AttackFixture, dir: &Path, user: &Identity) -> Self {
        let input = File::open(dir.join("file")).map_or_else(|_| Stdio::null(), Stdio::from);
        let mut command = Command::new(&fixture.program);
        command
            .arg("victim")
            .current_dir(dir)
            .process_group(0)
            .stdin(input)
            .stdout(Stdio::piped());
        user.runs(&mut command);
        let mut child = command.spawn().expect("the attack program starts");
        let mut ready = String::new();
        let output = child.stdout.take().expect("its output is a pipe");
        BufReader::new(output)
            .read_line(&mut ready)
            .expect("its output is text");
        assert_eq!(ready, "ready\n");
        Self(child)
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// Returns all properties of a process that other processes can set.
    fn properties(pid: i32) -> String {
        let file =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        // Fields after the name, which ends with the last ')': priority 15, nice 16, realtime priority 37, policy 38.
        let stat = file("stat");
        let stat: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let numbers =
            [15, 16, 37, 38].map(|index| stat.get(index).copied().unwrap_or_default().to_owned());
        let processors = crate::process::status_field(pid, "Cpus_allowed").unwrap_or_default();
        let priority = crate::attack::objects::io_priority(pid);
        format!(
            "{numbers:?} {processors} {priority} {} {}",
            file("oom_score_adj"),
            file("limits")
        )
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prepares the attack `id` in a separate directory.
#[must_use]
pub fn arrange(id: &str, fixture: &AttackFixture) -> Scene {
    let number = unique();
    let dir = fixture.dir.join(format!("{number}-{id}"));
    fs::create_dir(&dir).expect("the directory is writable");
    give(&dir, 0o755, fixture);
    let inside = |name: &str| dir.join(name).display().to_string();
    let mut scene = Scene {
        program: fixture.program.clone(),
        arguments: Vec::new(),
        witness: None,
        victim: None,
    };
    match id {
        "write" | "append" | "truncate" | "unlink" | "chmod" | "utimes" | "chown" | "setxattr"
        | "chattr" | "atime" | "fd-reopen" => scene.arguments = vec![file(&dir, "file", fixture)],
        "direct-read" | "direct-later" | "direct-openat2" | "fiemap" | "es-cache" => {
            scene.arguments = vec![file(&dir, "file", fixture)];
        }
        "rename" | "link" | "whiteout" => {
            scene.arguments = vec![file(&dir, "file", fixture), inside("other")]
        }
        "create" | "symlink" | "mkdir" => scene.arguments = vec![inside("new")],
        "rmdir" => {
            fs::create_dir(dir.join("old")).expect("the directory is ours");
            give(&dir.join("old"), 0o755, fixture);
            scene.arguments = vec![inside("old")];
        }
        "mkdir-sticky" => {
            let shared = dir.join("shared");
            fs::create_dir(&shared).expect("the directory is ours");
            fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777))
                .expect("the directory is ours");
            scene.arguments = vec![inside("shared/new")];
        }
        "host-shm" => shared_directory(&mut scene, "/dev/shm", number),
        "host-tmp" | "mknod" => shared_directory(&mut scene, "/tmp", number),
        "host-var-tmp" => shared_directory(&mut scene, "/var/tmp", number),
        "fifo" => {
            let mut reader = read_fifo(&mut scene, &dir, fixture);
            scene.witness = Some(Box::new(move || {
                reader.read(&mut [0; 64]).is_ok_and(|length| length > 0)
            }));
        }
        "fifo-size" => {
            let reader = read_fifo(&mut scene, &dir, fixture);
            let before = pipe_size(&reader);
            scene.witness = Some(Box::new(move || pipe_size(&reader) != before));
        }
        "exe-chmod" => {
            let own = dir.join("program");
            copy(&fixture.program, &own);
            give(&own, 0o755, fixture);
            scene.program = own;
        }
        "setuid-program" => {
            let setuid = dir.join("program");
            copy(&fixture.program, &setuid);
            fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755))
                .expect("the copy is ours");
            scene.arguments = vec![inside("program")];
        }
        "shadow" => scene.arguments = vec!["/etc/shadow".into()],
        "foreign-file" => {
            fs::write(dir.join("secret"), "secret").expect("the directory is ours");
            fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o600))
                .expect("the file is ours");
            scene.arguments = vec![inside("secret")];
        }
        "daemon-audit" => scene.arguments = vec![fixture.audit_log.display().to_string()],
        "daemon-environ" => scene.arguments = vec![format!("/proc/{}/environ", fixture.daemon)],
        "sysctl" => scene.arguments = vec!["/proc/sys/kernel/hostname".into()],
        "host-process" => scene.arguments = vec![format!("/proc/{}/stat", std::process::id())],
        "host-file" => scene.arguments = vec![hidden(fixture, number)],
        "host-file-upwards" => scene.arguments = vec![format!("/../..{}", hidden(fixture, number))],
        "host-scratch" => shared_directory(&mut scene, &beside(fixture, SCRATCH), number),
        "exec-scratch" => scene.arguments = vec![beside(fixture, SCRATCH)],
        "exec-tmp" | "map-tmp" => scene.arguments = vec!["/tmp".into()],
        "exec-listed" => {
            let program = Path::new(&beside(fixture, LISTED)).join(number.to_string());
            copy(&fixture.program, &program);
            scene.arguments = vec![program.display().to_string()];
        }
        "init-root" | "init-environ" | "init-memory" | "init-program" | "cgroup" | "sysctl-net"
        | "sysrq" | "kernel-log" | "accounts" | "program-file" => {
            scene.arguments = vec![of_the_host(id)]
        }
        "disk" => scene.arguments = vec![disk()],
        "device-node" => {
            crate::attack::objects::null_device(&dir.join("null"));
            scene.arguments = vec![inside("null")];
        }
        "fuse" => scene.arguments = vec!["/dev/fuse".into()],
        "ptmx" => scene.arguments = vec!["/dev/ptmx".into()],
        "tty-write" => terminal(&mut scene),
        "kill" | "kill-group" | "tgkill" | "sigqueue" | "kill-all" | "pidfd-signal"
        | "pidfd-proc" | "setown" => {
            let victim = stranger(&mut scene, fixture, &dir);
            scene.witness = Some(Box::new(move || was_killed(victim)));
        }
        "setpriority" | "setpriority-user" | "ioprio" | "ioprio-user" | "prlimit" | "sched" => {
            let victim = stranger(&mut scene, fixture, &dir);
            properties(&mut scene, victim);
        }
        "affinity" => {
            let victim = stranger(&mut scene, fixture, &dir);
            // On a machine with one processor, every mask is the same: only the call's answer shows what held.
            if thread::available_parallelism().is_ok_and(|processors| processors.get() > 1) {
                properties(&mut scene, victim);
            }
        }
        "foreign-timer" | "foreign-sleep" => {
            stranger(&mut scene, fixture, &dir);
        }
        "proc-oom" => {
            let victim = victim(&mut scene, fixture, &dir);
            properties(&mut scene, victim);
            scene.arguments = vec![format!("/proc/{victim}/oom_score_adj")];
        }
        "proc-root" => {
            let victim = victim(&mut scene, fixture, &dir);
            scene.arguments = vec![format!(
                "/proc/{victim}/root{}",
                file(&dir, "file", fixture)
            )];
        }
        "proc-cwd" => {
            let victim = victim(&mut scene, fixture, &dir);
            file(&dir, "file", fixture);
            scene.arguments = vec![format!("/proc/{victim}/cwd/file")];
        }
        "proc-fd" => {
            file(&dir, "file", fixture);
            let victim = victim(&mut scene, fixture, &dir);
            scene.arguments = vec![format!("/proc/{victim}/fd/0")];
        }
        "proc-environ" | "proc-mem" => {
            let victim = victim(&mut scene, fixture, &dir);
            scene.arguments = vec![format!("/proc/{victim}/{}", id.trim_start_matches("proc-"))];
        }
        "ptrace" | "vm-readv" | "vm-writev" | "pidfd-getfd" => {
            victim(&mut scene, fixture, &dir);
        }
        "tcp-connect" | "tcp-high" | "mptcp-connect" | "tcp-fast-open" => {
            tcp(&mut scene, "127.0.0.1:0")
        }
        "tcp6-connect" => tcp(&mut scene, "[::1]:0"),
        "udp-send" => {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("the loopback interface is up");
            scene.arguments = vec![socket.local_addr().expect("it is bound").port().to_string()];
            socket.set_nonblocking(true).expect("it is a socket");
            scene.witness = Some(Box::new(move || socket.recv(&mut [0; 64]).is_ok()));
        }
        "unix-stream" => {
            let listener = UnixListener::bind(dir.join("socket")).expect("the directory is ours");
            accepts(&mut scene, listener, &dir);
            scene.arguments = vec![inside("socket")];
        }
        "unix-abstract" => {
            let name = format!("remit-test-{number}");
            let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
            let listener = UnixListener::bind_addr(&address).expect("the name is free");
            accepts(&mut scene, listener, &dir);
            scene.arguments = vec![name];
        }
        "unix-pair" | "unix-pair-high" => {
            let socket = UnixDatagram::bind(dir.join("socket")).expect("the directory is ours");
            fs::set_permissions(dir.join("socket"), fs::Permissions::from_mode(0o777))
                .expect("the socket is ours");
            socket.set_nonblocking(true).expect("it is a socket");
            scene.arguments = vec![inside("socket")];
            scene.witness = Some(Box::new(move || socket.recv(&mut [0; 64]).is_ok()));
        }
        "daemon-socket" => scene.arguments = vec![fixture.socket.display().to_string()],
        "shmget" | "semget" | "msgget" => {
            let key = i32::try_from(number).expect("the number is small");
            scene.arguments = vec![key.to_string()];
            let kind = Object::kind(id);
            scene.witness = Some(Box::new(move || Object::find(kind, key).is_some()));
        }
        "shmat" | "semop" | "msgsnd" | "sem-setval" | "shm-remove" | "sem-remove"
        | "msg-remove" => {
            let object = Object::make(Object::kind(id), fixture.job.uid);
            scene.arguments = vec![object.id().to_string()];
            let before = object.state();
            scene.witness = Some(Box::new(move || object.state() != before));
        }
        "mq-open" => {
            let name = format!("remit-test-{number}");
            scene.arguments = vec![name.clone()];
            scene.witness = Some(Box::new(move || Queue::remove(&name)));
        }
        "mq-unlink" => {
            let name = format!("remit-test-{number}");
            Queue::make(&name, fixture.job.uid);
            scene.arguments = vec![name.clone()];
            scene.witness = Some(Box::new(move || !Queue::remove(&name)));
        }
        "flock" | "fcntl-lock" | "fcntl-lock-wait" | "ofd-lock" | "lease" => {
            lock(&mut scene, id, &dir, fixture)
        }
        "futex-requeue" | "futex2-requeue" => {
            let shared = dir.join("shared");
            fs::write(&shared, [0; 4096]).expect("the directory is ours");
            fs::set_permissions(&shared, fs::Permissions::from_mode(0o644))
                .expect("the file is ours");
            let file = File::open(&shared).expect("the file is ours");
            let waiter = Waiter::start(&file);
            scene.arguments = vec![inside("shared")];
            scene.witness = Some(Box::new(move || !waiter.is_woken()));
        }
        "write-hint" => {
            let hinted = file(&dir, "file", fixture);
            scene.arguments = vec![hinted.clone()];
            scene.witness = Some(Box::new(move || write_hint(&hinted) != 0));
        }
        "file-system-key" => scene.arguments = vec![file(&dir, "file", fixture)],
        "acct" | "quotactl" | "chroot" | "mount" | "userns-mount" | "pivot-root" => {
            scene.arguments = vec![dir.display().to_string()];
        }
        "swapon" | "swapoff" => scene.arguments = vec![file(&dir, "file", fixture)],
        "is-separate" => {
            let kinds = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];
            let own = |kind| fs::read_link(format!("/proc/self/ns/{kind}"));
            let links = kinds.map(|kind| own(kind).expect("the kernel has all namespaces"));
            scene.arguments = links.map(|link| link.display().to_string()).into();
        }
        _ if id.starts_with("may-") => {
            let log = dir.join("log");
            fs::write(&log, "a log line\n").expect("the directory is ours");
            chown(&log, Some(0), Some(4)).expect("the tests run as root");
            fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).expect("the file is ours");
            let me = std::process::id().to_string();
            let shared = file(&dir, "file", fixture);
            fs::set_permissions(&shared, fs::Permissions::from_mode(0o666))
                .expect("the file is ours");
            scene.arguments = vec![shared, me, log.display().to_string()];
        }
        _ => {}
    }
    if WATCHED.contains(&id) {
        let before = snapshot(&dir);
        scene.witness = Some(Box::new(move || snapshot(&dir) != before));
    }
    scene
}

/// Attacks that leave a trace in the scene's directory.
const WATCHED: &[&str] = &[
    "write",
    "append",
    "truncate",
    "create",
    "unlink",
    "rename",
    "chmod",
    "utimes",
    "chown",
    "setxattr",
    "chattr",
    "link",
    "symlink",
    "mkdir",
    "rmdir",
    "mkdir-sticky",
    "atime",
    "fd-reopen",
    "exe-chmod",
    "proc-root",
    "proc-cwd",
    "proc-fd",
];

/// Beside `AttackFixture::dir`: the scratch directory of sandboxes of base `strict`.
pub const SCRATCH: &str = "scratch";
/// Beside `AttackFixture::dir`: the directory that they list for reading.
pub const LISTED: &str = "listed";

fn beside(fixture: &AttackFixture, name: &str) -> String {
    let dir = fixture.dir.with_file_name(name);
    fs::create_dir_all(&dir).expect("the directory is writable");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777))
        .expect("the directory is writable");
    dir.display().to_string()
}

/// Creates a world-readable file beside `AttackFixture::dir`, outside all listed directories.
fn hidden(fixture: &AttackFixture, number: u32) -> String {
    let path = fixture.dir.with_file_name(format!("hidden-{number}"));
    fs::write(&path, "hidden\n").expect("the directory is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    path.display().to_string()
}

fn of_the_host(id: &str) -> String {
    match id {
        "init-root" => "/proc/1/root",
        "init-environ" => "/proc/1/environ",
        "init-memory" => "/proc/1/mem",
        "init-program" => "/proc/1/exe",
        "cgroup" => "/sys/fs/cgroup/cgroup.procs",
        "sysctl-net" => "/proc/sys/net/ipv4/ip_forward",
        "sysrq" => "/proc/sysrq-trigger",
        "kernel-log" => "/dev/kmsg",
        "accounts" => "/etc/passwd",
        _ => "/usr/lib/os-release",
    }
    .into()
}

fn give(path: &Path, mode: u32, fixture: &AttackFixture) {
    chown(path, Some(fixture.job.uid), Some(fixture.job.gid)).expect("the tests run as root");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file is ours");
}

/// Creates a file of the job's uid with an access time long before its modification time.
fn file(dir: &Path, name: &str, fixture: &AttackFixture) -> String {
    let path = dir.join(name);
    fs::write(&path, "untouched\n").expect("the directory is ours");
    give(&path, 0o644, fixture);
    let times = fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_times(times))
        .expect("the file is ours");
    path.display().to_string()
}

/// Returns all metadata and content below a directory. The change time shows every change of metadata.
fn snapshot(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return lines;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let accessed = if metadata.is_file() {
            metadata.atime_nsec() + metadata.atime()
        } else {
            0
        };
        lines.push(format!(
            "{} {:o} {} {} {} {} {} {accessed} {:?}",
            path.display(),
            metadata.mode(),
            metadata.size(),
            metadata.nlink(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
            metadata.is_file().then(|| unseen_content(&path)),
        ));
        if metadata.is_dir() {
            lines.extend(snapshot(&path));
        }
    }
    lines.sort();
    lines
}

/// Reads without a change of the access time.
fn unseen_content(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOATIME | libc::O_NONBLOCK)
        .open(path);
    let _ = file.map(|file| file.take(4096).read_to_end(&mut content));
    content
}

fn shared_directory(scene: &mut Scene, directory: &str, number: u32) {
    let path = Path::new(directory).join(format!("remit-test-{number}"));
    scene.arguments = vec![path.display().to_string()];
    scene.witness = Some(Box::new(move || fs::remove_file(path).is_ok()));
}

fn read_fifo(scene: &mut Scene, dir: &Path, fixture: &AttackFixture) -> File {
    let path = dir.join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    give(&path, 0o666, fixture);
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("the FIFO is there");
    scene.arguments = vec![path.display().to_string()];
    reader
}

/// Finds a block device that root may open. A cgroup may forbid some.
fn disk() -> String {
    fs::read_dir("/dev")
        .expect("there is a /dev")
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()))
        .map(|entry| entry.path())
        .find(|path| File::open(path).is_ok())
        .map_or_else(|| "/dev/none".into(), |path| path.display().to_string())
}

fn terminal(scene: &mut Scene) {
    let (master, name) = crate::attack::objects::pseudoterminal();
    fs::set_permissions(&name, fs::Permissions::from_mode(0o666)).expect("the terminal is ours");
    scene.arguments = vec![name];
    scene.witness = Some(Box::new(move || {
        let mut master = master;
        master.read(&mut [0; 64]).is_ok_and(|length| length > 0)
    }));
}

fn victim(scene: &mut Scene, fixture: &AttackFixture, dir: &Path) -> i32 {
    attacked(scene, Victim::start(fixture, dir, &fixture.job))
}

/// Starts a victim that the attack knows by pid.
fn stranger(scene: &mut Scene, fixture: &AttackFixture, dir: &Path) -> i32 {
    let user = fixture.stranger.as_ref().unwrap_or(&fixture.job);
    attacked(scene, Victim::start(fixture, dir, user))
}

fn attacked(scene: &mut Scene, victim: Victim) -> i32 {
    let pid = victim.pid();
    scene.arguments = vec![pid.to_string()];
    scene.victim = Some(victim);
    pid
}

fn properties(scene: &mut Scene, victim: i32) {
    let before = Victim::properties(victim);
    scene.witness = Some(Box::new(move || Victim::properties(victim) != before));
}

fn tcp(scene: &mut Scene, address: &str) {
    let listener = TcpListener::bind(address).expect("the loopback interface is up");
    scene.arguments = vec![
        listener
            .local_addr()
            .expect("it is bound")
            .port()
            .to_string(),
    ];
    listener.set_nonblocking(true).expect("it is a socket");
    scene.witness = Some(Box::new(move || listener.accept().is_ok()));
}

fn accepts(scene: &mut Scene, listener: UnixListener, dir: &Path) {
    let socket = dir.join("socket");
    if socket.exists() {
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).expect("the socket is ours");
    }
    listener.set_nonblocking(true).expect("it is a socket");
    scene.witness = Some(Box::new(move || listener.accept().is_ok()));
}

/// A thread waits at the gate until the attack holds its lock, then tries to take the lock.
fn lock(scene: &mut Scene, id: &str, dir: &Path, fixture: &AttackFixture) {
    let locked = file(dir, "file", fixture);
    let gate = dir.join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    give(&gate, 0o644, fixture);
    scene.arguments = vec![locked.clone(), gate.display().to_string()];

    let (tell, watched) = mpsc::channel();
    let (id, their_gate) = (id.to_owned(), gate.clone());
    let watcher = thread::spawn(move || {
        let open = OpenOptions::new()
            .write(true)
            .open(&their_gate)
            .expect("the gate is there");
        let held = is_held(&id, &locked);
        drop(open);
        let _ = tell.send(held);
    });
    scene.witness = Some(Box::new(move || {
        // Releases the thread if the attack never opened the gate.
        let _release = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&gate);
        let held = watched.recv().unwrap_or(true);
        let _ = watcher.join();
        held
    }));
}

fn is_held(id: &str, path: &str) -> bool {
    let writable = |flags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
    };
    match id {
        // Opening for writing breaks a lease. It fails if the open may not wait for that.
        "lease" => writable(libc::O_NONBLOCK).is_err(),
        "flock" => writable(0).is_ok_and(|file| file.try_lock().is_err()),
        _ => {
            writable(0).is_ok_and(|file| crate::attack::objects::is_record_locked(file.as_raw_fd()))
        }
    }
}
