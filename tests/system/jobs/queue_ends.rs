//! Jobs that wait and never start: stopped, locked out, no longer granted, interrupted. Others start although
//! their client has disconnected.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, cause, script, stdout};
use remit_tests::daemon::{Daemon, user_a, user_b};
use remit_tests::process::{ends_within, until};
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

use super::scene::{Holder, end_of, ids, one_slot, queued};

/// Checks that the job ended without a start, also in its report.
fn never_ran(daemon: &Daemon, report: &JobReport, states: &[State]) {
    assert!(states.contains(&report.state), "{report:?}");
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(
        (
            ending.exit,
            ending.signal,
            ending.cpu_usec,
            ending.runtime_ms
        ),
        (None, None, 0, 0),
        "{report:?}"
    );
    assert!(
        ending.kill_verified,
        "nothing is left of nothing: {report:?}"
    );
    assert!(!ending.cause.is_empty(), "{report:?}");
    assert_eq!(
        (&report.enforced, report.queue_position),
        (&None, None),
        "{report:?}"
    );
    assert_eq!(
        (report.stdout.total, report.stderr.total),
        (0, 0),
        "{report:?}"
    );
    let job = report.job.to_string();
    assert!(
        ids(daemon, "queued").contains(&job),
        "no record that it waits"
    );
    assert!(!ids(daemon, "intent").contains(&job), "it ran");
}

#[test]
fn stop_ends_queued_job() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    for signal in [None, Some(libc::SIGKILL), Some(libc::SIGUSR1)] {
        let job = queued(&mut a, script("echo never")).job;
        let report = a.stop_by(job, signal).expect("the job is ours");
        never_ran(&daemon, &report, &[State::Cancelled]);
        assert_eq!(end_of(&daemon, job), "cancelled");
        assert_eq!(a.stop(job).expect("the job is ours"), report);
        assert_eq!(a.job(job, 1000).expect("the job is ours"), report);
    }
    holder.leave();
    let holder = Holder::of(&daemon, &user_b());
    let job = queued(&mut a, script("echo never")).job;
    let mut waiting = Caller::new(&daemon, &user_a());
    let waiting = std::thread::spawn(move || waiting.end_of(job));
    let _ = a.stop(job).expect("the job is ours");
    never_ran(
        &daemon,
        &waiting.join().expect("it is reported"),
        &[State::Cancelled],
    );
    holder.leave();
    assert_eq!(ids(&daemon, "intent").len(), 2);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn lock_ends_queued_jobs_with_reason() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let jobs: Vec<JobId> = (0..3)
        .map(|_| queued(&mut a, script("echo never")).job)
        .collect();
    let lock = AdminRequest::Lock {
        why: "a drill".into(),
        kill: false,
    };
    let done = daemon.administer(lock);
    assert!(matches!(done, Ok(AdminReply::Done(_))), "{done:?}");
    for job in &jobs {
        let report = a.end_of(*job);
        never_ran(&daemon, &report, &[State::NotStarted, State::Denied]);
        assert!(cause(&report).contains("a drill"), "{report:?}");
        assert_eq!(end_of(&daemon, *job), report.state.as_str());
    }
    let running = Caller::new(&daemon, &user_b())
        .job(holder.job, 0)
        .expect("the job is theirs");
    assert_eq!(running.state, State::Running);
    let done = daemon.administer(AdminRequest::Unlock);
    assert!(matches!(done, Ok(AdminReply::Done(_))), "{done:?}");
    holder.leave();
    let after = a.run(script("echo after")).expect("it is unlocked");
    assert_eq!(stdout(&after), "after\n");
    assert_eq!(ids(&daemon, "intent").len(), 2);
    daemon.is_well();
    daemon.stop();
}

