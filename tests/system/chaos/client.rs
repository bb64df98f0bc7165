//! Requests of clients, and a client that reconnects and retries until it has an answer. Jobs print their request id,
//! so that their output can be checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_tests::caller::{Door, at_once, script};
use remit_tests::random::Random;
use remit_wire::client::{Client, ClientError};
use remit_wire::outcome::{JobReport, OutputPart, Page, State, Stream};
use remit_wire::{JobQuery, PageQuery, PartQuery, Reply, Request, Run};
use serde_json::{Value, json};

use crate::chaos::coordinator::{Alarm, ChaosCoordinator};

/// More attempts than a living daemon can make necessary.
const ATTEMPTS: usize = 1000;

#[derive(Clone, Debug)]
pub struct Answered {
    pub door: Door,
    pub task: Task,
    pub job: JobId,
}

#[derive(Debug)]
pub struct Insistent {
    door: Door,
    coordinator: Arc<ChaosCoordinator>,
    random: Random,
    connection: Option<Client>,
    known: BTreeMap<String, Answered>,
}

impl Insistent {
    pub fn new(door: Door, coordinator: Arc<ChaosCoordinator>, random: Random) -> Self {
        Self {
            door,
            coordinator,
            random,
            connection: None,
            known: BTreeMap::new(),
        }
    }

    pub fn work(mut self, name: &str) -> Vec<Answered> {
        let coordinator = Arc::clone(&self.coordinator);
        let _alarm = Alarm(&coordinator);
        let mut number = 0;
        while !self.coordinator.is_over() {
            let mut tasks = Vec::new();
            for _ in 0..1 + self.random.below(4) {
                number += 1;
                tasks.push(Task::random(&mut self.random, name, number));
            }
            let jobs: Vec<JobId> = tasks.iter().map(|task| self.begin(task)).collect();
            for (task, job) in tasks.iter().zip(jobs) {
                self.finish(task, job);
                if self.random.once_in(4) {
                    self.connection = None;
                    self.begin(task);
                }
            }
        }
        self.coordinator.finished();
        self.known.into_values().collect()
    }

    fn begin(&mut self, task: &Task) -> JobId {
        let job = self.report(&Request::Run(task.run())).job;
        let answered = Answered {
            door: self.door.clone(),
            task: task.clone(),
            job,
        };
        let known = self.known.entry(task.id.clone()).or_insert(answered);
        assert_eq!(known.job, job, "one request is two jobs: {task:?}");
        job
    }

    /// Waits for the job's end, stops it, or leaves it running.
    fn finish(&mut self, task: &Task, job: JobId) {
        let request = match (task.ends(), self.random.once_in(2)) {
            (true, _) => Request::Job(JobQuery {
                job,
                wait_ms: caps::WAIT_MS,
                part: None,
            }),
            (false, true) => Request::Stop { job, signal: None },
            (false, false) => return,
        };
        let report = self.report(&request);
        assert_eq!(report.job, job);
        self.check(task, &report)
            .unwrap_or_else(|why| panic!("{why}"));
    }

    pub fn check(&mut self, task: &Task, report: &JobReport) -> Result<(), String> {
        let out = self.output(report.job, Stream::Stdout);
        let err = self.output(report.job, Stream::Stderr);
        let exit = report.ending.as_ref().and_then(|ending| ending.exit);
        task.check(report.state, exit, [&out, &err])
            .map_err(|why| format!("{why}: {report:?}"))
    }

    fn output(&mut self, job: JobId, stream: Stream) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let limit = 1 + self.random.below(64 << 10);
            let page = PageQuery {
                stream,
                offset: u64::try_from(all.len()).expect("it fits"),
                limit,
                tail: false,
                whole_characters: false,
            };
            let request = Request::Job(JobQuery {
                job,
                wait_ms: 0,
                part: Some(PartQuery::Page(page)),
            });
            let page: Page = match self.ask(&request) {
                Ok(Reply::Job {
                    part: Some(OutputPart::Page(page)),
                    ..
                }) => page,
                other => panic!("no page of job {job}: {other:?}"),
            };
            all.extend(page.bytes.as_slice());
            if page.eof || page.bytes.is_empty() {
                return all;
            }
        }
    }

    pub fn look(&mut self, job: JobId) -> Result<JobReport, Refusal> {
        let query = JobQuery {
            job,
            wait_ms: 0,
            part: None,
        };
        match self.ask(&Request::Job(query))? {
            Reply::Job { report, .. } => Ok(*report),
            other => panic!("{other:?}"),
        }
    }

    pub fn stop(&mut self, job: JobId) {
        let _ = self.report(&Request::Stop { job, signal: None });
    }

    fn report(&mut self, request: &Request) -> JobReport {
        match self.ask(request) {
            Ok(Reply::Job { report, .. }) => *report,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, Refusal> {
        for _ in 0..ATTEMPTS {
            match self.attempt(request) {
                Ok(reply) => {
                    self.coordinator.answered();
                    return Ok(reply);
                }
                // The warden is dead, or has not opened its sockets yet.
                Err(ClientError::NotRunning { .. }) => self.coordinator.until_it_lives(),
                Err(ClientError::Broken(_)) => {}
                Err(ClientError::Refused(refusal)) => match refusal.code {
                    Code::DaemonUnavailable => self.coordinator.until_it_lives(),
                    // The last one: what would have forked the job was killed just before, and nothing ran.
                    Code::Busy | Code::RateLimited | Code::NotStarted => self.coordinator.rest(),
                    _ => return Err(refusal),
                },
                Err(error @ ClientError::NotAllowed { .. }) => panic!("{error}"),
            }
        }
        panic!("no answer to {request:?}");
    }

    fn attempt(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.door.enter()?,
        };
        let answer = connection.call(request.clone(), |_| {});
        if !matches!(answer, Err(ClientError::Broken(_))) {
            self.connection = Some(connection);
        }
        answer
    }
}

