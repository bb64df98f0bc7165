//! How jobs end, all of them, however they hide.

use super::common::*;
use remit_confine::*;
use std::{
    io::{BufRead, BufReader},
    os::fd::{AsFd, AsRawFd},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Leaves three sessions of its own behind, then says so.
const TREE: &str = "setsid sh -c 'sleep 300 & sleep 300' & setsid sleep 300 & (sleep 300 &) ; sleep 0.1; echo up; wait";

fn tree(sandbox: &Sandbox, keeper: &Keeper, with: &With<'_>) -> Spawned {
    let spawned = start(sandbox, keeper, &["sh", "-c", TREE], with).unwrap();
    wait_for_line(&spawned.stdout, "up");
    spawned
}

/// None of `uid` may be there within `limit`.
fn gone(uid: u32, limit: Duration) {
    let start = Instant::now();
    while !processes(uid).is_empty() {
        assert!(start.elapsed() < limit, "alive: {:?}", processes(uid));
        std::thread::yield_now();
    }
}

#[test]
fn the_keepers_death_kills_every_job() {
    let (keeper, sandbox, uid) = (keeper(), sandbox(), uid());
    let spawned = tree(
        &sandbox,
        &keeper,
        &With {
            uid: Some(uid),
            ..With::default()
        },
    );
    assert!(processes(uid).len() >= 4);
    floor::pidfd_send_signal(keeper.pidfd(), libc::SIGKILL).unwrap();
    gone(uid, Duration::from_millis(100));
    assert_eq!(finish(spawned).signal(), Some(9));
    end(keeper);
    // Another one takes its place.
    let another = super::common::keeper();
    assert_eq!(
        run_in(&sandbox, &another, &["true"], &With::default()).code(),
        Some(0)
    );
    end(another);
}

#[test]
fn the_keeper_has_no_right_and_nothing_open() {
    let keeper = keeper();
    let proc = format!("/proc/{}", keeper.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let zeros = "0000000000000000";
    for (key, want) in [
        ("Name", "remit-keeper"),
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
    assert!(status.contains(&format!("Uid:\t{KEEPER}\t{KEEPER}\t{KEEPER}\t{KEEPER}\n")));
    let groups = status
        .lines()
        .find_map(|l| l.strip_prefix("Groups:"))
        .unwrap();
    assert_eq!(groups.trim(), "");
    assert_eq!(std::fs::read_dir(format!("{proc}/fd")).unwrap().count(), 0);
    end(keeper);
}

#[test]
fn orphans_are_reaped_by_the_keeper() {
    let (keeper, sandbox, uid) = (keeper(), sandbox(), uid());
    let with = With {
        uid: Some(uid),
        ..With::default()
    };
    let ran = run_in(
        &sandbox,
        &keeper,
        &[
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do (true &) ; done; sleep 0.05",
        ],
        &with,
    );
    assert_eq!(ran.code(), Some(0));
    let start = Instant::now();
    let left = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|e| {
            let status = std::fs::read_to_string(e.path().join("status")).unwrap_or_default();
            status.contains(&format!("Uid:\t{uid}\t"))
        })
        .count()
    };
    while left() > 0 {
        assert!(start.elapsed() < Duration::from_secs(2), "zombies are left");
    }
    end(keeper);
}

/// Not a test of its own: what `the_wardens_death_kills_every_job` kills.
#[test]
fn stand_in() {
    let Ok(uid) = std::env::var("REMIT_STAND_IN") else {
        return;
    };
    let (keeper, sandbox) = (keeper(), sandbox());
    let _jobs = [0, 1, 2].map(|n| {
        tree(
            &sandbox,
            &keeper,
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
    let start = Instant::now();
    for uid in first..first + 3 {
        gone(
            uid,
            Duration::from_millis(100)
                .saturating_sub(start.elapsed())
                .max(Duration::from_millis(1)),
        );
    }
    warden.wait().unwrap();
}

#[test]
fn a_uid_is_killed_and_no_other() {
    let (keeper, sandbox, mine, other) = (keeper(), sandbox(), uid(), uid());
    let bomb = "f() { f & f; }; echo up; f 2>/dev/null";
    let spawned = start(
        &sandbox,
        &keeper,
        &["sh", "-c", bomb],
        &With {
            uid: Some(mine),
            ..With::default()
        },
    )
    .unwrap();
    wait_for_line(&spawned.stdout, "up");
    while processes(mine).len() < 10 {
        std::thread::yield_now();
    }
    let stays = tree(
        &sandbox,
        &keeper,
        &With {
            uid: Some(other),
            ..With::default()
        },
    );
    let before = processes(other);
    let killing = kill_uid(&keeper, mine).unwrap();
    wait_readable(&spawned.pidfd);
    floor::reap(spawned.pid).unwrap();
    wait_readable(killing.fd());
    assert!(killing.verified().unwrap());
    assert_eq!(processes(mine), []);
    let left = processes(other);
    assert!(
        before.iter().all(|pid| left.contains(pid)),
        "{before:?} {left:?}"
    );
    assert!(kill_uid(&keeper, 0).is_err());
    end_with(keeper, [stays]);
}

/// Without Landlock's scope a job may signal every process of its uid. It is faster than any that
/// has only just got this uid.
#[test]
fn a_job_that_kills_whatever_it_may_is_killed() {
    let mut kernel = Kernel::probe().unwrap();
    kernel.landlock_abi = 0;
    let sandbox = Sandbox::read(&profile(), &kernel).unwrap();
    let keeper = keeper();
    for _ in 0..5 {
        let uid = uid();
        let with = With {
            uid: Some(uid),
            ..With::default()
        };
        let script = "echo up; while :; do kill -9 -1; done";
        let spawned = start(&sandbox, &keeper, &["sh", "-c", script], &with).unwrap();
        wait_for_line(&spawned.stdout, "up");
        let killing = kill_uid(&keeper, uid).unwrap();
        wait_readable(&spawned.pidfd);
        floor::reap(spawned.pid).unwrap();
        wait_readable(killing.fd());
        assert!(killing.verified().unwrap());
        assert_eq!(processes(uid), []);
    }
    end_with(keeper, []);
}

#[test]
fn a_kill_that_cannot_finish_is_not_verified() {
    let (keeper, sandbox, uid) = (keeper(), sandbox(), uid());
    let spawned = tree(
        &sandbox,
        &keeper,
        &With {
            uid: Some(uid),
            ..With::default()
        },
    );
    let killing = kill_uid(&keeper, uid).unwrap();
    wait_readable(&spawned.pidfd);
    // Its zombie is not reaped: it still counts.
    assert!(!killing.verified().unwrap());
    end_with(keeper, [spawned]);
}

fn cgroups(name: &str) -> Option<Cgroups> {
    let found = Cgroups::open(name).unwrap();
    has("writable cgroup v2", found.is_some())
        .then_some(found)
        .flatten()
}

fn populated_ends(cgroup: &Cgroup) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    while cgroup.populated().unwrap() {
        let mut fds = [PollFd::new(cgroup.events(), PollFlags::POLLPRI)];
        assert!(
            poll(&mut fds, PollTimeout::from(5000u16)).unwrap() > 0,
            "it stays populated"
        );
    }
}

#[test]
fn a_cgroup_holds_the_whole_tree_and_kills_it() {
    let name = format!("remit-test-{}-a", std::process::id());
    let Some(cgroups) = cgroups(&name) else {
        return;
    };
    let (keeper, sandbox, uid) = (keeper(), sandbox(), uid());
    let cgroup = cgroups.create("1", &LIMITS).unwrap();
    assert!(!cgroup.populated().unwrap());
    let with = With {
        uid: Some(uid),
        cgroup: Some(&cgroup),
        ..With::default()
    };
    let spawned = tree(&sandbox, &keeper, &with);
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
    cgroup.kill().unwrap();
    populated_ends(&cgroup);
    // None of them runs; the kernel may still be taking the last one down.
    gone(uid, Duration::from_millis(100));
    wait_readable(&spawned.pidfd);
    floor::reap(spawned.pid).unwrap();
    cgroup.remove().unwrap();
    end(keeper);
}

#[test]
fn a_cgroup_that_has_gone_starts_nothing() {
    let name = format!("remit-test-{}-c", std::process::id());
    let Some(cgroups) = cgroups(&name) else {
        return;
    };
    let (keeper, sandbox) = (keeper(), sandbox());
    let cgroup = cgroups.create("1", &LIMITS).unwrap();
    let path = std::fs::read_link(format!("/proc/self/fd/{}", cgroup.fd().as_raw_fd())).unwrap();
    std::fs::remove_dir(path).unwrap();
    let with = With {
        cgroup: Some(&cgroup),
        ..With::default()
    };
    assert!(start(&sandbox, &keeper, &["true"], &with).is_err());
    // What comes after is not in the jobs' namespace: the way back was taken.
    let own = std::fs::read_link("/proc/thread-self/ns/pid_for_children").unwrap();
    assert_eq!(own, std::fs::read_link("/proc/self/ns/pid").unwrap());
    assert_eq!(
        run_in(&sandbox, &keeper, &["true"], &With::default()).code(),
        Some(0)
    );
    end(keeper);
}

#[test]
fn leftovers_of_the_same_name_are_swept() {
    let name = format!("remit-test-{}-b", std::process::id());
    let Some(cgroups) = cgroups(&name) else {
        return;
    };
    let (keeper, sandbox) = (keeper(), sandbox());
    let (left, used) = (
        cgroups.create("left", &LIMITS).unwrap(),
        cgroups.create("used", &LIMITS).unwrap(),
    );
    let uid = uid();
    let with = With {
        uid: Some(uid),
        cgroup: Some(&left),
        ..With::default()
    };
    let spawned = tree(&sandbox, &keeper, &with);
    let path = std::fs::read_link(format!("/proc/self/fd/{}", left.fd().as_raw_fd())).unwrap();
    // As after the death of its daemon, nobody holds it now.
    drop(left);
    let again = Cgroups::open(&name).unwrap().unwrap();
    wait_readable(&spawned.pidfd);
    floor::reap(spawned.pid).unwrap();
    gone(uid, Duration::from_secs(2));
    // The first sweep has killed; the next finds it empty.
    drop(Cgroups::open(&name).unwrap());
    assert!(!path.exists(), "the sweep has not removed it");
    used.remove().expect("the sweep has taken what is in use");
    for bad in ["", "../x", "a/b", "daemon", "a b"] {
        assert!(again.create(bad, &LIMITS).is_err(), "{bad}");
    }
    end(keeper);
}

#[test]
fn a_job_is_a_child_of_the_warden_alone() {
    // Output that ends although a grandchild lives is the caller's affair; here it is only seen
    // that the first process can be waited for while others hold its pipe.
    let (keeper, sandbox) = (keeper(), sandbox());
    let spawned = start(
        &sandbox,
        &keeper,
        &["sh", "-c", "sleep 300 & exit 5"],
        &With::default(),
    )
    .unwrap();
    wait_readable(&spawned.pidfd);
    assert_eq!(floor::reap(spawned.pid).unwrap().0.code(), Some(5));
    let mut buf = [0; 1];
    let open = floor::read(spawned.stdout.as_fd(), &mut buf).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock);
    end(keeper);
    assert_eq!(read_all(spawned.stdout), "");
}
