//! Kernel limits per user, if the job's user is also a user of the host; written files, files left behind, and bytes of the
//! audit log.

use std::time::Instant;

use nix::sys::signal::Signal;
use remit_common::refusal::Code;
use remit_tests::attack;
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::control::Outcome;
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::{Identity, ends_within};
use remit_wire::Run;

use super::arena::Arena;

/// The number of epoll(7) watches and of descriptors in flight follows from descriptors and processes.
#[test]
fn s04_descriptor_limit_leaves_watches_to_user() {
    let mut arena = Arena::new(Options::default());
    let watches = std::fs::read_to_string("/proc/sys/fs/epoll/max_user_watches");
    let watches: u64 = watches
        .expect("there is epoll")
        .trim()
        .parse()
        .expect("a number");
    for (profile, tasks) in [("named", 20), ("root", 256)] {
        let files = arena.number(profile, &["files-limit"]);
        assert!(
            files * files / 4 * tasks <= watches,
            "{profile}: {files} of {watches}"
        );
        assert!(files >= 64, "{profile}: {files}");
    }
    // A job uid is shared with nobody.
    assert_eq!(arena.number("walled", &["files-limit"]), 1024);
    arena.daemon.stop();
}

/// proc_pid_limits(5): name, soft and hard limit.
#[test]
fn pool_limits_match_table() {
    let mut arena = Arena::new(Options::default());
    for profile in ["read", "walled", "named", "root"] {
        let limits = Run {
            profile: (profile != "read").then(|| profile.to_owned()),
            ..argv(&["cat", "/proc/self/limits"])
        };
        let limits = stdout(&arena.report(limits));
        for (name, most) in [
            ("Max open files", 1024),
            ("Max locked memory", 65536),
            ("Max pending signals", 1024),
            ("Max msgqueue size", 0),
            ("Max core file size", 1),
            ("Max nice priority", 0),
            ("Max realtime priority", 0),
        ] {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            let hard = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            assert!(
                hard.is_some_and(|hard| hard <= most),
                "{profile}: {name} {hard:?}"
            );
        }
    }
    arena.daemon.stop();
}

/// 20 tasks, of 60 that it tries to start.
#[test]
fn s06_tasks_are_limited_without_controller() {
    let mut arena = Arena::new(Options::default());
    let taken = arena.number("named", &["forks", "60"]);
    assert!((10..=24).contains(&taken), "{taken}");
    // Counts only the job's tasks, not other processes of the user.
    let mut others: Vec<_> = (0..30)
        .map(|_| {
            let mut sleeper = std::process::Command::new("sleep");
            Identity::new(super::arena::NAMED, &[]).runs(sleeper.arg("600"));
            sleeper.spawn().expect("sleep starts")
        })
        .collect();
    let taken = arena.number("named", &["forks", "60"]);
    others.iter_mut().for_each(|other| {
        let _ = other.kill();
        let _ = other.wait();
    });
    assert!((10..=24).contains(&taken), "beside others: {taken}");
    arena.daemon.stop();
}

/// A job that can become another user could take all of that user's instances.
#[test]
fn s16_job_with_setuid_takes_no_foreign_watches() {
    let mut arena = Arena::new(Options::default());
    let seen = arena.changes("changes.inotify");
    assert!(matches!(seen, Outcome::Refused(libc::EMFILE)), "{seen:?}");
    let own = super::arena::NAMED.to_string();
    arena.is_refused(&["named"], &["inotify-as", &own], libc::EMFILE);
    arena.is_refused(&["root"], &["inotify-as", "0"], libc::EMFILE);
    let seen = arena.tries("walled", &["may-inotify", "/usr"]);
    assert!(matches!(seen, Outcome::Done(_)), "{seen:?}");
    arena.daemon.stop();
}

/// Processes with the maximum number of groups. `/proc/PID/status` lists all of them, whatever field is read.
struct Crowd(Vec<std::process::Child>);

