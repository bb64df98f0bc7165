//! Broker and warden die once at each named step of a job's life. The request is sent again and stays one job. A line
//! that is missing in the table of a job's life starts nothing.

use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;

use remit_tests::caller::{Caller, at_once, cause, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::ends_within;
use remit_wire::client::ClientError;
use remit_wire::outcome::{JobReport, State};
use remit_wire::{JobQuery, Reply, Request, Run};
use serde_json::Value;

/// Knowledge of the next warden about a job whose warden died at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It was about to run, ran, or ended without that being written.
    CutOff,
    Unrun,
    Ended,
    /// The end is known, but perhaps not recorded.
    EndedMaybeRecorded,
}

/// A name of `REMIT_FAULT`, true if the job waits for a slot first, and the state known afterwards.
type Step = (&'static str, bool, Known);

const STEPS: &[Step] = &[
    ("before-ledger", false, Known::Nothing),
    ("after-ledger", false, Known::CutOff),
    ("after-queue", true, Known::Unrun),
    ("before-begin", true, Known::Unrun),
    ("after-record", false, Known::CutOff),
    ("after-fork", false, Known::CutOff),
    ("after-send", false, Known::CutOff),
    ("before-end", false, Known::CutOff),
    ("end-noted", false, Known::EndedMaybeRecorded),
    ("end-recorded", false, Known::EndedMaybeRecorded),
    ("after-end", false, Known::Ended),
];

/// Steps of a request that needs an approval. Tests of approvals cover these.
const OF_APPROVALS: &[&str] = &["after-ask", "after-approval"];

/// A line of the table on the way to a start, true if the job waits for a slot first, and the events recorded of it.
const LINES: &[(&str, bool, &[&str])] = &[
    ("New Turn", false, &["refusal"]),
    ("Starting(Request) Recorded", false, &["refusal"]),
    (
        "Recorded(Request) Forked",
        false,
        &["intent", "end", "refusal"],
    ),
    ("New Queued", true, &["refusal"]),
    ("Queued(NotApproved) Turn", true, &["queued", "end"]),
    (
        "Starting(Queue(NotApproved)) Recorded",
        true,
        &["queued", "end"],
    ),
    (
        "Recorded(Queue(NotApproved)) Forked",
        true,
        &["queued", "intent", "end"],
    ),
];

const TEXT: &str = "echo out; echo err >&2; exit 5";

fn daemon(process_name: &str, (name, is_queued, _): Step) -> Option<(Daemon, Option<JobId>)> {
    let daemon = Daemon::start(Options {
        jobs_of_one: is_queued.then_some(1),
        waiting: 8,
        ..Options::mutated("REMIT_FAULT", &format!("{process_name}@{name}"))?
    });
    let first = is_queued.then(|| {
        let first = at_once(script("sleep 1000"));
        let report = Caller::new(&daemon, &user_a()).run(first);
        report.expect("the slot is free").job
    });
    Some((daemon, first))
}

fn run() -> Request {
    Request::Run(Run {
        request_id: Some("one and the same".into()),
        ..at_once(script(TEXT))
    })
}

fn wait(job: JobId) -> Request {
    Request::Job(JobQuery {
        job,
        wait_ms: caps::WAIT_MS,
        part: None,
    })
}

fn ask(daemon: &Daemon, request: Request) -> Result<JobReport, ClientError> {
    match daemon.client(&user_a())?.call(request, |_| {})? {
        Reply::Job { report, .. } => Ok(*report),
        other => panic!("{other:?}"),
    }
}

/// Retries until there is an answer. A killed broker dies only when it is scheduled; until then it accepts
/// connections, which die with it.
fn insistently(daemon: &Daemon, request: &Request) -> JobReport {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match ask(daemon, request.clone()) {
            Ok(report) => return report,
            Err(error) => assert!(Instant::now() < end, "no attempt is answered: {error}"),
        }
    }
}

fn free_slot(daemon: &Daemon, first: Option<JobId>) {
    if let Some(job) = first {
        // The process that answers may die of it.
        let _ = ask(daemon, Request::Stop { job, signal: None });
    }
}

fn records(daemon: &Daemon, event: &str) -> Vec<Value> {
    let mut records = daemon.records(event);
    records.retain(|record| {
        let command = record["REMIT_ARGV"].as_str();
        command.is_some_and(|command| command.contains(TEXT))
    });
    records
}

fn has_run(report: &JobReport, name: &str) {
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!(
        (report.state, exit),
        (State::Exited, Some(5)),
        "{name}: {report:?}"
    );
    let printed = (stdout(report), report.stderr.head.as_slice());
    assert_eq!(printed, ("out\n".into(), &b"err\n"[..]), "{name}");
}

#[test]
fn the_steps_are_those_of_the_daemon() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../daemon/warden/src/startup/fault.rs"
    );
    let text = std::fs::read_to_string(file).expect("the sources are there");
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Point::")?.split('"').nth(1))
        .collect();
    let mut steps: Vec<&str> = STEPS.iter().map(|(name, _, _)| *name).collect();
    steps.extend(OF_APPROVALS);
    steps.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(steps, sorted);
}

