//! remit-spawner alone, and this process as the warden that asks it.

use std::ffi::{CStr, CString};
use std::iter::once;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use remit_spawn::{
    Answer, Child as JobChild, Fork, Forker, Job, ListedPath, Profile, Progress, ReadProfile,
    Reply, Request, SOCKET, StartedJob, StepReader, VERSION, WARDEN, Wanted, socket,
};
use remit_sys::{Cgroup, Cgroups, Error, Limits, spawn_root, sys};
use remit_tests::process::{ends_within, has_ended_within, pidfd, processes};
use remit_tests::test_dir::{built, unique, unique_uids};

pub const LIMITS: Limits = Limits {
    nofile: 64,
    nproc: 64,
    others: None,
    data: 1 << 28,
    cpu_s: 60,
    fsize: 1 << 20,
    tmp_bytes: 1 << 20,
    tmp_inodes: 64,
    memory: None,
    tasks: None,
    cpu_percent: None,
};
/// Milliseconds in which processes end.
pub const ENDS_MS: u16 = 20_000;

/// Its children are this process's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A spawner, and this process as the warden that asks. The one whose death counts is another process.
#[derive(Debug)]
pub struct Stage {
    _one: MutexGuard<'static, ()>,
    pub socket: OwnedFd,
    spawner: (i32, OwnedFd),
    pub warden: Child,
    pub cgroups: Cgroups,
    pub uid: u32,
}

impl Stage {
    pub fn start() -> Stage {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let warden = Command::new("sleep").arg("1000").spawn().unwrap();
        let its_death = pidfd(warden.id().cast_signed()).unwrap();
        let (socket, its) = socket::pair(20).unwrap();
        let program = built().join("remit-spawner");
        let program = CString::new(program.as_os_str().as_bytes()).unwrap();
        let fds = [(its.as_fd(), SOCKET), (its_death.as_fd(), WARDEN)];
        // With private mounts no child waits.
        let unshare = c"/usr/bin/unshare".to_owned();
        let words = [c"--mount", c"--propagation", c"shared"].map(CStr::to_owned);
        let argv: Vec<_> = once(unshare.clone())
            .chain(words)
            .chain([program])
            .collect();
        let spawner = spawn_root(&unshare, &argv, &[], &fds).unwrap();
        let uid = unique_uids(1);
        Stage {
            _one: one,
            socket,
            spawner,
            warden,
            cgroups: Cgroups::open(&format!("remit-messages-{uid}")).unwrap(),
            uid,
        }
    }

    /// Sets it up, and compiles a sandbox, whose number is returned.
    pub fn ready() -> (Stage, u64) {
        let stage = Stage::start();
        let switch = [stage.cgroups.switch().as_fd()];
        let (answer, _) = stage.ask(&setup(), &switch).unwrap();
        assert!(matches!(answer, Answer::Ready(_)), "{answer:?}");
        let (answer, _) = stage.ask(&compile(Vec::new()), &[]).unwrap();
        let Answer::Compiled { sandbox, .. } = answer else {
            panic!("{answer:?}");
        };
        (stage, sandbox)
    }

