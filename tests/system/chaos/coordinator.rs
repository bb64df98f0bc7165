//! Synchronizes clients with the thread that kills daemons: an MCP client whose shims are killed goes on with the next shim.
//! Checks the audit log after any number of deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::names::JobId;
use remit_tests::caller::Door;
use remit_tests::daemon::Daemon;
use remit_tests::process::{Identity, ends_within};
use remit_tests::random::Random;
use remit_tests::session::Session;
use serde_json::{Value, json};

use super::client::{Answered, Task, request_of};
use super::moment;

/// Longer than any answer may take, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct State {
    answers: u64,
    warden_lives: bool,
    over: bool,
    finished: usize,
    failed: bool,
}

#[derive(Debug, Default)]
pub struct ChaosCoordinator {
    state: Mutex<State>,
    changed: Condvar,
}

impl ChaosCoordinator {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn until(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let waiting = |state: &mut State| !state.failed && !reached(state);
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.state(), PATIENCE, waiting)
            .expect("nobody panics with it");
        let failed = state.failed;
        drop(state);
        assert!(!failed, "another thread has failed");
        assert!(!waited.timed_out(), "waited {PATIENCE:?} for {what}");
    }

    pub fn answered(&self) {
        self.change(|state| state.answers += 1);
    }

    /// Waits for `more` answers, or until none came for a while. All clients may be waiting for jobs that must be
    /// stopped. Panics if another thread has failed.
    pub fn until_answered_or_idle(&self, more: u32) {
        let wanted = self.state().answers + u64::from(more);
        loop {
            let state = self.state();
            let before = state.answers;
            let quiet = |state: &mut State| !state.failed && state.answers == before;
            let (state, waited) = match before < wanted {
                true => self
                    .changed
                    .wait_timeout_while(state, IDLE, quiet)
                    .expect("nobody panics with it"),
                false => return,
            };
            let failed = state.failed;
            drop(state);
            assert!(!failed, "another thread has failed");
            if waited.timed_out() {
                return;
            }
        }
    }

    pub fn answers(&self) -> u64 {
        self.state().answers
    }

    pub fn lives(&self) {
        self.change(|state| state.warden_lives = true);
    }

    pub fn dies(&self) {
        self.change(|state| state.warden_lives = false);
    }

    pub fn until_it_lives(&self) {
        self.until("a warden", |state| state.warden_lives);
    }

    /// Waits a moment, because an answer to another client may free a slot.
    pub fn rest(&self) {
        let moment = Duration::from_millis(50);
        let rested = self.changed.wait_timeout(self.state(), moment);
        drop(rested.expect("nobody panics with it"));
    }

    pub fn finished(&self) {
        self.change(|state| state.finished += 1);
    }

    pub fn until_finished(&self, count: usize) {
        self.until("the last answers", |state| state.finished == count);
    }

    pub fn over(&self) {
        self.change(|state| state.over = true);
    }

    pub fn is_over(&self) -> bool {
        self.state().over
    }
}

/// Marks the test as failed if its thread panics, so that no other thread waits for it.
pub struct Alarm<'a>(pub &'a ChaosCoordinator);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.change(|state| state.failed = true);
        }
    }
}

#[derive(Debug, Default)]
pub struct ParsedAuditLog {
    queued: BTreeMap<String, String>,
    intents: BTreeMap<String, String>,
    ends: BTreeMap<String, Ends>,
    /// Owner and job of each end in order, including jobs without a request id of this test.
    order: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Ends {
    certain: u32,
    /// Recorded by a warden that could not know if its predecessor had recorded it.
    again: u32,
    interrupted: bool,
    /// Nothing of it ran, so its request may be another job.
    not_started: bool,
}

/// Gaps that a warden killed between two file writes cannot avoid.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Written to the ledger but not to the audit log, so never run: interrupted without an intent.
    pub unrecorded: u32,
    /// Ends that may be recorded twice, and are marked as such.
    pub again: u32,
}

impl ParsedAuditLog {
    pub fn read(records: &[Value]) -> Result<Self, String> {
        let mut log = Self::default();
        for record in records {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let (event, job) = (text("REMIT_EVENT"), text("REMIT_JOB"));
            let is_end = matches!(event.as_str(), "end" | "interrupted");
            if is_end {
                log.order.push((text("REMIT_UID"), job.clone()));
            }
            let command = text("REMIT_ARGV");
            let Some(request) = request_of(&command).map(str::to_owned) else {
                continue;
            };
            if is_end {
                let ends = log.ends.entry(job).or_default();
                match text("REMIT_AGAIN").as_str() {
                    "maybe" => ends.again += 1,
                    _ => ends.certain += 1,
                }
                ends.interrupted |= text("REMIT_STATE") == "interrupted";
                ends.not_started |= text("REMIT_STATE") == "not_started";
                continue;
            }
            let before = match event.as_str() {
                "queued" => log.queued.insert(job, request),
                "intent" => log.intents.insert(job, request),
                _ => None,
            };
            if before.is_some() {
                return Err(format!("the same again: {record}"));
            }
        }
        Ok(log)
    }

