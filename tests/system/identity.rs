//! Identities of the daemon's processes and of jobs. A job inherits nothing.

use std::collections::BTreeMap;
use std::fs;

use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{BROKER, Daemon, Options, user_a, user_b};
use remit_tests::process::{seen, status_field};
use remit_wire::{Bytes, Run};

fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn field(pid: i32, name: &str) -> String {
    status_field(pid, name).unwrap_or_else(|| panic!("process {pid} has no '{name}'"))
}

fn is_never_root(pid: i32) -> bool {
    ["Uid", "Gid"]
        .iter()
        .all(|name| field(pid, name).split_whitespace().all(|id| id != "0"))
}

fn has_no_capability(pid: i32) -> bool {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    sets.iter()
        .all(|name| field(pid, name).trim_start_matches('0').is_empty())
}

#[test]
fn the_warden_has_one_thread_for_life() {
    let daemon = Daemon::start(Options::default());
    assert_eq!(threads(daemon.pid()), 1);
    let mut caller = Caller::new(&daemon, &user_a());
    let job = caller
        .run(at_once(argv(&["sleep", "1"])))
        .expect("user A has a grant")
        .job;
    assert_eq!(threads(daemon.pid()), 1);
    let _ = caller.end_of(job);
    assert_eq!(threads(daemon.pid()), 1);
    daemon.stop();
}

#[test]
fn broker_and_watchdog_have_no_privilege() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    assert_eq!(
        field(broker, "Uid"),
        [BROKER; 4].map(|uid| uid.to_string()).join("\t")
    );
    assert_eq!(field(broker, "NoNewPrivs"), "1");
    assert_eq!(field(broker, "Seccomp"), "2");
    let watchdog = daemon.watchdog().expect("there is a watchdog");
    for pid in [broker, watchdog] {
        assert!(
            is_never_root(pid) && has_no_capability(pid),
            "process {pid}"
        );
        // Only root may inspect the process, so /proc shows root as its owner.
        let owner = std::os::unix::fs::MetadataExt::uid(
            &fs::metadata(format!("/proc/{pid}/environ")).expect("it runs"),
        );
        assert_eq!(owner, 0, "process {pid} can be dumped");
    }
    daemon.stop();
}

#[test]
fn job_processes_have_own_cgroup_and_uid() {
    let daemon = Daemon::start(Options::default());
    let mut callers = [
        Caller::new(&daemon, &user_a()),
        Caller::new(&daemon, &user_b()),
    ];
    let text = "echo ready; (setsid sleep 1000 &); sleep 1000 & sleep 1000";
    let uids: Vec<u32> = callers
        .iter_mut()
        .map(|caller| {
            let report = caller.run(at_once(script(text))).expect("it is accepted");
            let enforced = || caller.job(report.job, 0).expect("it is theirs").enforced;
            seen("it runs", enforced).uid
        })
        .collect();
    assert_ne!(uids[0], uids[1]);
    let jobs = seen("four processes of each job", || {
        let jobs = daemon.job_processes();
        let count = |uid: &u32| jobs.iter().filter(|process| process.uid == *uid).count();
        uids.iter().all(|uid| count(uid) >= 4).then_some(jobs)
    });
    for process in &jobs {
        assert!(process.is_of_jobs(), "{process:?} is not ours");
        assert!(
            is_never_root(process.pid) && has_no_capability(process.pid),
            "{process:?}"
        );
    }
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).expect("it runs");
    assert!(
        jobs.iter()
            .all(|process| namespace(process.pid) == namespace(daemon.pid()))
    );
    daemon.stop();
}

const HOSTILE: &[(&str, &str)] = &[
    ("LD_LIBRARY_PATH", "/hostile"),
    ("GLIBC_TUNABLES", "glibc.malloc.check=3"),
    ("BASH_ENV", "/hostile"),
    ("ENV", "/hostile"),
    ("IFS", "x"),
    ("PS4", "$(hostile)"),
    ("SHELLOPTS", "xtrace"),
    ("PYTHONPATH", "/hostile"),
    ("PERL5LIB", "/hostile"),
    ("GIT_DIR", "/hostile"),
    ("LESSOPEN", "|hostile"),
    ("TZ", "/hostile"),
    ("LOCPATH", "/hostile"),
    ("CREDENTIALS_DIRECTORY", "/hostile"),
    ("SECRET_TOKEN", "hostile"),
    ("COLUMNS", "10"),
];

