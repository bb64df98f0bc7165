//! Other processes keep the output pipes of a job locked, and nobody else waits for them.
//!
//! A pipe has one lock. Closing the last descriptor of an end takes it, and no signal interrupts that wait.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_tests::blocking::{LockedPipe, reopen};
use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::{
    Identity, Process, descendants, has_ended_within, is_dead, pidfd, seen, status_field, until,
};
use remit_wire::Run;
use remit_wire::outcome::JobReport;

/// The user of profile `named`: without an account, and another uid for each test.
struct Named(u32);

impl Named {
    fn daemon(&self) -> Daemon {
        let usual = Options::default();
        let policy = format!(
            "{}\n[profile.named]\nbase = \"strict\"\nuser = \"#{}\"\n\n[[grant]]\nname = \"named\"\n\
             to = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"named\"\napproval = \"none\"\n",
            usual.policy, self.0
        );
        Daemon::start(Options { policy, ..usual })
    }

    fn neighbour(&self) -> Identity {
        Identity::new(self.0, &[])
    }

    fn begin(&self, daemon: &Daemon, caller: &mut Caller, run: Run, name: &str) -> (JobId, i32) {
        let run = Run {
            profile: Some("named".into()),
            ..at_once(run)
        };
        let job = caller.run(run).expect("it is granted").job;
        let is_it = |process: &Process| process.uid == self.0 && process.name == name;
        let pid = seen("the job's process", || {
            let all = descendants(daemon.pid());
            all.iter().find(|one| is_it(one)).map(|one| one.pid)
        });
        (job, pid)
    }
}

fn others_are_served(daemon: &Daemon, locks: &[LockedPipe]) {
    for _ in 0..3 {
        let mut other = Caller::new(daemon, &user_b());
        let job = other.run(argv(&["true"])).expect("it is granted").job;
        let ended = other.end_of(job).ending;
        assert_eq!(ended.and_then(|ending| ending.exit), Some(0));
    }
    assert!(
        locks.iter().all(LockedPipe::is_locked),
        "others waited for the lock"
    );
}

fn stops_in_order(daemon: &mut Daemon, locks: &[LockedPipe]) {
    let ended = daemon.end_alone();
    assert!(
        locks.iter().all(LockedPipe::is_locked),
        "the stop waited for the lock"
    );
    assert!(ended, "{}", daemon.stderr());
}

fn has_open(pid: i32, pipe: &Path) -> bool {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let mut names = all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    names.any(|name| name == pipe)
}

/// Ends the only process of a job while another process holds its pipes open and locked.
fn locked_after_the_end(
    named: &Named,
    daemon: &Daemon,
    caller: &mut Caller,
) -> (JobId, [PathBuf; 2], Vec<LockedPipe>) {
    let (job, pid) = named.begin(daemon, caller, argv(&["sleep", "3600"]), "sleep");
    let open = |fd| reopen(pid, fd, &named.neighbour()).expect("the pipe is its user's");
    let pipes = [1, 2].map(open);
    // The warden must see the end only after the pipes are locked.
    daemon.signal(Signal::SIGSTOP);
    let process = pidfd(pid).expect("it runs");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    assert!(has_ended_within(&process, 60_000) || is_dead(pid));
    let names = pipes.each_ref().map(|pipe| {
        let name = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        fs::read_link(name).expect("it is open")
    });
    assert!(names.iter().all(|name| has_open(daemon.pid(), name)));
    let locks = pipes.map(LockedPipe::new);
    daemon.signal(Signal::SIGCONT);
    (job, names, locks.into())
}

#[test]
fn k01_locked_output_pipe_delays_no_other_user() {
    let named = Named(64_081);
    let mut daemon = named.daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, pipes, locks) = locked_after_the_end(&named, &daemon, &mut caller);
    let report = caller.end_of(job);
    assert!(report.ending.is_some(), "{report:?}");
    others_are_served(&daemon, &locks);
    // The state directory's disk may hold it for an instant; a locked pipe would for good.
    seen("the daemon sleeps in no pipe", || {
        (status_field(daemon.pid(), "State").as_deref() != Some("D (disk sleep)")).then_some(())
    });
    seen("the pipes are given away", || {
        (!pipes.iter().any(|pipe| has_open(daemon.pid(), pipe))).then_some(())
    });
    drop(caller);
    stops_in_order(&mut daemon, &locks);
    daemon.restart();
    others_are_served(&daemon, &locks);
    drop(locks);
    daemon.stop();
}

