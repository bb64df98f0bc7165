//! A stop of the daemon treats jobs like a single stop: SIGTERM, then the grace time. Changes without a sandbox
//! may finish.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, cause, change, script, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_tests::process::{ends_within, until};
use remit_wire::outcome::{JobReport, State};

/// A directory of root, and a daemon with a change of base `host` that runs `step.sh` in it.
struct StopFixture {
    dir: PathBuf,
    daemon: Daemon,
}

impl StopFixture {
    fn lay(step: &str, queue: &str) -> Self {
        let dir = nix::unistd::mkdtemp("/run/remit-stops-XXXXXX").expect("/run is root's");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let program = dir.join("step.sh");
        fs::write(&program, format!("#!/bin/sh\n{step}\n")).expect("it is ours");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let policy = format!(
            "[[command]]\nname = \"site.step\"\nsummary = \"takes a step\"\nargv = [\"{}\"]\n\
             effect = \"change\"\nprofile = \"host\"\ncwd = \"{}\"\n\n[[grant]]\nname = \"steps\"\n\
             to = [\"#64001\"]\nallow = [\"site.step\"]\napproval = \"none\"\nunconfined = true\n\n\
             [[grant]]\nname = \"looks\"\nto = [\"#64001\", \"#64002\"]\nallow = [\"run\"]\n\
             approval = \"none\"\n",
            program.display(),
            dir.display()
        );
        let options = Options {
            policy,
            queue: queue.to_owned(),
            ..Options::default()
        };
        let daemon = Daemon::start(options);
        Self { dir, daemon }
    }

    fn file(&self, name: &str) {
        fs::write(self.dir.join(name), "").expect("it is ours");
    }

    fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    fn start_step(&self) -> (Caller, JobId) {
        let mut caller = Caller::new(&self.daemon, &user_a());
        let report = caller.run(at_once(change("site.step", &[])));
        let job = report.expect("it is granted").job;
        writes(&mut caller, job);
        (caller, job)
    }

    fn report_after_restart(&mut self, job: JobId) -> JobReport {
        assert!(ends_within(self.daemon.pid(), 30_000), "it does not end");
        self.daemon.restart();
        let mut caller = Caller::new(&self.daemon, &user_a());
        caller.job(job, 0).expect("it is known")
    }
}

impl Drop for StopFixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn writes(caller: &mut Caller, job: JobId) {
    loop {
        let update = caller.follow(job, [0, 0], 10_000).expect("it is ours");
        if !update.stdout.bytes.is_empty() {
            return;
        }
    }
}

/// Returns once the daemon has received the signal.
fn is_stopping(caller: &mut Caller) {
    until("nothing new begins", || {
        let said = caller.run(argv(&["true"]));
        said.is_err_and(|refusal| refusal.code == Code::DaemonUnavailable)
    });
}

const WAITING_STEP: &str = "echo begun\nwhile [ ! -e go ]; do sleep 0.02; done\necho whole";

#[test]
fn n08_stop_signals_job_and_grants_grace() {
    let mut daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "trap 'echo got TERM; sleep 0.3; echo saved; exit 7' TERM; echo begun; \
                while :; do sleep 0.02; done";
    let job = caller
        .run(at_once(script(text)))
        .expect("it is accepted")
        .job;
    writes(&mut caller, job);
    daemon.restart_cleanly();
    let mut caller = Caller::new(&daemon, &user_a());
    let report = caller.job(job, 0).expect("it is known");
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(
        (report.state, cause(&report), ending.exit, ending.signal),
        (State::Interrupted, "remitd was stopped", Some(7), None),
        "{report:?}"
    );
    assert_eq!(stdout(&report), "begun\ngot TERM\nsaved\n");
    assert!(ending.kill_verified, "{report:?}");
    daemon.stop();
}

#[test]
fn n08_signal_ignoring_job_is_killed_after_grace() {
    let mut daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "trap '' TERM; echo begun; while :; do sleep 0.02; done";
    let job = caller
        .run(at_once(script(text)))
        .expect("it is accepted")
        .job;
    writes(&mut caller, job);
    daemon.restart_cleanly();
    let report = Caller::new(&daemon, &user_a())
        .job(job, 0)
        .expect("it is known");
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!((report.state, ending.signal), (State::Interrupted, Some(9)));
    assert!(ending.runtime_ms >= 5000, "it had its grace: {report:?}");
    daemon.stop();
}

