//! Changes that wait for an approval, while the broker lies or dies and the audit log is full.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use remit_common::admin::{AdminReply, AdminRequest, PendingView};
use remit_common::caps;
use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_link::{Answer, JobMeta, Spec, SpecWhat, ToBroker, ToWarden, WaitReason};
use remit_wire::Purpose;
use remit_wire::outcome::State;

use crate::warden::audit_log::{came_too_late, events, in_time, start_to_start_again, start_with};
use crate::warden::stage::{ALICE, BOB, Broker, Stage, Way, admin_frame, argv, readable};

const BIG: usize = 48 << 20;

fn start(slowly: bool) -> (Stage, Broker) {
    let (stage, broker) = Stage::start();
    take_policy(&stage, slowly);
    (stage, broker)
}

fn take_policy(stage: &Stage, slowly: bool) {
    take_policy_of(stage, slowly, 64_005, "");
}

fn take_policy_of(stage: &Stage, slowly: bool, approver: u32, more: &str) {
    let big = stage.test_dir.path().join("big");
    std::fs::write(&big, vec![7; if slowly { BIG } else { 7 }]).unwrap();
    let text = format!(
        "[[command]]\nname = \"site.change\"\nsummary = \"changes\"\nargv = [\"/usr/bin/true\", \"{}\"]\n\
         effect = \"change\"\nprofile = \"host\"\n\n[[grant]]\nname = \"asks\"\n\
         to = [\"#64001\", \"#64002\"]\nallow = [\"site.change\"]\n\
         approval = {{ by = [\"#{approver}\"] }}\n{more}",
        big.display()
    );
    stage.write("config/policy.d/10-test.toml", &text);
    let reply = stage.ask(AdminRequest::Reload);
    assert!(matches!(reply, AdminReply::Reloaded(_)), "{reply:?}");
}

fn change() -> Spec {
    Spec {
        what: SpecWhat::Named {
            name: "site.change".into(),
            args: Vec::new(),
        },
        max_runtime_s: None,
        purpose: Purpose::Change {
            reason: "a test".into(),
        },
        ..argv(&[])
    }
}

fn asked(broker: &Broker, session: u64, ticket: u64) -> JobMeta {
    broker.run(session, ticket, change(), &[]);
    let meta = broker.until(|message, fds| match message {
        ToBroker::Job {
            ticket: Some(of),
            meta,
            ..
        } if *of == ticket => Ok(meta.clone()),
        ToBroker::Answer { ticket: of, answer } if *of == ticket => panic!("refused: {answer:?}"),
        _ => Err(fds),
    });
    assert!(
        matches!(meta.waiting, Some(WaitReason::Approval(_))),
        "{meta:?}"
    );
    *meta
}

/// A broker that was taken over ends no job of the daemon itself by a claim about its output.
#[test]
fn job_of_the_daemon_is_never_over_its_limit() {
    let way = Way {
        jobs: "[approval]\nnotify = \"people.tell\"\n".to_owned(),
        ..Way::default()
    };
    let mut stage = Stage::set(&way);
    let tell = "[[command]]\nname = \"people.tell\"\nsummary = \"notifies people\"\nargv = [\"/usr/bin/sleep\", \"50\"]\n\
                effect = \"change\"\nprofile = \"strict\"\nstdin = \"caller\"\n\
                [[grant]]\nto = [\"#64001\"]\nallow = [\"run\"]\napproval = \"none\"\n";
    stage.write("config/policy.d/20-tell.toml", tell);
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    stage.ready();
    take_policy(&stage, false);
    let _alice = stage.connect(ALICE);
    let alices = broker.session();
    let request = asked(&broker, alices, 1).job;
    let own = broker.until(|message, fds| match message {
        ToBroker::Job { meta, .. } if meta.job != request => Ok(meta.job),
        _ => Err(fds),
    });
    broker.run(alices, 2, argv(&["sleep", "50"]), &[]);
    let (users, _pipes) = broker.started(2);
    for job in [own, users] {
        broker.say(&ToWarden::OverLimit { job });
    }
    assert_eq!(broker.finish(users).state, State::OutputLimit);
    assert_eq!(stage.status().jobs, 1);
    stage.stop();
}

