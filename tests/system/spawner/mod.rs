//! The process that forks jobs dies, is stopped, or outlives the warden: every job ends, each with a record, and
//! nothing of it is left.

mod messages;
mod stage;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::outcome::State;
use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::{children, descendants, ends_within, processes, status_field, until};

/// Milliseconds in which the daemon must end: it waits ten seconds for an answer.
const ENDS_MS: u16 = 40_000;

pub fn spawner(daemon: &Daemon) -> i32 {
    let below = descendants(daemon.pid());
    let mut spawners = below
        .iter()
        .filter(|one| one.name == "remit-spawner" && one.uid == 0);
    spawners.next().expect("there is a spawner").pid
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("it lives");
}

/// The daemon has ended by itself, no process of a job or of the daemon is left, and each job has one end.
fn all_ended_in_order(daemon: &mut Daemon, left: &[i32]) {
    assert!(ends_within(daemon.pid(), ENDS_MS), "{}", daemon.stderr());
    let said = daemon.stderr();
    assert!(said.contains("remit-spawner died"), "{said}");
    for pid in left {
        assert!(ends_within(*pid, 20_000), "{pid} is left");
    }
    let stop = daemon.records("stop");
    let last = stop.last().expect("it has stopped in order");
    let cause = last["REMIT_CAUSE"].as_str().unwrap_or_default();
    assert!(cause.contains("remit-spawner died"), "{last}");
}

fn below(daemon: &Daemon) -> Vec<i32> {
    let below = descendants(daemon.pid());
    let jobs = daemon.job_processes();
    below.iter().chain(&jobs).map(|one| one.pid).collect()
}

#[test]
fn killed_spawner_ends_all_jobs_and_the_daemon() {
    let mut daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let jobs = [(); 3].map(|()| {
        let run = at_once(script("trap '' TERM; sleep 1000 & sleep 1000"));
        caller.run(run).expect("user A has a grant").job
    });
    let left = below(&daemon);
    signal(spawner(&daemon), Signal::SIGKILL);
    all_ended_in_order(&mut daemon, &left);
    assert_eq!(daemon.records("end").len(), jobs.len());
    daemon.restart();
    assert_eq!(daemon.records("interrupted").len(), 0, "recorded twice");
    let mut caller = Caller::new(&daemon, &user_a());
    for job in jobs {
        assert_eq!(caller.end_of(job).state, State::Interrupted);
    }
    let report = caller.run(script("echo again")).expect("it runs again");
    assert_eq!(report.state, State::Exited);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn stopped_spawner_starts_nothing_and_ends_with_the_daemon() {
    let mut daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let job = caller
        .run(at_once(script("sleep 1000")))
        .expect("user A has a grant")
        .job;
    let mark = daemon.path().join("ran");
    let left = below(&daemon);
    signal(spawner(&daemon), Signal::SIGSTOP);
    let text = format!("touch {} || echo ran", mark.display());
    let answer = caller.run(script(&text));
    let ran = answer.is_ok_and(|report| report.state == State::Exited);
    assert!(!ran, "a stopped process has started a job");
    all_ended_in_order(&mut daemon, &left);
    daemon.restart();
    let mut caller = Caller::new(&daemon, &user_a());
    assert_eq!(caller.end_of(job).state, State::Interrupted);
    daemon.is_well();
    daemon.stop();
}

/// A machine that swaps is slow, and then everything goes on: the warden waits ten seconds.
#[test]
fn slow_spawner_starts_each_job_once() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let (warden, spawner) = (daemon.pid(), spawner(&daemon));
    for also_warden in [false, true] {
        signal(spawner, Signal::SIGSTOP);
        let goes_on = std::thread::spawn(move || {
            let moment = || std::thread::sleep(Duration::from_millis(300));
            moment();
            if also_warden {
                signal(warden, Signal::SIGSTOP);
                moment();
                signal(warden, Signal::SIGCONT);
            }
            signal(spawner, Signal::SIGCONT);
        });
        let report = caller.run(script("echo once")).expect("it is only slow");
        assert_eq!(report.state, State::Exited, "{report:?}");
        assert_eq!(stdout(&report), "once\n");
        goes_on.join().expect("both live");
    }
    assert_eq!(daemon.records("intent").len(), 2);
    assert_eq!(daemon.records("end").len(), 2);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn idle_daemon_ends_with_its_killed_spawner() {
    let mut daemon = Daemon::start(Options::default());
    let left = below(&daemon);
    signal(spawner(&daemon), Signal::SIGKILL);
    all_ended_in_order(&mut daemon, &left);
    daemon.restart();
    daemon.is_well();
    daemon.stop();
}

#[test]
fn spawner_ends_with_the_warden_whatever_it_does() {
    for stopped in [false, true] {
        let mut daemon = Daemon::start(Options::default());
        let mut caller = Caller::new(&daemon, &user_a());
        let _ = caller
            .run(at_once(script("sleep 1000")))
            .expect("user A has a grant");
        let (spawner, left) = (spawner(&daemon), below(&daemon));
        if stopped {
            signal(spawner, Signal::SIGSTOP);
        }
        let start = Instant::now();
        daemon.signal(Signal::SIGKILL);
        assert!(ends_within(daemon.pid(), 20_000));
        // Whoever is stopped ends nothing; the watchdog and the workers do.
        let rest = || left.iter().filter(|pid| !stopped || **pid != spawner);
        for pid in rest() {
            assert!(
                ends_within(*pid, 20_000),
                "{pid} is left after {:?}",
                start.elapsed()
            );
        }
        if stopped {
            signal(spawner, Signal::SIGCONT);
            assert!(ends_within(spawner, 20_000), "it outlives the warden");
        }
        daemon.restart();
        assert_eq!(daemon.records("interrupted").len(), 1);
        daemon.stop();
    }
}

/// The sandbox is the spawner's: both are in the namespaces that they were born in.
#[test]
fn workers_and_jobs_are_children_of_the_warden() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let _ = caller
        .run(at_once(argv(&["sleep", "1000"])))
        .expect("user A has a grant");
    let (warden, spawner) = (daemon.pid(), spawner(&daemon));
    for name in ["remit-zygote", "sleep"] {
        until(name, || {
            children(warden).iter().any(|child| child.name == name)
        });
    }
    assert!(
        processes().iter().all(|one| one.parent != spawner),
        "the spawner has children"
    );
    // The filter of the warden is for itself, and no process of a job inherits it.
    assert_eq!(status_field(warden, "Seccomp").as_deref(), Some("2"));
    assert_eq!(status_field(spawner, "Seccomp").as_deref(), Some("0"));
    assert_eq!(status_field(warden, "NoNewPrivs").as_deref(), Some("1"));
    assert_eq!(status_field(spawner, "NoNewPrivs").as_deref(), Some("0"));
    // CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_SYS_ADMIN. capabilities(7).
    let rule_the_machine = [1, 12, 16, 19, 21].map(|capability| 1 << capability);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        let held = status_field(warden, set).expect("the kernel shows it");
        let held = u64::from_str_radix(&held, 16).expect("a number");
        assert!(
            rule_the_machine.iter().all(|one| held & one == 0),
            "{set} {held:x}"
        );
    }
    for kind in ["mnt", "pid", "net"] {
        let of = |pid| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it lives");
        assert_eq!(of(warden), of(spawner));
    }
    daemon.stop();
}