/// A lock that also kills running jobs: no waiting job takes the freed slot, neither now nor after a restart.
#[test]
fn killing_lock_starts_no_queued_job() {
    let mut daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let waiting: Vec<JobId> = [user_a(), user_b(), user_a(), user_b()]
        .iter()
        .map(|user| queued(&mut Caller::new(&daemon, user), script("echo never")).job)
        .collect();
    let done = daemon.administer(AdminRequest::Lock {
        why: "an alarm".into(),
        kill: true,
    });
    assert!(matches!(done, Ok(AdminReply::Done(_))), "{done:?}");
    let ended = Caller::new(&daemon, &user_b()).end_of(holder.job);
    assert_eq!(ended.state, State::Cancelled, "{ended:?}");
    let are_ended = |daemon: &Daemon| {
        for (job, user) in waiting.iter().zip([user_a(), user_b()].iter().cycle()) {
            let report = Caller::new(daemon, user).end_of(*job);
            never_ran(daemon, &report, &[State::NotStarted, State::Denied]);
        }
        assert_eq!(ids(daemon, "intent"), [holder.job.to_string()]);
    };
    are_ended(&daemon);
    daemon.restart_cleanly();
    let refusal = Caller::new(&daemon, &user_a())
        .run(script("echo locked"))
        .expect_err("it is locked");
    assert_eq!(refusal.code, Code::Locked, "{refusal}");
    let done = daemon.administer(AdminRequest::Unlock);
    assert!(matches!(done, Ok(AdminReply::Done(_))), "{done:?}");
    are_ended(&daemon);
    daemon.is_well();
    daemon.stop();
}

fn policy(to: &str) -> String {
    format!(
        "[[grant]]\nname = \"test\"\nto = [{to}]\nallow = [\"run\"]\nrun_profile = \"read\"\n\
         env = [\"LANG\"]\napproval = \"none\"\n"
    )
}

fn reload(daemon: &Daemon, to: &str) {
    daemon.set_file("config/policy.d/10-test.toml", &policy(to));
    let done = daemon.administer(AdminRequest::Reload);
    assert!(matches!(done, Ok(AdminReply::Reloaded(_))), "{done:?}");
}

