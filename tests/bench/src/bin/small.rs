//! Runs `/bin/true` bare and behind the walls of a sandbox, from a small process of one thread as the warden is one.
//!
//! Each line of standard input is `fork`, `vfork`, `read`, `read_whole` or `strict`; the answer is a line: nanoseconds from the call to
//! the moment its process has ended, as its pidfd tells. What only checks or cleans up is not timed.

use std::ffi::CString;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use remit_confine::{
    Job, Keeper, Kernel, Limits, ReadProfile, Sandbox, Spawned, StepReader, StrictProfile, Zygotes,
    floor, spawn, zygote,
};

type Failure = Box<dyn std::error::Error>;

/// The first uid of the jobs here, of nobody else: below those that jobs of a daemon have.
const FIRST_UID: u32 = 1_878_000_000;

const LIMITS: Limits = Limits {
    nofile: 1024,
    nproc: 256,
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
    if zygote::asked_for() {
        return ExitCode::from(zygote::serve());
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-bench-small: {why}");
            ExitCode::FAILURE
        }
    }
}

/// All that is made once.
struct Small {
    read: Sandbox,
    strict: Sandbox,
    keeper: Keeper,
    zygotes: Zygotes,
    argv: [CString; 1],
    env: [CString; 1],
    uid: u32,
}

fn serve() -> Result<(), Failure> {
    let kernel = Kernel::probe()?;
    let read = ReadProfile {
        groups: vec![4],
        limits: LIMITS,
        ..ReadProfile::default()
    };
    let strict = StrictProfile {
        limits: LIMITS,
        ..StrictProfile::default()
    };
    let read = Sandbox::read(&read, &kernel)?;
    let keeper = Keeper::start(FIRST_UID, FIRST_UID)?;
    let zygotes = Zygotes::of_this_program()?;
    zygotes.warm(&read, &keeper)?;
    let mut small = Small {
        read,
        strict: Sandbox::strict(&strict, &kernel)?,
        keeper,
        zygotes,
        argv: [CString::new("/bin/true")?],
        env: [CString::new("LANG=C.UTF-8")?],
        uid: FIRST_UID,
    };
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let mut line = String::new();
    while stdin.read_line(&mut line)? > 0 {
        let took = match line.trim_end() {
            "fork" => small.fork()?,
            "vfork" => small.vfork()?,
            "read" => small.confined(|small, job| {
                let spawned = small.zygotes.spawn(&small.read, &small.keeper, job)?;
                // As the warden does: the next one is made while this one runs.
                small.zygotes.prepare(None);
                Ok(spawned)
            })?,
            "read_whole" => small.confined(|small, job| spawn(&small.read, &small.keeper, job))?,
            // Not by way of the zygotes: that would end the child they have ready for the next `read`.
            "strict" => small.confined(|small, job| spawn(&small.strict, &small.keeper, job))?,
            other => return Err(format!("'{other}' is no way to run anything").into()),
        };
        stdout.write_all(format!("{}\n", took.as_nanos()).as_bytes())?;
        line.clear();
    }
    Ok(())
}

impl Small {
    fn fork(&self) -> Result<Duration, Failure> {
        let start = Instant::now();
        let (pid, pidfd) = floor::bare_child(&self.argv, &self.env)?;
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
        let pidfd = floor::pidfd_open(pid.as_raw())?;
        wait(pidfd.as_fd())?;
        let took = start.elapsed();
        succeeded(pid.as_raw())?;
        Ok(took)
    }

    fn confined(
        &mut self,
        start_it: fn(&Self, &Job<'_>) -> remit_confine::Result<Spawned>,
    ) -> Result<Duration, Failure> {
        self.uid += 1;
        let job = Job {
            uid: self.uid,
            gid: self.uid,
            loginuid: None,
            argv: &self.argv,
            places: &[],
            path: &[],
            env: &self.env,
            cwd: c"/",
            stdin: None,
            script: None,
            measured: &[],
            cgroup: None,
            limits: &LIMITS,
        };
        let start = Instant::now();
        let spawned = start_it(self, &job)?;
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
    match floor::reap(pid) {
        Some((status, _)) if status.success() => Ok(()),
        other => Err(format!("'/bin/true' failed: {:?}", other.map(|it| it.0)).into()),
    }
}
