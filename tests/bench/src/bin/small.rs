//! Runs `/bin/true` bare and in sandboxes, from a small process of one thread like the warden. Each line of standard
//! input is `fork`, `vfork`, `read`, `read_whole`, `strict` or `strict_whole`. Each answer is a line: nanoseconds from
//! the call until the pidfd reports the end. Checks and cleanup are not timed.

use std::cell::RefCell;
use std::ffi::CString;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use remit_confine::{
    Cgroups, Child, Family, Fork, Forker, Job, Limits, Profile, ReadProfile, Sandbox, StartedJob,
    StepReader, StrictProfile, Wanted, Workers, probe, spawner, sys,
};

type Failure = Box<dyn std::error::Error>;

/// The first uid of these jobs. No other user or daemon uses them: they are below a daemon's job uids.
const FIRST_UID: u32 = 1_878_000_000;
const FIRST_READ_UID: u32 = FIRST_UID + 250_000;
const FIRST_STRICT_UID: u32 = FIRST_UID + 500_000;

const LIMITS: Limits = Limits {
    nofile: 1024,
    nproc: 256,
    others: None,
    data: 1 << 30,
    cpu_s: 3600,
    fsize: 128 << 20,
    tmp_bytes: 64 << 20,
    tmp_inodes: 16 << 10,
    memory: None,
    tasks: None,
    cpu_percent: None,
};