/// Kills the broker while a thread of it hangs at the output of this process. Its main thread has ended.
fn kill_at_locked_pipe(named: &Named, daemon: &Daemon, pid: i32) -> (i32, LockedPipe) {
    let mut pipe = reopen(pid, 1, &named.neighbour()).expect("the pipe is its user's");
    let broker = daemon.broker().expect("there is one");
    let signal = |signal| kill(Pid::from_raw(broker), signal).expect("it lives");
    // It finds output there, and then the lock.
    signal(Signal::SIGSTOP);
    pipe.write_all(b"x").expect("the pipe has space");
    let lock = LockedPipe::new(pipe);
    signal(Signal::SIGCONT);
    seen("a thread of it hangs", || {
        let threads = fs::read_dir(format!("/proc/{broker}/task")).ok()?;
        let mut stats =
            threads.filter_map(|one| fs::read_to_string(one.ok()?.path().join("stat")).ok());
        stats.find(|stat| stat.contains(") D "))
    });
    signal(Signal::SIGKILL);
    // Until its main thread has ended, it may get a client, which then hears nothing.
    seen("its main thread has ended", || {
        let stat = fs::read_to_string(format!("/proc/{broker}/stat")).ok()?;
        stat.contains(") Z ").then_some(())
    });
    (broker, lock)
}

fn is_recorded(daemon: &Daemon, job: JobId) -> bool {
    let (records, id) = (daemon.records("end"), job.to_string());
    records.iter().any(|record| record["REMIT_JOB"] == id)
}

/// A job that writes its last word once its `sleep` is killed.
const LAST: &str = "echo first; sleep 3600; echo last";

fn end_sleep(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
}

/// Without a client that connects meanwhile.
#[test]
fn k01_next_broker_reads_what_one_that_hangs_has_not() {
    let named = Named(64_087);
    let daemon = named.daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let endless = argv(&["tail", "-f", "/dev/null"]);
    let (held, pid) = named.begin(&daemon, &mut caller, endless, "tail");
    let (job, sleep) = named.begin(&daemon, &mut caller, script(LAST), "sleep");
    let (_, lock) = kill_at_locked_pipe(&named, &daemon, pid);
    drop(caller);
    end_sleep(sleep);
    until("its end is recorded", || is_recorded(&daemon, job));
    assert!(lock.is_locked());
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller.end_of(job);
    assert_eq!(stdout(&report), "first\nlast\n", "{report:?}");
    caller.stop(held).expect("the next broker knows it");
    drop((caller, lock));
    daemon.stop();
}

#[test]
fn brokers_that_end_again_and_again_hold_no_end_back() {
    let named = Named(64_088);
    let daemon = named.daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, sleep) = named.begin(&daemon, &mut caller, script(LAST), "sleep");
    drop(caller);
    daemon.end_brokers();
    end_sleep(sleep);
    until("its end is recorded", || is_recorded(&daemon, job));
    daemon.restore_brokers();
    let mut caller = Caller::new(&daemon, &user_a());
    let ending = caller.end_of(job).ending.expect("it is recorded");
    assert_eq!(ending.exit, Some(0));
    daemon.stop();
}

/// A thread of the broker waits for the lock, so a kill does not end its process.
#[test]
fn k01_killed_broker_that_hangs_at_a_locked_pipe_is_replaced() {
    let named = Named(64_086);
    let daemon = named.daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, pid) = named.begin(&daemon, &mut caller, argv(&["sleep", "3600"]), "sleep");
    let (broker, lock) = kill_at_locked_pipe(&named, &daemon, pid);
    let locks = [lock];
    drop(caller);
    others_are_served(&daemon, &locks);
    assert!(
        daemon.stderr().contains("hangs in the kernel"),
        "{}",
        daemon.stderr()
    );
    let mut caller = Caller::new(&daemon, &user_a());
    caller.stop(job).expect("the next broker knows it");
    drop((caller, locks));
    seen("the killed one is gone", || {
        (!Path::new(&format!("/proc/{broker}")).exists()).then_some(())
    });
    daemon.stop();
}