fn pending(stage: &Stage) -> Vec<PendingView> {
    match stage.ask(AdminRequest::Pending { seen: None }) {
        AdminReply::Pending { requests, .. } => requests,
        other => panic!("{other:?}"),
    }
}

fn lock(stage: &Stage) -> AdminReply {
    stage.ask(AdminRequest::Lock {
        why: "test".to_owned(),
        kill: true,
    })
}

#[test]
fn broker_cannot_approve_or_change_pending_request() {
    let (stage, broker) = start(false);
    let (_alice, _bob);
    _alice = stage.connect(ALICE);
    let alices = broker.session();
    _bob = stage.connect(BOB);
    let bobs = broker.session();
    let meta = asked(&broker, alices, 1);
    let job = meta.job;
    let digest = pending(&stage)[0].digest;
    // False claims about the job, its end, and sessions of others have no effect.
    broker.drained(job);
    broker.say(&ToWarden::OverLimit { job });
    for (ticket, session) in [(2, bobs), (3, 0), (4, bobs + 7)] {
        broker.say(&ToWarden::Stop {
            session,
            ticket,
            job,
            signal: None,
        });
        assert!(broker.answer(ticket).is_err());
    }
    broker.say(&ToWarden::Closed { session: alices });
    // The requester is gone. The request stays, with the uid that the kernel reported.
    let view = &pending(&stage)[0];
    assert_eq!((view.uid, view.job, view.digest), (ALICE, job, digest));
    broker.run(alices, 5, change(), &[]);
    assert_eq!(broker.answer(5).unwrap_err().code, Code::DaemonUnavailable);
    // The next broker receives the same state.
    broker.die();
    let (broker, handed_over) = stage.next_broker();
    let same = handed_over.into_iter().any(|(message, _)| match message {
        ToBroker::Job {
            meta: handed_over, ..
        } => handed_over.waiting == meta.waiting && handed_over.job == job,
        _ => false,
    });
    assert!(same, "it was not reported to the next broker");
    assert_eq!(
        (stage.records("asked").len(), stage.records("intent").len()),
        (1, 0)
    );
    let _ = lock(&stage);
    let ending = broker.end(job);
    assert_eq!(
        (ending.state, ending.code),
        (State::Denied, Some(Code::ApprovalVoid))
    );
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn disconnect_before_hashing_leaves_no_request() {
    let (stage, broker) = start(true);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, change(), &[]);
    broker.say(&ToWarden::Closed { session });
    assert_eq!(broker.answer(1).unwrap_err().code, Code::DaemonUnavailable);
    let nothing = |stage: &Stage| {
        assert_eq!(pending(stage), []);
        assert_eq!((stage.records("asked").len(), stage.open_jobs()), (0, 0));
    };
    nothing(&stage);
    // Neither does a request whose broker dies meanwhile. The next broker does not receive a ticket it never
    // issued.
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 2, change(), &[]);
    stage.alive();
    broker.die();
    let (broker, _) = stage.next_broker();
    nothing(&stage);
    assert!(
        !readable(broker.link.as_fd(), 1000),
        "another's ticket was reported"
    );
    // Neither does a request that a lock overtakes.
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 3, change(), &[]);
    stage.alive();
    let _ = lock(&stage);
    assert_eq!(broker.answer(3).unwrap_err().code, Code::Locked);
    nothing(&stage);
    assert_eq!(stage.records("refusal").len(), 3);
    stage.stop();
}

/// An end that is not in the audit log is reported to nobody, and nothing is approved meanwhile.
#[test]
fn request_with_unrecorded_end_is_not_approvable() {
    let (stage, broker, journal) = start_with("");
    take_policy(&stage, false);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let job = asked(&broker, session, 1).job;
    let digest = pending(&stage)[0].digest;
    let _ = journal.read();
    journal.fill();
    let stop = |ticket| {
        broker.say(&ToWarden::Stop {
            session,
            ticket,
            job,
            signal: None,
        });
        broker.answer(ticket)
    };
    assert_eq!(stop(2), Ok(Answer::Stopping(job)));
    assert_eq!(pending(&stage), []);
    let reply = stage.ask(AdminRequest::Approve {
        job,
        digest,
        signature: None,
    });
    assert!(matches!(reply, AdminReply::Refused(_)), "{reply:?}");
    assert!(
        !readable(broker.link.as_fd(), 300),
        "reported before it was recorded"
    );
    let mut records = journal.read();
    assert_eq!(broker.end(job).state, State::Cancelled);
    records.extend(journal.read());
    assert_eq!(
        (events(&records, "end"), events(&records, "intent")),
        (1, 0)
    );
    stage.stop();
}

