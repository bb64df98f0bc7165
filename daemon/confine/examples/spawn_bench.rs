//! Benchmarks fork and exec of /bin/true: bare, in `read` and in `strict`, interleaved, from the fork to the end.
//! Prints the median and, against a busy machine, the lowest tenth of 400 rounds. Run as root from a small process, as
//! the warden.

use remit_confine::*;
use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

const ROUNDS: usize = 400;

type Failure = Box<dyn std::error::Error>;

fn main() -> std::result::Result<(), Failure> {
    let limits = Limits {
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
    let kernel = probe()?;
    let sandbox = Sandbox::read(
        &ReadProfile {
            groups: vec![4],
            limits,
            ..ReadProfile::default()
        },
        &kernel,
    )?;
    let (argv, env) = (
        [CString::new("/bin/true")?],
        [CString::new("LANG=C.UTF-8")?],
    );
    let strict = Sandbox::strict(
        &StrictProfile {
            limits,
            ..StrictProfile::default()
        },
        &kernel,
    )?;
    let sandboxes = [("read", sandbox), ("strict", strict)];
    let mut bare = Vec::new();
    let mut confined = [Vec::new(), Vec::new()];
    let rounds = match std::env::args().nth(1) {
        Some(rounds) => rounds.parse::<u16>()?.max(1).into(),
        None => ROUNDS,
    };
    for round in 0..rounds as u32 {
        let start = Instant::now();
        let (pid, pidfd) = sys::bare_child(&argv, &env)?;
        wait(pidfd.as_fd())?;
        bare.push(start.elapsed());
        sys::reap(pid).ok_or("not reaped")?;

        let uid = 1_879_100_000 + round;
        let job = Job {
            uid,
            gid: uid,
            loginuid: None,
            argv: &argv,
            arguments: &[],
            path: &[],
            env: &env,
            cwd: c"/",
            stdin: None,
            script: None,
            measured: &[],
            cgroup: None,
            limits: &limits,
        };
        for ((_, sandbox), times) in sandboxes.iter().zip(&mut confined) {
            let start = Instant::now();
            let spawned = spawn(sandbox, &job, &Family::own()?)?.start();
            wait(spawned.pidfd.as_fd())?;
            times.push(start.elapsed());
            let (status, _) = sys::reap(spawned.pid).ok_or("not reaped")?;
            if !status.success() {
                let progress = StepReader::new().read(spawned.steps.as_fd());
                return Err(format!("the job failed: {status}, {progress:?}").into());
            }
        }
    }
    for (name, index) in [("median", rounds / 2), ("lowest tenth", rounds / 10)] {
        let bare = at(&mut bare, index);
        print!("{name:<13} bare {bare:>8.1?}");
        for ((kind, _), times) in sandboxes.iter().zip(&mut confined) {
            let confined = at(times, index);
            let ratio = confined.as_secs_f64() / bare.as_secs_f64();
            print!("   in `{kind}` {confined:>8.1?}   ratio {ratio:.2}");
        }
        println!();
    }
    Ok(())
}

fn wait(pidfd: BorrowedFd<'_>) -> nix::Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(
        &mut [PollFd::new(pidfd, PollFlags::POLLIN)],
        PollTimeout::NONE,
    )
    .map(drop)
}

fn at(all: &mut [Duration], index: usize) -> Duration {
    all.sort_unstable();
    all.get(index).copied().unwrap_or_default()
}
