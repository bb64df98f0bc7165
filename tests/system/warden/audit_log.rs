//! A journal that does not read, and mounts that change.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use remit_common::admin::AdminRequest;
use remit_common::refusal::{Code, Refusal};
use remit_link::ToBroker;
use remit_tests::process::descendants;
use remit_wire::outcome::State;

use crate::warden::stage::{ALICE, Broker, SOON, Stage, Way, admin_frame, all_of, argv, readable};

/// A fake journald, in the daemon's mount namespace.
pub struct Journal {
    socket: UnixDatagram,
    filler: UnixDatagram,
    path: std::path::PathBuf,
}

impl Journal {
    fn bind(path: std::path::PathBuf) -> Self {
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        Self {
            socket,
            filler,
            path,
        }
    }

    pub fn read(&self) -> Vec<String> {
        let mut buffer = vec![0; 1 << 18];
        let mut all = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            all.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        all
    }

    /// Reads until there is such a record.
    pub fn read_until(&self, event: &str) -> Vec<String> {
        let mut records = Vec::new();
        while events(&records, event) == 0 {
            let mut socket = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut socket, SOON), Ok(1), "{records:?}");
            records.extend(self.read());
        }
        records
    }

    pub fn free_one_entry(&self) {
        let mut buffer = vec![0; 1 << 18];
        let _ = self.socket.recv(&mut buffer).unwrap();
    }

    pub fn fill(&self) {
        while self.filler.send_to(b"MESSAGE=filler\n", &self.path).is_ok() {}
    }
}

fn start() -> (Stage, Broker, Journal) {
    start_with("")
}

pub fn start_with(jobs: &str) -> (Stage, Broker, Journal) {
    let (stage, broker, journal, _) = start_to_start_again(jobs);
    (stage, broker, journal)
}

pub fn start_to_start_again(jobs: &str) -> (Stage, Broker, Journal, Way) {
    let way = Way {
        sink: "journald",
        jobs: jobs.into(),
        ..Way::default()
    };
    let mut stage = Stage::set(&way);
    let dir = stage.test_dir.directory("journal");
    let journal = Journal::bind(dir.join("socket"));
    let shell = format!(
        "mount --make-rshared / && mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
         mount --bind {} /run/systemd/journal && exec \"$@\"",
        dir.display()
    );
    let way = Way {
        shell: Some(shell),
        ..way
    };
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&remit_link::ToWarden::Ready);
    stage.ready();
    (stage, broker, journal, way)
}

pub fn events(records: &[String], event: &str) -> usize {
    let line = format!("\nREMIT_EVENT={event}\n");
    records.iter().filter(|r| r.contains(&line)).count()
}

/// A run is parked for at most a second, which may pass too early on a busy machine. Returns the first of ten
/// attempts that was in time.
pub fn in_time<T>(attempt: impl FnMut(u64) -> Option<T>) -> T {
    (1..=10).find_map(attempt).expect("always too late")
}

pub fn came_too_late(refusal: &Refusal) -> bool {
    refusal.code == Code::NotStarted && refusal.message.contains("audit log")
}

#[test]
fn parked_run_starts_when_log_is_writable() {
    let (stage, broker, journal) = start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    // The first read makes space: it may already see the record.
    let first = std::cell::Cell::new(0);
    let job = in_time(|ticket| {
        let _ = journal.read();
        journal.fill();
        broker.run(session, ticket, argv(&["true"]), &[]);
        assert!(!readable(broker.link.as_fd(), 300), "not recorded, and yet");
        first.set(events(&journal.read(), "intent"));
        broker.until(|message, fds| match message {
            ToBroker::Job { meta, .. } => Ok(Some(meta.job)),
            ToBroker::Answer { answer, .. } => {
                assert!(came_too_late(answer.as_ref().unwrap_err()), "{answer:?}");
                Ok(None)
            }
            _ => Err(fds),
        })
    });
    assert_eq!(first.get() + events(&journal.read(), "intent"), 1);
    broker.finish(job);
    assert_eq!(events(&journal.read(), "end"), 1);
    stage.idle_but(2);
    stage.stop();
}

#[test]
fn parked_runs_are_refused_after_one_second() {
    let (stage, broker, journal) = start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    journal.fill();
    for ticket in 1..=150 {
        broker.run(session, ticket, argv(&["true"]), &[]);
    }
    stage.alive();
    let mut refused = 0;
    while refused < 150 {
        refused += broker.until(|message, fds| match message {
            ToBroker::Answer { answer, .. } => {
                let code = answer.as_ref().unwrap_err().code;
                assert!(matches!(code, Code::NotStarted | Code::Busy), "{code:?}");
                Ok(1)
            }
            ToBroker::Job { .. } => panic!("unrecorded"),
            _ => Err(fds),
        });
    }
    stage.sleeps();
    assert_eq!(events(&journal.read(), "intent"), 0);
    assert_eq!(stage.open_jobs(), 0);
    stage.stop();
}

