//! Self-tests on demand: all layers, a missing one, and a kernel that cannot confine.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest, Checkup, LayerState};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};
use remit_link::{Spec, ToBroker, ToWarden};
use remit_tests::process::{Identity, descendants, ends_within};
use remit_tests::test_dir::{built, missing};
use remit_wire::outcome::State;

use crate::warden::stage::{ADMIN_GROUP, ALICE, Broker, SOON, Stage, Way, admin_frame, argv};

fn doctor(stage: &Stage) -> Checkup {
    match stage.ask(AdminRequest::Doctor) {
        AdminReply::Doctor(checkup) => *checkup,
        other => panic!("{other:?}"),
    }
}

fn refused(stage: &Stage, broker: &Broker) -> Refusal {
    let alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 77, argv(&["true"]), &[]);
    let refusal = broker.answer(77).unwrap_err();
    drop(alice);
    broker.say(&ToWarden::Closed { session });
    refusal
}

/// A daemon with one layer off. `believes` says from when on it trusts its self-test.
fn without(layer: &str, believes: &str) -> Option<Way> {
    let program = built().parent().unwrap().join("mutate/debug/remitd");
    if !program.exists() {
        missing("a remitd built with the feature mutate (make mutate)");
        return None;
    }
    Some(Way {
        program,
        env: vec![
            ("REMIT_MUTATE".into(), layer.into()),
            ("REMIT_MUTATE_PROVE".into(), believes.into()),
        ],
        ..Way::default()
    })
}

#[test]
fn self_test_during_jobs_leaves_nothing() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (job, _pipes) = broker.started(1);
    let checkup = doctor(&stage);
    let profile = &checkup.profiles[0];
    assert_eq!((profile.name.as_str(), &profile.refused), ("read", &None));
    for layer in &profile.layers {
        assert_ne!(layer.state, LayerState::Broken, "{layer:?}");
        assert!(!layer.detail.is_empty());
    }
    let held = |name: &str| {
        let layers = profile.layers.iter().filter(|layer| layer.name == name);
        layers
            .filter(|layer| layer.state == LayerState::Held)
            .count()
    };
    // These are tested by an attempt, and by checking ids and each mount.
    for (name, attempts) in [("identity", 2), ("read_only_mounts", 2), ("nodev", 2)] {
        assert_eq!(held(name), attempts, "{name}");
    }
    let open = profile.layers.iter().find(|w| w.detail.contains("0666"));
    let control = "without the sandbox: allowed";
    assert!(open.unwrap().detail.contains(control), "{open:?}");
    assert_eq!(
        (checkup.audit.as_str(), &checkup.audit_error),
        ("file", &None)
    );
    assert_eq!(checkup.landlock, stage.status().landlock);
    let records = stage.records("walls");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["REMIT_VERDICT"], "held");
    assert_eq!(records[0]["REMIT_UID"], "0");
    let uid = ALICE.to_string();
    assert_eq!(stage.records("intent")[0]["REMIT_UID"], uid.as_str());
    broker.say(&ToWarden::Stop {
        session,
        ticket: 2,
        job,
        signal: None,
    });
    assert_eq!(broker.finish(job).state, State::Cancelled);
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn concurrent_doctor_calls_share_results() {
    let (stage, _broker) = Stage::start();
    let mut waiting: Vec<_> = (0..caps::ADMIN_SESSIONS.min(4))
        .map(|_| stage.admin())
        .collect();
    for stream in &mut waiting {
        let rows = admin_frame(AdminRequest::Doctor).repeat(8);
        stream.write_all(&rows).unwrap();
    }
    for stream in &mut waiting {
        for _ in 0..8 {
            let reply: AdminReply = frame::read(stream, caps::ADMIN_FRAME).unwrap();
            assert!(matches!(reply, AdminReply::Doctor(_)), "{reply:?}");
        }
    }
    let tried = stage.records("walls").len();
    assert!((1..32).contains(&tried), "{tried}");
    drop(waiting);
    for _ in 0..20 {
        let _ = stage.admin().write_all(&admin_frame(AdminRequest::Doctor));
    }
    let _ = doctor(&stage);
    stage.idle();
    stage.stop();
}