/// For a second at most, so that several attempts may be needed on a busy machine.
#[test]
fn request_and_approval_are_recorded_once_the_log_is_writable() {
    let (stage, broker, journal) = start_with("");
    take_policy_of(&stage, false, 0, "");
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let (job, digest) = in_time(|ticket| {
        let _ = journal.read();
        journal.fill();
        broker.run(session, ticket, change(), &[]);
        assert!(!readable(broker.link.as_fd(), 300), "not recorded, and yet");
        assert_eq!(pending(&stage), []);
        let _ = journal.read();
        let job = broker.until(|message, fds| match message {
            ToBroker::Job { meta, .. } => Ok(Some(meta.job)),
            ToBroker::Answer { answer, .. } => {
                assert!(came_too_late(answer.as_ref().unwrap_err()), "{answer:?}");
                Ok(None)
            }
            _ => Err(fds),
        });
        Some((job?, pending(&stage)[0].digest))
    });
    in_time(|_| {
        let _ = journal.read();
        journal.fill();
        let mut admin = stage.admin();
        let approve = AdminRequest::Approve {
            job,
            digest,
            signature: None,
        };
        admin.write_all(&admin_frame(approve)).unwrap();
        assert!(!readable(admin.as_fd(), 300), "not recorded, and yet");
        // The first read makes space: it may already see the record.
        let mut records = journal.read();
        let reply = remit_common::frame::read(&mut admin, caps::ADMIN_FRAME).unwrap();
        records.extend(journal.read());
        match reply {
            AdminReply::Done(_) => {
                assert_eq!(events(&records, "approved"), 1);
                Some(())
            }
            AdminReply::Refused(refusal) => {
                assert!(came_too_late(&refusal), "{refusal:?}");
                None
            }
            other => panic!("{other:?}"),
        }
    });
    broker.until(|message, fds| match message {
        ToBroker::Started { job: of, .. } if *of == job => Ok(()),
        _ => Err(fds),
    });
    assert_eq!(broker.finish(job).state, State::Exited);
    stage.stop();
}

#[test]
fn request_is_refused_after_one_second_without_a_record() {
    let (stage, broker, journal) = start_with("");
    take_policy(&stage, false);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let _ = journal.read();
    journal.fill();
    broker.run(session, 1, change(), &[]);
    assert!(!readable(broker.link.as_fd(), 300), "refused at once");
    let refusal = broker.answer(1).unwrap_err();
    assert!(came_too_late(&refusal), "{refusal:?}");
    stage.sleeps();
    assert_eq!((pending(&stage).len(), stage.open_jobs()), (0, 0));
    stage.stop();
}