#[test]
fn parked_run_is_not_reported_to_next_broker() {
    let (stage, broker, journal) = start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    journal.fill();
    broker.run(session, 1, argv(&["true"]), &[]);
    // The answer proves that the run was parked before.
    broker.run(4711, 2, argv(&["true"]), &[]);
    assert!(broker.answer(2).is_err());
    broker.die();
    let (broker, _) = stage.next_broker();
    let _ = journal.read();
    stage.alive();
    // Longer than any run is parked. Ticket 1 has another meaning for this broker.
    if readable(broker.link.as_fd(), 2000) {
        panic!("{:?}", broker.hear());
    }
    assert_eq!(events(&journal.read(), "intent"), 0);
    stage.stop();
}

/// Does something while a run is parked. Returns the expected refusal.
fn meanwhile(what: &str, stage: &Stage, broker: &Broker, journal: &Journal, session: u64) -> Code {
    match what {
        "lock" => {
            let why = String::new();
            let _ = stage.ask(AdminRequest::Lock { why, kill: false });
            Code::Locked
        }
        "policy" => {
            let old = stage.status().policy;
            stage.grant(&format!("# not {old}\nto = [\"#64001\"]"));
            // The answer comes after the reload, which needs free space first.
            let mut admin = stage.admin();
            admin.write_all(&admin_frame(AdminRequest::Reload)).unwrap();
            // This answer proves that the earlier request was received.
            let _ = stage.status();
            // Stopped until the child has read the policy and its record fits. Then the loop processes the policy
            // first.
            stage.signal(Signal::SIGSTOP);
            let _ = (0..500).any(|_| {
                let _ = poll(&mut [], 1_u16);
                let below = descendants(stage.pid());
                below
                    .iter()
                    .any(|p| p.state == 'Z' && p.parent == stage.pid())
            });
            let _ = journal.read();
            stage.signal(Signal::SIGCONT);
            Code::NotStarted
        }
        _ => {
            broker.say(&remit_link::ToWarden::Closed { session });
            Code::DaemonUnavailable
        }
    }
}

/// Has a run wait for its record. The refusal of another session shows that it was taken.
fn park(broker: &Broker, journal: &Journal, session: u64, ticket: u64) {
    let _ = journal.read();
    journal.fill();
    broker.run(session, ticket, argv(&["true"]), &[]);
    broker.run(4711, 99, argv(&["true"]), &[]);
    assert!(broker.answer(99).is_err());
}

#[test]
fn parked_run_is_rechecked_before_start() {
    let (stage, broker, journal) = start();
    for what in ["lock", "policy", "closed"] {
        in_time(|ticket| {
            let _alice = stage.connect(ALICE);
            let session = broker.session();
            park(&broker, &journal, session, ticket);
            let expect = meanwhile(what, &stage, &broker, &journal, session);
            let policy = stage.status().policy;
            let _ = journal.read();
            let refusal = broker.until(|message, fds| match message {
                ToBroker::Answer { ticket: of, answer } if *of == ticket => {
                    Ok(answer.clone().err())
                }
                ToBroker::Job { .. } if what == "policy" => Ok(None),
                ToBroker::Job { .. } => panic!("{what}: started"),
                _ => Err(fds),
            });
            let _ = stage.ask(AdminRequest::Unlock);
            broker.say(&remit_link::ToWarden::Closed { session });
            // If the policy's record did not fit, the old policy is in force.
            let Some(refusal) = refusal else {
                assert_eq!(stage.status().policy, policy, "{what}: started");
                return None;
            };
            if came_too_late(&refusal) {
                return None;
            }
            assert_eq!(refusal.code, expect, "{what}");
            Some(())
        });
    }
    stage.stop();
}

/// The log is full all the time, so nothing else ends it. Otherwise an unlock in the same second would let it run.
#[test]
fn lock_refuses_parked_run_at_once() {
    let (stage, broker, journal) = start();
    in_time(|ticket| {
        let _alice = stage.connect(ALICE);
        let session = broker.session();
        park(&broker, &journal, session, ticket);
        let why = String::new();
        let _ = stage.ask(AdminRequest::Lock { why, kill: false });
        let refusal = broker.until(|message, fds| match message {
            ToBroker::Answer { ticket: of, answer } if *of == ticket => Ok(answer.clone()),
            ToBroker::Job { .. } => panic!("unrecorded"),
            _ => Err(fds),
        });
        let _ = journal.read();
        let _ = stage.ask(AdminRequest::Unlock);
        broker.say(&remit_link::ToWarden::Closed { session });
        let refusal = refusal.expect_err("it is refused");
        (!came_too_late(&refusal)).then(|| assert_eq!(refusal.code, Code::Locked))
    });
    assert_eq!(stage.open_jobs(), 0);
    stage.stop();
}

