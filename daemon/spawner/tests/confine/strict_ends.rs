//! How strict jobs end: the warden's child ends as the job did, and then nothing of it is left.

use super::common::*;
use super::strict::{plain, run_strict, strict};
use remit_confine::*;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const TREE: &str =
    "setsid sh -c 'sleep 300 & sleep 300' & setsid sleep 300 & (sleep 300 &) ; sleep 0.1; echo up;";

fn started(fixture: &Fixture, uid: u32, script: &str) -> Spawned {
    let with = With {
        uid: Some(uid),
        ..With::default()
    };
    let spawned = start(&strict(&plain()), fixture, &["sh", "-c", script], &with).unwrap();
    wait_for_line(&spawned.stdout, "up");
    spawned
}

fn named(uid: u32, name: &str) -> i32 {
    let is = |pid: &i32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim_end() == name
    };
    processes(uid).into_iter().find(is).unwrap()
}

#[test]
fn every_status_comes_back() {
    let (fixture, sandbox) = (fixture(), strict(&plain()));
    for code in 0..=255 {
        let script = format!("exit {code}");
        let ran = run_in(&sandbox, &fixture, &["sh", "-c", &script], &With::default());
        assert_eq!((ran.code(), ran.signal()), (Some(code), None));
    }
    end(fixture);
}

#[test]
fn every_signal_comes_back() {
    // Those that end a process, without the two that libc keeps and the shell does not know.
    let deadly = (1..=31).filter(|s| ![17, 18, 19, 20, 21, 22, 23, 28].contains(s));
    let (fixture, sandbox) = (fixture(), strict(&plain()));
    for signal in deadly.chain([34, 50, 64]) {
        let script = format!("kill -{signal} $$");
        let ran = run_in(&sandbox, &fixture, &["sh", "-c", &script], &With::default());
        assert_eq!((ran.code(), ran.signal()), (None, Some(signal)), "{ran:?}");
        assert!(!std::os::unix::process::ExitStatusExt::core_dumped(
            &ran.status
        ));
    }
    end(fixture);
}

#[test]
fn nothing_is_left_when_the_job_has_ended() {
    let (fixture, uid) = (fixture(), uid());
    let spawned = started(&fixture, uid, &format!("{TREE} exit 7"));
    wait_readable(&spawned.pidfd);
    assert_eq!(processes(uid), Vec::<i32>::new());
    assert_eq!(finish(spawned).code(), Some(7));
    end(fixture);
}

#[test]
fn nothing_is_left_of_a_fork_bomb() {
    let (fixture, uid) = (fixture(), uid());
    // The shell itself needs no further process.
    let bomb = "f() { f & f; }; f 2>/dev/null & echo up; i=0; \
                while [ $i -lt 3000 ]; do i=$((i+1)); done; exit 3";
    let spawned = started(&fixture, uid, bomb);
    wait_readable(&spawned.pidfd);
    assert_eq!(processes(uid), Vec::<i32>::new());
    assert_eq!(finish(spawned).code(), Some(3));
    end(fixture);
}

#[test]
fn orphans_are_reaped_and_init_is_process_one() {
    let script = "for i in 1 2 3 4 5; do (true &) ; done; i=0; \
                  while set -- /proc/[0-9]*; [ $# -gt 1 ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; \
                  ls -d /proc/[0-9]*; kill -9 1; kill -9 0; echo unheard";
    let ran = run_strict(&plain(), &["sh", "-c", script], &With::default());
    let shown: Vec<&str> = ran.out.lines().collect();
    assert_eq!(shown.first(), Some(&"/proc/2"), "{ran:?}");
    // Itself, and the `ls` that is the shell's child.
    assert!(shown.len() <= 2, "{ran:?}");
    assert_eq!(ran.signal(), Some(9));
}

#[test]
fn a_signal_to_the_group_is_the_jobs() {
    let fixture = fixture();
    let catches = "trap 'echo caught; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let spawned = started(&fixture, uid(), catches);
    sys::signal_group(spawned.pid, libc::SIGTERM).unwrap();
    let ran = finish(spawned);
    assert_eq!((ran.code(), ran.out.as_str()), (Some(5), "caught\n"));
    let spawned = started(&fixture, uid(), "echo up; exec sleep 300");
    sys::signal_group(spawned.pid, libc::SIGTERM).unwrap();
    assert_eq!(finish(spawned).signal(), Some(libc::SIGTERM));
    end(fixture);
}