    pub fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Vec<OwnedFd>), String> {
        socket::send(self.socket.as_fd(), request, fds).unwrap();
        let (reply, fds) = socket::receive::<Reply>(self.socket.as_fd())
            .unwrap()
            .unwrap();
        match reply.answer {
            Ok(answer) => Ok((answer, fds)),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    pub fn spawner(&self) -> i32 {
        self.spawner.0
    }

    pub fn cgroup(&self, name: &str) -> Cgroup {
        self.cgroups.make(name).unwrap()
    }

    /// Asks for a child of this cgroup, for a job with [`LIMITS`] or for one that comes later.
    pub fn child(
        &self,
        sandbox: u64,
        cgroup: &Cgroup,
        is_waiting: bool,
    ) -> remit_sys::Result<JobChild<'_>> {
        let size = (!is_waiting).then_some((LIMITS.tmp_bytes, LIMITS.tmp_inodes));
        let own = (self.uid, self.uid);
        JobChild::ask(Rc::new(self), sandbox, own, size, Some(cgroup.fd()), None)
    }

    /// Gives a job, as `change` has changed it, to a child.
    pub fn begin(
        &self,
        child: JobChild<'_>,
        argv: &[&str],
        change: impl FnOnce(&mut Job<'_>),
    ) -> remit_sys::Result<StartedJob> {
        let argv: Vec<_> = argv
            .iter()
            .map(|word| CString::new(*word).unwrap())
            .collect();
        let mut job = Job {
            uid: self.uid,
            gid: self.uid,
            loginuid: None,
            argv: &argv,
            arguments: &[],
            path: &[c"/usr/bin".to_owned(), c"/bin".to_owned()],
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
        change(&mut job);
        child.begin(&job)
    }

    /// Runs a job in a child of its own.
    pub fn spawn(&self, sandbox: u64, argv: &[&str]) -> remit_sys::Result<StartedJob> {
        let cgroup = self.cgroup(&format!("job{}", unique()));
        let child = self.child(sandbox, &cgroup, false)?;
        self.begin(child, argv, |_| {})
    }

    /// The warden drops it.
    pub fn ends_with_its_socket(mut self) {
        self.cgroups.switch().pull().unwrap();
        let (unused, _) = socket::pair(1).unwrap();
        drop(std::mem::replace(&mut self.socket, unused));
        self.ends_after("the end of its socket");
    }

    /// It has ended, and all that it has forked.
    pub fn ends_after(mut self, what: &str) {
        let ended = has_ended_within(&self.spawner.1, ENDS_MS);
        assert!(ended, "remit-spawner lives after {what}");
        let _ = self.warden.kill();
        let _ = self.warden.wait();
        let left = own_children();
        for (pid, name) in &left {
            assert!(ends_within(*pid, ENDS_MS), "{name} lives after {what}");
            let _ = sys::reap(*pid);
        }
        let is_empty = self.cgroups.wait_until_empty(Duration::from_secs(20));
        assert!(is_empty.unwrap(), "a process of a job lives after {what}");
    }
}

impl Forker for &Stage {
    fn fork(&self, sandbox: u64, fork: Fork, fds: &[BorrowedFd<'_>]) -> remit_sys::Result<()> {
        let refused = |why| Error::refused("fork", why);
        if fork.size.is_none() {
            let worker = self.ask(&Request::Worker { sandbox }, &[]);
            let (_, worker) = worker.map_err(refused)?;
            socket::send(worker[0].as_fd(), &fork, fds).unwrap();
            return Ok(());
        }
        let asked = self.ask(&Request::Fork { sandbox, fork }, fds);
        asked.map(drop).map_err(refused)
    }

    fn end_worker(&self, sandbox: u64) {
        let _ = self.ask(&Request::EndWorker { sandbox }, &[]);
    }

    fn leave(&self, pid: i32) {
        let _ = sys::wait(pid, 0);
    }
}

/// Processes of remit that are children of this one, and programs of their jobs.
pub fn own_children() -> Vec<(i32, String)> {
    let own = std::process::id().cast_signed();
    let of_remit = |name: &str| name.starts_with("remit-") || name == "sleep";
    let all = processes().into_iter();
    all.filter(|one| one.parent == own && of_remit(&one.name))
        .map(|one| (one.pid, one.name))
        .collect()
}

pub fn setup() -> Request {
    Request::Setup {
        version: VERSION,
        one_session: false,
    }
}

pub fn compile(write: Vec<ListedPath>) -> Request {
    let profile = ReadProfile {
        limits: LIMITS,
        write,
        ..ReadProfile::default()
    };
    Request::Compile(Box::new(Wanted {
        profile: Profile::Read(profile),
        is_audited: false,
    }))
}

fn wait(fd: &OwnedFd) -> nix::Result<i32> {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], ENDS_MS)
}

/// How far a job came.
pub fn progress(job: &StartedJob) -> Progress {
    let mut reader = StepReader::new();
    loop {
        assert_eq!(wait(&job.steps), Ok(1), "no steps");
        match reader.read(job.steps.as_fd()) {
            Progress::More => {}
            progress => return progress,
        }
    }
}

/// What a job of `echo` printed, once it has executed and ended.
pub fn output(job: &StartedJob) -> String {
    let progress = progress(job);
    assert!(matches!(progress, Progress::Executed(_)), "{progress:?}");
    assert_eq!(wait(&job.stdout), Ok(1), "no output");
    let mut bytes = [0; 64];
    let length = sys::read(job.stdout.as_fd(), &mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

pub fn own_children_named(name: &str) -> usize {
    let own = std::process::id().cast_signed();
    let all = processes().into_iter();
    all.filter(|one| one.parent == own && one.name == name)
        .count()
}