pub const fn is_open(state: State) -> bool {
    state.is_waiting() || matches!(state, State::Running)
}

/// Prefix of each request id, to find it in records.
const MARK: &str = "req-";

#[derive(Clone, Copy, Debug)]
enum Kind {
    Short,
    Lines(u32),
    Forks(u32),
    Fails,
    Slow,
    Long,
}

#[derive(Clone, Debug)]
pub struct Task {
    pub id: String,
    kind: Kind,
}

impl Task {
    pub fn random(random: &mut Random, client: &str, number: u32) -> Self {
        let kind = match random.below(12) {
            0..=3 => Kind::Short,
            // Up to more than one answer holds, so that it must be paged.
            4..=6 => Kind::Lines(1 + random.below(6000)),
            7 | 8 => Kind::Forks(1 + random.below(12)),
            9 => Kind::Fails,
            10 => Kind::Slow,
            _ => Kind::Long,
        };
        Self {
            id: format!("{MARK}{client}-{number}"),
            kind,
        }
    }

    pub const fn ends(&self) -> bool {
        !matches!(self.kind, Kind::Long)
    }

    fn text(&self) -> String {
        let id = &self.id;
        let rest = match self.kind {
            Kind::Short => format!("echo {id}; echo 1"),
            Kind::Lines(lines) => format!("seq -f '{id} %.0f' {lines}; echo {id} >&2"),
            Kind::Forks(children) => format!(
                "i=0; while [ $i -lt {children} ]; do (echo {id}) & i=$((i+1)); done; wait; \
                 echo {children}; setsid sleep 1000 &"
            ),
            Kind::Fails => format!("echo {id}; exit 7"),
            Kind::Slow => format!("echo {id}; sleep 0.3; echo 2"),
            Kind::Long => format!("echo {id}; sleep 1000; echo 2"),
        };
        format!(": {id}; {rest}")
    }

    pub fn run(&self) -> Run {
        Run {
            request_id: Some(self.id.clone()),
            ..at_once(script(&self.text()))
        }
    }

    pub fn arguments(&self) -> Value {
        json!({ "script": self.text(), "request_id": self.id, "wait_ms": 0, "max_runtime_s": 30 })
    }

    fn output(&self) -> [String; 2] {
        let id = &self.id;
        let line = format!("{id}\n");
        let none = String::new();
        match self.kind {
            Kind::Short => [format!("{id}\n1\n"), none],
            Kind::Lines(lines) => {
                let all: Vec<String> = (1..=lines).map(|at| format!("{id} {at}\n")).collect();
                [all.concat(), line]
            }
            Kind::Forks(children) => [
                format!("{}{children}\n", line.repeat(children as usize)),
                none,
            ],
            Kind::Fails => [line, none],
            Kind::Slow | Kind::Long => [format!("{id}\n2\n"), none],
        }
    }

    pub fn check(
        &self,
        state: State,
        exit: Option<i32>,
        printed: [&[u8]; 2],
    ) -> Result<(), String> {
        let [out, err] = self.output();
        let whole = [out.as_bytes(), err.as_bytes()];
        let status = if matches!(self.kind, Kind::Fails) {
            7
        } else {
            0
        };
        let right = match state {
            State::Exited => self.ends() && exit == Some(status) && printed == whole,
            State::NotStarted => printed.iter().all(|bytes| bytes.is_empty()),
            State::Interrupted | State::Cancelled => {
                whole[0].starts_with(printed[0]) && whole[1].starts_with(printed[1])
            }
            _ => false,
        };
        let tail = |bytes: &[u8]| {
            let from = bytes.len().saturating_sub(60);
            format!(
                "{} bytes, …{:?}",
                bytes.len(),
                String::from_utf8_lossy(&bytes[from..])
            )
        };
        match right {
            true => Ok(()),
            false => Err(format!(
                "{self:?} is {state:?} {exit:?} and printed {} and {}",
                tail(printed[0]),
                tail(printed[1])
            )),
        }
    }
}

pub fn request_of(command: &str) -> Option<&str> {
    let from = command.find(MARK)?;
    let rest = &command[from..];
    Some(rest.split(';').next().unwrap_or(rest))
}