#[test]
fn queued_job_without_grant_is_denied() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let mut b = Caller::new(&daemon, &user_b());
    let lost = queued(&mut a, script("echo never")).job;
    let keeps = queued(&mut b, script("echo still")).job;
    reload(&daemon, "\"#64002\"");
    holder.leave();
    let report = a.end_of(lost);
    never_ran(&daemon, &report, &[State::Denied]);
    assert_eq!(end_of(&daemon, lost), "denied");
    assert_eq!(stdout(&b.end_of(keeps)), "still\n");
    reload(&daemon, "\"#64001\", \"#64002\"");
    assert_eq!(
        a.job(lost, 0).expect("the job is ours").state,
        State::Denied
    );
    assert_eq!(ids(&daemon, "intent").len(), 2);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn granted_queued_job_survives_reload() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let job = queued(&mut a, script("echo still")).job;
    reload(&daemon, "\"#64001\", \"#64002\", \"#64003\"");
    daemon.set_file("config/policy.d/10-test.toml", "[[grant]\n");
    let refused = daemon.administer(AdminRequest::Reload);
    assert!(
        !matches!(refused, Ok(AdminReply::Reloaded(_))),
        "{refused:?}"
    );
    assert_eq!(a.job(job, 0).expect("the job is ours").state, State::Queued);
    holder.leave();
    assert_eq!(stdout(&a.end_of(job)), "still\n");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn queued_job_starts_after_client_disconnect() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let job = queued(&mut a, script("echo still")).job;
    drop(a);
    let mut session = daemon.session(&user_a());
    session.send(&serde_json::json!({
        "jsonrpc": "2.0", "id": 99, "method": "tools/call",
        "params": { "name": "run", "arguments": { "script": "echo me, too", "wait_ms": 20_000 } },
    }));
    until("the call came through", || {
        ids(&daemon, "queued").len() == 2
    });
    kill(Pid::from_raw(session.pid()), Signal::SIGKILL).expect("it lives");
    assert!(ends_within(session.pid(), 20_000));
    drop(session);
    holder.leave();
    let mut a = Caller::new(&daemon, &user_a());
    assert_eq!(stdout(&a.end_of(job)), "still\n");
    let other: JobId = ids(&daemon, "queued")[1].parse().expect("it is an id");
    assert_eq!(stdout(&a.end_of(other)), "me, too\n");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn queue_position_survives_broker_death() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut a = Caller::new(&daemon, &user_a());
    let jobs: Vec<JobId> = (0..3)
        .map(|number| queued(&mut a, script(&format!("echo {number}"))).job)
        .collect();
    let broker = daemon.broker().expect("there is a broker");
    kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
    assert!(ends_within(broker, 20_000));
    let mut a = Caller::new(&daemon, &user_a());
    for (at, job) in (1..).zip(&jobs) {
        let report = a.job(*job, 0).expect("the job is ours");
        let queue_position = report
            .queue_position
            .map(|queue_position| (queue_position.position, queue_position.of));
        assert_eq!(
            (report.state, queue_position),
            (State::Queued, Some((at, 3)))
        );
    }
    let mut b = Caller::new(&daemon, &user_b());
    let _ = b.stop(holder.job).expect("the job is theirs");
    for (number, job) in jobs.iter().enumerate() {
        assert_eq!(stdout(&a.end_of(*job)), format!("{number}\n"));
    }
    let started: Vec<String> = ids(&daemon, "intent").split_off(1);
    let jobs: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    assert_eq!(started, jobs);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn restart_interrupts_queued_job() {
    for in_order in [true, false] {
        let mut daemon = Daemon::start(one_slot());
        let holder = Holder::of(&daemon, &user_b());
        let mut a = Caller::new(&daemon, &user_a());
        let request = Run {
            request_id: Some("waits".into()),
            ..at_once(script("echo never"))
        };
        let named = queued(&mut a, request.clone()).job;
        let plain = queued(&mut a, argv(&["true"])).job;
        for _ in 2..caps::QUEUED_PER_UID {
            let _ = queued(&mut a, argv(&["true"]));
        }
        if in_order {
            daemon.restart_cleanly();
        } else {
            daemon.signal(Signal::SIGKILL);
            assert!(ends_within(daemon.pid(), 20_000));
            let gone = daemon.job_processes();
            assert!(gone.iter().all(|process| ends_within(process.pid, 20_000)));
            daemon.restart();
        }
        let mut a = Caller::new(&daemon, &user_a());
        for job in [named, plain] {
            let report = a.end_of(job);
            never_ran(&daemon, &report, &[State::Interrupted]);
        }
        let again = a.run(request).expect("it is known");
        assert_eq!((again.job, again.state), (named, State::Interrupted));
        let held = Caller::new(&daemon, &user_b()).end_of(holder.job);
        assert_eq!(held.state, State::Interrupted, "{held:?}");
        let ends = [ids(&daemon, "end"), ids(&daemon, "interrupted")].concat();
        for job in [named, plain, holder.job] {
            let job = job.to_string();
            let count = ends.iter().filter(|end| **end == job).count();
            assert_eq!(count, 1, "in order: {in_order}");
        }
        assert_eq!(ends.len(), caps::QUEUED_PER_UID + 1);
        assert_eq!(ids(&daemon, "intent").len(), 1);
        let after = a.run(script("echo after")).expect("there is a free slot");
        assert_eq!((stdout(&after).as_str(), after.waited_ms), ("after\n", 0));
        daemon.restart_cleanly();
        let mut a = Caller::new(&daemon, &user_a());
        assert_eq!(a.end_of(named).state, State::Interrupted);
        assert_eq!(stdout(&a.end_of(after.job)), "after\n");
        daemon.is_well();
        daemon.stop();
    }
}
