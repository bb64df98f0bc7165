//! One job from fork to end.

use super::common::*;
use remit_confine::*;
use std::{
    ffi::{CString, OsString},
    os::fd::AsFd,
};

#[test]
fn a_program_runs_with_every_step_done() {
    let ran = run(
        &["true"],
        &With {
            loginuid: Some(4242),
            ..With::default()
        },
    );
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    let kernel = probe().unwrap();
    for step in Step::ALL {
        let here = match step {
            Step::Exec => false,
            // Only for other bases, and jobs with such arguments.
            Step::Network | Step::Root | Step::Plan | Step::Arguments => false,
            Step::Loginuid => kernel.loginuid,
            Step::Landlock => kernel.landlock_abi > 0,
            Step::Keyring => kernel.keyrings,
            _ => true,
        };
        assert_eq!(done.contains(&step), here, "{}: {done:?}", step.name());
    }
    assert!(done.is_sorted(), "{done:?}");
    assert_eq!(ran.code(), Some(0));
    assert!(ran.usage.maxrss_bytes > 0 && ran.usage.cpu_usec > 0);
}

#[test]
fn output_and_status_come_back() {
    let ran = sh("echo out; echo err >&2; echo dev > /dev/stderr; exit 7");
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str(), ran.code()),
        ("out\n", "err\ndev\n", Some(7))
    );
    assert_eq!(sh("kill -9 $$").signal(), Some(9));
}

#[test]
fn exec_failure_is_reported_by_kind() {
    let dir = HostDir::new();
    let fifo = dir.path("fifo");
    nix::unistd::mkfifo(
        fifo.as_str(),
        nix::sys::stat::Mode::from_bits_truncate(0o777),
    )
    .unwrap();
    let plain = dir.file("plain", 0o644, "#!/bin/sh\n");
    let text = dir.file("text", 0o755, "no format at all\n");
    let orphan = dir.file("orphan", 0o755, "#!/no/such/interpreter\n");
    let private = dir.file("private", 0o700, "#!/bin/sh\n");
    let (fixture, sandbox) = (fixture(), sandbox());
    for (name, errno, want) in [
        ("no-such-program", libc::ENOENT, Why::NotFound),
        ("/no/such/program", libc::ENOENT, Why::NotFound),
        ("/etc/passwd/x", libc::ENOENT, Why::NotFound),
        ("/etc", libc::EACCES, Why::IsDirectory),
        (fifo.as_str(), libc::EACCES, Why::NotRegular),
        (plain.as_str(), libc::EACCES, Why::NotExecutable),
        (text.as_str(), libc::ENOEXEC, Why::NotExecutable),
        (orphan.as_str(), libc::ENOENT, Why::BadInterpreter),
        (private.as_str(), libc::EACCES, Why::PermissionDenied),
    ] {
        let ran = run_in(&sandbox, &fixture, &[name], &With::default());
        let Progress::Failed(
            StepFailure {
                step,
                errno: e,
                why,
                ..
            },
            done,
        ) = &ran.progress
        else {
            panic!("{name}: {ran:?}")
        };
        assert_eq!((*step, *e, *why), (Step::Exec, errno, want), "{name}");
        assert!(
            done.contains(&Step::Seccomp),
            "{name}: looked up before it was confined"
        );
        assert_eq!(
            (ran.code(), ran.out.as_str(), ran.err.as_str()),
            (Some(127), "", ""),
            "{name}"
        );
    }
    end(fixture);
}

#[test]
fn scripts_run_by_their_first_line() {
    let dir = HostDir::new();
    let script = dir.file("script", 0o755, "#!/bin/sh\necho $0 $1\nexit 3\n");
    let ran = run(&[&script, "one"], &With::default());
    assert_eq!(
        (ran.out, ran.status.code()),
        (format!("{script} one\n"), Some(3))
    );
}

