//! Jobs in `read` and `host` share the host's pid namespace. They see true process data, and `cgroup.kill` ends
//! them.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_tests::caller::{Caller, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::{Process, descendants, is_dead};

struct Forks(std::sync::Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Forks {
    fn start() -> Self {
        let ends = std::sync::Arc::new(AtomicBool::new(false));
        let seen = ends.clone();
        let forks = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let _ = Command::new("true").status();
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self(ends, Some(forks))
    }
}

impl Drop for Forks {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(thread::JoinHandle::join);
    }
}

/// `ps` of procps finds itself in /proc by getpid(2), after the script has forked.
#[test]
fn s12_ps_in_a_script_is_true_beside_forks() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let _forks = Forks::start();
    let text = "ps -o pid= -o comm= -p $$ || exit 1; sleep 0.03; ps -o pid= -o comm= -p $$ | head -n 1; \
                ps -o ppid= -p $! 2>/dev/null; echo $$ $(sed -n 's/^Pid:[[:space:]]*//p' /proc/$$/status)";
    for round in 0..100 {
        let report = caller.run(script(text)).expect("user A may run");
        let (said, errors) = (
            stdout(&report),
            String::from_utf8_lossy(&report.stderr.head),
        );
        let lines: Vec<Vec<&str>> = said
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 3, "{round}: {said} {errors}");
        let pid = lines[2][0];
        assert_eq!(lines[2], [pid, pid], "{round}: {said}");
        assert!(
            lines[..2].iter().all(|line| line[0] == pid),
            "{round}: {said} {errors}"
        );
    }
    daemon.stop();
}

/// `kill -0` and others report the same about a host process as they report to any user.
#[test]
fn s12_host_pid_grants_no_extra_rights() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let mut gone = Command::new("true").spawn().expect("true runs");
    let _ = gone.wait();
    for pid in [daemon.pid().to_string(), "1".into(), gone.id().to_string()] {
        let text = format!(
            "kill -0 {pid} 2>&1; prlimit --nofile -p {pid} 2>&1 | tail -n 1; test -d /proc/{pid}; echo $?"
        );
        let mut plain = Command::new("sh");
        user_a().runs(plain.args(["-c", &text]));
        let plain = plain.output().expect("sh runs");
        let report = caller.run(script(&text)).expect("user A may run");
        // The script's name, before the colon, differs.
        let last = |text: &str| -> Vec<String> {
            let words = text
                .lines()
                .map(|line| line.rsplit(':').next().unwrap_or_default());
            words.map(str::to_owned).collect()
        };
        let want = last(&String::from_utf8_lossy(&plain.stdout));
        assert_eq!(last(&stdout(&report)), want, "{pid}");
        assert!(want.len() >= 3, "{want:?}");
    }
    daemon.stop();
}

#[test]
fn s12_read_job_is_in_host_pid_namespace() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller.run(script(
        "readlink /proc/self/ns/pid; grep NSpid /proc/self/status | wc -w",
    ));
    let own = fs::read_link(format!("/proc/{}/ns/pid", daemon.pid())).expect("it lives");
    let here = Process::of(daemon.pid()).expect("it lives").nspid.len();
    let want = format!("{}\n{}\n", own.display(), here + 1);
    assert_eq!(stdout(&report.expect("user A may run")), want);
    daemon.stop();
}