impl Crowd {
    /// Adds processes until reading one status file of each costs `least` clock ticks. Returns the cost.
    fn costing(least: u64) -> (Self, u64) {
        let groups: Vec<u32> = (100_000..100_000 + 65_536).collect();
        let stranger = Identity::new(64_080, &groups);
        let mut crowd = Self(Vec::new());
        let before = ticks("self");
        let mut cost = 0;
        while cost < least {
            assert!(crowd.0.len() < 1000, "{cost} ticks");
            let mut sleeper = std::process::Command::new("sleep");
            stranger.runs(sleeper.arg("600"));
            let sleeper = sleeper.spawn().expect("sleep starts");
            let status = format!("/proc/{}/status", sleeper.id());
            crowd.0.push(sleeper);
            let status = std::fs::read(status).expect("it lives");
            assert!(status.len() > 65_536 * 6);
            cost = ticks("self") - before;
        }
        (crowd, cost)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for one in &mut self.0 {
            let _ = one.kill();
            let _ = one.wait();
        }
    }
}

/// Returns clock ticks of a process and its reaped children, proc_pid_stat(5).
fn ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let times = fields.split_whitespace().skip(11).take(4);
    times.map(|time| time.parse::<u64>().expect("ticks")).sum()
}

/// No start, and no job of a named user, reads a file whose cost another user controls.
#[test]
fn k02_processes_of_strangers_cost_the_daemon_nothing() {
    let mut alone = Arena::new(Options::default());
    assert!(alone.number("named", &["forks", "60"]) >= 10);
    let usual = ticks(&alone.daemon.pid().to_string());
    alone.daemon.stop();

    let (crowd, cost) = Crowd::costing(40);
    let mut arena = Arena::new(Options::default());
    let taken = arena.number("named", &["forks", "60"]);
    assert!((10..=24).contains(&taken), "{taken}");
    let spent = ticks(&arena.daemon.pid().to_string());
    assert!(spent < usual + cost / 2, "{spent} of {usual} and {cost}");

    // A start after a death searches for leftover processes.
    arena.report(at_once(argv(&["sleep", "600"])));
    arena.daemon.signal(Signal::SIGKILL);
    assert!(ends_within(arena.daemon.pid(), 20_000));
    arena.daemon.restart_insistently();
    let spent = ticks(&arena.daemon.pid().to_string());
    assert!(spent < usual + cost / 2, "{spent} of {usual} and {cost}");
    drop(crowd);
    arena.daemon.stop();
}

#[test]
fn s01_no_read_has_a_file_written_out() {
    let mut arena = Arena::new(Options::default());
    let file = "/usr/lib/os-release";
    for profile in ["read", "walled", "root"] {
        for (id, errno) in [
            ("direct-read", libc::EINVAL),
            ("direct-later", libc::EINVAL),
            ("direct-openat2", libc::ENOSYS),
            ("fiemap", libc::EOPNOTSUPP),
        ] {
            arena.is_refused(&[profile], &[id, file], errno);
        }
        for id in ["may-openat2", "may-read-file"] {
            let seen = arena.tries(profile, &[id, file]);
            assert!(
                matches!(seen, Outcome::Done(_)),
                "{id} in {profile}: {seen:?}"
            );
        }
    }
    arena.daemon.stop();
}

/// `FS_IOC_GETFLAGS`, `_GETVERSION` and its older number, `_FSGETXATTR`, `_FSSETXATTR` without effect,
/// `_GETFSLABEL`, `_GET_ENCRYPTION_POLICY_EX`, `_MEASURE_VERITY`, `_GETFSMAP`, XFS_IOC_DIOINFO, `_FSGEOMETRY`,
/// FICLONE, FIDEDUPERANGE, BTRFS_IOC_FS_INFO, `_GET_SUBVOL_INFO`, `_TREE_SEARCH`.
const QUESTIONS: [&str; 16] = [
    "80086601", "80087601", "80086603", "801c581f", "401c5820", "81009431", "c0096616", "c0046686",
    "c0c0583b", "800c581e", "8100587e", "40049409", "c0189436", "8400941f", "81f8943c", "d0009411",
];

