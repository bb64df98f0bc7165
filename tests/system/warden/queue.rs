//! Jobs that wait for a slot, while the broker lies or dies and the audit log is full.

use std::io::Write;
use std::os::fd::AsFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_link::{Answer, JobMeta, Spec, SpecWhat, ToBroker, ToWarden};
use remit_tests::process::descendants;
use remit_wire::outcome::State;

use crate::warden::audit_log::{events, start_with};
use crate::warden::stage::{ALICE, BOB, Broker, Stage, Way, admin_frame, argv, readable};

const ONE_SLOT: &str = "max = 1\nmax_per_user = 1\n";

fn queued(broker: &Broker, session: u64, ticket: u64) -> JobMeta {
    queued_spec(broker, session, ticket, argv(&["true"]))
}

fn queued_spec(broker: &Broker, session: u64, ticket: u64, spec: Spec) -> JobMeta {
    broker.run(session, ticket, spec, &[]);
    let meta = broker.until(|message, fds| match message {
        ToBroker::Job {
            ticket: Some(of),
            meta,
            ..
        } if *of == ticket => Ok(meta.clone()),
        ToBroker::Answer { ticket: of, answer } if *of == ticket => {
            panic!("not queued: {answer:?}")
        }
        _ => Err(fds),
    });
    assert!(meta.waiting.is_some(), "{meta:?}");
    *meta
}

fn stop(broker: &Broker, session: u64, job: JobId) -> Result<Answer, Refusal> {
    broker.say(&ToWarden::Stop {
        session,
        ticket: 99,
        job,
        signal: None,
    });
    broker.answer(99)
}

fn holder(broker: &Broker, session: u64) -> JobId {
    broker.run(session, 1, argv(&["sleep", "50"]), &[]);
    let (job, _) = broker.started(1);
    broker.until(|message, fds| match message {
        ToBroker::Running { .. } => Ok(()),
        _ => Err(fds),
    });
    job
}

fn finish(broker: &Broker, session: u64, job: JobId) {
    assert_eq!(stop(broker, session, job), Ok(Answer::Stopping(job)));
    assert_eq!(broker.finish(job).state, State::Cancelled);
}

fn next_started(broker: &Broker) -> JobId {
    broker.until(|message, fds| match message {
        ToBroker::Started { job, .. } => Ok(*job),
        _ => Err(fds),
    })
}

