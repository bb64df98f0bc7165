//! A job is invisible to other users: answers are byte for byte those for an unknown job. Administrators list and stop
//! the jobs of all.

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, script};
use remit_tests::daemon::{Daemon, Options, user_a, user_b, user_m};
use remit_wire::client::ClientError;
use remit_wire::outcome::{State, Stream};
use remit_wire::{Follow, GrepQuery, JobQuery, PageQuery, PartQuery, Request};

use super::scene::{Holder, end_of, ids, one_slot, queued};
use crate::policy::scene::answer;

fn questions(job: JobId) -> Vec<(&'static str, Request)> {
    let page = |tail| PageQuery {
        stream: Stream::Stdout,
        offset: 0,
        limit: 100,
        tail,
        whole_characters: true,
    };
    let grep = |pattern: &str| GrepQuery {
        stream: Stream::Stderr,
        pattern: pattern.into(),
        offset: 0,
        limit: 10,
        context: 1,
    };
    let query = |wait_ms, part| Request::Job(JobQuery { job, wait_ms, part });
    let follow = |wait_ms| {
        Request::Follow(Follow {
            job,
            stdout: 0,
            stderr: 0,
            wait_ms,
        })
    };
    let stop = |signal| Request::Stop { job, signal };
    vec![
        ("its state", query(0, None)),
        ("its end", query(20_000, None)),
        ("a page", query(0, Some(PartQuery::Page(page(false))))),
        ("its tail", query(0, Some(PartQuery::Page(page(true))))),
        ("a search", query(0, Some(PartQuery::Grep(grep("a"))))),
        (
            "a search for no pattern",
            query(0, Some(PartQuery::Grep(grep("(a")))),
        ),
        ("what it writes", follow(0)),
        ("what it writes, waiting", follow(20_000)),
        ("a stop", stop(None)),
        ("a kill", stop(Some(libc::SIGKILL))),
        ("a stop by no signal", stop(Some(99))),
    ]
}