#[test]
fn self_tests_and_reloads_run_beside_jobs() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let socket = stage.runtime().admin_socket();
    let over = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        for uid in [64_301, 64_302, 64_303] {
            let (socket, over) = (&socket, &over);
            scope.spawn(move || {
                Identity::new(uid, &[ADMIN_GROUP]).adopt().unwrap();
                while !over.load(Ordering::Relaxed) {
                    // Two read their answers, one does not; the daemon may disconnect any.
                    flood(UnixStream::connect(socket).unwrap(), uid != 64_303);
                }
            });
        }
        let times = catch_unwind(AssertUnwindSafe(|| {
            let times = (0..15).map(|ticket| measure(&broker, session, ticket));
            times.collect::<Vec<_>>()
        }));
        over.store(true, Ordering::Relaxed);
        times
    });
    let mut times = times.unwrap();
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_secs(1), "{times:?}");
    assert!(stage.status().refused.is_empty());
    for _ in 0..3 {
        let _ = (doctor(&stage), stage.ask(AdminRequest::Reload));
    }
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

fn flood(mut stream: UnixStream, reads: bool) {
    let requests = [
        AdminRequest::Doctor,
        AdminRequest::Reload,
        AdminRequest::Status,
    ];
    let rows = requests.map(admin_frame).concat().repeat(20);
    if stream.write_all(&rows).is_ok() && reads {
        let patience = Some(Duration::from_secs(5));
        stream.set_read_timeout(patience).unwrap();
        let answers = (0..60).map(|_| frame::read::<AdminReply>(&mut stream, caps::ADMIN_FRAME));
        let _ = answers.take_while(Result::is_ok).count();
    }
}

fn measure(broker: &Broker, session: u64, ticket: u64) -> Duration {
    let start = Instant::now();
    broker.run(session, ticket, argv(&["true"]), &[]);
    let (job, _pipes) = broker.started(ticket);
    assert_eq!(broker.finish(job).exit, Some(0));
    start.elapsed()
}

#[test]
fn stop_during_self_test_stops() {
    let (mut stage, _broker) = Stage::start();
    let mut admin = stage.admin();
    admin.write_all(&admin_frame(AdminRequest::Doctor)).unwrap();
    stage.signal(Signal::SIGTERM);
    assert_eq!(stage.ended(), Some(0));
}

#[test]
fn missing_layer_refuses_runs_but_serves() {
    let Some(way) = without("NoSuid", "start") else {
        return;
    };
    let (stage, broker) = Stage::start_as(&way);
    let seen = "sandbox layer 'nosuid' does not hold (every mount is nosuid: allowed)";
    let refusal = refused(&stage, &broker);
    assert_eq!(refusal.code, Code::UnsupportedKernel);
    assert!(refusal.message.contains(seen), "{refusal:?}");
    assert!(
        refusal.lift.is_some() && refusal.next.is_some(),
        "{refusal:?}"
    );
    let status = stage.status();
    assert!(status.refused[0].contains(seen), "{status:?}");
    assert_eq!(status.refusals[0].code, Code::UnsupportedKernel);
    let start = &stage.records("start")[0];
    assert_eq!(start["REMIT_REFUSED"], format!("read: {seen}"));
    assert!(start["MESSAGE"].as_str().unwrap().contains("runs nothing"));
    assert!(
        stage
            .log()
            .contains(&format!("nothing will run in read: {seen}"))
    );
    assert!(stage.records("intent").is_empty());
    let checkup = doctor(&stage);
    let profile = &checkup.profiles[0];
    assert_eq!(profile.refused.as_deref(), Some(seen));
    let broken: Vec<_> = profile
        .layers
        .iter()
        .filter(|w| w.state == LayerState::Broken)
        .collect();
    assert!(
        broken.iter().all(|layer| layer.name == "nosuid") && broken.len() == 1,
        "{broken:?}"
    );
    stage.idle();
    stage.stop();
}

#[test]
fn layer_failing_later_ends_jobs_until_restart() {
    let Some(mut way) = without("NoDev", "later") else {
        return;
    };
    let (mut stage, broker) = Stage::start_as(&way);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (job, _pipes) = broker.started(1);
    let checkup = doctor(&stage);
    let why = checkup.profiles[0].refused.as_deref().unwrap();
    assert!(why.contains("'nodev'"), "{why}");
    let ending = broker.finish(job);
    assert_eq!(ending.state, State::Interrupted, "{ending:?}");
    assert!(ending.cause.contains("layer"), "{ending:?}");
    broker.run(session, 2, argv(&["true"]), &[]);
    assert_eq!(broker.answer(2).unwrap_err().code, Code::UnsupportedKernel);
    let record = &stage.records("walls")[0];
    assert_eq!(record["REMIT_VERDICT"], "refused");
    assert!(record["REMIT_CAUSE"].as_str().unwrap().contains("'nodev'"));
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.signal(Signal::SIGTERM);
    assert_eq!(stage.ended(), Some(0));
    way.env.clear();
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    assert!(stage.status().refused.is_empty());
    stage.stop();
}

