//! Measures the CPU time that installing a filter costs a process.
//!
//! `REMIT_BENCH=1 cargo test --release -p remit-confine cost_of_a_filter -- --nocapture`

use super::*;
use crate::sys;
use std::os::fd::AsFd;
use std::time::Duration;

const ROUNDS: usize = 400;

#[test]
fn cost_of_a_filter() {
    if std::env::var_os("REMIT_BENCH").is_none() {
        return;
    }
    let class = Class::default();
    let whole = compile(EnabledLayers::ALL, class).unwrap();
    let both = halves(EnabledLayers::ALL, class).unwrap();
    let least = bpf::assemble(Arch::here().unwrap().audit(), &[], Rule::Allow, |_| true);
    let rows: [(&str, Option<&Program>, &Program); 5] = [
        ("one that allows all", None, &least),
        ("the whole", None, &whole),
        ("inherited", None, &both.inherited),
        ("closing, alone", None, &both.closing),
        (
            "closing, over inherited",
            Some(&both.inherited),
            &both.closing,
        ),
    ];
    let mut times = rows.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, before, program), times) in rows.iter().zip(&mut times) {
            times.push(installing(*before, program));
        }
    }
    for ((name, _, program), mut times) in rows.into_iter().zip(times) {
        times.sort_unstable();
        let (median, lowest) = (times[ROUNDS / 2], times[ROUNDS / 10]);
        let length = program.instructions().len();
        println!("{name:24} {length:3} instructions {median:9.1?} (lowest tenth {lowest:.1?})");
    }
}

fn installing(before: Option<&Program>, program: &Program) -> Duration {
    let (read, write) = nix::unistd::pipe().unwrap();
    let child = || {
        let ready = before.map_or(Ok(()), |p| sys::install_filter(p.instructions()));
        if ready.and_then(|()| sys::no_new_privs()).is_err() {
            return 1;
        }
        let start = now();
        if sys::install_filter(program.instructions()).is_err() {
            return 2;
        }
        let end = now();
        let _ = sys::write(write.as_fd(), &(end - start).to_ne_bytes());
        0
    };
    let call = crate::spec::kernel::fork_call().unwrap();
    let (pid, _pidfd) = sys::fork(call, None, child).unwrap();
    let mut spent = [0; 8];
    assert_eq!(sys::read(read.as_fd(), &mut spent).unwrap(), 8);
    sys::wait(pid, 0).unwrap();
    Duration::from_nanos(u64::from_ne_bytes(spent))
}

#[allow(unsafe_code)]
fn now() -> i64 {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: a clock that every kernel has, and a valid pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