#[test]
fn a_job_inherits_nothing() {
    let env = HOSTILE
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let daemon = Daemon::start(Options {
        env,
        ..Options::default()
    });
    let mut caller = Caller::new(&daemon, &user_a());

    let with_tz = Run {
        env: vec![(Bytes::from(b"TZ".to_vec()), Bytes::from(b"UTC".to_vec()))],
        ..argv(&["env"])
    };
    let text = stdout(&caller.run(with_tz).expect("the grant has TZ"));
    let variables: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    for (name, value) in [
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("PAGER", "cat"),
        ("NO_COLOR", "1"),
        ("TZ", "UTC"),
    ] {
        assert_eq!(variables.get(name), Some(&value), "{text}");
    }
    for name in ["PATH", "USER", "LOGNAME", "HOME", "TMPDIR"] {
        assert!(variables.contains_key(name), "{name}: {text}");
    }
    for (name, _) in HOSTILE.iter().filter(|(name, _)| *name != "TZ") {
        assert!(!variables.contains_key(name), "{name}: {text}");
    }
    assert!(
        !text.contains("hostile") && !variables.contains_key("NOTIFY_SOCKET"),
        "{text}"
    );

    let status = "cat /proc/self/status; ulimit -c; umask; pwd; cat /proc/self/stat; ls -l /proc/$PPID/fd /proc/self/fd";
    let text = stdout(&caller.run(script(status)).expect("user A has a grant"));
    let line = |name: &str| {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    };
    for name in [
        "SigIgn", "SigBlk", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
    ] {
        assert_eq!(line(name).trim_start_matches('0'), "", "{name}: {text}");
    }
    assert_eq!(
        (line("NoNewPrivs").as_str(), line("Seccomp").as_str()),
        ("1", "2")
    );
    assert!(text.contains("\n0022\n/\n"), "umask and directory: {text}");
    // Field 7 of /proc/PID/stat is the controlling terminal; index 4 after the name.
    let stat = text
        .lines()
        .find(|line| line.contains(") R ") || line.contains(") S "))
        .expect("there is a stat");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    assert_eq!(fields[4], "0", "a terminal: {stat}");
    daemon.stop();
}

#[test]
fn a_job_has_three_descriptors() {
    let daemon = Daemon::start(Options::default());
    let report = Caller::new(&daemon, &user_a())
        .run(argv(&["ls", "/proc/self/fd"]))
        .expect("user A has a grant");
    // The fourth is the directory that ls reads.
    assert_eq!(stdout(&report), "0\n1\n2\n3\n");
    daemon.stop();
}

#[test]
fn audit_log_names_caller_from_kernel() {
    let daemon = Daemon::start(Options::default());
    for user in [user_a(), user_b()] {
        let _ = Caller::new(&daemon, &user)
            .run(argv(&["id"]))
            .expect("both have a grant");
    }
    let uids: Vec<_> = daemon
        .records("intent")
        .iter()
        .map(|record| record["REMIT_UID"].clone())
        .collect();
    assert_eq!(uids, [user_a().uid.to_string(), user_b().uid.to_string()]);
    daemon.stop();
}

/// Jobs share the host's pid namespace, so each sees the pids of others. Its uid protects them.
#[test]
fn a_job_cannot_touch_another_one() {
    let daemon = Daemon::start(Options::default());
    let mut owner = Caller::new(&daemon, &user_a());
    let run = at_once(argv(&["sleep", "1000"]));
    let job = owner.run(run).expect("it is accepted").job;
    let enforced = || owner.job(job, 0).expect("it is theirs").enforced;
    let uid = seen("it runs", enforced).uid;
    let outside = seen("its process", || {
        let mut jobs = daemon.job_processes().into_iter();
        jobs.find(|process| process.uid == uid)
    });
    let outside = outside.pid;
    let text = format!(
        "kill -9 {outside} && echo killed; renice 19 -p {outside} >/dev/null && echo slowed; \
         prlimit -p {outside} --nofile=3 && echo limited; taskset -p 1 {outside} >/dev/null && echo bound; \
         cat /proc/{outside}/environ && echo read; ls /proc/{outside}/root/ && echo entered; true"
    );
    let report = Caller::new(&daemon, &user_b())
        .run(script(&text))
        .expect("user B has a grant");
    assert_eq!(stdout(&report), "", "{report:?}");
    assert!(
        daemon
            .job_processes()
            .iter()
            .any(|process| process.pid == outside),
        "it is gone"
    );
    let _ = owner.stop(job).expect("it is ours");
    let _ = owner.end_of(job);
    daemon.stop();
}