#[test]
fn end_of_monitor_or_init_ends_job() {
    let fixture = fixture();
    for process in ["remit-monitor", "remit-init"] {
        let uid = uid();
        let spawned = started(&fixture, uid, &format!("{TREE} wait; sleep 300"));
        let victim = sys::pidfd_open(named(uid, process)).unwrap();
        sys::pidfd_send_signal(&victim, libc::SIGKILL).unwrap();
        gone(uid);
        assert_eq!(finish(spawned).signal(), Some(9), "{process}");
    }
    end(fixture);
}

/// Killed at any time on its way to the exec, it leaves nothing, and nobody waits for ever.
#[test]
fn monitor_killed_during_setup_leaves_nothing() {
    let (fixture, sandbox) = (fixture(), strict(&plain()));
    let mut executed = 0;
    for round in 0..200 {
        let uid = uid();
        let with = With {
            uid: Some(uid),
            ..With::default()
        };
        let spawned = start(&sandbox, &fixture, &["sleep", "300"], &with).unwrap();
        let until = Instant::now() + Duration::from_micros(40 * round);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        sys::pidfd_send_signal(&spawned.pidfd, libc::SIGKILL).unwrap();
        let ran = finish(spawned);
        assert_eq!(ran.signal(), Some(9), "{ran:?}");
        match ran.progress {
            Progress::Executed(_) => executed += 1,
            Progress::Failed(StepFailure { why, .. }, _) => assert_eq!(why, Why::Died),
            Progress::More => panic!(),
        }
        gone(uid);
    }
    // Otherwise none was half-way.
    assert!(executed < 200, "{executed}");
    end(fixture);
}

#[test]
fn the_switch_is_the_end_of_all() {
    let (fixture, uid) = (fixture(), uid());
    let spawned = started(&fixture, uid, &format!("{TREE} wait; sleep 300"));
    assert!(processes(uid).len() >= 6);
    fixture.cgroups.switch().pull().unwrap();
    gone(uid);
    assert_eq!(finish(spawned).signal(), Some(9));
    end(fixture);
}

#[test]
fn monitor_and_init_have_no_rights_nor_descriptors() {
    let (fixture, uid) = (fixture(), uid());
    let spawned = started(&fixture, uid, "echo up; exec sleep 300");
    let zeros = "0000000000000000";
    for process in ["remit-monitor", "remit-init"] {
        let proc = format!("/proc/{}", named(uid, process));
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        for (key, want) in [
            ("CapInh", zeros),
            ("CapPrm", zeros),
            ("CapEff", zeros),
            ("CapBnd", zeros),
            ("CapAmb", zeros),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("Groups", " "),
        ] {
            let line = format!("{key}:\t{want}\n");
            assert!(status.contains(&line), "{process}: {key}: {status}");
        }
        assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")));
        assert_eq!(std::fs::read_dir(format!("{proc}/fd")).unwrap().count(), 0);
        // Nothing of the host's tree either.
        let names: Vec<_> = std::fs::read_dir(format!("{proc}/root/"))
            .unwrap()
            .collect();
        assert!(
            !names
                .iter()
                .flatten()
                .any(|name| name.file_name() == "root")
        );
    }
    end_with(fixture, [spawned]);
}

/// Not a test of its own: `the_wardens_end_is_the_end_of_all` kills it.
#[test]
fn substitute() {
    let Ok(uid) = std::env::var("REMIT_STRICT_STAND_IN") else {
        return;
    };
    let fixture = fixture();
    let _job = started(
        &fixture,
        uid.parse().unwrap(),
        &format!("{TREE} wait; sleep 300"),
    );
    println!("\nprepared");
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn the_wardens_end_is_the_end_of_all() {
    let uid = uid();
    let mut warden = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "strict_ends::substitute",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("REMIT_STRICT_STAND_IN", uid.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(warden.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "prepared"));
    assert!(processes(uid).len() >= 6);
    warden.kill().unwrap();
    gone(uid);
    warden.wait().unwrap();
}