/// Every job runs behind layers that a self-test has tested since the last death of PID 1, even if that comes
/// during a self-test.
#[test]
fn watchdog_death_refuses_runs_until_self_test() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let mut ticket = 0;
    for round in 0..6 {
        let trial = (round % 2 == 1).then(|| {
            let mut admin = stage.admin();
            admin.write_all(&admin_frame(AdminRequest::Doctor)).unwrap();
            admin
        });
        let watchdog = watchdog(&stage).unwrap();
        kill(Pid::from_raw(watchdog), Signal::SIGKILL).unwrap();
        // Dead, but perhaps not yet noticed.
        assert!(ends_within(watchdog, SOON));
        assert!(
            runs_again(&broker, session, &mut ticket),
            "{round}: {}",
            stage.log()
        );
        drop(trial);
    }
    let text = std::fs::read_to_string(stage.test_dir.path().join("state/audit.jsonl")).unwrap();
    let mut proved = true;
    let mut deaths = 0;
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        match record["REMIT_EVENT"].as_str().unwrap() {
            "walls" if record["REMIT_VERDICT"] == "held" => proved = true,
            "walls"
                if record["MESSAGE"]
                    .as_str()
                    .unwrap()
                    .starts_with("the watchdog died") =>
            {
                proved = false;
                deaths += 1;
            }
            "intent" => assert!(proved, "{text}"),
            _ => {}
        }
    }
    assert_eq!(deaths, 6, "{text}");
    let _ = stage.ask(AdminRequest::Doctor);
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

/// Without descriptors or memory no new PID 1 can start: one record, no endless loop.
#[test]
fn irreplaceable_watchdog_refuses_only_runs() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let pid = Pid::from_raw(stage.pid());
    let descriptors = |limit: &str| {
        let pid = format!("--pid={pid}");
        let mut prlimit = std::process::Command::new("prlimit");
        prlimit.args([pid.as_str(), &format!("--nofile={limit}:")]);
        assert!(prlimit.status().unwrap().success());
    };
    let watchdog = watchdog(&stage).unwrap();
    descriptors("3");
    kill(Pid::from_raw(watchdog), Signal::SIGKILL).unwrap();
    // It is reaped first; a later request is processed in a later loop iteration.
    assert!(ends_within(watchdog, SOON));
    broker.run(session, 1, argv(&["true"]), &[]);
    let refusal = broker.answer(1).unwrap_err();
    descriptors("1024");
    stage.sleeps();
    let layers = stage.records("walls");
    assert_eq!(layers.len(), 1, "{layers:?}");
    assert_eq!(layers[0]["REMIT_VERDICT"], "refused");
    assert!(!stage.status().refused.is_empty(), "{refusal:?}");
    broker.run(session, 2, argv(&["true"]), &[]);
    assert_eq!(broker.answer(2).unwrap_err().code, Code::UnsupportedKernel);
    broker.say(&ToWarden::Closed { session });
    stage.stop();
}