#[test]
fn n08_only_unsandboxed_change_finishes_after_stop() {
    let mut fixture = StopFixture::lay(WAITING_STEP, "");
    let (mut caller, job) = fixture.start_step();
    let looks = caller.run(at_once(script("echo begun; exec sleep 1000")));
    let looks = looks.expect("it is accepted").job;
    writes(&mut caller, looks);
    fixture.daemon.signal(Signal::SIGTERM);
    // Connected and new clients get answers. The `read` job has ended; the change has not.
    let looked = caller.end_of(looks);
    assert_eq!(
        (looked.state, cause(&looked)),
        (State::Interrupted, "remitd was stopped")
    );
    assert_eq!(
        caller.job(job, 0).expect("it is ours").state,
        State::Running
    );
    for user in [user_a(), user_b()] {
        let refusal = Caller::new(&fixture.daemon, &user)
            .run(argv(&["true"]))
            .expect_err("nothing new begins");
        assert_eq!(refusal.code, Code::DaemonUnavailable, "{refusal:?}");
        assert!(
            refusal.message.contains("waits for running changes"),
            "{refusal:?}"
        );
    }
    let refusal = caller.run(at_once(change("site.step", &[])));
    assert_eq!(refusal.expect_err("it stops").code, Code::DaemonUnavailable);
    let status = fixture.daemon.remit(&admin(), &["status"]);
    assert!(status.status.success(), "{status:?}");
    fixture.file("go");
    let report = fixture.report_after_restart(job);
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::Exited, "begun\nwhole\n"),
        "{report:?}"
    );
    // Its end is recorded before the daemon's own end.
    let events: Vec<_> = fixture.daemon.audit();
    let at = |event: &str, job: &str| {
        let found = events.iter().position(|record| {
            record["REMIT_EVENT"] == event && (job.is_empty() || record["REMIT_JOB"] == job)
        });
        found.unwrap_or_else(|| panic!("no record of {event}"))
    };
    assert!(at("end", &job.to_string()) < at("stop", ""));
}

/// The lock holds after the restart, so a stop does not hide it.
#[test]
fn lock_is_shown_and_ended_during_a_stop() {
    let mut fixture = StopFixture::lay(WAITING_STEP, "");
    let (mut caller, job) = fixture.start_step();
    let looks = caller.run(at_once(script("echo ready; exec sleep 1000")));
    let looks = looks.expect("it is accepted").job;
    writes(&mut caller, looks);
    let remit = |words: &[&str]| {
        let output = fixture.daemon.remit(&admin(), words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let why = || {
        let status: serde_json::Value =
            serde_json::from_str(&remit(&["--json", "status"])).expect("it is JSON");
        status["locked"].as_str().map(str::to_owned)
    };
    remit(&["lock", "-m", "an incident"]);
    fixture.daemon.signal(Signal::SIGTERM);
    assert_eq!(caller.end_of(looks).state, State::Interrupted);
    assert_eq!(why().as_deref(), Some("an incident"));
    let refusal = caller.run(argv(&["true"])).expect_err("it is locked");
    assert_eq!(refusal.code, Code::Locked, "{refusal:?}");
    let said = remit(&["unlock"]);
    assert!(said.contains("unlocked"), "{said}");
    assert_eq!(why(), None);
    let refusal = caller.run(argv(&["true"])).expect_err("it stops");
    assert_eq!(refusal.code, Code::DaemonUnavailable, "{refusal:?}");
    // A lock during the stop is one, too.
    remit(&["lock", "-m", "another incident"]);
    assert_eq!(why().as_deref(), Some("another incident"));
    let said = remit(&["unlock"]);
    assert!(said.contains("unlocked"), "{said}");
    let said = remit(&["unlock"]);
    assert!(said.contains("it was not locked"), "{said}");
    fixture.file("go");
    let report = fixture.report_after_restart(job);
    assert_eq!(report.state, State::Exited, "{report:?}");
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    assert!(caller.run(argv(&["true"])).is_ok());
}

#[test]
fn n08_second_signal_stops_at_once() {
    let mut fixture =
        StopFixture::lay("trap '' TERM\necho begun\nwhile :; do sleep 0.02; done", "");
    let (mut caller, job) = fixture.start_step();
    fixture.daemon.signal(Signal::SIGTERM);
    is_stopping(&mut caller);
    fixture.daemon.signal(Signal::SIGTERM);
    let report = fixture.report_after_restart(job);
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(
        (report.state, ending.signal, cause(&report)),
        (State::Interrupted, Some(9), "remitd was stopped"),
        "{report:?}"
    );
    assert_eq!(fixture.daemon.records("interrupted").len(), 0);
}

/// The end is recorded although nothing has read the output.
#[test]
fn n08_second_signal_without_a_broker_records_the_end() {
    let mut daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "trap '' TERM; echo begun; while :; do sleep 0.02; done";
    let job = caller.run(at_once(script(text)));
    let job = job.expect("it is accepted").job;
    writes(&mut caller, job);
    daemon.signal(Signal::SIGTERM);
    is_stopping(&mut caller);
    drop(caller);
    daemon.end_brokers();
    daemon.signal(Signal::SIGTERM);
    assert!(ends_within(daemon.pid(), 60_000), "it does not end");
    daemon.restore_brokers();
    daemon.restart();
    let report = Caller::new(&daemon, &user_a())
        .job(job, 0)
        .expect("it is known");
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!((report.state, ending.signal), (State::Interrupted, Some(9)));
    assert_eq!(daemon.records("interrupted").len(), 0);
    daemon.stop();
}

#[test]
fn n08_wait_for_change_is_limited() {
    let step = "trap 'touch asked; exit 3' TERM\necho begun\nwhile :; do sleep 0.02; done";
    let mut fixture = StopFixture::lay(step, "stop_wait_s = 1");
    let (_caller, job) = fixture.start_step();
    fixture.daemon.signal(Signal::SIGTERM);
    let report = fixture.report_after_restart(job);
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(
        (report.state, ending.exit),
        (State::Interrupted, Some(3)),
        "{report:?}"
    );
    assert!(fixture.has("asked"));
    assert!(ending.runtime_ms >= 1000, "{report:?}");
}
