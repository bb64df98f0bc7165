//! Jobs forked by a zygote. No data passes between callers, and a job of a pre-forked child sees the same as one of a
//! child that was forked for it. Each call runs once even if the zygote dies.

mod preforked;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::{self, Process, descendants, ends_within, start_in, status_field};
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Bytes, Run};

/// Polls for ten seconds at most.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    (0..1000).find_map(|_| {
        look().or_else(|| {
            thread::sleep(Duration::from_millis(10));
            None
        })
    })
}

/// Returns the daemon's zygotes, without children that will become jobs.
fn zygotes(daemon: &Daemon) -> Vec<i32> {
    let mut found: Vec<i32> = descendants(daemon.pid())
        .into_iter()
        .filter(|process| process.name == "remit-zygote" && process.state != 'Z')
        .filter(|process| process.parent == daemon.pid() && !process.is_of_jobs())
        .map(|process| process.pid)
        .collect();
    // Sorts by start time, because pids wrap around.
    found.sort_by_key(|pid| started(*pid));
    found
}

/// Returns the start time in ticks since boot.
fn started(pid: i32) -> Option<u64> {
    start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn zygote(daemon: &Daemon) -> i32 {
    zygote_for(daemon, &[READ])
}

/// The profile whose zygote starts with the daemon.
const READ: &str = "read";

fn zygote_for(daemon: &Daemon, profiles: &[&str]) -> i32 {
    let mut caller = Caller::new(daemon, &user_a());
    let last = profiles.last().expect("there is one");
    let found = until(|| {
        let run = within(last, argv(&["cat", "/proc/self/status"]));
        let report = caller.run(run).expect("user A may run");
        let found = zygotes(daemon);
        let all = filters(&report) > 1 && found.len() == profiles.len();
        found.last().filter(|_| all).copied()
    });
    found.expect("jobs are forked by a zygote")
}

fn within(profile: &str, run: Run) -> Run {
    Run {
        profile: Some(profile.to_owned()),
        ..run
    }
}

/// Prints when the shell was forked, in ticks since boot. It is a job's first process, so that is when its child was.
const STARTED: &str = "echo \"Started: $(cut -d ' ' -f 22 /proc/$$/stat)\"";

/// Runs a job that prints [`STARTED`]. Returns true if its child was there before it was asked for.
fn preforked(ask: impl FnOnce() -> JobReport) -> (bool, JobReport) {
    process::preforked(|| {
        let report = ask();
        let text = stdout(&report);
        let line = text.lines().find_map(|line| line.strip_prefix("Started: "));
        let started = line
            .and_then(|ticks| ticks.parse().ok())
            .unwrap_or_else(|| panic!("no start: {report:?}"));
        (started, report)
    })
}

/// Kills the children that wait, so that the next job gets one of its own.
fn kill_waiting(daemon: &Daemon) {
    for process in of_jobs(daemon) {
        // It may have ended with another.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
}

/// Returns a job's number of seccomp filters: the zygote's half and the child's.
fn filters(report: &JobReport) -> u32 {
    let text = stdout(report);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp_filters:"));
    let count = line.and_then(|count| count.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no number of filters: {report:?}"))
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("the process is there");
}

/// Waits until the warden waits for a child. For the spawner it waits in another call.
fn worker_is_awaited(daemon: &Daemon) {
    let warden = daemon.pid();
    let sleeping = until(|| {
        let now = fs::read_to_string(format!("/proc/{warden}/syscall")).ok()?;
        let number: i64 = now.split_whitespace().next()?.parse().ok()?;
        (number == libc::SYS_recvmsg).then_some(())
    });
    sleeping.expect("the warden gets there");
}

fn in_state(pid: i32, state: char) {
    let there = until(|| (Process::of(pid)?.state == state).then_some(()));
    there.expect("the process gets there");
}

const VIEW: &str = r#"
me=$$
for file in status limits cgroup loginuid sessionid oom_score_adj personality timerslack_ns \
    coredump_filter uid_map gid_map setgroups attr/current cpuset mountinfo; do
    echo "== $file"
    cat /proc/self/$file 2>&1
done
echo "== stat"; cut -d' ' -f 5-9,18-20,40,41 < /proc/$me/stat | sed "s/\b$me\b/ME/g"
echo "== descriptors"; ls -l /proc/$me/fd > /tmp/fds; awk 'NR > 1 && $(NF-2) != 10 { print $1, $(NF-2), $NF }' /tmp/fds; rm /tmp/fds
echo "== namespaces"; for kind in cgroup ipc net pid time user uts; do readlink /proc/self/ns/$kind; done
echo "== environment"; env | sort
echo "== shell"; umask; ulimit -a; pwd; id; trap; tty
echo "== keys"; cut -d' ' -f 3- /proc/keys 2>&1 | awk '{ print $4, $6, $7 }'
echo "== files"
private='/tmp /var/tmp /dev/shm'
find / /dev $private /tmp/home -mindepth 1 -maxdepth 1 -printf '%M %U:%G %p %l\n' 2> /dev/null | sort |
    sed -E 's_ [0-9]+:[0-9]+ (/tmp|/dev/shm) _ OWNER \1 _'
for dir in $private; do stat -c '%A %n' $dir; df --output=size,itotal $dir | tail -n 1; done
echo "Started: $(cut -d' ' -f 22 /proc/$$/stat)"
exit 0
"#;

/// Lines that differ between any two jobs.
const OWN: &[&str] = &[
    "Name:",
    "Pid:",
    "PPid:",
    "Tgid:",
    "NStgid:",
    "NSpid:",
    "NSpgid:",
    "NSsid:",
    "FDSize:",
    "Vm",
    "Rss",
    "voluntary_ctxt_switches:",
    "nonvoluntary_ctxt_switches:",
    "SigQ:",
    "Started:",
    "total ",
];

fn view(report: &JobReport) -> Vec<String> {
    assert_eq!(report.state, State::Exited, "{report:?}");
    let uid = report.enforced.as_ref().expect("it ran").uid.to_string();
    let text = stdout(report);
    let lines = text
        .lines()
        .filter(|line| !OWN.iter().any(|own| line.starts_with(own)));
    lines
        .map(|line| plain(&line.replace(&uid, "UID"), report))
        .collect()
}

fn plain(line: &str, report: &JobReport) -> String {
    let line = line.replace(&report.job.to_string(), "JOB");
    let words: Vec<&str> = line.split(' ').collect();
    // mountinfo: without numbers of mounts and devices. A private directory belongs to the job's uid or to root;
    // both may write there and nobody else.
    let words = match words.iter().position(|word| *word == "-") {
        Some(at) if at >= 6 => &words[3..],
        _ => &words[..],
    };
    let word = |word: &&str| {
        let numbered = |kind: &str| word.starts_with(kind) && word.ends_with(']');
        match numbered("pipe:[") {
            true => "pipe".to_owned(),
            false => word
                .split(',')
                .filter(|option| !option.starts_with("uid=") && !option.starts_with("gid="))
                .collect::<Vec<_>>()
                .join(","),
        }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Options without and with shared mounts. With shared ones, as under a service manager, the zygote pre-forks
/// children.
fn both() -> [Options; 2] {
    [false, true].map(|shared| Options {
        shared,
        ..Options::default()
    })
}

const STRICT: &str = "strict";

fn strict() -> Options {
    let grant = "[[grant]]\nname = \"strict\"\nto = [\"#64001\", \"#64002\"]\nallow = [\"run\"]\n\
                 profile = \"strict\"\nenv = [\"LANG\"]\napproval = \"none\"\n";
    let options = Options::default();
    Options {
        shared: true,
        policy: format!("{}\n{grant}", options.policy),
        ..options
    }
}

#[test]
fn job_view_is_same_preforked_or_not() {
    let [_, shared] = both();
    sees_the_same(shared, &[READ]);
}

#[test]
fn strict_job_view_is_same_preforked_or_not() {
    sees_the_same(strict(), &[READ, STRICT]);
}

fn sees_the_same(options: Options, profiles: &[&str]) {
    let daemon = Daemon::start(options);
    let _ = zygote_for(&daemon, profiles);
    let mut caller = Caller::new(&daemon, &user_a());
    let mut look = |want: bool| {
        let found = until(|| {
            let run = within(profiles[profiles.len() - 1], script(VIEW));
            if !want {
                kill_waiting(&daemon);
            }
            let (is, report) = preforked(|| caller.run(run).expect("user A may run"));
            (is == want).then_some(report)
        });
        found.expect("there are such jobs")
    };
    let by_waiting = look(true);
    // No mount event of the host can reach it.
    let status = stdout(&by_waiting);
    for tie in [" shared:", " master:", "propagate_from:"] {
        assert!(!status.contains(tie), "{tie} in {status}");
    }
    // The bus, which a job of `strict` has not, and the two halves.
    let count = if profiles.contains(&STRICT) { 2 } else { 3 };
    assert_eq!(filters(&by_waiting), count, "{by_waiting:?}");
    let by_fresh = look(false);
    let own = if profiles.contains(&STRICT) {
        OWN_NAMESPACES
    } else {
        &[]
    };
    same(&by_waiting, &by_fresh, own);
    daemon.stop();
}

const OWN_NAMESPACES: &[&str] = &["cgroup", "ipc", "pid", "uts", "net"];

/// Checks that both jobs saw the same behind the same layers, with `own` namespaces that differ from the
/// daemon's. The kernel may reuse the number of a namespace that is gone.
fn same(by_waiting: &JobReport, by_fresh: &JobReport, own: &[&str]) {
    let [one, other] = [by_waiting, by_fresh].map(|report| {
        let mut seen = view(report);
        for kind in own {
            let hosts = fs::read_link(format!("/proc/self/ns/{kind}")).expect("it is there");
            let is_one = |line: &String| line.starts_with(&format!("{kind}:["));
            let at = seen.iter().position(is_one).expect("all are looked at");
            assert_ne!(seen.remove(at), hosts.display().to_string());
        }
        seen
    });
    let differ: Vec<_> = one.iter().zip(&other).filter(|(a, b)| a != b).collect();
    assert!(differ.is_empty() && one.len() == other.len(), "{differ:#?}");
    assert!(one.len() > 120, "{one:#?}");
    let layers = |report: &JobReport| report.enforced.clone().expect("it ran").layers;
    assert_eq!(layers(by_waiting), layers(by_fresh));
}

const LEAVE: &str = r#"
for dir in /tmp /var/tmp /dev/shm "$HOME"; do echo "$LANG" > "$dir/$LANG"; done
(sleep 0.1; echo "$LANG" > /tmp/later) &
cat > /tmp/stdin
exec 7> /dev/shm/open; exec 8< /tmp
ulimit -n 100; ulimit -s 1000; umask 077; trap '' HUP TERM USR1; cd /tmp
echo -n done
"#;

/// Searches everywhere for data of earlier jobs. The search word is assembled, because the script would find
/// itself.
const FIND: &str = r#"
word="was-a""-here"
grep -sl "$word" /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/self/auxv /proc/self/status
find /tmp /var/tmp /dev/shm -mindepth 1 ! -path /tmp/home -print
env | grep "$word"
ls /proc/$$/fd > /tmp/descriptors; grep -vxE '[0123]|10' /tmp/descriptors
umask; ulimit -n; ulimit -s; trap; pwd
cat | grep "$word"
for dir in /proc/[0-9]*; do
    test "$(stat -c %u "$dir" 2> /dev/null)" = "$(id -u)" && test "${dir#/proc/}" != $$ &&
        grep -s "$word" "$dir/comm"
done
echo end
"#;

fn mark(round: u32) -> Vec<(Bytes, Bytes)> {
    let value = format!("was-a-here{round}");
    vec![(b"LANG".to_vec().into(), value.into_bytes().into())]
}

#[test]
fn nothing_of_one_caller_comes_to_another() {
    both()
        .into_iter()
        .for_each(|options| nothing_comes(options, &[READ]));
}

#[test]
fn strict_jobs_share_nothing_between_callers() {
    nothing_comes(strict(), &[READ, STRICT]);
}

fn nothing_comes(options: Options, profiles: &[&str]) {
    let daemon = Daemon::start(options);
    let zygote = zygote_for(&daemon, profiles);
    let all = zygotes(&daemon);
    let profile = profiles[profiles.len() - 1];
    let argv = |words| within(profile, argv(words));
    let script = |text| within(profile, script(text));
    let mut a = Caller::new(&daemon, &user_a());
    let mut b = Caller::new(&daemon, &user_b());
    let find = || Run {
        stdin: Some(Bytes::from(b"b\n".to_vec())),
        ..script(FIND)
    };
    let clean = stdout(&b.run(find()).expect("user B may run"));
    assert!(clean.ends_with("end\n"), "{clean}");
    let mut seen: Vec<u32> = Vec::new();
    for round in 0..8 {
        let leave = Run {
            env: mark(round),
            stdin: Some(Bytes::from(format!("was-a-here{round}").into_bytes())),
            ..script(LEAVE)
        };
        let left = a.run(leave).expect("user A may run");
        assert_eq!(stdout(&left), "done", "{left:?}");
        let beside = Run {
            env: mark(round),
            ..at_once(script(
                "echo was-a-here > /tmp/beside; : was-a-here; sleep 5",
            ))
        };
        let beside = a.run(beside).expect("user A may run");
        let found = b.run(find()).expect("user B may run");
        assert_eq!(stdout(&found), clean, "{found:?}");
        let uid = |report: &JobReport| report.enforced.as_ref().expect("it ran").uid;
        assert_ne!(uid(&left), uid(&found));
        seen.extend([uid(&left), uid(&found)]);
        let _ = a.stop(beside.job);
    }
    assert!(!seen.contains(&0));
    assert_eq!(zygotes(&daemon), all, "one zygote has forked them all");
    assert!(until(|| daemon.job_processes().is_empty().then_some(())).is_some());
    // Descriptors and mount namespaces of jobs are released.
    let open = || fs::read_dir(format!("/proc/{zygote}/fd")).map_or(0, Iterator::count);
    let before = open();
    for _ in 0..20 {
        let _ = b.run(argv(&["true"])).expect("user B may run");
    }
    let back = until(|| (open() <= before + 1).then_some(()));
    assert!(back.is_some(), "{before} and then {}", open());
    daemon.stop();
}

#[test]
fn a_zygote_is_nobodys_but_the_wardens() {
    let daemon = Daemon::start(Options::default());
    let zygote = zygote(&daemon);
    assert_eq!(
        status_field(zygote, "CapBnd").as_deref(),
        Some("0000000000000000")
    );
    assert_eq!(status_field(zygote, "Seccomp").as_deref(), Some("2"));
    let mut a = Caller::new(&daemon, &user_a());
    let reach = format!(
        "kill -9 {zygote}; cat /proc/{zygote}/environ; ls /proc/{zygote}/fd /proc/{zygote}/root/; \
         echo x > /proc/{zygote}/oom_score_adj; echo end"
    );
    let report = a.run(script(&reach)).expect("user A may run");
    assert_eq!(stdout(&report), "end\n", "{report:?}");
    assert_eq!(zygotes(&daemon), [zygote]);
    let mut odd = Command::new(daemon.program("remit-spawner"));
    std::os::unix::process::CommandExt::arg0(&mut odd, "remit-zygote");
    user_a().runs(&mut odd);
    let said = odd.output().expect("it can be executed");
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(text.contains("only remit-spawner starts it"), "{text}");
    let mut odd = Command::new(daemon.program("remit-spawner"));
    user_a().runs(&mut odd);
    let said = odd.output().expect("it can be executed");
    let text = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains("only remitd starts it"), "{text}");
    daemon.stop();
}

#[test]
fn killed_zygote_runs_call_once() {
    for moment in ["before", "asked", "running"] {
        let daemon = Daemon::start(Options::default());
        let zygote = zygote(&daemon);
        let mut caller = Caller::new(&daemon, &user_a());
        // It ends by itself, but not before it is seen.
        let sleep = at_once(argv(&["sleep", "5"]));
        let report = match moment {
            "before" => {
                signal(zygote, Signal::SIGKILL);
                caller.run(sleep)
            }
            "asked" => {
                signal(zygote, Signal::SIGSTOP);
                in_state(zygote, 'T');
                let asking = thread::spawn(move || caller.run(sleep));
                worker_is_awaited(&daemon);
                signal(zygote, Signal::SIGKILL);
                let report = asking.join().expect("a caller does not panic");
                caller = Caller::new(&daemon, &user_a());
                report
            }
            _ => {
                let report = caller.run(sleep);
                sleepers(&daemon, 1);
                signal(zygote, Signal::SIGKILL);
                report
            }
        };
        let job = report.expect("user A may run").job;
        sleepers(&daemon, 1);
        let report = caller.end_of(job);
        assert_eq!(report.state, State::Exited, "{moment}: {report:?}");
        assert!(ends_within(zygote, 20_000), "{moment}");
        let left = until(|| daemon.job_processes().is_empty().then_some(()));
        assert!(left.is_some(), "{moment}: {:?}", daemon.job_processes());
        daemon.is_well();
        daemon.stop();
    }
}

/// Continues a stopped process until just before this system call.
fn goes_on_until(pid: i32, call: libc::c_long) {
    let tracee = Pid::from_raw(pid);
    ptrace::seize(tracee, ptrace::Options::empty()).expect("the tests run as root");
    let _ = waitpid(tracee, None).expect("it is traced");
    signal(pid, Signal::SIGCONT);
    let there = (0..10_000).any(|_| {
        ptrace::syscall(tracee, None).expect("it has stopped");
        let _ = waitpid(tracee, None).expect("it is traced");
        let now = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        now.split(' ').next() == Some(&call.to_string())
    });
    assert!(there, "it never does");
}

/// Kills the zygote just before it forks, and just after.
#[test]
fn zygote_killed_at_its_fork_runs_call_once() {
    for after in [false, true] {
        let daemon = Daemon::start(Options::default());
        let zygote = zygote(&daemon);
        signal(zygote, Signal::SIGSTOP);
        in_state(zygote, 'T');
        let mut caller = Caller::new(&daemon, &user_a());
        let asking = thread::spawn(move || caller.run(argv(&["echo", "ran"])));
        worker_is_awaited(&daemon);
        goes_on_until(zygote, libc::SYS_clone3);
        let tracee = Pid::from_raw(zygote);
        if after {
            ptrace::syscall(tracee, None).expect("it has stopped");
            let _ = waitpid(tracee, None).expect("it is traced");
        }
        signal(zygote, Signal::SIGKILL);
        // Its parent can reap it only after the tracer has.
        let _ = waitpid(tracee, None);
        let report = asking.join().expect("a caller does not panic");
        assert_eq!(stdout(&report.expect("user A may run")), "ran\n");
        daemon.is_well();
        let watchdog = daemon.watchdog().expect("it is there");
        signal(watchdog, Signal::SIGKILL);
        assert!(ends_within(watchdog, 20_000), "something of a job is left");
        let mut caller = Caller::new(&daemon, &user_a());
        let again = until(|| caller.run(argv(&["true"])).ok());
        assert!(again.is_some(), "no job runs any more");
        daemon.stop();
    }
}

/// The zygote answers while the warden is stopped, which interrupts the warden's wait.
#[test]
fn call_runs_once_with_stopped_warden() {
    let daemon = Daemon::start(Options::default());
    let zygote = zygote(&daemon);
    signal(zygote, Signal::SIGSTOP);
    in_state(zygote, 'T');
    let mut caller = Caller::new(&daemon, &user_a());
    let asking = thread::spawn(move || caller.run(at_once(argv(&["sleep", "5"]))));
    worker_is_awaited(&daemon);
    signal(daemon.pid(), Signal::SIGSTOP);
    in_state(daemon.pid(), 'T');
    signal(zygote, Signal::SIGCONT);
    let forked = until(|| (of_jobs(&daemon).len() == 1).then_some(()));
    assert!(forked.is_some(), "the zygote forks it all the same");
    signal(daemon.pid(), Signal::SIGCONT);
    sleepers(&daemon, 1);
    let report = asking.join().expect("a caller does not panic");
    let job = report.expect("user A may run").job;
    // A second job would exist by now, because the answer came after its fork.
    let all = of_jobs(&daemon);
    assert_eq!(all.len(), 1, "{all:?}");
    let report = Caller::new(&daemon, &user_a()).end_of(job);
    assert_eq!(report.state, State::Exited, "{report:?}");
    let left = until(|| daemon.job_processes().is_empty().then_some(()));
    assert!(left.is_some(), "{:?}", daemon.job_processes());
    daemon.is_well();
    daemon.stop();
}

/// Processes of jobs before and after exec, without zombies.
fn of_jobs(daemon: &Daemon) -> Vec<Process> {
    let below = descendants(daemon.pid()).into_iter();
    below
        .filter(|process| process.is_of_jobs() && process.state != 'Z')
        .collect()
}

fn sleepers(daemon: &Daemon, count: usize) {
    let there = until(|| {
        let all = of_jobs(daemon);
        let asleep = all.iter().filter(|process| process.name == "sleep").count();
        (asleep == count && all.len() == count).then_some(())
    });
    assert!(there.is_some(), "{:?}", of_jobs(daemon));
}

/// Host mounts come and go in directories that a job sees. None is ever writable in the job, or propagates from
/// the host.
#[test]
fn host_mounts_are_never_writable_in_job() {
    const WRITABLE: &str =
        "awk '$6 !~ /^ro/ || / (shared|master):/ { print $5 }' /proc/self/mountinfo";
    let daemon = Daemon::start(Options {
        shared: true,
        ..Options::default()
    });
    let _ = zygote(&daemon);
    let mut caller = Caller::new(&daemon, &user_a());
    let mut writable = move || {
        let report = caller.run(script(WRITABLE)).expect("user A may run");
        stdout(&report)
    };
    let quiet = writable();
    assert!(quiet.contains("/tmp\n"), "{quiet}");
    let storm = format!(
        "while :; do mount -t tmpfs none /mnt && umount /mnt; done < /proc/{}/status",
        daemon.pid()
    );
    let mut storm = Command::new("nsenter")
        .args([
            "--mount",
            "--target",
            &daemon.pid().to_string(),
            "sh",
            "-c",
            &storm,
        ])
        .spawn()
        .expect("nsenter starts");
    let seen: Vec<String> = (0..60).map(|_| writable()).collect();
    let alive = storm.try_wait().expect("it is ours").is_none();
    storm.kill().expect("it is ours");
    let _ = storm.wait();
    assert!(alive, "the storm was over too soon");
    assert!(seen.iter().all(|seen| *seen == quiet), "{seen:?}");
    daemon.stop();
}
