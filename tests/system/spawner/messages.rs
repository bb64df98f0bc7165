//! remit-spawner under a warden that errs or was taken over. What the table of messages does not allow is refused, what is
//! no message ends it, and nothing that it has forked outlives it or the warden.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use remit_spawn::{Fork, Job, ListedPath, Progress, Request, StepFailure, VERSION, Why, socket};
use remit_sys::{Cgroup, Limits, sys};
use remit_tests::test_dir::built;

use super::stage::{LIMITS, Stage, compile, output, own_children_named, progress, setup};

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
    let (both, three) = ([cgroup.fd(); 2], [cgroup.fd(); 3]);
    let fork = |sandbox| Request::Fork {
        sandbox,
        fork: Fork {
            cgroup: true,
            staged: false,
            own,
            size: Some((1, 1)),
        },
    };
    let staged = |staged| Request::Fork {
        sandbox,
        fork: Fork {
            cgroup: true,
            staged,
            own,
            size: Some((1, 1)),
        },
    };
    let preforked = Request::Fork {
        sandbox,
        fork: Fork {
            cgroup: true,
            staged: false,
            own,
            size: None,
        },
    };
    let end = |sandbox| Request::EndWorker { sandbox };
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
        ("a child of nothing", fork(unknown), &both),
        ("a child without a cgroup", fork(sandbox), &both[..1]),
        ("a child with two cgroups", fork(sandbox), &three),
        ("a child without its plan", staged(true), &both),
        ("a pre-forked child", preforked, &both),
        (
            "a worker of nothing",
            Request::Worker { sandbox: unknown },
            &[],
        ),
        (
            "a child with a plan that nobody meant",
            staged(false),
            &three,
        ),
        ("the end of no worker", end(unknown), &[]),
    ] {
        let answer = stage.ask(&request, fds);
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    // What has no answer, or nothing to do.
    let forget = Request::Forget { sandbox: unknown };
    socket::send(stage.socket.as_fd(), &forget, &[]).unwrap();
    let echo = stage.spawn(sandbox, &["echo", "well"]).unwrap();
    assert_eq!(output(&echo), "well\n");
    drop(cgroup.remove());
    stage.ends_with_its_socket();
}

/// The warden asks a worker itself, which exists and is ready, or there is no socket of it.
#[test]
fn worker_is_handed_out_when_it_is_ready() {
    let (stage, sandbox) = Stage::ready();
    let cgroup = stage.cgroup("asked");
    let asked = |sandbox| stage.ask(&Request::Worker { sandbox }, &[]);
    assert!(asked(sandbox).is_err(), "without a worker");
    stage.ask(&Request::Warm { sandbox }, &[]).unwrap();
    assert!(asked(4711).is_err(), "of nothing");
    let child = stage.child(sandbox, &cgroup, true).unwrap();
    child.wait();
    assert!(!child.has_ended());
    drop(child);
    assert_eq!(
        own_children_named("remit-zygote"),
        1,
        "only the worker is left"
    );
    let (_, worker) = asked(sandbox).unwrap();
    stage.ask(&Request::EndWorker { sandbox }, &[]).unwrap();
    assert!(asked(sandbox).is_err(), "of one that was ended");
    let fork = Fork {
        cgroup: false,
        staged: false,
        own: (stage.uid, stage.uid),
        size: None,
    };
    let (_held, its) = socket::patient_pair().unwrap();
    let sent = socket::send(worker[0].as_fd(), &fork, &[its.as_fd()]);
    assert!(sent.is_err(), "nobody has the other end");
    stage.ends_with_its_socket();
}

/// Waiting children, each with a reason why it does not take its job: it ends, and nothing ran.
#[test]
fn waiting_child_takes_only_a_job_that_it_may() {
    let (stage, sandbox) = Stage::ready();
    stage.ask(&Request::Warm { sandbox }, &[]).unwrap();
    let refused = |what: &str, says: &str, between: &dyn Fn(&Cgroup), change: ChangeJob| {
        let cgroup = stage.cgroup("refused");
        let child = stage.child(sandbox, &cgroup, true).unwrap();
        child.wait();
        between(&cgroup);
        let error = stage.begin(child, &["echo", what], change).unwrap_err();
        let all = std::iter::successors(Some(&error as &dyn std::error::Error), |it| it.source());
        let all: Vec<_> = all.map(ToString::to_string).collect();
        assert!(all.join(": ").contains(says), "{what}: {all:?}");
        cgroup.remove().unwrap();
    };
    let killed = |cgroup: &Cgroup| cgroup.kill().unwrap();
    let mounted = |_: &Cgroup| {
        let target = stage.spawner().to_string();
        for words in [
            &["mount", "-t", "tmpfs", "none", "/mnt"][..],
            &["umount", "/mnt"],
        ] {
            let entered = Command::new("nsenter")
                .args(["--mount", "--target", &target])
                .args(words)
                .status();
            assert!(entered.unwrap().success());
        }
    };
    let nothing = |_: &Cgroup| {};
    refused("root", "never root", &nothing, |job| job.uid = 0);
    refused("another uid", "made for another", &nothing, |job| {
        job.uid += 1
    });
    refused("a relative directory", "not absolute", &nothing, |job| {
        job.cwd = c"tmp"
    });
    refused("a killed one", "cannot fork", &killed, |_| {});
    refused("another tree", "mounts have changed", &mounted, |_| {});
    let cgroup = stage.cgroup("taken");
    let child = stage.child(sandbox, &cgroup, true).unwrap();
    let echo = stage.begin(child, &["echo", "well"], |_| {}).unwrap();
    assert_eq!(output(&echo), "well\n");
    assert_eq!(
        own_children_named("remit-zygote"),
        1,
        "only the worker is left"
    );
    stage.ends_with_its_socket();
}