#[test]
fn delayed_end_is_recorded_once() {
    let (stage, broker, journal) = start();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["true"]), &[]);
    let (job, _) = broker.started(1);
    broker.exited(job);
    let _ = journal.read();
    journal.fill();
    broker.drained(job);
    assert!(
        !readable(broker.link.as_fd(), 5000),
        "reported before it was recorded"
    );
    stage.alive();
    stage.sleeps();
    // The record may already be among those just read.
    let mut records = journal.read();
    let ending = broker.end(job);
    assert_eq!(ending.state, State::Exited);
    assert!(
        ending.runtime_ms < 5000,
        "it did not run while it waited: {ending:?}"
    );
    records.extend(journal.read());
    assert_eq!(events(&records, "end"), 1);
    stage.stop();
}

#[test]
fn start_is_delayed_until_interruptions_are_recorded() {
    let (mut stage, broker, journal, way) =
        start_to_start_again("max = 1\nmax_per_user = 1\nqueue = 30\n");
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    for ticket in 1..=20 {
        broker.run(session, ticket, argv(&["sleep", "50"]), &[]);
        broker.started(ticket);
        let _ = journal.read();
    }
    stage.signal(Signal::SIGKILL);
    assert_eq!(stage.ended(), None);
    journal.fill();
    let reader = std::thread::spawn(move || {
        assert_eq!(poll(&mut [], 300_u16), Ok(0));
        (journal.read_until("start"), journal)
    });
    let broker = stage.raise(&way);
    assert_eq!(broker.adopted().len(), 20);
    let (records, _journal) = reader.join().unwrap();
    assert_eq!(events(&records, "interrupted"), 20);
    broker.say(&remit_link::ToWarden::Ready);
    stage.stop();
}

#[test]
fn end_is_delayed_without_journal_and_without_spinning() {
    let (stage, broker, journal) = start_with("max = 1\nmax_per_user = 1\n");
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let ran = argv(&["true"]);
    broker.run(session, 1, ran.clone(), &[]);
    let (job, _) = broker.started(1);
    broker.exited(job);
    // Its slot is taken until its end is recorded.
    broker.run(session, 2, ran, &[]);
    let (queued_job, _) = broker.started(2);
    let path = journal.path.clone();
    drop(journal);
    broker.drained(job);
    broker.say(&remit_link::ToWarden::Stop {
        session,
        ticket: 3,
        job: queued_job,
        signal: None,
    });
    assert!(broker.answer(3).is_ok());
    stage.alive();
    stage.sleeps();
    let log = stage.log();
    assert!(log.matches(" waits: ").count() < 20, "{log}");
    let journal = Journal::bind(path);
    // The journal may have appeared between the two write attempts.
    let mut ended = [(); 2].map(|()| {
        broker.until(|message, fds| match message {
            ToBroker::Ended { job, ending, .. } => Ok((*job, ending.state)),
            _ => Err(fds),
        })
    });
    ended.sort_by_key(|(of, _)| *of != job);
    assert_eq!(
        ended,
        [(job, State::Exited), (queued_job, State::Cancelled)]
    );
    assert_eq!(events(&journal.read(), "end"), 2);
    stage.stop();
}

#[test]
fn mount_change_reaches_next_job_without_leftover_process() {
    let (stage, broker, journal) = start();
    let dir = stage.test_dir.directory("mounted");
    let below = || {
        let mut below = descendants(stage.pid());
        below.retain(|process| process.state != 'Z' && !process.is_sink());
        below.len()
    };
    let idle = below();
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    for ticket in 1..=4 {
        std::fs::write(dir.join("below"), "below").unwrap();
        let mut mount = Command::new("nsenter");
        let pid = stage.pid().to_string();
        mount.args(["-m", "-t", &pid, "mount", "-t", "tmpfs", "none"]);
        // The loop sees the mount event separately, or together with a run request.
        if ticket % 2 == 0 {
            stage.signal(Signal::SIGSTOP);
        }
        assert!(mount.arg(&dir).status().unwrap().success());
        let look = format!("ls {}; touch {0}/x", dir.display());
        broker.run(session, ticket, argv(&["sh", "-c", &look]), &[]);
        if ticket % 2 == 0 {
            stage.signal(Signal::SIGCONT);
        }
        let (job, mut pipes) = broker.started(ticket);
        assert_eq!(
            all_of(pipes.remove(0)),
            b"",
            "it sees what is below the mount"
        );
        assert_eq!(broker.finish(job).exit, Some(1), "it may write");
        let _ = journal.read();
    }
    // Each status takes a loop iteration.
    let settled = (0..500).any(|_| {
        let _ = stage.status();
        below() <= idle
    });
    assert!(settled, "{:?}", descendants(stage.pid()));
    stage.sleeps();
    stage.stop();
}