#[test]
fn sealed_script_and_stdin_are_separate() {
    let script = sys::sealed_memfd(c"script", b"echo script $1; cat; ls /proc/self/fd").unwrap();
    let stdin = sys::sealed_memfd(c"stdin", b"from stdin\n").unwrap();
    let with = With {
        script: Some(script.as_fd()),
        stdin: Some(stdin.as_fd()),
        ..With::default()
    };
    let ran = run(&["sh", "/proc/self/fd/3", "arg"], &with);
    // 4 is the directory that `ls` reads; the shell's own copy of the script is close-on-exec.
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("script arg\nfrom stdin\n0\n1\n2\n3\n4\n", "")
    );
}

#[test]
fn nothing_but_three_descriptors_is_open() {
    let open = std::fs::File::open("/etc/passwd").unwrap();
    let leaky = nix::unistd::dup(&open).unwrap();
    nix::fcntl::fcntl(
        &leaky,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()),
    )
    .unwrap();
    assert_eq!(
        run(&["ls", "/proc/self/fd"], &With::default()).out,
        "0\n1\n2\n3\n"
    );
}

#[test]
fn environment_is_exactly_as_passed() {
    let env = strings(&["A=1", "EMPTY=", "B=two words\nand a line", "C=\u{1f980}"]);
    let ran = run(
        &["cat", "/proc/self/environ"],
        &With {
            env: Some(&env),
            ..With::default()
        },
    );
    assert_eq!(
        ran.out,
        "A=1\0EMPTY=\0B=two words\nand a line\0C=\u{1f980}\0"
    );
    let ran = run(
        &["cat", "/proc/self/environ"],
        &With {
            env: Some(&[]),
            ..With::default()
        },
    );
    assert_eq!(ran.out, "");
}

#[test]
fn arguments_are_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'-', 0xff, b' ', b'\n', b'$', b'(']);
    let argv = [
        c"cat".to_owned(),
        c"/proc/self/cmdline".to_owned(),
        c"--".to_owned(),
        CString::new(odd.into_vec()).unwrap(),
    ];
    let (fixture, sandbox, uid) = (fixture(), sandbox(), uid());
    let job = Job {
        uid,
        gid: uid,
        loginuid: None,
        argv: &argv,
        arguments: &[],
        path: &strings(&["/usr/bin", "/bin"]),
        env: &[],
        cwd: c"/",
        stdin: None,
        script: None,
        staged: None,
        kept: None,
        measured: &[],
        cgroup: None,
        limits: &LIMITS,
    };
    let ran = finish(spawn(&sandbox, &fixture, &job).unwrap());
    assert!(
        ran.out
            .starts_with("cat\0/proc/self/cmdline\0--\0-\u{fffd} \n$("),
        "{ran:?}"
    );
    end(fixture);
}

#[test]
fn working_directory_is_opened_with_job_identity() {
    let dir = HostDir::new();
    let closed = CString::new(dir.path("closed")).unwrap();
    nix::unistd::mkdir(
        closed.as_c_str(),
        nix::sys::stat::Mode::from_bits_truncate(0o700),
    )
    .unwrap();
    for (cwd, errno) in [
        (c"/no/such", libc::ENOENT),
        (c"/etc/passwd", libc::ENOTDIR),
        (&*closed, libc::EACCES),
    ] {
        let ran = run(
            &["true"],
            &With {
                cwd: Some(cwd),
                ..With::default()
            },
        );
        let Progress::Failed(
            StepFailure {
                step: Step::Cwd,
                errno: e,
                ..
            },
            _,
        ) = ran.progress
        else {
            panic!("{ran:?}")
        };
        assert_eq!(e, errno);
    }
    assert_eq!(
        run(
            &["pwd"],
            &With {
                cwd: Some(c"/tmp/home"),
                ..With::default()
            }
        )
        .out,
        "/tmp/home\n"
    );
}

