//! remit-spawner under a warden that errs or was taken over. What the table of messages does not allow is refused, what is
//! no message ends it, and nothing that it has forked outlives it or the warden.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, poll};
use remit_spawn::{ListedPath, Order, Request, VERSION, socket};
use remit_sys::{Cgroup, sys};
use remit_tests::test_dir::built;

use super::stage::{ENDS_MS, Stage, compile, no_change, output, own_children_named, setup};

#[test]
fn program_without_a_socket_ends() {
    let output = Command::new(built().join("remit-spawner"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("only remitd starts it"),
        "{said}"
    );
}

#[test]
fn first_message_of_another_kind_ends_the_spawner() {
    let another = Request::Setup {
        version: VERSION + 1,
        one_session: false,
    };
    for (what, request, switches) in [
        ("another question", Request::EndWorkers, 1),
        ("another release", another, 1),
        ("no switch", setup(), 0),
        ("two switches", setup(), 2),
    ] {
        let stage = Stage::start();
        let switch = stage.cgroups.switch().as_fd();
        socket::send(stage.socket.as_fd(), &request, &[switch; 2][..switches]).unwrap();
        stage.ends_after(what);
    }
    let stage = Stage::start();
    socket::send_bytes(stage.socket.as_fd(), &[0xee; 30], &[]).unwrap();
    stage.ends_after("no message");
}

#[test]
fn what_is_no_message_ends_the_spawner_and_its_workers() {
    let unsealed = nix::sys::memfd::memfd_create(c"long", nix::sys::memfd::MFdFlags::empty());
    let unsealed = unsealed.unwrap();
    let too_long = sys::sealed_memfd(c"long", &vec![0; socket::LONG + 1]).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let many = [null.as_raw_fd(); 100];
    let lies: [(&str, &[u8], &[i32]); 8] = [
        ("bytes", &[0xee; 30], &[]),
        ("an empty message", &[], &[]),
        ("bytes behind a message", &[7, 0], &[]),
        ("a long message without a file", &[0xff], &[]),
        (
            "a long message that can still be changed",
            &[0xff],
            &[unsealed.as_raw_fd()],
        ),
        (
            "a message that is too long",
            &[0xff],
            &[too_long.as_raw_fd()],
        ),
        (
            "a datagram that is too long",
            &[0; socket::MESSAGE + 1],
            &[],
        ),
        ("too many descriptors", &[6], &many),
    ];
    for (what, bytes, fds) in lies {
        let (stage, sandbox) = Stage::ready();
        stage.ask(&Request::Warm { sandbox }, &[]).unwrap();
        socket::send_bytes(stage.socket.as_fd(), bytes, fds).unwrap();
        stage.ends_after(what);
    }
}

#[test]
fn request_that_the_table_does_not_allow_is_refused() {
    let (stage, sandbox) = Stage::ready();
    let (own, unknown) = ((stage.uid, stage.uid), 4711);
    let cgroup = stage.cgroup("asked");
    let switch = stage.cgroups.switch().as_fd();
    let relative = ListedPath {
        path: "var/lib".into(),
        optional: true,
    };
    let test = |sandbox, own| Request::SelfTest { sandbox, own };
    let both = [cgroup.fd(), cgroup.fd()];
    for (what, request, fds) in [
        ("a second setup", setup(), &[switch][..]),
        ("a relative path", compile(vec![relative]), &[]),
        (
            "a worker for nothing",
            Request::Warm { sandbox: unknown },
            &[],
        ),
        ("a watchdog that is root", Request::Watch { id: 0 }, &[]),
        ("a self-test of nothing", test(unknown, own), &both[..1]),
        ("a self-test without a cgroup", test(sandbox, own), &[]),
        ("a self-test with two cgroups", test(sandbox, own), &both),
        ("a self-test as root", test(sandbox, (0, 0)), &both[..1]),
    ] {
        let answer = stage.ask(&request, fds);
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    // What has no answer, or nothing to do.
    let forget = Request::Forget { sandbox: unknown };
    socket::send(stage.socket.as_fd(), &forget, &[]).unwrap();
    stage.ask(&Request::Drop { child: unknown }, &[]).unwrap();
    let echo = stage.spawn(sandbox, &["echo", "well"], no_change).unwrap();
    assert_eq!(output(echo.try_into().unwrap()), "well\n");
    drop(cgroup.remove());
    stage.ends_with_its_socket();
}

/// `Prepare` has no answer: its socket hangs up.
#[test]
fn child_that_cannot_be_hangs_up() {
    let (stage, sandbox) = Stage::ready();
    let cgroup = stage.cgroup("asked");
    let prepare = |sandbox, child, cgroups: usize| {
        let (own_end, its) = socket::patient_pair().unwrap();
        let own = (stage.uid, stage.uid);
        let request = Request::Prepare {
            sandbox,
            child,
            own,
        };
        let cgroups = vec![cgroup.fd(); cgroups].into_iter();
        let fds: Vec<_> = cgroups.chain([own_end.as_fd(), its.as_fd()]).collect();
        socket::send(stage.socket.as_fd(), &request, &fds).unwrap();
        own_end
    };
    let hangs_up = |socket: &OwnedFd, what| {
        let mut socket = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut socket, ENDS_MS), Ok(1), "{what}");
    };
    hangs_up(&prepare(sandbox, 1, 1), "without a worker");
    stage.ask(&Request::Warm { sandbox }, &[]).unwrap();
    let child = prepare(sandbox, 1, 1);
    for (what, sandbox, number, cgroups) in [
        ("for nothing", 4711, 2, 1),
        ("without a cgroup", sandbox, 2, 0),
        ("with two cgroups", sandbox, 2, 2),
        ("with a number that is another's", sandbox, 1, 1),
    ] {
        hangs_up(&prepare(sandbox, number, cgroups), what);
    }
    let mut reported = [PollFd::new(child.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut reported, ENDS_MS), Ok(1));
    assert_eq!(reported[0].revents(), Some(PollFlags::POLLIN), "it ended");
    stage.ask(&Request::Drop { child: 1 }, &[]).unwrap();
    hangs_up(&child, "dropped");
    stage.ends_with_its_socket();
}

