//! Each job has one end record with its cause and who caused it.

use nix::sys::signal::Signal;
use remit_common::admin::AdminRequest;
use remit_common::names::JobId;
use remit_tests::caller::{Caller, argv, at_once, script};
use remit_tests::daemon::{Daemon, Options, admin, user_a};
use remit_wire::Run;
use serde_json::Value;

fn last(daemon: &Daemon, job: JobId) -> Value {
    let id = job.to_string();
    let mut records = daemon.audit();
    records.retain(|record| {
        let event = record["REMIT_EVENT"].as_str().unwrap_or_default();
        record["REMIT_JOB"] == id.as_str() && matches!(event, "end" | "interrupted")
    });
    assert_eq!(records.len(), 1, "{records:#?}");
    records.remove(0)
}

fn says(record: &Value, state: &str, cause: &str) {
    assert_eq!(record["REMIT_STATE"], state, "{record}");
    let found = record["REMIT_CAUSE"].as_str().unwrap_or_default();
    assert!(found.contains(cause), "{cause:?} is not in {found:?}");
    let message = record["MESSAGE"].as_str().unwrap_or_default();
    assert!(message.contains(cause), "{cause:?} is not in {message:?}");
}

fn sleeps(caller: &mut Caller) -> JobId {
    let report = caller.run(at_once(argv(&["sleep", "600"])));
    report.expect("user A has a grant").job
}

fn ended(caller: &mut Caller, run: Run) -> JobId {
    let job = caller.run(run).expect("user A has a grant").job;
    let _ = caller.end_of(job);
    job
}

#[test]
fn end_record_has_cause_and_user() {
    let mut daemon = Daemon::start(Options {
        config: "[output]\nper_job = 65536\n".to_owned(),
        waiting: 4,
        ..Options::default()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let late = Run {
        max_runtime_s: Some(1),
        ..argv(&["sleep", "600"])
    };
    for (run, state, cause) in [
        (argv(&["true"]), "exited", "exited with status 0"),
        (script("exit 3"), "exited", "exited with status 3"),
        (script("kill -SEGV $$"), "signalled", "SIGSEGV"),
        (late, "timed_out", "after 1 s (max_runtime_s)"),
        (
            argv(&["no-such-program"]),
            "not_started",
            "no program 'no-such-program'",
        ),
        (
            argv(&["yes"]),
            "output_limit",
            "more than 65536 bytes of output",
        ),
    ] {
        let job = ended(&mut caller, run);
        says(&last(&daemon, job), state, cause);
    }

    let job = sleeps(&mut caller);
    caller.stop(job).expect("it is theirs");
    let _ = caller.end_of(job);
    says(&last(&daemon, job), "cancelled", "stopped by its owner");

    let by = |daemon: &Daemon| {
        let locks = daemon.records("lock");
        locks.last().map(|record| record["REMIT_USER"].clone())
    };
    let job = sleeps(&mut caller);
    let stopped = daemon.administer(AdminRequest::Stop { job, signal: None });
    stopped.expect("an administrator may");
    let name = format!("stopped by administrator #{}", admin().uid);
    says(&last(&daemon, job), "cancelled", &name);

    let job = sleeps(&mut caller);
    let why = "a reason".to_owned();
    let locked = daemon.administer(AdminRequest::Lock { why, kill: true });
    locked.expect("an administrator may");
    let _ = caller.end_of(job);
    let name = format!("#{}", admin().uid);
    assert_eq!(by(&daemon), Some(name.as_str().into()));
    says(&last(&daemon, job), "cancelled", &name);
    daemon.administer(AdminRequest::Unlock).expect("they may");

    let job = sleeps(&mut caller);
    daemon.restart_cleanly();
    says(&last(&daemon, job), "interrupted", "remitd was stopped");
    // The kernel names the sender of the signal: this test process.
    let stop = daemon.records("stop").pop().expect("it stopped in order");
    let said = stop["REMIT_CAUSE"].as_str().unwrap_or_default();
    assert!(said.contains("SIGTERM"), "{stop}");
    assert!(
        said.contains(&format!("process {}", std::process::id())),
        "{stop}"
    );

    let mut caller = Caller::new(&daemon, &user_a());
    let job = sleeps(&mut caller);
    daemon.signal(Signal::SIGKILL);
    drop(caller);
    daemon.restart_insistently();
    let record = last(&daemon, job);
    assert_eq!(record["REMIT_EVENT"], "interrupted");
    says(&record, "interrupted", "remitd");
    daemon.stop();
}