/// Its files are measured at each turn.
#[test]
fn approved_job_rests_while_the_log_takes_no_intent() {
    let (stage, broker, journal) = start_with("max = 1\nmax_per_user = 1\n");
    let runs =
        "\n[[grant]]\nname = \"runs\"\nto = [\"#64001\"]\nallow = [\"run\"]\napproval = \"none\"\n";
    take_policy_of(&stage, false, 0, runs);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (first, _pipes) = broker.started(1);
    let job = asked(&broker, session, 2).job;
    let reply = stage.ask(AdminRequest::Approve {
        job,
        digest: pending(&stage)[0].digest,
        signature: None,
    });
    assert!(matches!(reply, AdminReply::Done(_)), "{reply:?}");
    assert_eq!(stage.status().queued, 1);
    broker.say(&ToWarden::Stop {
        session,
        ticket: 3,
        job: first,
        signal: None,
    });
    broker.exited(first);
    let _ = journal.read();
    journal.fill();
    // For the end of the first job, and not for the intent of the next one.
    journal.free_one_entry();
    broker.drained(first);
    broker.end(first);
    let (pid, mut children) = (stage.pid(), BTreeSet::new());
    let list = format!("/proc/{pid}/task/{pid}/children");
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let now = std::fs::read_to_string(&list).unwrap();
        children.extend(now.split_whitespace().map(str::to_owned));
        std::thread::sleep(Duration::from_micros(200));
    }
    let lasting = std::fs::read_to_string(&list).unwrap();
    let measured = children.len() - lasting.split_whitespace().count();
    let mut records = journal.read();
    assert!(measured <= 4, "{measured} children in two seconds");
    broker.until(|message, fds| match message {
        ToBroker::Started { job: of, .. } if *of == job => Ok(()),
        _ => Err(fds),
    });
    assert_eq!(broker.finish(job).state, State::Exited);
    records.extend(journal.read());
    let found = (events(&records, "intent"), events(&records, "end"));
    assert_eq!(found, (1, 2), "{records:?}");
    stage.stop();
}

#[test]
fn decision_that_the_log_did_not_take_is_recorded_by_the_next_start() {
    let (mut stage, broker, journal, way) = start_to_start_again("");
    take_policy(&stage, false);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let [denied, withdrawn] = [1, 2].map(|ticket| asked(&broker, session, ticket).job);
    let waiting = pending(&stage);
    let digest = |job| {
        let request = waiting.iter().find(|request| request.job == job);
        hex(&request.unwrap().digest)
    };
    let _ = journal.read();
    journal.fill();
    let why = "not today".to_owned();
    let reply = stage.ask(AdminRequest::Deny { job: denied, why });
    assert!(matches!(reply, AdminReply::Done(_)), "{reply:?}");
    broker.say(&ToWarden::Stop {
        session,
        ticket: 3,
        job: withdrawn,
        signal: None,
    });
    assert_eq!(broker.answer(3), Ok(Answer::Stopping(withdrawn)));
    stage.signal(Signal::SIGKILL);
    assert_eq!(stage.ended(), None);
    let reader = std::thread::spawn(move || (journal.read_until("start"), journal));
    let broker = stage.raise(&way);
    broker.adopted();
    let (records, _journal) = reader.join().unwrap();
    for (job, fields) in [
        (
            denied,
            &[
                "EVENT=denied",
                "VERDICT=approval_denied",
                "STATE=denied",
                "APPROVER=root",
                "APPROVER_UID=0",
                "AGAIN=maybe",
            ][..],
        ),
        (
            withdrawn,
            &[
                "EVENT=end",
                "VERDICT=needs_approval",
                "STATE=cancelled",
                "AGAIN=maybe",
            ],
        ),
    ] {
        let line = format!("\nREMIT_JOB={job}\n");
        let record = records.iter().find(|record| record.contains(&line));
        let record = record.unwrap_or_else(|| panic!("{records:?}"));
        let digest = format!("DIGEST={}", digest(job));
        for field in fields.iter().chain([&&*digest]) {
            assert!(record.contains(&format!("\nREMIT_{field}\n")), "{record}");
        }
    }
    broker.say(&ToWarden::Ready);
    stage.stop();
}

#[test]
fn lock_voids_all_pending_requests() {
    let (stage, broker) = start(false);
    let clients: Vec<_> = [ALICE, BOB]
        .map(|uid| (stage.connect(uid), broker.session()))
        .into();
    let mut jobs: Vec<JobId> = Vec::new();
    for (at, (_, session)) in clients.iter().enumerate() {
        for ticket in 0..16 {
            let ticket = at as u64 * 100 + ticket + 1;
            jobs.push(asked(&broker, *session, ticket).job);
        }
    }
    assert_eq!(stage.status().pending, 32);
    let start = Instant::now();
    let _ = lock(&stage);
    let took = start.elapsed();
    assert_eq!(stage.status().pending, 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
    for job in jobs {
        assert_eq!(broker.end(job).code, Some(Code::ApprovalVoid));
    }
    assert_eq!(stage.records("void").len(), 32);
    stage.stop();
}