/// Starts a job with a process that cannot exit, because it holds the last descriptor of a locked pipe's end. Its
/// shell, the first process, exits.
fn stuck(named: &Named, daemon: &Daemon, caller: &mut Caller) -> (JobId, i32, LockedPipe) {
    let text = "sleep 3600 >/proc/self/fd/1 & wait";
    let (job, pid) = named.begin(daemon, caller, script(text), "sleep");
    let pipe = reopen(pid, 1, &named.neighbour()).expect("the pipe is its user's");
    (job, pid, LockedPipe::new(pipe))
}

fn is_recorded_as_not_ended(report: &JobReport) {
    let ending = report.ending.as_ref().expect("it is recorded");
    assert!(!ending.kill_verified, "{report:?}");
}

#[test]
fn k01_stop_abandons_unkillable_job() {
    let named = Named(64_082);
    let mut daemon = named.daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, _, lock) = stuck(&named, &daemon, &mut caller);
    let locks = [lock];
    let _ = caller.stop(job).expect("the job is ours");
    is_recorded_as_not_ended(&caller.end_of(job));
    others_are_served(&daemon, &locks);
    let (_, _, lock) = stuck(&named, &daemon, &mut caller);
    let [first] = locks;
    drop(caller);
    stops_in_order(&mut daemon, &[first, lock]);
    daemon.restart();
    daemon.stop();
}

/// inotify(7) on `cgroup.kill`: each write is an event.
struct Kills(OwnedFd);

impl Kills {
    fn of(pid: i32) -> Self {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
        let own = cgroup
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .expect("it has one");
        let mounts = fs::read_to_string("/proc/self/mounts").expect("it is ours");
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let mount_point = fields.next()?;
            (fields.next()? == "cgroup2").then(|| mount_point.to_owned())
        });
        let file = format!("{}/{own}/cgroup.kill", root.expect("it is mounted"));
        let file = CString::new(file).expect("no NUL in it");
        // SAFETY: the argument is a number; no memory is passed.
        let made = unsafe { libc::inotify_init1(libc::IN_NONBLOCK) };
        assert!(made >= 0, "no inotify instance");
        // SAFETY: the kernel just made this descriptor, and nothing else owns it.
        let inotify = unsafe { OwnedFd::from_raw_fd(made) };
        // SAFETY: the path ends with NUL and is valid for the call.
        let watch = unsafe {
            libc::inotify_add_watch(inotify.as_raw_fd(), file.as_ptr(), libc::IN_CLOSE_WRITE)
        };
        assert!(watch > 0, "cgroup.kill cannot be watched");
        Self(inotify)
    }

    /// Counts the writes since the last call. The kernel merges equal unread events.
    fn new_writes(&self) -> usize {
        let mut bytes = [0; 4096];
        // SAFETY: buffer and length are valid for the call.
        let read =
            unsafe { libc::read(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
        usize::try_from(read).unwrap_or(0) / size_of::<libc::inotify_event>()
    }

    fn wait(&self, count: usize) {
        let new_writes = std::cell::Cell::new(0);
        seen("cgroup.kill is written again", || {
            new_writes.set(new_writes.get() + self.new_writes());
            (new_writes.get() >= count).then_some(())
        });
    }
}

/// On kernels before 6.14, a fork during the kill can leave a living process in the cgroup.
#[test]
fn k05_surviving_process_is_killed_repeatedly() {
    let named = Named(64_083);
    let daemon = named.daemon();
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, pid, lock) = stuck(&named, &daemon, &mut caller);
    let kills = Kills::of(pid);
    let _ = caller.stop(job).expect("the job is ours");
    kills.wait(4);
    is_recorded_as_not_ended(&caller.end_of(job));
    let _ = kills.new_writes();
    kills.wait(3);
    assert!(lock.is_locked());
    others_are_served(&daemon, &[lock]);
    seen("the process has ended", || is_dead(pid).then_some(()));
    seen("the cgroup is gone", || {
        let left = fs::read_dir(format!("/proc/{pid}")).is_ok();
        (!left).then_some(())
    });
    daemon.stop();
}
