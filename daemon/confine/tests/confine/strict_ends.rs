//! How strict jobs end: the warden's child ends as the job did, and then nothing of it is left.

use super::common::*;
use super::strict::{plain, run_strict, strict};
use remit_confine::*;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Leaves sessions of its own behind, then says so.
const TREE: &str =
    "setsid sh -c 'sleep 300 & sleep 300' & setsid sleep 300 & (sleep 300 &) ; sleep 0.1; echo up;";

fn started(ground: &Ground, uid: u32, script: &str) -> Spawned {
    let with = With {
        uid: Some(uid),
        ..With::default()
    };
    let spawned = start(&strict(&plain()), ground, &["sh", "-c", script], &with).unwrap();
    wait_for_line(&spawned.stdout, "up");
    spawned
}

fn gone(uid: u32, limit: Duration) {
    let start = Instant::now();
    while !processes(uid).is_empty() {
        assert!(start.elapsed() < limit, "alive: {:?}", processes(uid));
        std::thread::yield_now();
    }
}

/// The process of this uid that is called so, as the host sees it.
fn named(uid: u32, name: &str) -> i32 {
    let is = |pid: &i32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim_end() == name
    };
    processes(uid).into_iter().find(is).unwrap()
}

#[test]
fn every_status_comes_back() {
    let (ground, sandbox) = (ground(), strict(&plain()));
    for code in 0..=255 {
        let script = format!("exit {code}");
        let ran = run_in(&sandbox, &ground, &["sh", "-c", &script], &With::default());
        assert_eq!((ran.code(), ran.signal()), (Some(code), None));
    }
    end(ground);
}

#[test]
fn every_signal_comes_back() {
    // Those that end a process; not the two that libc keeps, which the shell does not know.
    let deadly = (1..=31).filter(|s| ![17, 18, 19, 20, 21, 22, 23, 28].contains(s));
    let (ground, sandbox) = (ground(), strict(&plain()));
    for signal in deadly.chain([34, 50, 64]) {
        let script = format!("kill -{signal} $$");
        let ran = run_in(&sandbox, &ground, &["sh", "-c", &script], &With::default());
        assert_eq!((ran.code(), ran.signal()), (None, Some(signal)), "{ran:?}");
        assert!(!std::os::unix::process::ExitStatusExt::core_dumped(
            &ran.status
        ));
    }
    end(ground);
}

#[test]
fn nothing_is_left_when_the_job_has_ended() {
    let (ground, uid) = (ground(), uid());
    let spawned = started(&ground, uid, &format!("{TREE} exit 7"));
    wait_readable(&spawned.pidfd);
    assert_eq!(processes(uid), Vec::<i32>::new());
    assert_eq!(finish(spawned).code(), Some(7));
    end(ground);
}

#[test]
fn nothing_is_left_of_a_fork_bomb() {
    let (ground, uid) = (ground(), uid());
    // The shell itself needs no further process.
    let bomb = "f() { f & f; }; f 2>/dev/null & echo up; i=0; \
                while [ $i -lt 3000 ]; do i=$((i+1)); done; exit 3";
    let spawned = started(&ground, uid, bomb);
    wait_readable(&spawned.pidfd);
    assert_eq!(processes(uid), Vec::<i32>::new());
    assert_eq!(finish(spawned).code(), Some(3));
    end(ground);
}

#[test]
fn orphans_are_reaped_and_init_is_process_one() {
    let script = "for i in 1 2 3 4 5; do (true &) ; done; sleep 0.1; ls -d /proc/[0-9]*; kill -9 1; kill -9 0; echo unheard";
    let ran = run_strict(&plain(), &["sh", "-c", script], &With::default());
    let shown: Vec<&str> = ran.out.lines().collect();
    assert_eq!(shown.first(), Some(&"/proc/2"), "{ran:?}");
    // Itself, and the `ls` that is the shell's child.
    assert!(shown.len() <= 2, "{ran:?}");
    assert_eq!(ran.signal(), Some(9));
}

