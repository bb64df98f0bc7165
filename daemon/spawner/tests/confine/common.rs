//! Shared by the tests: a kernel, a profile, cgroups with their watchdog, and running one job to its end.

pub use remit_confine::StartedJob as Spawned;
use remit_confine::*;
use std::{
    ffi::CString,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
};

pub const WATCHDOG_ID: u32 = 1_879_000_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Returns a uid that no other test uses, neither of this run nor of another binary that runs now.
pub fn uid() -> u32 {
    1_880_000_000 + std::process::id() % 32_768 * 1000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

pub const LIMITS: Limits = Limits {
    nofile: 256,
    nproc: 64,
    others: None,
    data: 1 << 30,
    cpu_s: 20,
    fsize: 64 << 20,
    tmp_bytes: 1 << 20,
    tmp_inodes: 64,
    memory: None,
    tasks: None,
    cpu_percent: None,
};

pub fn profile() -> ReadProfile {
    ReadProfile {
        groups: vec![4],
        limits: LIMITS,
        ..ReadProfile::default()
    }
}

fn wanted(profile: Profile) -> Wanted {
    Wanted {
        profile,
        is_audited: false,
    }
}

pub fn compile_read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::compile(wanted(Profile::Read(profile.clone())), kernel)
}

pub fn compile_strict(profile: &StrictProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::compile(wanted(Profile::Strict(profile.clone())), kernel)
}

pub fn compile_host(profile: &HostProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::compile(wanted(Profile::Host(profile.clone())), kernel)
}

pub fn compile_view(profile: &ViewProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::compile(wanted(Profile::View(profile.clone())), kernel)
}

pub fn compile_extract(profile: &ExtractProfile, kernel: &Kernel) -> Result<Sandbox> {
    Sandbox::compile(wanted(Profile::Extract(profile.clone())), kernel)
}

pub fn compile_audited(profile: Profile, kernel: &Kernel) -> Result<Sandbox> {
    let wanted = Wanted {
        profile,
        is_audited: true,
    };
    Sandbox::compile(wanted, kernel)
}

#[cfg(feature = "mutate")]
pub fn read_without(profile: &ReadProfile, kernel: &Kernel, layer: Layer) -> Result<Sandbox> {
    Sandbox::compile_without(wanted(Profile::Read(profile.clone())), kernel, layer)
}

#[cfg(feature = "mutate")]
pub fn strict_without(profile: &StrictProfile, kernel: &Kernel, layer: Layer) -> Result<Sandbox> {
    Sandbox::compile_without(wanted(Profile::Strict(profile.clone())), kernel, layer)
}

#[cfg(feature = "mutate")]
pub fn view_without(profile: &ViewProfile, kernel: &Kernel, layer: Layer) -> Result<Sandbox> {
    Sandbox::compile_without(wanted(Profile::View(profile.clone())), kernel, layer)
}

#[cfg(feature = "mutate")]
pub fn host_without(profile: &HostProfile, kernel: &Kernel, layer: Layer) -> Result<Sandbox> {
    Sandbox::compile_without(wanted(Profile::Host(profile.clone())), kernel, layer)
}

pub fn sandbox() -> Sandbox {
    compile_read(&profile(), &probe().unwrap()).unwrap()
}

pub struct Fixture {
    pub watchdog: Watchdog,
    pub cgroups: Cgroups,
    pub workers: Workers,
    next: AtomicU32,
}

impl Fixture {
    pub fn cgroup(&self) -> Cgroup {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.cgroups.make(&format!("auto-{number}")).unwrap()
    }
}

pub fn fixture() -> Fixture {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("remit-host-{}-{number}", std::process::id());
    let cgroups = Cgroups::open(&name).unwrap();
    Fixture {
        watchdog: Watchdog::start(
            WATCHDOG_ID,
            WATCHDOG_ID,
            cgroups.switch().as_fd(),
            &Family::own().unwrap(),
        )
        .unwrap(),
        cgroups,
        workers: workers(),
        next: AtomicU32::new(0),
    }
}

/// Workers of the shipped program. Their jobs are children of this process.
pub fn workers() -> Workers {
    let program = CString::new(env!("CARGO_BIN_EXE_remit-spawner")).unwrap();
    Workers::new(&program, Family::own().unwrap()).unwrap()
}