#[test]
fn broker_messages_do_not_change_queued_job() {
    let (stage, broker) = Stage::start_as(&Way {
        jobs: ONE_SLOT.into(),
        ..Way::default()
    });
    let (_alice, _bob);
    _alice = stage.connect(ALICE);
    let alices = broker.session();
    _bob = stage.connect(BOB);
    let bobs = broker.session();
    let first = holder(&broker, alices);
    let job = queued(&broker, alices, 2).job;
    broker.drained(job);
    broker.say(&ToWarden::OverLimit { job });
    let foreign = stop(&broker, bobs, job);
    assert_eq!(foreign, stop(&broker, bobs, JobId([1; 16])));
    assert!(foreign.is_err());
    assert_eq!(stage.status().queued, 1);
    finish(&broker, alices, first);
    assert_eq!(next_started(&broker), job);
    let ending = broker.finish(job);
    assert_eq!((ending.state, ending.exit), (State::Exited, Some(0)));
    assert_eq!(stage.records("intent").len(), 2);
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn queued_job_is_listed_until_end_is_recorded() {
    let (stage, broker, journal) = start_with(ONE_SLOT);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let first = holder(&broker, session);
    let meta = queued(&broker, session, 2);
    let job = meta.job;
    let _ = journal.read();
    journal.fill();
    assert_eq!(stop(&broker, session, job), Ok(Answer::Stopping(job)));
    assert_eq!(stop(&broker, session, job), Ok(Answer::Stopping(job)));
    let AdminReply::Jobs { jobs, .. } = stage.ask(AdminRequest::Jobs { limit: 9 }) else {
        panic!("no list of jobs");
    };
    assert_eq!([jobs[0].job, jobs[1].job], [job, first]);
    assert!(
        !readable(broker.link.as_fd(), 300),
        "reported before it was recorded"
    );
    broker.die();
    let (broker, handed_over) = stage.next_broker();
    let handed_over = handed_over.into_iter().any(|(message, _)| match message {
        ToBroker::Job { meta, .. } => {
            meta.job == job && meta.ending.is_none() && meta.waiting.is_some()
        }
        _ => false,
    });
    assert!(handed_over, "no job was reported to the next broker");
    // The record may already be among those just read.
    let mut records = journal.read();
    assert_eq!(broker.end(job).state, State::Cancelled);
    records.extend(journal.read());
    assert_eq!(events(&records, "end"), 1);
    stage.alive();
    assert_eq!((stage.status().jobs, stage.status().queued), (1, 0));
    // The session ended with its broker, so an administrator stops the rest.
    let _ = stage.ask(AdminRequest::Lock {
        why: "test".to_owned(),
        kill: true,
    });
    broker.finish(first);
    stage.stop();
}

#[test]
fn interrupted_job_is_recorded_with_the_policy_under_which_it_ran() {
    let way = Way {
        jobs: ONE_SLOT.into(),
        ..Way::default()
    };
    let (mut stage, broker) = Stage::start_as(&way);
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let takes_policy = |profile: &str| {
        let policy = format!(
            "[[command]]\nname = \"site.wait\"\nsummary = \"sleeps\"\nargv = [\"/usr/bin/sleep\", \"50\"]\n\
             effect = \"read\"\nprofile = \"{profile}\"\n\n[[grant]]\nname = \"test\"\nto = [\"#64001\"]\n\
             allow = [\"run\", \"site.wait\"]\napproval = \"none\"\n"
        );
        stage.write("config/policy.d/10-test.toml", &policy);
        let reply = stage.ask(AdminRequest::Reload);
        assert!(matches!(reply, AdminReply::Reloaded(_)), "{reply:?}");
    };
    takes_policy("strict");
    let first = holder(&broker, session);
    let what = SpecWhat::Named {
        name: "site.wait".into(),
        args: Vec::new(),
    };
    let sleeps = Spec {
        what,
        max_runtime_s: None,
        ..argv(&[])
    };
    let job = queued_spec(&broker, session, 2, sleeps).job;
    takes_policy("read");
    finish(&broker, session, first);
    assert_eq!(next_started(&broker), job);
    stage.signal(Signal::SIGKILL);
    assert_eq!(stage.ended(), None);
    drop(broker);
    let broker = stage.raise(&way);
    broker.adopted();
    broker.say(&ToWarden::Ready);
    let of_job = |event: &str| {
        let mut records = stage.records(event).into_iter();
        let found = records.find(|record| record["REMIT_JOB"] == job.to_string());
        found.unwrap_or_else(|| panic!("no record '{event}'"))
    };
    let [queued, ran, cut_off] = ["queued", "intent", "interrupted"].map(of_job);
    for name in ["REMIT_POLICY", "REMIT_PROFILE"] {
        assert_ne!(queued[name], ran[name], "{ran}");
        assert_eq!(cut_off[name], ran[name], "{cut_off}");
    }
    stage.stop();
}

/// Kills PID 1 and so all running jobs. Nothing runs until the sandbox layers have been tested.
fn kill_watchdog(stage: &Stage) {
    let below = descendants(stage.pid());
    let watchdog = below.iter().find(|p| p.is_watchdog()).unwrap();
    kill(Pid::from_raw(watchdog.pid), Signal::SIGKILL).unwrap();
}

#[test]
fn job_waiting_for_audit_log_is_lockable() {
    for locked in [false, true] {
        let (stage, broker, journal) = start_with(ONE_SLOT);
        let _alice = stage.connect(ALICE);
        let session = broker.session();
        let first = holder(&broker, session);
        let job = queued(&broker, session, 2).job;
        assert_eq!(stop(&broker, session, first), Ok(Answer::Stopping(first)));
        broker.exited(first);
        let _ = journal.read();
        journal.fill();
        // Free space for the first job's end, but not for the next one's intent.
        journal.free_one_entry();
        broker.drained(first);
        broker.end(first);
        stage.alive();
        stage.sleeps();
        assert_eq!((stage.status().jobs, stage.status().queued), (0, 1));
        if locked {
            let why = "test".to_owned();
            let handed_over = stage.ask(AdminRequest::Lock { why, kill: false });
            let expect = "locked; no job is running; queued jobs that will not run: 1";
            assert_eq!(handed_over, AdminReply::Done(expect.into()));
        }
        let mut records = journal.read();
        let ending = match locked {
            true => broker.end(job),
            false => {
                assert_eq!(next_started(&broker), job);
                broker.finish(job)
            }
        };
        let (state, intents) = match locked {
            true => (State::NotStarted, 0),
            false => (State::Exited, 1),
        };
        assert_eq!(ending.state, state, "{ending:?}");
        records.extend(journal.read());
        let found = (events(&records, "intent"), events(&records, "end"));
        assert_eq!(found, (intents, 2), "{records:?}");
        assert_eq!(stage.open_jobs(), 0);
        stage.stop();
    }
}

#[test]
fn watchdog_death_ends_at_most_one_queued_job() {
    let (stage, broker) = Stage::start_as(&Way {
        jobs: ONE_SLOT.into(),
        ..Way::default()
    });
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    for round in 1..=3 {
        let first = holder(&broker, session);
        let jobs = [2, 3, 4, 5].map(|ticket| queued(&broker, session, ticket).job);
        kill_watchdog(&stage);
        broker.drained(first);
        for job in jobs {
            broker.drained(job);
        }
        let mut ends = Vec::new();
        while ends.len() < 5 {
            ends.push(broker.until(|message, fds| match message {
                ToBroker::Started { job, .. } => {
                    broker.drained(*job);
                    Err(fds)
                }
                ToBroker::Ended { job, ending, .. } => Ok((*job, ending.clone())),
                _ => Err(fds),
            }));
        }
        let ran = ends.iter().filter(|(_, ending)| ending.exit == Some(0));
        assert!(ran.count() >= 3, "round {round}: {ends:?}");
    }
    stage.records_are_whole();
    stage.stop();
}

#[test]
fn lock_followed_by_unlock_ends_queued_jobs() {
    let (stage, broker) = Stage::start_as(&Way {
        jobs: ONE_SLOT.into(),
        ..Way::default()
    });
    let _alice = stage.connect(ALICE);
    let session = broker.session();
    let first = holder(&broker, session);
    let job = queued(&broker, session, 2).job;
    let why = "test".to_owned();
    let both = [
        admin_frame(AdminRequest::Lock { why, kill: false }),
        admin_frame(AdminRequest::Unlock),
    ];
    stage.admin().write_all(&both.concat()).unwrap();
    assert_eq!(broker.end(job).state, State::NotStarted);
    finish(&broker, session, first);
    assert_eq!(stage.records("intent").len(), 1);
    stage.stop();
}
