//! Kills two of the processes that keep the jobs, one just after the other: no process of a job is left, and each job has
//! one end. Which of the two is first, and when, is random; so jobs are running, starting, or waiting.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_tests::caller::{Caller, at_once, script};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::holdings::job_directories;
use remit_tests::process::{descendants, ends_within, has_ended_within, pidfd};
use remit_tests::random::Random;
use remit_wire::Run;
use remit_wire::outcome::State;
use serde_json::Value;

use super::{moment, part, times, worker};

/// Rounds of each pair.
const ROUNDS: u32 = 2;
/// Maximum microseconds between the last request and the first death, and between the two deaths.
const BEFORE: u32 = 40_000;
const BETWEEN: u32 = 3_000;
/// Milliseconds in which a process of a job should be gone. Measured, because a busy machine may need longer.
const SOON: Duration = Duration::from_millis(100);
/// Milliseconds in which it must be gone.
const GONE_MS: u16 = 20_000;
const SLOTS: usize = 6;

/// A job that does not end by itself, or not soon, and its sandbox.
const JOBS: [(&str, &str); 8] = [
    ("read", "sleep 1000"),
    ("read", "trap '' TERM HUP INT; while :; do sleep 1; done"),
    (
        "read",
        "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &); sleep 1000",
    ),
    (
        "strict",
        "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; wait",
    ),
    ("strict", "kill -STOP $$"),
    ("read", "while :; do (:) & (:) & wait; done"),
    // These wait for a slot.
    ("read", "sleep 1000"),
    ("strict", "sleep 1000"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Warden,
    Spawner,
    Worker,
    Watchdog,
}

use Part::{Spawner, Warden, Watchdog, Worker};

impl Part {
    fn pid(self, daemon: &Daemon) -> i32 {
        let pid = match self {
            Warden => Some(daemon.pid()),
            Spawner => part(daemon, "remit-spawner"),
            Worker => worker(daemon),
            Watchdog => daemon.watchdog(),
        };
        pid.unwrap_or_else(|| panic!("there is no {self:?}: {}", daemon.stderr()))
    }
}

fn options() -> Options {
    let grant = "[[grant]]\nname = \"strict\"\nto = [\"#64001\"]\nallow = [\"run\"]\nprofile = \"strict\"\n\
                 approval = \"none\"\n";
    let options = Options::default();
    Options {
        jobs: SLOTS,
        waiting: JOBS.len(),
        policy: format!("{}\n{grant}", options.policy),
        ..options
    }
}

/// Returns true if the warden ends.
fn ends_warden(pair: [Part; 2]) -> bool {
    pair.contains(&Warden) || pair.contains(&Spawner)
}

fn start_jobs(daemon: &Daemon, count: usize) -> Vec<JobId> {
    let mut caller = Caller::new(daemon, &user_a());
    let mut start = |(profile, text): &(&str, &str)| {
        let run = Run {
            profile: Some((*profile).to_owned()),
            ..at_once(script(text))
        };
        caller.run(run).expect("user A has a grant").job
    };
    JOBS.iter().take(count).map(&mut start).collect()
}

fn kill_both(daemon: &Daemon, pair: [Part; 2], random: &mut Random) {
    let pids = pair.map(|part| part.pid(daemon));
    let died: Vec<OwnedFd> = pids.iter().filter_map(|pid| pidfd(*pid)).collect();
    assert_eq!(died.len(), 2, "{pair:?} live");
    moment(random.below(BEFORE));
    for pid in pids {
        // The first death may be the reason of the other one.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        moment(random.below(BETWEEN));
    }
    for process in died {
        assert!(has_ended_within(&process, 10_000), "{pair:?} do not die");
    }
}

/// Waits until no process is in the cgroup, or it is gone.
fn until_empty(cgroup: &Path) {
    while let Ok(events) = File::open(cgroup.join("cgroup.events"))
        && let Ok(text) = std::io::read_to_string(&events)
        && text.lines().any(|line| line == "populated 1")
    {
        let mut change = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        let changed = poll(&mut change, GONE_MS).expect("poll works");
        let left = || fs::read_to_string(cgroup.join("cgroup.procs"));
        assert!(changed > 0, "in {}: {:?}", cgroup.display(), left());
    }
}

/// Returns the cgroups in which processes of jobs may be.
fn cgroups(daemon: &Daemon, jobs: &[JobId], pair: [Part; 2]) -> Vec<PathBuf> {
    let directories = job_directories(daemon.pid());
    assert!(!directories.is_empty(), "the jobs are in no cgroup");
    if ends_warden(pair) {
        return directories;
    }
    // A warden that lives tests its sandbox again, in cgroups beside those of the jobs.
    let beside = |dir: &PathBuf| -> Vec<PathBuf> {
        let of_jobs = jobs.iter().map(|job| dir.join(format!("remit-{job}")));
        of_jobs.collect()
    };
    directories.iter().flat_map(beside).collect()
}

/// Returns how long processes of jobs outlived the second death.
fn round(daemon: &mut Daemon, pair: [Part; 2], random: &mut Random) -> Duration {
    // Under a warden that lives, those that wait begin after all.
    let count = if ends_warden(pair) { JOBS.len() } else { SLOTS };
    let jobs = start_jobs(daemon, count);
    let below: Vec<i32> = descendants(daemon.pid())
        .iter()
        .map(|one| one.pid)
        .collect();
    let cgroups = cgroups(daemon, &jobs, pair);
    kill_both(daemon, pair, random);
    let start = Instant::now();
    cgroups.iter().for_each(|cgroup| until_empty(cgroup));
    let took = start.elapsed();
    if ends_warden(pair) {
        assert!(ends_within(daemon.pid(), 60_000), "{}", daemon.stderr());
        for pid in below {
            assert!(ends_within(pid, GONE_MS), "{pid} outlives {pair:?}");
        }
        daemon.restart_insistently();
    }
    let mut caller = Caller::new(daemon, &user_a());
    for job in &jobs {
        let end = caller.end_of(*job);
        assert!(end.state == State::Interrupted, "{pair:?}: {end:?}");
    }
    if !ends_warden(pair) {
        // After a loss it starts no worker for a while.
        daemon.restart_cleanly();
    }
    took
}

/// Each job that was started or waited has one end, and nothing else has one. A warden that dies while it writes an end
/// leaves it open whether it did, and the next one says so in its own.
fn each_has_one_end(daemon: &Daemon) {
    let of = |events: &[&str], is_certain: bool| -> Vec<String> {
        let records = events.iter().flat_map(|event| daemon.records(event));
        let certain = records.filter(|record| !is_certain || record["REMIT_AGAIN"] != "maybe");
        let job = |record: Value| record["REMIT_JOB"].as_str().map(str::to_owned);
        certain.filter_map(job).collect()
    };
    let set = |jobs: Vec<String>| jobs.into_iter().collect::<BTreeSet<_>>();
    let (started, ended) = (["intent", "queued"], ["end", "interrupted"]);
    assert_eq!(set(of(&ended, false)), set(of(&started, false)));
    let certain = of(&ended, true);
    assert_eq!(set(certain.clone()).len(), certain.len(), "recorded twice");
}

fn pair_leaves_nothing(pair: [Part; 2]) {
    let mut random = Random::seeded_by("REMIT_CHAOS_SEED");
    let mut daemon = Daemon::start(options());
    let mut took: Vec<Duration> = (0..times("REMIT_CHAOS_PAIRS", ROUNDS))
        .map(|_| {
            let [one, other] = pair;
            let in_order = if random.once_in(2) {
                pair
            } else {
                [other, one]
            };
            round(&mut daemon, in_order, &mut random)
        })
        .collect();
    took.sort_unstable();
    let late = took.iter().filter(|took| **took > SOON).count();
    let (rounds, median) = (took.len(), took[took.len() / 2]);
    println!(
        "{pair:?}: {rounds} rounds; the last process of a job was gone after {median:.1?} (median), {:.1?} (longest), \
         later than {SOON:?} in {late}",
        took[rounds - 1]
    );
    each_has_one_end(&daemon);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn killed_warden_and_spawner_leave_no_job() {
    pair_leaves_nothing([Warden, Spawner]);
}

#[test]
fn killed_warden_and_worker_leave_no_job() {
    pair_leaves_nothing([Warden, Worker]);
}

#[test]
fn killed_warden_and_watchdog_leave_no_job() {
    pair_leaves_nothing([Warden, Watchdog]);
}

#[test]
fn killed_spawner_and_worker_leave_no_job() {
    pair_leaves_nothing([Spawner, Worker]);
}

#[test]
fn killed_spawner_and_watchdog_leave_no_job() {
    pair_leaves_nothing([Spawner, Watchdog]);
}

#[test]
fn killed_worker_and_watchdog_leave_no_job() {
    pair_leaves_nothing([Worker, Watchdog]);
}