fn main() -> ExitCode {
    if spawner::is_worker() {
        return ExitCode::from(spawner::serve());
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-bench-small: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The sandboxes by their numbers, and their workers, without a spawner.
#[derive(Debug)]
struct OwnWorkers {
    sandboxes: [Sandbox; 2],
    cgroups: Cgroups,
    workers: Workers,
}

const READ: u64 = 0;
const STRICT: u64 = 1;

impl OwnWorkers {
    fn sandbox(&self, number: u64) -> &Sandbox {
        let [read, strict] = &self.sandboxes;
        if number == READ { read } else { strict }
    }
}

impl Forker for OwnWorkers {
    fn fork(&self, number: u64, fork: Fork, fds: &[BorrowedFd<'_>]) -> remit_confine::Result<()> {
        let switch = self.cgroups.switch().as_fd();
        let sandbox = self.sandbox(number);
        self.workers.fork(sandbox, switch, &fork, fds)
    }

    fn end_worker(&self, number: u64) {
        self.workers.end_of(self.sandbox(number));
    }

    fn leave(&self, pid: i32) {
        let _ = sys::reap(pid);
    }
}

struct Small {
    own: Rc<OwnWorkers>,
    /// Pre-forked children for the next job of each kind.
    reader: RefCell<Option<Child<'static>>>,
    stricter: RefCell<Option<Child<'static>>>,
    argv: [CString; 1],
    env: [CString; 1],
    /// The last uids used: of jobs without a pre-forked child, then of each pre-forked kind.
    uid: u32,
    read_uid: u32,
    strict_uid: u32,
}

fn serve() -> Result<(), Failure> {
    let kernel = probe()?;
    let read = ReadProfile {
        groups: vec![4],
        limits: LIMITS,
        ..ReadProfile::default()
    };
    let strict = StrictProfile {
        limits: LIMITS,
        ..StrictProfile::default()
    };
    let compile = |profile| {
        let wanted = Wanted {
            profile,
            is_audited: false,
        };
        Sandbox::compile(wanted, &kernel)
    };
    let read = compile(Profile::Read(read))?;
    let cgroups = Cgroups::open("remit-bench")?;
    let strict = compile(Profile::Strict(strict))?;
    let workers = Workers::new(c"/proc/self/exe", Family::own()?)?;
    workers.warm(&read, cgroups.switch().as_fd())?;
    workers.warm(&strict, cgroups.switch().as_fd())?;
    let own = OwnWorkers {
        sandboxes: [read, strict],
        cgroups,
        workers,
    };
    let mut small = Small {
        own: Rc::new(own),
        reader: RefCell::default(),
        stricter: RefCell::default(),
        argv: [CString::new("/bin/true")?],
        env: [CString::new("LANG=C.UTF-8")?],
        uid: FIRST_UID,
        read_uid: FIRST_READ_UID,
        strict_uid: FIRST_STRICT_UID,
    };
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut line = String::new();
    while stdin.read_line(&mut line)? > 0 {
        let took = match line.trim_end() {
            "fork" => small.fork()?,
            "vfork" => small.vfork()?,
            "read" => {
                small.read_uid += 1;
                small.confined(small.read_uid, |job| {
                    small.spawn_preforked(&small.reader, READ, job)
                })?
            }
            "strict" => {
                small.strict_uid += 1;
                small.confined(small.strict_uid, |job| {
                    small.spawn_preforked(&small.stricter, STRICT, job)
                })?
            }
            "read_whole" => {
                small.uid += 1;
                small.confined(small.uid, |job| small.spawn(READ, job, None))?
            }
            "strict_whole" => {
                small.uid += 1;
                small.confined(small.uid, |job| small.spawn(STRICT, job, None))?
            }
            other => return Err(format!("'{other}' is no way to run anything").into()),
        };
        stdout.write_all(format!("{}\n", took.as_nanos()).as_bytes())?;
        line.clear();
    }
    Ok(())
}

impl Small {
    fn fork(&self) -> Result<Duration, Failure> {
        let [program] = &self.argv;
        let (argv, env) = (
            sys::Pointers::new(&self.argv),
            sys::Pointers::new(&self.env),
        );
        let start = Instant::now();
        let (pid, pidfd) = sys::fork(sys::ForkCall::Clone3, None, || {
            sys::execve(program, &argv, &env);
            127
        })?;
        wait(pidfd.as_fd())?;
        let took = start.elapsed();
        succeeded(pid)?;
        Ok(took)
    }

    fn vfork(&self) -> Result<Duration, Failure> {
        let [program] = &self.argv;
        let start = Instant::now();
        let actions = PosixSpawnFileActions::init()?;
        let attributes = PosixSpawnAttr::init()?;
        let pid = posix_spawn(
            program.as_c_str(),
            &actions,
            &attributes,
            &self.argv,
            &self.env,
        )?;
        let pidfd = sys::pidfd_open(pid.as_raw())?;
        wait(pidfd.as_fd())?;
        let took = start.elapsed();
        succeeded(pid.as_raw())?;
        Ok(took)
    }

    /// Spawns like the warden: the next child is pre-forked while this one runs.
    fn spawn_preforked(
        &self,
        waiting: &RefCell<Option<Child<'static>>>,
        sandbox: u64,
        job: &Job<'_>,
    ) -> remit_confine::Result<StartedJob> {
        let started = self.spawn(sandbox, job, waiting.take())?;
        let next = (job.uid + 1, job.gid + 1);
        waiting.replace(Child::ask(self.own.clone(), sandbox, next, None, None, None).ok());
        Ok(started)
    }

    fn spawn(
        &self,
        sandbox: u64,
        job: &Job<'_>,
        waiting: Option<Child<'_>>,
    ) -> remit_confine::Result<StartedJob> {
        if let Some(Ok(started)) = waiting.map(|child| child.begin(job)) {
            return Ok(started);
        }
        let size = Some((job.limits.tmp_bytes, job.limits.tmp_inodes));
        Child::ask(
            self.own.clone(),
            sandbox,
            (job.uid, job.gid),
            size,
            None,
            None,
        )?
        .begin(job)
    }

    fn confined(
        &self,
        uid: u32,
        start_it: impl FnOnce(&Job<'_>) -> remit_confine::Result<StartedJob>,
    ) -> Result<Duration, Failure> {
        let job = Job {
            uid,
            gid: uid,
            loginuid: None,
            argv: &self.argv,
            arguments: &[],
            path: &[],
            env: &self.env,
            cwd: c"/",
            stdin: None,
            script: None,
            staged: None,
            kept: None,
            measured: &[],
            cgroup: None,
            limits: &LIMITS,
        };
        let start = Instant::now();
        let spawned = start_it(&job)?;
        wait(spawned.pidfd.as_fd())?;
        let took = start.elapsed();
        succeeded(spawned.pid).map_err(|why| {
            let progress = StepReader::new().read(spawned.steps.as_fd());
            format!("{why}, {progress:?}")
        })?;
        Ok(took)
    }
}

fn wait(pidfd: BorrowedFd<'_>) -> nix::Result<()> {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).map(drop)
}

fn succeeded(pid: i32) -> Result<(), Failure> {
    match sys::reap(pid) {
        Some((status, _)) if status.success() => Ok(()),
        other => Err(format!("'/bin/true' failed: {:?}", other.map(|it| it.0)).into()),
    }
}