type ChangeJob = fn(&mut Job<'_>);
type Change<'a> = &'a dyn Fn(&mut Job<'_>);

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

/// What a warden that was taken over sends is checked by the child itself.
#[test]
fn job_that_the_table_does_not_allow_is_refused() {
    let (stage, sandbox) = Stage::ready();
    let unsealed: OwnedFd = std::fs::File::open("/etc/passwd").unwrap().into();
    let unsealed: &OwnedFd = Box::leak(Box::new(unsealed));
    let refused: [(&str, Change<'_>); 8] = [
        ("root", &|job| job.uid = 0),
        ("group root", &|job| job.gid = 0),
        ("another uid", &|job| job.uid += 1),
        ("no program", &|job| job.argv = &[]),
        ("a relative directory", &|job| job.cwd = c"tmp"),
        ("few descriptors", &|job| job.limits = &FEW),
        ("larger directories", &|job| job.limits = &LARGER),
        ("a script that can be changed", &|job| {
            job.script = Some(unsealed.as_fd());
        }),
    ];
    for (what, change) in refused {
        let cgroup = stage.cgroup("refused");
        let child = stage.child(sandbox, &cgroup, false).unwrap();
        let job = stage.begin(child, &["echo", what], change).unwrap();
        let progress = progress(&job);
        let is_refused = matches!(
            progress,
            Progress::Failed(
                StepFailure {
                    why: Why::Unmet,
                    ..
                },
                _
            )
        );
        assert!(is_refused, "{what}: {progress:?}");
        sys::wait(job.pid, 0).unwrap();
        cgroup.remove().unwrap();
    }
    assert!(stage.spawn(4711, &["echo"]).is_err());
    assert_eq!(own_children_named("echo"), 0);
    let echo = stage.spawn(sandbox, &["echo", "well"]).unwrap();
    assert_eq!(output(&echo), "well\n");
    stage.ends_with_its_socket();
}

const FEW: Limits = Limits {
    nofile: 31,
    ..LIMITS
};
const LARGER: Limits = Limits {
    tmp_bytes: LIMITS.tmp_bytes * 2,
    ..LIMITS
};

/// At each message, just before or just after it: the jobs and all that is forked for the next end with the warden.
#[test]
fn warden_killed_at_any_message_leaves_nothing() {
    for at in 0..11 {
        for first in [true, false] {
            let (mut stage, sandbox) = Stage::ready();
            let (own, cgroup) = ((stage.uid, stage.uid), stage.cgroup("asked"));
            let fork = |size| Fork {
                cgroup: true,
                staged: false,
                own,
                size,
            };
            stage.ask(&Request::Warm { sandbox }, &[]).unwrap();
            let sleep = ["sh", "-c", "setsid sleep 1000 & sleep 1000"];
            let _job = stage.spawn(sandbox, &sleep).unwrap();
            let fd = || vec![cgroup.fd().try_clone_to_owned().unwrap()];
            let (_own_end, its) = socket::patient_pair().unwrap();
            let with_socket = || {
                std::iter::once(its.try_clone().unwrap())
                    .chain(fd())
                    .collect()
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
                    Request::Fork {
                        sandbox,
                        fork: fork(None),
                    },
                    with_socket(),
                ),
                6 => (Request::SelfTest { sandbox, own }, fd()),
                7 => (Request::Forget { sandbox }, Vec::new()),
                8 => (Request::UseBus, fd()),
                9 => (Request::EndWorker { sandbox }, Vec::new()),
                _ => (
                    Request::Fork {
                        sandbox,
                        fork: fork(Some((1 << 20, 64))),
                    },
                    with_socket(),
                ),
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