/// Asks the workers of a fixture in place of a spawner.
#[derive(Debug)]
struct OwnWorkers<'a> {
    workers: &'a Workers,
    sandbox: &'a Sandbox,
    switch: BorrowedFd<'a>,
}

impl Forker for OwnWorkers<'_> {
    fn fork(&self, _: u64, fork: Fork, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.workers.fork(self.sandbox, self.switch, &fork, fds)
    }

    fn end_worker(&self, _: u64) {
        self.workers.end_of(self.sandbox);
    }

    fn leave(&self, pid: i32) {
        let _ = sys::wait(pid, 0);
    }
}

pub fn spawn(sandbox: &Sandbox, fixture: &Fixture, job: &Job<'_>) -> Result<Spawned> {
    job.vet(sandbox.description().needs_cgroup)?;
    let forker = Rc::new(OwnWorkers {
        workers: &fixture.workers,
        sandbox,
        switch: fixture.cgroups.switch().as_fd(),
    });
    let size = Some((job.limits.tmp_bytes, job.limits.tmp_inodes));
    Child::ask(forker, 0, (job.uid, job.gid), size, job.cgroup, job.staged)?.begin(job)
}

pub fn strings(all: &[&str]) -> Vec<CString> {
    all.iter().map(|s| CString::new(*s).unwrap()).collect()
}

pub const ENV: [&str; 3] = ["PATH=/usr/bin:/bin", "HOME=/tmp/home", "LANG=C.UTF-8"];

#[derive(Debug)]
pub struct Ran {
    pub progress: Progress,
    pub status: ExitStatus,
    pub usage: sys::Usage,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

#[derive(Default)]
pub struct With<'a> {
    pub uid: Option<u32>,
    pub env: Option<&'a [CString]>,
    pub cwd: Option<&'a std::ffi::CStr>,
    pub stdin: Option<BorrowedFd<'a>>,
    pub script: Option<BorrowedFd<'a>>,
    pub staged: Option<BorrowedFd<'a>>,
    pub kept: Option<Kept<'a>>,
    pub cgroup: Option<&'a Cgroup>,
    pub limits: Option<Limits>,
    pub loginuid: Option<u32>,
    pub arguments: &'a [Argument<'a>],
    pub measured: &'a [Measured],
}