/// Otherwise it would keep the spawner's workers alive after the spawner.
#[test]
fn self_test_has_no_socket_of_the_spawner() {
    let (stage, sandbox) = Stage::ready();
    stage.ask(&Request::Warm { sandbox }, &[]).unwrap();
    let own = (stage.uid, stage.uid);
    // It is looked at while it is frozen. It has a child of its own once it has closed what it does not need.
    let sockets_of_one = |at: u32| {
        let cgroup = stage.cgroup(&format!("test{at}"));
        let test = Request::SelfTest { sandbox, own };
        let (_, findings) = stage.ask(&test, &[cgroup.fd()]).unwrap();
        let found = loop {
            let pids = frozen(&cgroup);
            let is_test = |pid: &&i32| parent_of(**pid) == Some(stage.spawner());
            match pids.iter().find(is_test) {
                Some(test) if pids.len() > 1 => break sockets(*test),
                Some(_) => thaw(&cgroup),
                None => break None,
            }
        };
        drop((findings, cgroup.kill()));
        thaw(&cgroup);
        found
    };
    let sockets = (0..100).find_map(sockets_of_one);
    assert_eq!(sockets, Some(0));
    stage.ends_with_its_socket();
}

/// Freezes the processes of the cgroup, and returns their pids.
fn frozen(cgroup: &Cgroup) -> Vec<i32> {
    std::fs::write(file_of(cgroup, "freeze"), "1").unwrap();
    let state = || std::fs::read_to_string(file_of(cgroup, "events")).unwrap();
    while !state().contains("frozen 1") {
        std::thread::yield_now();
    }
    let pids = std::fs::read_to_string(file_of(cgroup, "procs")).unwrap();
    pids.lines().map(|pid| pid.parse().unwrap()).collect()
}

fn thaw(cgroup: &Cgroup) {
    std::fs::write(file_of(cgroup, "freeze"), "0").unwrap();
    std::thread::yield_now();
}

fn file_of(cgroup: &Cgroup, name: &str) -> String {
    format!("/proc/self/fd/{}/cgroup.{name}", cgroup.fd().as_raw_fd())
}

