//! How all jobs end, however they hide.

use super::common::*;
use remit_confine::*;
use std::{
    io::{BufRead, BufReader},
    os::fd::{AsFd, AsRawFd},
    process::{Command, Stdio},
    time::Duration,
};

const TREE: &str = "setsid sh -c 'sleep 300 & sleep 300' & setsid sleep 300 & (sleep 300 &) ; sleep 0.1; echo up; wait";

fn tree(sandbox: &Sandbox, fixture: &Fixture, with: &With<'_>) -> Spawned {
    let spawned = start(sandbox, fixture, &["sh", "-c", TREE], with).unwrap();
    wait_for_line(&spawned.stdout, "up");
    spawned
}

#[test]
fn watchdog_has_no_rights_and_two_descriptors() {
    let fixture = fixture();
    let proc = format!("/proc/{}", fixture.watchdog.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let zeros = "0000000000000000";
    for (key, want) in [
        ("Name", "remit-watchdog"),
        ("CapInh", zeros),
        ("CapPrm", zeros),
        ("CapEff", zeros),
        ("CapBnd", zeros),
        ("CapAmb", zeros),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert!(
            status.contains(&format!("{key}:\t{want}\n")),
            "{key}: {status}"
        );
    }
    assert!(status.contains(&format!(
        "Uid:\t{WATCHDOG_ID}\t{WATCHDOG_ID}\t{WATCHDOG_ID}\t{WATCHDOG_ID}\n"
    )));
    let groups = status
        .lines()
        .find_map(|l| l.strip_prefix("Groups:"))
        .unwrap();
    assert_eq!(groups.trim(), "");
    let switch = fixture.cgroups.path().join("cgroup.kill");
    let open = |number| std::fs::read_link(format!("{proc}/fd/{number}")).unwrap();
    assert_eq!(open(1), switch);
    assert!(open(0).display().to_string().contains("pidfd"));
    assert_eq!(std::fs::read_dir(format!("{proc}/fd")).unwrap().count(), 2);
    end(fixture);
}

/// Not a test of its own: `the_wardens_death_kills_every_job` kills it.
#[test]
fn stand_in() {
    let Ok(uid) = std::env::var("REMIT_STAND_IN") else {
        return;
    };
    let (fixture, sandbox) = (fixture(), sandbox());
    let _jobs = [0, 1, 2].map(|n| {
        tree(
            &sandbox,
            &fixture,
            &With {
                uid: Some(uid.parse::<u32>().unwrap() + n),
                ..With::default()
            },
        )
    });
    println!("\nstanding");
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn the_wardens_death_kills_every_job() {
    let first = uid();
    let _second = (uid(), uid());
    let mut warden = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "endings::stand_in",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("REMIT_STAND_IN", first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(warden.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap() == "standing"));
    for uid in first..first + 3 {
        assert!(processes(uid).len() >= 4);
    }
    warden.kill().unwrap();
    (first..first + 3).for_each(gone);
    warden.wait().unwrap();
}

/// A job's end does not depend on Landlock: here the job may signal every process of its uid.
#[test]
fn job_that_kills_all_it_may_is_killed() {
    let mut kernel = probe().unwrap();
    kernel.landlock_abi = 0;
    let sandbox = compile_read(&profile(), &kernel).unwrap();
    let fixture = fixture();
    for script in [
        "echo up; while :; do kill -9 -1; done",
        "f() { f & f; }; echo up; f 2>/dev/null",
    ] {
        let (uid, cgroup) = (uid(), fixture.cgroup());
        let with = With {
            uid: Some(uid),
            cgroup: Some(&cgroup),
            ..With::default()
        };
        let spawned = start(&sandbox, &fixture, &["sh", "-c", script], &with).unwrap();
        wait_for_line(&spawned.stdout, "up");
        cgroup.kill().unwrap();
        wait_readable(&spawned.pidfd);
        sys::reap(spawned.pid).unwrap();
        let patience = Duration::from_secs(10);
        assert!(fixture.cgroups.wait_until_empty(patience).unwrap());
        assert!(!cgroup.populated().unwrap());
        gone(uid);
    }
    end(fixture);
}

#[test]
fn the_switch_ends_every_job_and_no_other() {
    let (fixture, other, sandbox) = (fixture(), fixture(), sandbox());
    let [uid, neighbour] = [uid(), uid()];
    let with = |uid| With {
        uid: Some(uid),
        ..With::default()
    };
    let stays = tree(&sandbox, &other, &with(neighbour));
    let spawned = tree(&sandbox, &fixture, &with(uid));
    let before = processes(neighbour);
    fixture.cgroups.switch().pull().unwrap();
    wait_readable(&spawned.pidfd);
    assert_eq!(finish(spawned).signal(), Some(9));
    gone(uid);
    // A job's shells may start their last processes only now.
    let after = processes(neighbour);
    assert!(
        before.iter().all(|pid| after.contains(pid)),
        "{before:?} {after:?}"
    );
    end(fixture);
    end_with(other, [stays]);
}

#[test]
fn cgroup_holds_and_kills_whole_tree() {
    let name = format!("remit-test-{}-a", std::process::id());
    let cgroups = Cgroups::open(&name).unwrap();
    let (fixture, sandbox, uid) = (fixture(), sandbox(), uid());
    let cgroup = cgroups.make("1").unwrap();
    cgroups.limit(&cgroup, &LIMITS).unwrap();
    assert!(!cgroup.populated().unwrap());
    let with = With {
        uid: Some(uid),
        cgroup: Some(&cgroup),
        ..With::default()
    };
    let spawned = tree(&sandbox, &fixture, &with);
    let Progress::Executed(done) = progress(&spawned) else {
        panic!()
    };
    assert!(done.contains(&Step::Cgroup));
    assert!(cgroup.populated().unwrap());
    for pid in processes(uid) {
        let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(
            own.lines()
                .any(|l| l.starts_with("0::") && l.ends_with(&format!("/{name}-1"))),
            "{own}"
        );
    }
    assert!(!cgroups.wait_until_empty(Duration::ZERO).unwrap());
    cgroup.kill().unwrap();
    assert!(cgroups.wait_until_empty(Duration::from_secs(10)).unwrap());
    assert!(!cgroup.populated().unwrap());
    // None of them runs; the kernel may still be taking the last one down.
    gone(uid);
    wait_readable(&spawned.pidfd);
    sys::reap(spawned.pid).unwrap();
    cgroup.remove().unwrap();
    end(fixture);
}

#[test]
fn a_cgroup_that_has_gone_starts_nothing() {
    let name = format!("remit-test-{}-c", std::process::id());
    let cgroups = Cgroups::open(&name).unwrap();
    let (fixture, sandbox) = (fixture(), sandbox());
    let cgroup = cgroups.make("1").unwrap();
    let path = std::fs::read_link(format!("/proc/self/fd/{}", cgroup.fd().as_raw_fd())).unwrap();
    std::fs::remove_dir(path).unwrap();
    let with = With {
        cgroup: Some(&cgroup),
        ..With::default()
    };
    assert!(start(&sandbox, &fixture, &["true"], &with).is_err());
    assert_eq!(
        run_in(&sandbox, &fixture, &["true"], &With::default()).code(),
        Some(0)
    );
    end(fixture);
}

#[test]
fn leftovers_of_the_same_name_are_swept() {
    let name = format!("remit-test-{}-b", std::process::id());
    let cgroups = Cgroups::open(&name).unwrap();
    let (fixture, sandbox) = (fixture(), sandbox());
    let left = cgroups.make("left").unwrap();
    let uid = uid();
    let with = With {
        uid: Some(uid),
        cgroup: Some(&left),
        ..With::default()
    };
    let spawned = tree(&sandbox, &fixture, &with);
    let path = std::fs::read_link(format!("/proc/self/fd/{}", left.fd().as_raw_fd())).unwrap();
    // The directory of a live daemon is left alone.
    let again = Cgroups::open(&name).unwrap();
    assert!(!processes(uid).is_empty());
    // Nobody holds it now, as after the death of its daemon.
    drop((left, cgroups));
    assert!(path.exists());
    let third = Cgroups::open(&name).unwrap();
    wait_readable(&spawned.pidfd);
    sys::reap(spawned.pid).unwrap();
    gone(uid);
    assert!(!path.exists(), "the sweep has not removed it");
    assert!(again.path().exists(), "the sweep has taken what is in use");
    for bad in ["", "../x", "a/b", "a b"] {
        assert!(third.make(bad).is_err(), "{bad}");
    }
    end(fixture);
}

/// What others hold open or locked of a job's cgroup hinders nobody, and all users may look.
#[test]
fn s13_cgroups_are_visible_but_not_lockable() {
    use std::os::unix::fs::PermissionsExt;
    let name = format!("remit-test-{}-s13", std::process::id());
    let cgroups = Cgroups::open(&name).unwrap();
    let cgroup = cgroups.make("1").unwrap();
    let path = std::fs::read_link(format!("/proc/self/fd/{}", cgroup.fd().as_raw_fd())).unwrap();
    let of_jobs = cgroups.path().to_owned();
    for dir in [&path, &of_jobs] {
        let mode = std::fs::metadata(dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "{}", dir.display());
    }
    // A plain user reads as systemd-cgtop does, locks all that can be opened, and keeps it.
    let script = "cd $1 && cat cgroup.procs >/dev/null && ls $2 >/dev/null || exit 3; \
        for file in $1 $2 $1/* $2/*; do exec {fd}<$file && flock -n -x $fd; done 2>/dev/null; \
        { true <$2/cgroup.kill; } 2>/dev/null && exit 4; { true >$2/cgroup.kill; } 2>/dev/null && exit 5; \
        echo held; exec sleep 300";
    let mut stranger = Command::new("bash");
    stranger
        .args(["-c", script, "bash"])
        .arg(&path)
        .arg(&of_jobs);
    use std::os::unix::process::CommandExt;
    let mut stranger = stranger
        .uid(65_534)
        .gid(65_534)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = stranger.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n", "{:?}", stranger.try_wait());
    // Nothing waits for that user: more are made, all are removed, leftovers are swept.
    cgroups.make("2").unwrap().remove().unwrap();
    cgroup.remove().unwrap();
    drop(cgroups);
    assert!(!of_jobs.exists());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn cgroup_is_removed_with_sub_groups_of_a_job() {
    let name = format!("remit-test-{}-sub", std::process::id());
    let cgroups = Cgroups::open(&name).unwrap();
    let cgroup = cgroups.make("1").unwrap();
    let path = cgroups.path().join(format!("{name}-1"));
    std::fs::create_dir_all(path.join("a/b")).unwrap();
    cgroup.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn job_is_child_of_warden_only() {
    // Checks only that the first process can be waited for while a grandchild holds its pipe.
    let (fixture, sandbox) = (fixture(), sandbox());
    let spawned = start(
        &sandbox,
        &fixture,
        &["sh", "-c", "sleep 300 & exit 5"],
        &With::default(),
    )
    .unwrap();
    wait_readable(&spawned.pidfd);
    assert_eq!(sys::reap(spawned.pid).unwrap().0.code(), Some(5));
    let mut buf = [0; 1];
    let open = sys::read(spawned.stdout.as_fd(), &mut buf).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock);
    end(fixture);
    assert_eq!(read_all(spawned.stdout), "");
}

#[test]
fn without_clone3_a_job_joins_its_cgroup() {
    let kernel = Kernel {
        fork: sys::ForkCall::Clone,
        ..probe().unwrap()
    };
    let fixture = fixture();
    // In its own cgroup namespace a job sees itself at the top.
    for (sandbox, seen) in [
        (compile_read(&profile(), &kernel).unwrap(), "-job"),
        (
            compile_strict(&super::strict::plain(), &kernel).unwrap(),
            "/",
        ),
    ] {
        let cgroup = fixture.cgroups.make("job").unwrap();
        let with = With {
            cgroup: Some(&cgroup),
            ..With::default()
        };
        let ran = run_in(&sandbox, &fixture, &["cat", "/proc/self/cgroup"], &with);
        let Progress::Executed(done) = &ran.progress else {
            panic!("{ran:?}")
        };
        assert!(done.contains(&Step::Cgroup));
        let own = |line: &str| line.starts_with("0::") && line.ends_with(seen);
        assert!(ran.out.lines().any(own), "{ran:?}");
        assert!(!cgroup.populated().unwrap());
        cgroup.remove().unwrap();
    }
    end(fixture);
}