#[test]
fn watchdog_start_is_retried_until_possible() {
    let (stage, broker) = Stage::start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let start = Instant::now();
    let failed = || {
        let records = stage.records("walls");
        let cause = |record: &serde_json::Value| record["REMIT_CAUSE"].as_str().map(str::to_owned);
        let mut causes = records.iter().filter_map(cause);
        causes.any(|cause| cause.starts_with("cannot test the sandbox"))
    };
    // There are no jobs, so processes in their cgroups are self-tests.
    while !failed() {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", stage.log());
        if let Some(watchdog) = watchdog(&stage) {
            kill(Pid::from_raw(watchdog), Signal::SIGKILL).unwrap();
        }
        for _ in 0..100 {
            for process in descendants(stage.pid()) {
                if process.is_of_jobs() {
                    // It may have ended by itself.
                    let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
                }
            }
        }
    }
    let mut ticket = 0;
    assert!(runs_again(&broker, session, &mut ticket), "{}", stage.log());
    assert_eq!(
        stage.records("walls").last().unwrap()["REMIT_VERDICT"],
        "held"
    );
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

fn runs_again(broker: &Broker, session: u64, ticket: &mut u64) -> bool {
    let start = Instant::now();
    let soon = |_: &u64| start.elapsed() < Duration::from_millis(SOON.into());
    (*ticket..).take_while(soon).any(|next| {
        *ticket = next + 1;
        broker.run(session, next, argv(&["true"]), &[]);
        let started = broker.until(|message, fds| match message {
            ToBroker::Answer { ticket, .. } if *ticket == next => Ok(None),
            ToBroker::Job {
                ticket: Some(ticket),
                meta,
                ..
            } if *ticket == next => Ok(Some(meta.job)),
            _ => Err(fds),
        });
        let ending = started.map(|job| broker.finish(job));
        ending.is_some_and(|ending| ending.exit == Some(0))
    })
}

fn watchdog(stage: &Stage) -> Option<i32> {
    let below = descendants(stage.pid());
    let watchdog = below.iter().find(|p| p.is_watchdog());
    watchdog.map(|watchdog| watchdog.pid)
}

/// The same number on all architectures.
const MOUNT_SETATTR: u32 = 442;

/// As on Linux 5.10, which lacks needed features.
#[test]
fn unsupported_kernel_is_reported_and_refuses_runs() {
    let mut stage = Stage::set(&Way::default());
    let mut command = stage.command(&Way::default());
    // SAFETY: system calls only, between fork and exec.
    unsafe { command.pre_exec(without_mount_setattr) };
    let broker = stage.raise_by(command);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    stage.ready();
    let refusal = refused(&stage, &broker);
    assert_eq!(refusal.code, Code::UnsupportedKernel);
    for part in ["mount_setattr (Linux 5.12)", "Linux "] {
        assert!(refusal.message.contains(part), "{refusal:?}");
    }
    let status = stage.status();
    assert!(status.refused[0].contains("mount_setattr"), "{status:?}");
    let checkup = doctor(&stage);
    assert_eq!(checkup.kernel, status.kernel);
    assert!(!checkup.kernel.is_empty());
    let profile = &checkup.profiles[0];
    let why = profile.refused.as_deref().unwrap();
    assert!(
        why.contains("mount_setattr") && profile.layers.is_empty(),
        "{profile:?}"
    );
    stage.idle();
    stage.stop();
}

/// A root file system whose owners cannot be mapped: an overlay, with the machine's other mounts in it. To the daemon it is as each
/// root file system before Linux 5.19.
const ON_AN_OVERLAY: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/empty /mnt/root
mount -t overlay none -o lowerdir=/mnt/empty:/ /mnt/root
for dir in /*; do
  [ -L "$dir" ] || [ ! -d "$dir" ] || [ "$dir" = /mnt ] || mount --rbind "$dir" "/mnt/root$dir"
done
cd /mnt/root
pivot_root . mnt
umount -l /mnt
cd /
exec "$@"
"#;

#[test]
fn machine_that_cannot_map_owners_has_no_copies_and_all_else() {
    const WHY: &str = "cannot make a view of this machine: the kernel cannot map the owners of its root file system";
    let way = Way {
        shell: Some(ON_AN_OVERLAY.to_owned()),
        ..Way::default()
    };
    let mut stage = Stage::set(&way);
    let plan = "\n[profile.copy]\nbase = \"plan\"\n[[grant]]\nname = \"copies\"\nto = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"copy\"\n";
    let read = "[[grant]]\nname = \"read\"\nto = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"read\"\n";
    stage.write("config/policy.d/10-test.toml", &[read, plan].concat());
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    stage.ready();
    let checkup = doctor(&stage);
    let of = |name: &str| checkup.profiles.iter().find(|one| one.name == name);
    let why = of("plan").unwrap().refused.as_deref().unwrap();
    assert!(why.starts_with(WHY), "{why}");
    assert!(
        why.ends_with("boot a newer kernel, or run remit outside of containers"),
        "{why}"
    );
    assert_eq!(of("read").unwrap().refused, None);
    assert_eq!(of("strict").unwrap().refused, None);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let in_copy = Spec {
        profile: Some("copy".into()),
        ..argv(&["true"])
    };
    broker.run(session, 1, in_copy, &[]);
    let refusal = broker.answer(1).unwrap_err();
    assert_eq!(refusal.code, Code::UnsupportedKernel);
    assert!(refusal.message.contains(WHY), "{refusal:?}");
    broker.run(session, 2, argv(&["true"]), &[]);
    let (job, _pipes) = broker.started(2);
    assert_eq!(broker.finish(job).state, State::Exited);
    broker.say(&ToWarden::Closed { session });
    stage.idle();
    stage.records_are_whole();
    stage.stop();
}

fn without_mount_setattr() -> std::io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            MOUNT_SETATTR,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, enosys),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, 0_u64);
    // SAFETY: seccomp(2) reads `program` and its instructions, which live until it returns.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