fn parent_of(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

/// How many sockets it has open. `None`: it has ended.
fn sockets(pid: i32) -> Option<usize> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links: Vec<_> = links
        .map(|link| std::fs::read_link(link.ok()?.path()).ok())
        .collect::<Option<_>>()?;
    let is_socket = |link: &&PathBuf| link.to_string_lossy().starts_with("socket:");
    (!links.is_empty()).then(|| links.iter().filter(is_socket).count())
}

type Change = fn(&mut Order, &mut Vec<OwnedFd>);

#[test]
fn job_that_the_table_does_not_allow_is_refused() {
    let (stage, sandbox) = Stage::ready();
    let refused: [(&str, Change); 12] = [
        ("root", |order, _| order.uid = 0),
        ("group root", |order, _| order.gid = 0),
        ("no program", |order, _| order.argv.clear()),
        ("an empty name", |order, _| {
            order.argv[0] = CString::default()
        }),
        ("a relative directory", |order, _| {
            order.cwd = c"tmp".to_owned()
        }),
        ("few descriptors", |order, _| order.limits.nofile = 31),
        ("no limit of bytes", |order, _| order.limits.tmp_bytes = 0),
        ("no limit of files", |order, _| order.limits.tmp_inodes = 0),
        ("no cgroup where there is one", |_, fds| fds.clear()),
        ("a descriptor of nothing", |_, fds| {
            fds.push(std::fs::File::open("/dev/null").unwrap().into());
        }),
        ("a standard input of nothing", |order, _| order.stdin = true),
        ("a script that can be changed", |order, fds| {
            order.script = true;
            fds.insert(0, std::fs::File::open("/etc/passwd").unwrap().into());
        }),
    ];
    for (what, change) in refused {
        let answer = stage.spawn(sandbox, &["echo", what], change);
        assert!(answer.is_err(), "{what}");
    }
    assert!(stage.spawn(4711, &["echo"], no_change).is_err());
    assert_eq!(own_children_named("echo"), 0);
    let echo = stage.spawn(sandbox, &["echo", "well"], no_change).unwrap();
    assert_eq!(output(echo.try_into().unwrap()), "well\n");
    stage.ends_with_its_socket();
}

/// At each message, just before or just after it: the jobs and all that is forked for the next end with the warden.
#[test]
fn warden_killed_at_any_message_leaves_nothing() {
    for at in 0..10 {
        for first in [true, false] {
            let (mut stage, sandbox) = Stage::ready();
            let (own, cgroup) = ((stage.uid, stage.uid), stage.cgroup("asked"));
            stage.ask(&Request::Warm { sandbox }, &[]).unwrap();
            let sleep = ["sh", "-c", "setsid sleep 1000 & sleep 1000"];
            let _job = stage.spawn(sandbox, &sleep, no_change).unwrap();
            let fd = || vec![cgroup.fd().try_clone_to_owned().unwrap()];
            let with_sockets = || {
                let (own_end, its) = socket::patient_pair().unwrap();
                fd().into_iter().chain([own_end, its]).collect()
            };
            let (request, fds) = match at {
                0 => (Request::Watch { id: stage.uid }, Vec::new()),
                1 => (compile(Vec::new()), Vec::new()),
                2 => (
                    Request::Keep {
                        sandboxes: Vec::new(),
                    },
                    Vec::new(),
                ),
                3 => (Request::Warm { sandbox }, Vec::new()),
                4 => (Request::EndWorkers, Vec::new()),
                5 => (
                    Request::Prepare {
                        sandbox,
                        child: 1,
                        own,
                    },
                    with_sockets(),
                ),
                6 => (Request::SelfTest { sandbox, own }, fd()),
                7 => (Request::Forget { sandbox }, Vec::new()),
                8 => (Request::UseBus, fd()),
                _ => stage.job(sandbox, &sleep, &cgroup, no_change),
            };
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            if first {
                stage.warden.kill().unwrap();
            }
            // A spawner that has ended does not take it.
            let _ = socket::send(stage.socket.as_fd(), &request, &fds);
            stage.warden.kill().unwrap();
            stage.ends_after(&format!("{request:?}"));
        }
    }
}