#[test]
fn a_signal_to_the_group_is_the_jobs() {
    let ground = ground();
    let catches = "trap 'echo caught; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let spawned = started(&ground, uid(), catches);
    floor::signal_group(spawned.pid, libc::SIGTERM).unwrap();
    let ran = finish(spawned);
    assert_eq!((ran.code(), ran.out.as_str()), (Some(5), "caught\n"));
    let spawned = started(&ground, uid(), "echo up; exec sleep 300");
    floor::signal_group(spawned.pid, libc::SIGTERM).unwrap();
    assert_eq!(finish(spawned).signal(), Some(libc::SIGTERM));
    end(ground);
}

#[test]
fn the_end_of_any_of_its_processes_is_the_end_of_all() {
    let ground = ground();
    for who in ["remit-monitor", "remit-init"] {
        let uid = uid();
        let spawned = started(&ground, uid, &format!("{TREE} wait; sleep 300"));
        let victim = floor::pidfd_open(named(uid, who)).unwrap();
        floor::pidfd_send_signal(&victim, libc::SIGKILL).unwrap();
        gone(uid, Duration::from_millis(200));
        assert_eq!(finish(spawned).signal(), Some(9), "{who}");
    }
    end(ground);
}

/// Whenever it is killed on its way to the exec, nothing stays, and nobody waits for ever.
#[test]
fn a_monitor_that_is_killed_half_way_leaves_nothing() {
    let (ground, sandbox) = (ground(), strict(&plain()));
    let mut executed = 0;
    for round in 0..200 {
        let uid = uid();
        let with = With {
            uid: Some(uid),
            ..With::default()
        };
        let spawned = start(&sandbox, &ground, &["sleep", "300"], &with).unwrap();
        let until = Instant::now() + Duration::from_micros(40 * round);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        floor::pidfd_send_signal(&spawned.pidfd, libc::SIGKILL).unwrap();
        let ran = finish(spawned);
        assert_eq!(ran.signal(), Some(9), "{ran:?}");
        match ran.progress {
            Progress::Executed(_) => executed += 1,
            Progress::Failed { why, .. } => assert_eq!(why, Why::Died),
            Progress::More => panic!(),
        }
        gone(uid, Duration::from_secs(2));
    }
    // Else none was half-way.
    assert!(executed < 200, "{executed}");
    end(ground);
}

#[test]
fn the_switch_is_the_end_of_all() {
    let (ground, uid) = (ground(), uid());
    let spawned = started(&ground, uid, &format!("{TREE} wait; sleep 300"));
    assert!(processes(uid).len() >= 6);
    ground.cgroups.switch().pull().unwrap();
    gone(uid, Duration::from_millis(200));
    assert_eq!(finish(spawned).signal(), Some(9));
    end(ground);
}

#[test]
fn monitor_and_init_have_no_right_and_nothing_open() {
    let (ground, uid) = (ground(), uid());
    let spawned = started(&ground, uid, "echo up; exec sleep 300");
    let zeros = "0000000000000000";
    for who in ["remit-monitor", "remit-init"] {
        let proc = format!("/proc/{}", named(uid, who));
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
            assert!(status.contains(&line), "{who}: {key}: {status}");
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
    end_with(ground, [spawned]);
}

/// Not a test of its own: what `the_wardens_end_is_the_end_of_all` kills.
#[test]
fn stand_in() {
    let Ok(uid) = std::env::var("REMIT_STRICT_STAND_IN") else {
        return;
    };
    let ground = ground();
    let _job = started(
        &ground,
        uid.parse().unwrap(),
        &format!("{TREE} wait; sleep 300"),
    );
    println!("\nstanding");
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn the_wardens_end_is_the_end_of_all() {
    let uid = uid();
    let mut warden = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "strict_ends::stand_in",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("REMIT_STRICT_STAND_IN", uid.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(warden.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "standing"));
    assert!(processes(uid).len() >= 6);
    warden.kill().unwrap();
    gone(uid, Duration::from_millis(200));
    warden.wait().unwrap();
}