#[test]
fn foreign_and_unknown_job_answers_are_identical() {
    let daemon = Daemon::start(one_slot());
    let mut a = Caller::new(&daemon, &user_a());
    let ended = a
        .run(script("echo secret; echo secret >&2"))
        .expect("user A has a grant")
        .job;
    let running = Holder::of(&daemon, &user_a());
    let waiting = queued(&mut a, argv(&["true"])).job;
    let mut near = running.job;
    near.0[15] ^= 1;
    for user in [user_b(), user_m()] {
        for absent in [near, JobId([0; 16]), JobId([0xff; 16])] {
            let nowhere = questions(absent);
            for job in [ended, running.job, waiting] {
                for ((what, request), (_, absent)) in
                    questions(job).into_iter().zip(nowhere.clone())
                {
                    let foreign = answer(&daemon, &user, request);
                    assert!(
                        foreign == answer(&daemon, &user, absent),
                        "{what}: {:?}",
                        String::from_utf8_lossy(&foreign)
                    );
                    let text = String::from_utf8_lossy(&foreign);
                    assert!(!text.contains("secret"), "{what}: {text}");
                }
            }
        }
    }
    let mut states =
        [ended, running.job, waiting].map(|job| a.job(job, 0).expect("the job is ours").state);
    assert_eq!(states, [State::Exited, State::Running, State::Queued]);
    for user in [user_b(), user_m()] {
        let jobs = Caller::new(&daemon, &user).ask(Request::Jobs { limit: u32::MAX });
        let jobs = format!("{jobs:?}");
        assert!(jobs.ends_with("([]))"), "{jobs}");
    }
    running.leave();
    states[2] = a.end_of(waiting).state;
    assert_eq!(states[2], State::Exited);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn job_ids_differ_in_many_bits() {
    let daemon = Daemon::start(one_slot());
    let mut caller = Caller::new(&daemon, &user_a());
    let mut ids: Vec<[u8; 16]> = Vec::new();
    for _ in 0..30 {
        ids.push(
            caller
                .run(argv(&["true"]))
                .expect("user A has a grant")
                .job
                .0,
        );
    }
    let holder = Holder::of(&daemon, &user_a());
    ids.extend((0..20).map(|_| queued(&mut caller, argv(&["true"])).job.0));
    let bits = |a: &[u8; 16], b: &[u8; 16]| -> u32 {
        a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
    };
    for (at, id) in ids.iter().enumerate() {
        for other in &ids[..at] {
            // On average 64 of 128 bits differ. Fewer than 20 differ in one of 10^15 pairs.
            assert!(bits(id, other) >= 20, "{id:?} and {other:?}");
        }
    }
    holder.leave();
    let last = JobId(ids[ids.len() - 1]);
    let _ = caller.end_of(last);
    daemon.stop();
}

fn jobs(daemon: &Daemon, limit: u32) -> (Vec<AnyJob>, u32) {
    match daemon.administer(AdminRequest::Jobs { limit }) {
        Ok(AdminReply::Jobs { jobs, omitted }) => (jobs, omitted),
        other => panic!("{other:?}"),
    }
}

fn stop(
    daemon: &Daemon,
    job: JobId,
    signal: Option<i32>,
) -> Result<AnyJob, remit_common::refusal::Refusal> {
    match daemon.administer(AdminRequest::Stop { job, signal }) {
        Ok(AdminReply::Stopped(job)) => Ok(*job),
        Err(ClientError::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn administrators_see_and_stop_running_and_queued_jobs() {
    let daemon = Daemon::start(one_slot());
    let mut a = Caller::new(&daemon, &user_a());
    let ended = a
        .run(script("echo secret; exit 3"))
        .expect("user A has a grant")
        .job;
    let holder = Holder::of(&daemon, &user_b());
    let waiting = a
        .run(at_once(script("echo never")))
        .expect("the queue has a free slot")
        .job;
    let (all, omitted) = jobs(&daemon, 10);
    let seen: Vec<_> = all
        .iter()
        .map(|job| (job.job, job.uid, job.state, job.exit))
        .collect();
    assert_eq!(
        seen,
        [
            (waiting, 64_001, State::Queued, None),
            (holder.job, 64_002, State::Running, None),
            (ended, 64_001, State::Exited, Some(3)),
        ]
    );
    assert_eq!(omitted, 0);
    let (newest, omitted) = jobs(&daemon, 1);
    assert_eq!((newest.len(), newest[0].job, omitted), (1, waiting, 2));
    assert_eq!(jobs(&daemon, 0).1, 3);

    for signal in [0, -1, 65, i32::MIN] {
        let refusal = stop(&daemon, holder.job, Some(signal)).expect_err("there is no such signal");
        assert_eq!(refusal.code, Code::InvalidArgs, "{signal}: {refusal}");
    }
    let refusal = stop(&daemon, JobId([7; 16]), None).expect_err("there is no such job");
    assert_eq!(refusal.code, Code::NotFound, "{refusal}");
    let stopped = stop(&daemon, waiting, None).expect("it is there");
    assert_eq!(
        (stopped.state, stopped.kill_verified, stopped.runtime_ms),
        (State::Cancelled, Some(true), 0)
    );
    assert_eq!(end_of(&daemon, waiting), "cancelled");
    let again = stop(&daemon, waiting, Some(libc::SIGKILL)).expect("it is there");
    assert_eq!(again, stopped);
    let stopped = stop(&daemon, holder.job, None).expect("it is there");
    assert_eq!(
        (stopped.state, stopped.kill_verified),
        (State::Cancelled, Some(true))
    );
    assert!(
        stopped
            .cause
            .is_some_and(|cause| cause.contains("administrator"))
    );
    let unchanged = stop(&daemon, ended, None).expect("it is there");
    assert_eq!((unchanged.state, unchanged.exit), (State::Exited, Some(3)));
    assert_eq!(ids(&daemon, "intent").len(), 2);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn list_of_all_jobs_fits_in_frame() {
    let daemon = Daemon::start(Options::default());
    let long = "\u{1b}[31m\u{20ac}\n".repeat(100);
    let runs: Vec<_> = [user_a(), user_b()]
        .iter()
        .map(|user| {
            let mut caller = Caller::new(&daemon, user);
            let long = long.clone();
            std::thread::spawn(move || {
                for _ in 0..130 {
                    let report = caller.run(argv(&["true", &long])).expect("it is granted");
                    assert_eq!(report.state, State::Exited, "{report:?}");
                }
            })
        })
        .collect();
    for run in runs {
        run.join().expect("each ends");
    }
    let (all, omitted) = jobs(&daemon, u32::MAX);
    assert_eq!(all.len() + omitted as usize, 260);
    assert!(omitted > 0 && all.len() > 50, "{} of 260", all.len());
    for job in &all {
        assert!(
            !job.command.contains(|char: char| char.is_control()),
            "{job:?}"
        );
    }
    daemon.is_well();
    daemon.stop();
}
