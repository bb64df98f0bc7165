//! The ledger on a full disk, and processes that outlive a daemon.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use remit_common::refusal::Code;
use remit_link::{JobMeta, ToBroker, ToWarden};
use remit_wire::outcome::State;

use remit_tests::process::{Process, descendants, ends_within};
use remit_tests::test_dir::{TestDir, missing};

use super::link::Frozen;
use crate::warden::stage::{ALICE, Broker, SOON, Stage, Way, argv};

fn reported(broker: &Broker) -> Vec<JobMeta> {
    let reported = broker.adopted().into_iter();
    reported
        .map(|(message, _)| match message {
            ToBroker::Job { meta, .. } => *meta,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn full_disk_reuses_slot_of_oldest_ended_job() {
    let mut stage = Stage::set(&Way::default());
    let dir = stage.test_dir.directory("state").join("warden");
    let dir = dir.display();
    let shell =
        format!("mkdir {dir} && mount -t tmpfs -o size=64k,mode=700 none {dir} && exec \"$@\"");
    let way = Way {
        shell: Some(shell),
        ..Way::default()
    };
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    for ticket in 1..=2 {
        broker.run(session, ticket, argv(&["true"]), &[]);
        let (job, _pipes) = broker.started(ticket);
        assert_eq!(broker.finish(job).exit, Some(0));
    }
    let inside = |name: &str| PathBuf::from(format!("/proc/{}/root{dir}/{name}", stage.pid()));
    let _ = fs::write(inside("filler"), vec![0; 1 << 20]);

    // Running jobs reuse both slots of ended jobs, and no others.
    let run = |ticket| {
        broker.run(session, ticket, argv(&["sleep", "50"]), &[]);
        broker.started(ticket)
    };
    // One slot was prepared before the disk was full.
    let ready = run(12);
    assert!(!stage.log().contains("will be unknown after a restart"));
    let (first, second) = (run(3), run(4));
    let log = stage.log();
    assert_eq!(
        log.matches("will be unknown after a restart").count(),
        2,
        "{log}"
    );
    broker.run(session, 5, argv(&["true"]), &[]);
    let refusal = broker.answer(5).unwrap_err();
    assert_eq!(refusal.code, Code::NotStarted);
    let why = "cannot write the ledger of jobs: No space left on device";
    assert!(refusal.message.starts_with(why), "{refusal:?}");
    assert!(refusal.lift.unwrap_or_default().contains("free space"));
    stage.alive();
    let stop = |ticket, job| {
        let signal = Some(9);
        broker.say(&ToWarden::Stop {
            session,
            ticket,
            job,
            signal,
        });
        assert_eq!(broker.finish(job).state, State::Cancelled);
    };
    stop(6, first.0);
    let third = run(7);
    fs::remove_file(inside("filler")).unwrap();
    let fourth = run(8);
    for (ticket, job) in [(9, second.0), (10, third.0), (11, fourth.0), (13, ready.0)] {
        stop(ticket, job);
    }
    broker.say(&ToWarden::Closed { session });
    stage.alive();
    stage.stop();
}

/// The v1 freezer, mounted in a separate process that ends on drop.
struct Freezer(Child, PathBuf);

impl Freezer {
    fn new(test_dir: &TestDir) -> Option<Self> {
        let dir = test_dir.directory("freezer");
        let script = format!(
            "mount -t cgroup -o freezer none {} && echo ready && exec sleep 1000",
            dir.display()
        );
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let root = PathBuf::from(format!("/proc/{}/root{}", child.id(), dir.display()));
        let freezer = Self(child, root);
        (line == "ready\n").then_some(freezer)
    }

    fn hold(&self, pid: i32) -> Frozen {
        Frozen::hold(self.1.display().to_string(), pid)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn leftover_process_is_reported_and_its_uid_reserved() {
    let way = Way::default();
    let mut stage = Stage::set(&way);
    let Some(freezer) = Freezer::new(&stage.test_dir) else {
        return missing("the freezer of cgroup v1");
    };
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    // One job dies with the daemon. The other is frozen and does not even react to SIGKILL.
    for ticket in 1..=2 {
        broker.run(session, ticket, argv(&["sleep", "50"]), &[]);
        let _ = broker.started(ticket);
        broker.until(|message, fds| match message {
            ToBroker::Running { .. } => Ok(()),
            _ => Err(fds),
        });
    }
    let mut sleeps = descendants(stage.pid());
    sleeps.retain(|process| process.name == "sleep");
    sleeps.sort_by_key(|process| process.uid);
    let uids: Vec<_> = sleeps.iter().map(|process| process.uid).collect();
    let stuck = sleeps[0].pid;
    let frozen = freezer.hold(stuck);
    stage.signal(Signal::SIGKILL);
    assert_eq!(stage.ended(), None);

    let broker = stage.raise(&way);
    let jobs = reported(&broker);
    broker.say(&ToWarden::Ready);
    let endings: Vec<_> = jobs
        .iter()
        .map(|job| job.ending.as_ref().unwrap())
        .collect();
    let mut reported: Vec<_> = endings
        .iter()
        .map(|ending| (ending.state, ending.kill_verified, ending.cause.as_str()))
        .collect();
    // Either job may have the lower uid: the pool prepares them in any order.
    reported.sort_by_key(|(_, kill_verified, _)| *kill_verified);
    let still = format!(
        "remitd died while it ran; one of its processes is stuck in the kernel (pid {stuck})"
    );
    let gone = "remitd died while it ran; all its processes are gone";
    assert_eq!(
        reported,
        [
            (State::Interrupted, false, still.as_str()),
            (State::Interrupted, true, gone)
        ]
    );
    let records = stage.records("interrupted");
    let mut verified: Vec<_> = records
        .iter()
        .map(|r| r["REMIT_KILL_VERIFIED"].as_str())
        .collect();
    verified.sort_unstable();
    assert_eq!(verified, [Some("no"), Some("yes")]);
    assert!(Process::of(stuck).is_some(), "it was not stuck");
    let avoided = format!("uid {} is not used until remitd is restarted", uids[0]);
    assert!(stage.log().contains(&avoided), "{}", stage.log());

    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["true"]), &[]);
    let (job, _pipes) = broker.started(1);
    assert_eq!(broker.finish(job).exit, Some(0));
    let intents = stage.records("intent");
    let uid = intents.last().unwrap()["REMIT_JOB_UID"].as_str();
    // Which of the others it is depends on how many jobs were prepared.
    assert_ne!(uid.expect("it has one"), uids[0].to_string());
    drop(frozen);
    assert!(ends_within(stuck, SOON));
    broker.say(&ToWarden::Closed { session });
    stage.records_are_whole();
    stage.stop();
}
