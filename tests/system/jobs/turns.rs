//! Ten thousand jobs of one user, while another user works.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a, user_b};
use remit_wire::outcome::State;
use remit_wire::{Reply, Request};
use serde_json::Value;

const FLOOD: usize = 10_000;
const CONNECTIONS: usize = 20;
const SLOTS: usize = 4;

#[derive(Default)]
struct Answers {
    jobs: Vec<JobId>,
    busy: usize,
    rate_limited: usize,
}

fn flood(mut caller: Caller) -> Answers {
    let mut answers = Answers::default();
    for _ in 0..FLOOD / CONNECTIONS {
        match caller.run(at_once(argv(&["sleep", "0.02"]))) {
            Ok(report) => answers.jobs.push(report.job),
            Err(refusal) => match refusal.code {
                Code::Busy => answers.busy += 1,
                Code::RateLimited => answers.rate_limited += 1,
                _ => panic!("{refusal}"),
            },
        }
    }
    answers
}

fn all_ended(caller: &mut Caller) {
    let start = Instant::now();
    loop {
        let list = match caller.ask(Request::Jobs { limit: 1000 }) {
            Ok(Reply::Jobs(list)) => list,
            Err(refusal) if refusal.code == Code::RateLimited => {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            other => panic!("{other:?}"),
        };
        let left = list
            .iter()
            .rev()
            .find(|job| job.state == State::Running || job.state.is_waiting());
        let Some(left) = left else { return };
        assert!(start.elapsed() < Duration::from_secs(60), "{left:?}");
        // If the wait is refused for its rate, the loop asks again.
        let _ = caller.job(left.job_id, caps::WAIT_MS);
    }
}

fn at(audit: &[Value], event: &str, job: JobId) -> Option<usize> {
    let job = job.to_string();
    audit.iter().position(|record| {
        record["REMIT_EVENT"] == event && record["REMIT_JOB"].as_str() == Some(job.as_str())
    })
}

#[test]
fn many_runs_of_user_do_not_delay_others() {
    let daemon = Daemon::start(Options {
        jobs: SLOTS,
        waiting: caps::QUEUED,
        ..Options::default()
    });
    let broker = daemon.broker().expect("there is a broker");
    daemon.is_well();
    let before = (open_descriptors(daemon.pid()), open_descriptors(broker));
    let floods: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let caller = Caller::new(&daemon, &user_a());
            std::thread::spawn(move || flood(caller))
        })
        .collect();
    let mut b = Caller::new(&daemon, &user_b());
    let mut served = Vec::new();
    while served.len() < 10 || floods.iter().any(|flood| !flood.is_finished()) {
        let report = b
            .run(argv(&["echo", "served"]))
            .expect("user B is within every bound");
        assert_eq!(
            (report.state, stdout(&report).as_str()),
            (State::Exited, "served\n"),
            "{report:?}"
        );
        served.push(report.job);
    }
    let mut all = Answers::default();
    for flood in floods {
        let answers = flood.join().expect("each request is answered");
        all.jobs.extend(answers.jobs);
        all.busy += answers.busy;
        all.rate_limited += answers.rate_limited;
    }
    assert_eq!(all.jobs.len() + all.busy + all.rate_limited, FLOOD);
    assert!(
        all.busy > 0 && all.rate_limited > 0,
        "it was no flood: {} jobs, {} busy",
        all.jobs.len(),
        all.busy
    );
    all_ended(&mut Caller::new(&daemon, &user_a()));

    let audit = daemon.audit();
    let of = |event: &str| -> Vec<String> {
        let records = audit.iter().filter(|r| r["REMIT_EVENT"] == event);
        let ids = records.filter_map(|r| r["REMIT_JOB"].as_str().map(str::to_owned));
        ids.collect()
    };
    let (intents, ends) = (of("intent"), of("end"));
    let started: HashSet<&String> = intents.iter().collect();
    assert_eq!((started.len(), ends.len()), (intents.len(), intents.len()));
    assert_eq!(started, ends.iter().collect());
    let promised = all.jobs.iter().map(ToString::to_string);
    assert!(promised.into_iter().all(|job| started.contains(&job)));
    // `is_well` ran one more job of user B.
    assert!(intents.len() > all.jobs.len() + served.len());

    // User B waited for one turn, not for the whole queue. Between request and start, others got at most one
    // turn, plus what was already starting.
    let starts_of_a: Vec<usize> = (0..audit.len())
        .filter(|at| audit[*at]["REMIT_EVENT"] == "intent" && audit[*at]["REMIT_UID"] == "64001")
        .collect();
    let mut waited = 0;
    for job in &served {
        let started = at(&audit, "intent", *job).expect("it ran");
        let Some(queued) = at(&audit, "queued", *job) else {
            continue;
        };
        waited += 1;
        let passed = starts_of_a
            .iter()
            .filter(|at| (queued..started).contains(*at))
            .count();
        assert!(passed <= 1, "{passed} of user A's went before");
    }
    assert!(waited > 0, "user B always found a free slot");
    daemon.is_well();
    let after = (
        descriptors_left(daemon.pid(), before.0 + 8),
        descriptors_left(broker, before.1 + 8),
    );
    assert!(
        after.0 <= before.0 + 8 && after.1 <= before.1 + 8,
        "from {before:?} to {after:?}"
    );
    daemon.stop();
}