    /// Each request is at most one job that ran. Each job that was queued or started has exactly one end, and no other job
    /// has one. Returns the permitted gaps, or the first violation.
    pub fn check(&self) -> Result<Gaps, String> {
        let mut jobs: BTreeMap<&str, &str> = BTreeMap::new();
        let ran = |job: &String| self.ends.get(job).is_none_or(|ends| !ends.not_started);
        let started = self.queued.iter().chain(&self.intents);
        for (job, request) in started.filter(|(job, _)| ran(job)) {
            let same = jobs.insert(request, job).is_none_or(|other| other == job);
            if !same {
                return Err(format!("request {request} is two jobs, one of them {job}"));
            }
        }
        let started: BTreeSet<&String> = self.queued.keys().chain(self.intents.keys()).collect();
        if let Some(job) = started.iter().find(|job| !self.ends.contains_key(**job)) {
            return Err(format!("job {job} has no end"));
        }
        let mut gaps = Gaps::default();
        for (job, ends) in &self.ends {
            if ends.certain > 1 {
                return Err(format!("job {job} has {} ends", ends.certain));
            }
            if !started.contains(job) {
                if !ends.interrupted {
                    return Err(format!("job {job} ended and was never begun"));
                }
                gaps.unrecorded += 1;
            }
            gaps.again += ends.again;
        }
        Ok(gaps)
    }

    pub fn ended_since(&self, job: &str) -> Option<usize> {
        let mut since = self.order.iter().skip_while(|(_, other)| other != job);
        let (owner, _) = since.next()?;
        Some(since.filter(|(other, _)| other == owner).count())
    }
}

impl fmt::Display for ParsedAuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queued, {} begun, {} ended, {} of these interrupted and {} not started",
            self.queued.len(),
            self.intents.len(),
            self.ends.len(),
            self.ends.values().filter(|ends| ends.interrupted).count(),
            self.ends.values().filter(|ends| ends.not_started).count()
        )
    }
}

const ATTEMPTS: usize = 200;
/// Maximum time between a request and the kill of its shim.
const SOON: Duration = Duration::from_millis(15);

#[derive(Clone, Debug)]
pub struct Shims {
    program: PathBuf,
    socket: PathBuf,
    user: Identity,
    door: Door,
}

impl Shims {
    pub fn new(daemon: &Daemon, user: &Identity) -> Self {
        Self {
            program: daemon.program("mcp-shim"),
            socket: daemon.runtime().socket(),
            user: user.clone(),
            door: Door::new(daemon, user),
        }
    }

    fn start(&self) -> Session {
        Session::start(&self.program, &self.socket, &self.user)
    }

    pub fn work(
        self,
        coordinator: &ChaosCoordinator,
        mut random: Random,
        name: &str,
    ) -> (Vec<Answered>, u32) {
        let _alarm = Alarm(coordinator);
        let mut known = BTreeMap::new();
        let mut session = self.start();
        let (mut number, mut killed) = (0, 0);
        while !coordinator.is_over() {
            number += 1;
            let task = Task::random(&mut random, name, number);
            let run = json!({ "name": "run", "arguments": task.arguments() });
            if random.once_in(2) {
                send(&mut session, &run);
                moment(random.below(u32::try_from(SOON.as_micros()).unwrap_or(u32::MAX)));
                let pid = session.pid();
                kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is our child");
                assert!(ends_within(pid, 20_000));
                killed += 1;
                session = self.start();
            }
            let job = job_of(&insist(&mut session, coordinator, &run));
            let answered = Answered {
                door: self.door.clone(),
                task: task.clone(),
                job,
            };
            known.insert(task.id.clone(), answered);
            if task.ends() {
                let wait = json!({ "job_id": job.to_string(), "wait_ms": 30_000 });
                let wait = json!({ "name": "job", "arguments": wait });
                assert_eq!(job_of(&insist(&mut session, coordinator, &wait)), job);
            }
            assert_eq!(
                job_of(&insist(&mut session, coordinator, &run)),
                job,
                "{task:?}"
            );
        }
        coordinator.finished();
        (known.into_values().collect(), killed)
    }
}

const ID: u64 = 1 << 32;

fn send(session: &mut Session, call: &Value) {
    let request = json!({ "jsonrpc": "2.0", "id": ID, "method": "tools/call", "params": call });
    session.send(&request);
}

fn insist(session: &mut Session, coordinator: &ChaosCoordinator, call: &Value) -> Value {
    for _ in 0..ATTEMPTS {
        let result = session.tool(
            call["name"].as_str().unwrap_or_default(),
            &call["arguments"],
        );
        let content = result["structuredContent"].clone();
        if result["isError"] != true {
            coordinator.answered();
            return content;
        }
        match content["error"]["code"].as_str() {
            Some("daemon_unavailable") => coordinator.until_it_lives(),
            Some("busy" | "rate_limited" | "not_started") => coordinator.rest(),
            _ => panic!("{call}: {result}"),
        }
    }
    panic!("no answer to {call}");
}

fn job_of(result: &Value) -> JobId {
    let id = result["job_id"].as_str().and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("no job: {result}"))
}