/// `EXT4_IOC_GET_ES_CACHE`, `FS_IOC_FIEMAP`, NILFS_IOCTL_SYNC, EXT4_IOC_ALLOC_DA_BLKS, F2FS_IOC_WRITE_CHECKPOINT,
/// and unassigned numbers.
const OTHERS: [&str; 8] = [
    "c020662a", "c020660b", "80086e8a", "660c", "f507", "80086666", "c0185899", "94ff",
];

/// Permitted file system requests are a list of those known to write nothing out.
#[test]
fn k04_only_harmless_file_system_requests_are_permitted() {
    let mut arena = Arena::new(Options::default());
    let file = "/usr/lib/os-release";
    for profile in ["read", "walled", "root"] {
        arena.is_refused(&[profile], &["es-cache", file], libc::EOPNOTSUPP);
        for number in OTHERS {
            arena.is_refused(&[profile], &["request", number, file], libc::EOPNOTSUPP);
        }
    }
    // Listed requests answer as without a sandbox, except that a read-only mount refuses a change first.
    for number in QUESTIONS {
        let without = attack::files::request(&[number.to_owned(), file.to_owned()]);
        let within = arena.tries("root", &["request", number, file]);
        let alike = match (&without, &within) {
            (_, Outcome::Refused(libc::EROFS)) => number == "401c5820",
            (_, Outcome::Refused(libc::EPERM)) => number == "d0009411",
            (Ok(_), Outcome::Done(_)) => true,
            (Err(refused), Outcome::Refused(errno)) => refused.0 == *errno,
            _ => false,
        };
        assert!(alike, "{number}: {within:?}, but without {without:?}");
    }
    arena.daemon.stop();
}

#[test]
fn s07_no_rename_leaves_a_device_node_behind() {
    let mut arena = Arena::new(Options::default());
    let from = arena.granted_path("from");
    std::fs::write(&from, "content").expect("the directory is ours");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&from, open).expect("the file is ours");
    let seen = arena.changes("writes.whiteout");
    assert!(matches!(seen, Outcome::Refused(libc::EINVAL)), "{seen:?}");
    let kind = std::fs::symlink_metadata(&from)
        .expect("it is there")
        .file_type();
    assert!(kind.is_file(), "{kind:?}");
    arena.daemon.stop();
}

const MIB: u64 = 1 << 20;

/// One user may write a limited number of bytes an hour. Beyond it the user's requests are refused instead of
/// running unrecorded.
#[test]
fn s09_one_user_does_not_fill_audit_log() {
    let mut daemon = Daemon::start(Options::default());
    let path = daemon.path().join("config/remit.toml");
    let text = std::fs::read_to_string(path).expect("the daemon has read it");
    daemon.set_file(
        "config/remit.toml",
        &text.replace("sink = \"file\"", "sink = \"file\"\nper_user = 1048576"),
    );
    daemon.restart_cleanly();
    let mut caller = Caller::new(&daemon, &user_a());
    let long = "x".repeat(20_000);
    let mut ran: usize = 0;
    let refusal = loop {
        match caller.run(argv(&["true", &long])) {
            Ok(_) => ran += 1,
            Err(refusal) => break refusal,
        }
        assert!(ran < 1000, "nobody stops it");
    };
    assert_eq!(refusal.code, Code::RateLimited, "{refusal:?}");
    assert!(refusal.message.contains("1048576"), "{refusal:?}");
    assert!(ran > 20, "{ran}");
    assert_eq!(daemon.records("intent").len(), ran, "what ran is recorded");
    assert_eq!(daemon.records("end").len(), ran, "to its end");
    // The budget of an hour comes back evenly, which a slow machine sees.
    let begin = Instant::now();
    let mut later = 0;
    for _ in 0..100 {
        match caller.run(argv(&["true", &long])) {
            Ok(_) => later += 1,
            Err(again) => assert_eq!(again.code, Code::RateLimited),
        }
    }
    let refilled = begin.elapsed().as_secs() * MIB / 3600;
    assert!(later <= refilled / 20_000 + 1, "{later}");
    let file_info = std::fs::metadata(daemon.path().join("state/audit.jsonl"));
    let bytes = file_info.expect("it is there").len();
    assert!(bytes < 2 * MIB, "{bytes}");
    daemon.is_well();
    daemon.stop();
}