pub fn start(
    sandbox: &Sandbox,
    fixture: &Fixture,
    argv: &[&str],
    with: &With<'_>,
) -> Result<Spawned> {
    let argv = strings(argv);
    let path = strings(&["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]);
    let env = strings(&ENV);
    let uid = with.uid.unwrap_or_else(uid);
    let limits = with.limits.unwrap_or(LIMITS);
    let own = fixture.cgroup();
    let job = Job {
        uid,
        gid: uid,
        loginuid: with.loginuid,
        argv: &argv,
        arguments: with.arguments,
        path: &path,
        env: with.env.unwrap_or(&env),
        cwd: with.cwd.unwrap_or(c"/"),
        stdin: with.stdin,
        script: with.script,
        staged: with.staged,
        kept: with.kept,
        measured: with.measured,
        cgroup: Some(with.cgroup.unwrap_or(&own).fd()),
        limits: &limits,
    };
    spawn(sandbox, fixture, &job)
}

pub fn without_cgroup(sandbox: &Sandbox, fixture: &Fixture, uid: u32) -> Result<Spawned> {
    let job = Job {
        uid,
        gid: uid,
        loginuid: None,
        argv: &strings(&["/bin/true"]),
        arguments: &[],
        path: &[],
        env: &[],
        cwd: c"/",
        stdin: None,
        script: None,
        staged: None,
        kept: None,
        measured: &[],
        cgroup: None,
        limits: &LIMITS,
    };
    spawn(sandbox, fixture, &job)
}

pub fn wait_readable(fd: impl AsFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    assert!(
        poll(&mut fds, PollTimeout::from(60_000u16)).unwrap() > 0,
        "nothing came in 60 s"
    );
}

pub fn read_all(end: OwnedFd) -> String {
    let mut file = std::fs::File::from(end.as_fd().try_clone_to_owned().unwrap());
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    loop {
        wait_readable(&file);
        match file.read(&mut buf) {
            Ok(0) => return String::from_utf8_lossy(&all).into_owned(),
            Ok(n) => all.extend(&buf[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => panic!("{e}"),
        }
    }
}

pub fn progress(spawned: &Spawned) -> Progress {
    let mut reader = StepReader::new();
    loop {
        wait_readable(&spawned.steps);
        match reader.read(spawned.steps.as_fd()) {
            Progress::More => {}
            done => return done,
        }
    }
}

pub fn finish(spawned: Spawned) -> Ran {
    let progress = progress(&spawned);
    let out = read_all(spawned.stdout);
    let err = read_all(spawned.stderr);
    wait_readable(&spawned.pidfd);
    let (status, usage) = sys::reap(spawned.pid).unwrap();
    Ran {
        progress,
        status,
        usage,
        out,
        err,
    }
}

pub fn run_in(sandbox: &Sandbox, fixture: &Fixture, argv: &[&str], with: &With<'_>) -> Ran {
    finish(start(sandbox, fixture, argv, with).unwrap())
}

pub fn run(argv: &[&str], with: &With<'_>) -> Ran {
    let fixture = fixture();
    let ran = run_in(&sandbox(), &fixture, argv, with);
    end(fixture);
    ran
}

pub fn sh(script: &str) -> Ran {
    run(&["sh", "-c", script], &With::default())
}

pub fn end(fixture: Fixture) {
    end_with(fixture, []);
}

pub fn end_with<const N: usize>(fixture: Fixture, jobs: [Spawned; N]) {
    let Fixture {
        watchdog, cgroups, ..
    } = fixture;
    cgroups.switch().pull().unwrap();
    for job in jobs {
        wait_readable(&job.pidfd);
        sys::reap(job.pid).unwrap();
    }
    sys::pidfd_send_signal(watchdog.pidfd(), libc::SIGKILL).unwrap();
    wait_readable(watchdog.pidfd());
    sys::reap(watchdog.pid()).unwrap();
}

/// A directory of the host that jobs can see (their `/tmp` is their own), removed on drop.
pub struct HostDir(pub std::path::PathBuf);

impl HostDir {
    pub fn new() -> HostDir {
        use std::os::unix::fs::PermissionsExt;
        let path = nix::unistd::mkdtemp("/run/remit-confine-XXXXXX").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        HostDir(path)
    }

    pub fn file(&self, name: &str, mode: u32, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self.path(name)
    }

    /// A directory that every user may write.
    pub fn open_directory(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for HostDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns true if the test can go on. If the machine lacks `what`, it fails in CI.
pub fn has(what: &str, there: bool) -> bool {
    let must = std::env::var("REMIT_TESTS_MUST_RUN").as_deref() == Ok("1");
    assert!(there || !must, "this machine has no {what}");
    if !there {
        eprintln!("skipped: this machine has no {what}");
    }
    there
}

/// Returns true if it will execute no further instruction, even if it, or what it waits for, is not reaped yet.
fn is_exiting(dir: &std::path::Path) -> bool {
    const PF_EXITING: u32 = 4;
    let stat = std::fs::read_to_string(dir.join("stat")).unwrap_or_default();
    // proc_pid_stat(5): the flags are the seventh field after the name.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let flags = behind.split_whitespace().nth(6);
    flags.is_none_or(|flags| flags.parse::<u32>().unwrap() & PF_EXITING != 0)
}

pub fn processes(uid: u32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Ok(pid) = name.parse::<i32>() else {
            continue;
        };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let mine = status
            .lines()
            .any(|l| l.starts_with(&format!("Uid:\t{uid}\t")));
        if mine && !is_exiting(&entry.path()) {
            found.push(pid);
        }
    }
    found
}

/// Panics if one of them is alive a minute later. Without a kill it is: what tests start sleeps for 300 s, or never ends.
pub fn gone(uid: u32) {
    until(&format!("the end of uid {uid}'s processes"), || {
        processes(uid).is_empty()
    });
}

/// Looks for a minute at most: a busy machine takes its time.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 60, "not seen: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

pub fn wait_for_line(fd: &OwnedFd, want: &str) {
    let mut got = String::new();
    let mut buf = [0; 256];
    while !got.lines().any(|l| l == want) {
        wait_readable(fd);
        let n = sys::read(fd.as_fd(), &mut buf).unwrap();
        assert!(n > 0, "the output ended: {got}");
        got.push_str(&String::from_utf8_lossy(&buf[..n]));
    }
}