/// `systemd-cgtop` of any user can read all cgroups, independent of remitd's umask.
#[test]
fn s13_a_plain_user_reads_the_cgroups_of_remit() {
    let mut daemon = Daemon::start(Options::default());
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    daemon.restart_cleanly();
    nix::sys::stat::umask(before);
    let mut caller = Caller::new(&daemon, &user_a());
    let _ = caller
        .run(at_once(script("sleep 1000")))
        .expect("it is accepted");
    let start = Instant::now();
    let job = loop {
        if let Some(job) = daemon
            .job_processes()
            .into_iter()
            .find(|it| it.name == "sleep")
        {
            break job;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it does not run");
    };
    let mounts = fs::read_to_string("/proc/self/mounts").expect("it is there");
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let root = mounts
        .lines()
        .map(fields)
        .find(|fields| fields[2] == "cgroup2");
    let root = root.expect("cgroup v2 is mounted").swap_remove(1);
    for pid in [job.pid, daemon.pid()] {
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = format!("{root}/{}", own.expect("it is in a cgroup"));
        let mut plain = Command::new("cat");
        user_a().runs(plain.arg(format!("{path}/cgroup.procs")));
        let seen = plain.output().expect("cat runs");
        let procs = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert!(
            procs.lines().any(|line| line == pid.to_string()),
            "{path}: {seen:?}"
        );
    }
    daemon.stop();
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Guard {
    Warden,
    Watchdog,
    Zygotes,
}

fn pids(daemon: &Daemon, guard: Guard) -> Vec<i32> {
    let below = descendants(daemon.pid()).into_iter();
    match guard {
        Guard::Warden => vec![daemon.pid()],
        Guard::Watchdog => daemon.watchdog().into_iter().collect(),
        Guard::Zygotes => below
            .filter(|it| it.name == "remit-zygote" && it.parent == daemon.pid())
            .filter(|it| it.state != 'Z' && !it.is_of_jobs())
            .map(|it| it.pid)
            .collect(),
    }
}

fn zygotes(daemon: &Daemon, caller: &mut Caller) {
    let start = Instant::now();
    while pids(daemon, Guard::Zygotes).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "no zygote comes");
        let _ = caller.run(script("true"));
    }
}

/// If any two of warden, PID 1 and zygotes are killed, the third ends every job. Each pair is killed 5 times, or
/// `REMIT_TEST_ROUNDS`. The test prints how long jobs outlive the kill.
#[test]
fn s12_last_of_three_guards_ends_all_jobs() {
    let rounds = std::env::var("REMIT_TEST_ROUNDS").map_or(5, |set| set.parse().expect("a number"));
    let mut took = Vec::new();
    for killed in [
        [Guard::Warden, Guard::Watchdog],
        [Guard::Warden, Guard::Zygotes],
        [Guard::Watchdog, Guard::Zygotes],
    ] {
        let mut daemon = Daemon::start(Options::default());
        for round in 0..rounds {
            let mut caller = Caller::new(&daemon, &user_a());
            zygotes(&daemon, &mut caller);
            for text in [
                "trap '' TERM HUP INT; while :; do sleep 1; done",
                "(setsid sh -c 'sleep 1000 & sleep 1000' &); sleep 1000",
                "kill -STOP $$",
            ] {
                let _ = caller.run(at_once(script(text))).expect("it is accepted");
            }
            let start = Instant::now();
            let jobs = loop {
                let jobs: Vec<_> = daemon
                    .job_processes()
                    .into_iter()
                    .filter(|it| it.name == "sleep")
                    .collect();
                if jobs.len() >= 4 {
                    break daemon.job_processes();
                }
                assert!(start.elapsed() < Duration::from_secs(30), "{jobs:?}");
            };
            let targets: Vec<i32> = killed
                .iter()
                .flat_map(|guard| pids(&daemon, *guard))
                .collect();
            assert!(targets.len() >= 2, "{killed:?}: {targets:?}");
            let start = Instant::now();
            for pid in targets {
                // PID 1 exits by itself after it has ended the jobs.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            while !jobs.iter().all(|job| is_dead(job.pid)) {
                let alive: Vec<_> = jobs.iter().filter(|job| !is_dead(job.pid)).collect();
                assert!(
                    start.elapsed() < Duration::from_secs(30),
                    "{killed:?} {round}: {alive:?}"
                );
                thread::sleep(Duration::from_millis(1));
            }
            took.push(start.elapsed());
            if killed.contains(&Guard::Warden) {
                daemon.restart();
            } else {
                // Nothing runs until the sandbox layers have been tested again.
                let mut caller = Caller::new(&daemon, &user_a());
                while caller.run(script("true")).is_err() {
                    assert!(
                        start.elapsed() < Duration::from_secs(60),
                        "nothing runs any more"
                    );
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        daemon.stop();
    }
    took.sort_unstable();
    let (kills, late) = (took.len(), Duration::from_millis(100));
    println!(
        "{kills} kills: median {:?}, longest {:?}, {} over {late:?}",
        took[kills / 2],
        took[kills - 1],
        took.iter().filter(|it| **it > late).count()
    );
}
