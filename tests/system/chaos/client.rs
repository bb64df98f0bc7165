//! A client that reconnects and retries until it has an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::caps;
use remit_common::client::{Client, ClientError};
use remit_common::names::JobId;
use remit_common::outcome::{JobReport, OutputPart, Page, State, Stream};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{JobQuery, PageQuery, PartQuery, Reply, Request};
use remit_tests::caller::Door;
use remit_tests::random::Random;

use crate::chaos::coordinator::{Alarm, ChaosCoordinator};
use crate::chaos::task::Task;

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
                    Code::DaemonUnavailable => {}
                    Code::Busy | Code::RateLimited => self.coordinator.rest(),
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