#[test]
fn broker_death_at_any_step_keeps_job() {
    for step in STEPS {
        let Some((daemon, first)) = daemon("broker", *step) else {
            return;
        };
        let (name, is_queued, _) = *step;
        let first_broker = daemon.broker();
        let job = insistently(&daemon, &run()).job;
        free_slot(&daemon, first);
        let report = insistently(&daemon, &wait(job));
        has_run(&report, name);
        assert_eq!(
            insistently(&daemon, &run()),
            report,
            "{name}: reported differently"
        );
        assert_ne!(daemon.broker(), first_broker, "{name}: it did not die");
        let count = |event| records(&daemon, event).len();
        let counts = (
            count("queued"),
            count("intent"),
            count("end"),
            count("interrupted"),
        );
        assert_eq!(counts, (usize::from(is_queued), 1, 1, 0), "{name}");
        daemon.is_well();
        daemon.stop();
    }
}

#[test]
fn warden_death_at_any_step_keeps_one_job() {
    for step in STEPS {
        let Some((mut daemon, first)) = daemon("warden", *step) else {
            return;
        };
        let (name, is_queued, known) = *step;
        let answer = ask(&daemon, run());
        free_slot(&daemon, first);
        assert!(
            ends_within(daemon.pid(), 20_000),
            "{name}: it did not die: {answer:?}"
        );
        for process in daemon.job_processes() {
            assert!(
                ends_within(process.pid, 20_000),
                "{name}: outlives it: {process:?}"
            );
        }
        let started = records(&daemon, "intent");
        daemon.forget_faults();
        daemon.restart();

        let job = insistently(&daemon, &run()).job;
        let report = insistently(&daemon, &wait(job));
        match known {
            Known::Nothing | Known::Ended | Known::EndedMaybeRecorded => has_run(&report, name),
            Known::CutOff | Known::Unrun => {
                let ending = report.ending.as_ref().expect("it has ended");
                assert_eq!(report.state, State::Interrupted, "{name}: {report:?}");
                assert!(ending.kill_verified, "{name}: {report:?}");
                let unrun = cause(&report).contains("never ran");
                assert_eq!(unrun, known == Known::Unrun, "{name}: {report:?}");
            }
        }
        assert_eq!(
            insistently(&daemon, &run()),
            report,
            "{name}: reported differently"
        );
        if let Some(record) = started.first() {
            assert_eq!(
                record["REMIT_JOB"],
                report.job.to_string(),
                "{name}: two jobs"
            );
        }

        let ends = records(&daemon, "end");
        let again = ends
            .iter()
            .filter(|end| end["REMIT_AGAIN"] == "maybe")
            .count();
        let expect = match known {
            Known::Nothing | Known::Ended => (1, 0, 0),
            Known::CutOff | Known::Unrun => (0, 0, 1),
            Known::EndedMaybeRecorded => (usize::from(name == "end-recorded"), 1, 0),
        };
        let interrupted = records(&daemon, "interrupted").len();
        assert_eq!((ends.len() - again, again, interrupted), expect, "{name}");
        let intents = records(&daemon, "intent").len();
        // It is in the ledger but not in the audit log, so nothing ran.
        let ran = known != Known::Unrun && name != "after-ledger";
        assert_eq!(intents, usize::from(ran), "{name}");
        assert_eq!(
            records(&daemon, "queued").len(),
            usize::from(is_queued),
            "{name}"
        );

        daemon.restart_cleanly();
        assert_eq!(
            insistently(&daemon, &run()),
            report,
            "{name}: reported differently by the next one"
        );
        assert_eq!(
            records(&daemon, "end").len(),
            ends.len(),
            "{name}: recorded again"
        );
        let served = Caller::new(&daemon, &user_b()).run(script("exit 0"));
        assert_eq!(served.expect("user B has a grant").state, State::Exited);
        daemon.is_well();
        daemon.stop();
    }
}

#[test]
fn missing_line_of_the_table_runs_nothing_and_keeps_no_slot() {
    for (line, is_queued, events) in LINES {
        let Some(mutated) = Options::mutated("REMIT_MUTATE_LIFE", line) else {
            return;
        };
        let daemon = Daemon::start(Options {
            jobs: 1,
            waiting: 8,
            ..mutated
        });
        let mut caller = Caller::new(&daemon, &user_a());
        let first = is_queued.then(|| {
            let first = caller.run(at_once(script("sleep 1000")));
            first.expect("the slot is free").job
        });
        let answer = caller.run(at_once(script(TEXT)));
        free_slot(&daemon, first);
        let why = match answer {
            Ok(report) => {
                let report = caller.end_of(report.job);
                assert_eq!(report.state, State::NotStarted, "{line}: {report:?}");
                cause(&report).to_owned()
            }
            Err(refusal) => {
                assert_eq!(refusal.code, Code::NotStarted, "{line}: {refusal:?}");
                refusal.message
            }
        };
        let (stage, event) = line.split_once(' ').expect("they are two words");
        let says = format!("no line for {event} at {stage}");
        assert!(why.contains(&says), "{line}: {why}");
        let all = daemon.audit().into_iter().filter(|record| {
            let command = record["REMIT_ARGV"].as_str();
            command.is_some_and(|command| command.contains(TEXT))
        });
        let all: Vec<_> = all.map(|record| record["REMIT_EVENT"].clone()).collect();
        assert_eq!(all, *events, "{line}");
        // There is one slot, and it is free.
        let next = caller.run(script("exit 0")).expect("the table is whole");
        assert_eq!(next.state, State::Exited, "{line}: {next:?}");
        daemon.is_well();
        daemon.stop();
    }
}
