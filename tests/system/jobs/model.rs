//! Tests the queue against its rules: with random requests of three users, and with thousands of jobs of one user while
//! another works. After each request bounds hold, and no slot is free that a waiting job may use.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, stdout};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a, user_b};
use remit_tests::process::Identity;
use remit_tests::random::Random;
use remit_wire::outcome::State;
use remit_wire::{Reply, Request};
use serde_json::Value;

const SLOTS: usize = 4;
const SLOTS_OF_ONE: usize = 2;
const QUEUE: usize = 7;
const QUEUE_OF_ONE: usize = 4;

struct User {
    uid: u32,
    caller: Caller,
    jobs: Vec<JobId>,
    accepted: Vec<String>,
    /// Accepted jobs that were stopped before their exec.
    unrun: HashSet<String>,
}

impl User {
    fn new(daemon: &Daemon, identity: &Identity) -> Self {
        Self {
            uid: identity.uid,
            caller: Caller::new(daemon, identity),
            jobs: Vec::new(),
            accepted: Vec::new(),
            unrun: HashSet::new(),
        }
    }

    fn stop(&mut self, job: JobId, signal: Option<i32>) {
        let report = self.caller.stop_by(job, signal).expect("the job is theirs");
        assert_eq!(report.state, State::Cancelled, "{report:?}");
        if report.enforced.is_none() {
            self.unrun.insert(job.to_string());
        }
    }
}

fn live(daemon: &Daemon) -> Vec<AnyJob> {
    match daemon.administer(AdminRequest::Jobs { limit: 100 }) {
        Ok(AdminReply::Jobs { mut jobs, .. }) => {
            jobs.retain(|job| matches!(job.state, State::Running | State::Queued));
            jobs
        }
        other => panic!("{other:?}"),
    }
}

fn count(jobs: &[AnyJob], state: State, uid: Option<u32>) -> usize {
    let meant = |job: &&AnyJob| job.state == state && uid.is_none_or(|uid| job.uid == uid);
    jobs.iter().filter(meant).count()
}

/// Checks the bounds. A user without a waiting job is always let in.
fn is_within_bounds(jobs: &[AnyJob], users: &[User]) {
    assert!(count(jobs, State::Running, None) <= SLOTS, "{jobs:?}");
    let let_in = users.len() - 1;
    assert!(
        count(jobs, State::Queued, None) <= QUEUE + let_in,
        "{jobs:?}"
    );
    for user in users {
        let of = |state| count(jobs, state, Some(user.uid));
        assert!(of(State::Running) <= SLOTS_OF_ONE, "{jobs:?}");
        assert!(of(State::Queued) <= QUEUE_OF_ONE, "{jobs:?}");
    }
}

fn is_busy_enough(jobs: &[AnyJob], users: &[User]) -> bool {
    count(jobs, State::Running, None) == SLOTS
        || users.iter().all(|user| {
            count(jobs, State::Queued, Some(user.uid)) == 0
                || count(jobs, State::Running, Some(user.uid)) == SLOTS_OF_ONE
        })
}

fn is_full(jobs: &[AnyJob], uid: u32) -> bool {
    let own = count(jobs, State::Queued, Some(uid));
    own == QUEUE_OF_ONE || (own > 0 && count(jobs, State::Queued, None) >= QUEUE)
}

#[test]
fn random_requests_keep_queue_rules() {
    let daemon = Daemon::start(Options {
        jobs: SLOTS,
        jobs_of_one: Some(SLOTS_OF_ONE),
        waiting: QUEUE + 3,
        queue: format!("queue = {QUEUE}\nqueue_per_user = {QUEUE_OF_ONE}"),
        ..Options::default()
    });
    let mut users =
        [user_a(), user_b(), Identity::new(0, &[])].map(|identity| User::new(&daemon, &identity));
    let mut random = Random::new(4);
    let (mut busy, mut waited) = (0, 0);
    for _ in 0..150 {
        let before = live(&daemon);
        let user = &mut users[random.below(3) as usize];
        if user.jobs.is_empty() || !random.once_in(3) {
            match user.caller.run(at_once(argv(&["sleep", "1000"]))) {
                Ok(report) => {
                    waited += usize::from(report.state == State::Queued);
                    user.jobs.push(report.job);
                    user.accepted.push(report.job.to_string());
                }
                Err(refusal) => {
                    assert_eq!(refusal.code, Code::Busy, "{refusal}");
                    assert!(is_full(&before, user.uid), "{refusal}: {before:?}");
                    busy += 1;
                }
            }
        } else {
            let at = random.below(user.jobs.len() as u32) as usize;
            let job = user.jobs.remove(at);
            let signal = random.once_in(2).then_some(libc::SIGKILL);
            user.stop(job, signal);
        }
        let now = live(&daemon);
        is_within_bounds(&now, &users);
        // A slot that has become free is taken in the next iteration of the warden's loop; each query is one.
        let settled = (0..50).any(|_| is_busy_enough(&live(&daemon), &users));
        assert!(settled, "a free slot: {:?}", live(&daemon));
        let living: usize = users.iter().map(|user| user.jobs.len()).sum();
        assert_eq!(now.len(), living, "a job is lost: {now:?}");
    }
    assert!(busy > 5 && waited > 25, "{busy} busy, {waited} waited");
    // Each user's jobs started in order, and every job that was not stopped in the queue started.
    for user in &mut users {
        for job in std::mem::take(&mut user.jobs).into_iter().rev() {
            user.stop(job, None);
        }
        let uid = user.uid.to_string();
        let started: Vec<String> = daemon
            .records("intent")
            .iter()
            .filter(|intent| intent["REMIT_UID"] == uid.as_str())
            .filter_map(|intent| intent["REMIT_JOB"].as_str().map(str::to_owned))
            .collect();
        let missing = |job: &String| user.unrun.contains(job) && !started.contains(job);
        user.accepted.retain(|job| !missing(job));
        assert_eq!(started, user.accepted, "uid {uid}");
    }
    daemon.is_well();
    daemon.stop();
}

const FLOOD: usize = 4000;
const CONNECTIONS: usize = 20;

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
    // On a slow machine requests are not above the rate.
    println!(
        "{} jobs, {} busy, {} rate limited",
        all.jobs.len(),
        all.busy,
        all.rate_limited
    );
    assert!(all.busy > 0, "it was no flood");
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
