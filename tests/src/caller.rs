//! Requests as one user makes them, without the noise of the wire types.

use remit_common::client::{Client, ClientError};
use remit_common::names::JobId;
use remit_common::outcome::{JobReport, Page, Part, State, Stream};
use remit_common::refusal::Refusal;
use remit_common::wire::{
    Bytes, JobQuery, PageQuery, PartQuery, Purpose, Reply, Request, Run, What,
};

use crate::daemon::Daemon;
use crate::process::Identity;

/// A connection of one user.
#[derive(Debug)]
pub struct Caller(pub Client);

/// A program with its arguments, waited for.
#[must_use]
pub fn argv(words: &[&str]) -> Run {
    run(What::Argv(
        words
            .iter()
            .map(|word| Bytes::from(word.as_bytes().to_vec()))
            .collect(),
    ))
}

/// A shell script, waited for.
#[must_use]
pub fn script(text: &str) -> Run {
    run(What::Script {
        text: Bytes::from(text.as_bytes().to_vec()),
        interpreter: None,
    })
}

/// Anything, waited for as long as a call may wait.
#[must_use]
pub fn run(what: What) -> Run {
    Run {
        what,
        cwd: None,
        env: Vec::new(),
        stdin: None,
        profile: None,
        wait_ms: Some(50_000),
        max_runtime_s: Some(30),
        request_id: None,
        purpose: Purpose::Use,
    }
}

/// The same, not waited for at all.
#[must_use]
pub fn at_once(run: Run) -> Run {
    Run {
        wait_ms: Some(0),
        ..run
    }
}

/// Standard output of a report, as text.
#[must_use]
pub fn stdout(report: &JobReport) -> String {
    String::from_utf8_lossy(&report.stdout.head).into_owned()
}

/// In words, what ended a job.
#[must_use]
pub fn cause(report: &JobReport) -> &str {
    report.ending.as_ref().map_or("", |ending| &ending.cause)
}

impl Caller {
    /// Connects as somebody.
    ///
    /// # Panics
    /// When the daemon does not let them in.
    #[must_use]
    pub fn new(daemon: &Daemon, who: &Identity) -> Self {
        Self(daemon.client(who).expect("the daemon lets them in"))
    }

    /// Makes a request.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn ask(&mut self, request: Request) -> Result<Reply, Refusal> {
        match self.0.call(request, |_| {}) {
            Ok(reply) => Ok(reply),
            Err(ClientError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    fn job_reply(&mut self, request: Request) -> Result<(JobReport, Option<Part>), Refusal> {
        match self.ask(request)? {
            Reply::Job { report, part } => Ok((*report, part)),
            other => panic!("{other:?}"),
        }
    }

    /// Runs something and waits for its end, or for what the run itself says.
    ///
    /// # Errors
    /// The refusal.
    pub fn run(&mut self, run: Run) -> Result<JobReport, Refusal> {
        self.job_reply(Request::Run(run)).map(|(report, _)| report)
    }

    /// A job as it is after at most so many milliseconds.
    ///
    /// # Errors
    /// The refusal.
    pub fn job(&mut self, job: JobId, wait_ms: u32) -> Result<JobReport, Refusal> {
        let query = JobQuery {
            job,
            wait_ms,
            part: None,
        };
        self.job_reply(Request::Job(query))
            .map(|(report, _)| report)
    }

    /// Waits for a job's end, 50 s at most.
    ///
    /// # Panics
    /// When it is refused, or the job still runs.
    #[must_use]
    pub fn end_of(&mut self, job: JobId) -> JobReport {
        let report = self.job(job, 50_000).expect("the job is ours");
        assert_ne!(report.state, State::Running, "{report:?}");
        report
    }

    /// A part of a job's output.
    ///
    /// # Errors
    /// The refusal.
    pub fn page(
        &mut self,
        job: JobId,
        stream: Stream,
        offset: u64,
        limit: u32,
    ) -> Result<Page, Refusal> {
        let page = PageQuery {
            stream,
            offset,
            limit,
            tail: false,
            whole_characters: false,
        };
        let query = JobQuery {
            job,
            wait_ms: 0,
            part: Some(PartQuery::Page(page)),
        };
        match self.job_reply(Request::Job(query))? {
            (_, Some(Part::Page(page))) => Ok(page),
            (_, other) => panic!("a page was asked for: {other:?}"),
        }
    }

    /// Stops a job.
    ///
    /// # Errors
    /// The refusal.
    pub fn stop(&mut self, job: JobId) -> Result<JobReport, Refusal> {
        self.job_reply(Request::Stop { job, signal: None })
            .map(|(report, _)| report)
    }
}