#[test]
fn invalid_jobs_are_refused_before_fork() {
    let (fixture, sandbox) = (fixture(), sandbox());
    let unsealed = std::fs::File::open("/etc/passwd").unwrap();
    let refused = |argv: &[&str], with: With<'_>| {
        start(&sandbox, &fixture, argv, &with)
            .unwrap_err()
            .to_string()
    };
    let limits = |change: fn(&mut Limits)| {
        let mut limits = LIMITS;
        change(&mut limits);
        With {
            limits: Some(limits),
            ..With::default()
        }
    };
    for (argv, with, why) in [
        (
            &["true"][..],
            With {
                uid: Some(0),
                ..With::default()
            },
            "a job is never root",
        ),
        (&[], With::default(), "no program is named"),
        (&[""], With::default(), "no program is named"),
        (
            &["true"],
            With {
                cwd: Some(c"etc"),
                ..With::default()
            },
            "working directory is not absolute",
        ),
        (
            &["true"],
            With {
                script: Some(unsealed.as_fd()),
                ..With::default()
            },
            "not a sealed memfd",
        ),
        (
            &["true"],
            limits(|l| l.nofile = 31),
            "at least 32 descriptors",
        ),
        // A tmpfs takes 0 for no limit.
        (&["true"], limits(|l| l.tmp_bytes = 0), "need a limit"),
        (&["true"], limits(|l| l.tmp_inodes = 0), "need a limit"),
    ] {
        let error = refused(argv, with);
        assert!(error.contains(why), "{error}");
    }
    end(fixture);
}

#[test]
fn failed_step_is_named_and_nothing_runs() {
    let dir = HostDir::new();
    let proof = dir.path("ran");
    let limits = Limits {
        tmp_inodes: u64::MAX,
        ..LIMITS
    };
    let ran = run(
        &["touch", &proof],
        &With {
            limits: Some(limits),
            ..With::default()
        },
    );
    let Progress::Failed(
        StepFailure {
            step, errno, why, ..
        },
        done,
    ) = ran.progress
    else {
        panic!("{ran:?}")
    };
    assert_eq!((step, why, errno), (Step::Mounts, Why::Errno, libc::EINVAL));
    assert_eq!(done.last(), Some(&Step::Namespaces));
    assert_eq!(ran.status.code(), Some(127));
}

#[test]
fn limits_hold() {
    let cpu = Limits { cpu_s: 1, ..LIMITS };
    let ran = run(
        &["sh", "-c", "while :; do :; done"],
        &With {
            limits: Some(cpu),
            ..With::default()
        },
    );
    assert_eq!(ran.signal(), Some(libc::SIGXCPU));
    let ran = sh("cat /proc/self/limits");
    for (name, soft) in [
        ("Max open files", 256),
        ("Max processes", 64),
        ("Max realtime priority", 0),
    ] {
        let line = ran.out.lines().find(|l| l.starts_with(name)).unwrap();
        assert_eq!(
            line[name.len()..].split_whitespace().next(),
            Some(soft.to_string().as_str()),
            "{line}"
        );
    }
    let clamped = sandbox().description().ceilings.clamped(&LIMITS);
    let core = ran
        .out
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    let want = if clamped.iter().any(|c| c.name == "core") {
        "0"
    } else {
        "1"
    };
    assert_eq!(core.split_whitespace().nth(4), Some(want));
}

/// `ps` of procps looks itself up in /proc by getpid(2).
#[test]
fn job_finds_itself_in_host_proc_by_pid() {
    let (fixture, sandbox) = (fixture(), sandbox());
    let with = With::default();
    for _ in 0..20 {
        let script = "echo $$ $(sed -n 's/^Pid:[[:space:]]*//p' /proc/$$/status) $PPID";
        let ran = run_in(&sandbox, &fixture, &["sh", "-c", script], &with);
        let words: Vec<_> = ran.out.split_whitespace().collect();
        assert_eq!(words.first(), words.get(1), "{ran:?}");
        let ran = run_in(&sandbox, &fixture, &["ps", "-o", "pid=", "-p", "1"], &with);
        assert_eq!(ran.out.trim(), "1", "{ran:?}");
    }
    end(fixture);
}
