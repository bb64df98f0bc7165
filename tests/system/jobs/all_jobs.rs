//! Jobs of all users, as administrators list and stop them.

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::client::ClientError;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, script};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};

use super::scene::{Holder, end_of, ids, one_slot};

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
