//! Thousands of jobs of all kinds leave the daemon unchanged: memory, descriptors, threads, mounts, cgroups,
//! files.
//!
//! `REMIT_SOAK_JOBS` sets the number. `make soak` runs 25 times as many as `make test`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Caller, argv, at_once, script, writes};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::holdings::{Compared, Holdings};
use remit_tests::process::{Identity, seen};
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

/// Default of `REMIT_SOAK_JOBS`.
const JOBS: u32 = 400;
/// Before the first measurement both users have as many ended jobs as are remembered, and some more.
const WARM_UP: u32 = 2 * caps::ENDED_PER_UID as u32 + 300;
const CLIENTS: u32 = 2;
const PER_CONNECTION: u32 = 50;
/// Memory may grow by a tenth and this many KiB, because an allocator keeps freed memory.
const MARGIN: u64 = 512;

struct Client<'a> {
    daemon: &'a Daemon,
    user: Identity,
    caller: Caller,
}

impl<'a> Client<'a> {
    fn new(daemon: &'a Daemon, user: Identity) -> Self {
        Self {
            daemon,
            caller: Caller::new(daemon, &user),
            user,
        }
    }

    fn patiently(
        &mut self,
        mut ask: impl FnMut(&mut Caller) -> Result<JobReport, Refusal>,
    ) -> JobReport {
        loop {
            match ask(&mut self.caller) {
                Ok(report) => return report,
                // The limit is per second; the next request is permitted in 5 ms.
                Err(refusal) if refusal.code == Code::RateLimited => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(refusal) => panic!("{refusal}"),
            }
        }
    }

    fn run(&mut self, run: &Run, expected: State) -> JobId {
        let report = self.patiently(|caller| caller.run(run.clone()));
        assert_eq!(report.state, expected, "{report:?}");
        report.job
    }

    fn job(&mut self, number: u32) -> Option<JobId> {
        match number % 10 {
            0 => self.run(&argv(&["true"]), State::Exited),
            1 => self.run(&argv(&["seq", "3000"]), State::Exited),
            2 => self.run(&script("echo out; echo err >&2"), State::Exited),
            3 => self.run(&writes(&[b'x'; 10_000]), State::Exited),
            4 => self.run(&script("exit 3"), State::Exited),
            5 => self.run(&argv(&["no-such-program"]), State::NotStarted),
            6 => self.run(&script("kill -KILL $$"), State::Signalled),
            7 => self.run(&script("setsid sleep 1000 & (sleep 1000 &)"), State::Exited),
            8 => self.run(&script("seq 40000; seq 40000 >&2"), State::Exited),
            _ if number % 40 == 9 => {
                let short = Run {
                    max_runtime_s: Some(1),
                    ..at_once(argv(&["sleep", "1000"]))
                };
                return Some(self.run(&short, State::Running));
            }
            _ => {
                let job = self.run(&at_once(argv(&["sleep", "1000"])), State::Running);
                let report = self.patiently(|caller| caller.stop(job));
                assert_eq!(report.state, State::Cancelled, "{report:?}");
                job
            }
        };
        None
    }

    fn work(mut self, next: &AtomicU32, all: u32) {
        let mut late = Vec::new();
        for done in 1.. {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= all {
                break;
            }
            late.extend(self.job(number));
            if done % PER_CONNECTION == 0 {
                for job in late.drain(..) {
                    self.timed_out(job);
                }
                self = Self::new(self.daemon, self.user);
            }
        }
        for job in late {
            self.timed_out(job);
        }
    }

    fn timed_out(&mut self, job: JobId) {
        let report = self.patiently(|caller| caller.job(job, caps::WAIT_MS));
        assert_eq!(report.state, State::TimedOut, "{report:?}");
    }
}

fn run(daemon: &Daemon, jobs: u32) -> Duration {
    let (start, next) = (Instant::now(), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for user in [user_a(), user_b()] {
            for _ in 0..CLIENTS {
                let client = Client::new(daemon, user.clone());
                scope.spawn(|| client.work(&next, jobs));
            }
        }
    });
    start.elapsed()
}

/// Counter-check: a running job is visible in the measurements.
#[test]
fn running_job_is_counted_in_holdings() {
    let daemon = Daemon::start(Options::default());
    let before = Holdings::at_rest(&daemon);
    let mut caller = Caller::new(&daemon, &user_a());
    let run = at_once(script("echo out; exec sleep 1000"));
    let job = caller.run(run).expect("user A has a grant").job;
    let written = caller.follow(job, [0, 0], caps::WAIT_MS);
    assert_eq!(
        written.expect("it is ours").stdout.bytes.as_slice(),
        b"out\n"
    );
    // The daemon checks a start only a moment later.
    let enforced = || caller.job(job, 0).expect("it is ours").enforced;
    let layers = seen("it runs", enforced).layers;
    let now = Holdings::of(&daemon);
    let cgroups = usize::from(layers.iter().any(|layer| layer == "cgroup"));
    // Cgroups of the next two jobs are made in advance, one after the other.
    let in_advance = now.cgroups.len() - cgroups;
    assert!(in_advance <= 2 * cgroups, "{in_advance} are pre-forked");
    assert_eq!(now.processes, 1);
    assert_eq!(now.spool_files, 1);
    assert!(now.warden.descriptors > before.warden.descriptors);
    assert!(now.broker.descriptors > before.broker.descriptors);
    let _ = caller.stop(job).expect("it is ours");
    drop(caller);
    before.are_again_of(&daemon);
    daemon.stop();
}

#[test]
fn thousands_of_jobs_leak_nothing() {
    let jobs = match std::env::var("REMIT_SOAK_JOBS") {
        Ok(text) => text.parse().expect("a number of jobs"),
        Err(_) => JOBS,
    };
    let daemon = Daemon::start(Options::default());
    let fresh = Holdings::at_rest(&daemon);
    let _ = run(&daemon, WARM_UP);
    let before = Holdings::at_rest(&daemon);
    let took = run(&daemon, jobs);
    let after = Holdings::at_rest(&daemon);
    let compared = Compared(&before, &after);
    println!("{WARM_UP} jobs to warm up, then {jobs} in {took:.1?}\n{compared}");

    assert_eq!(before.counts(), after.counts(), "\n{compared}");
    assert_eq!(
        fresh.counts(),
        after.counts(),
        "\n{}",
        Compared(&fresh, &after)
    );
    for (name, before, after) in [
        ("warden", before.warden.rss, after.warden.rss),
        ("watchdog", before.watchdog.rss, after.watchdog.rss),
        ("broker", before.broker.rss, after.broker.rss),
    ] {
        let most = before + before / 10 + MARGIN;
        assert!(
            after <= most,
            "the {name} grew from {before} to {after} KiB, over {most}"
        );
    }
    // Two streams of each remembered job.
    let files = 2 * 2 * caps::ENDED_PER_UID;
    assert!(
        after.spool_files <= files,
        "{} files in the spool",
        after.spool_files
    );
    let grown = |before: u64, after: u64| after > before + before / 10;
    assert!(
        !grown(before.spool_bytes, after.spool_bytes),
        "\n{compared}"
    );
    assert!(
        !grown(before.ledger_bytes, after.ledger_bytes),
        "\n{compared}"
    );
    daemon.is_well();
    daemon.stop();
}
