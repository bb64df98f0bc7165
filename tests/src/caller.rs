//! Requests as one user makes them, without the noise of the wire types.

use remit_common::client::{Client, ClientError};
use remit_common::names::JobId;
use remit_common::outcome::{Followed, JobReport, Matches, Page, Part, State, Stream};
use remit_common::refusal::Refusal;
use remit_common::wire::{
    Bytes, Follow, GrepQuery, JobQuery, PageQuery, PartQuery, Purpose, Reply, Request, Run, What,
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

/// A named command with its arguments, to look; waited for.
#[must_use]
pub fn named(name: &str, args: &[(&str, &str)]) -> Run {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let what = What::Named {
        name: name.to_owned(),
        args: args.iter().map(owned).collect(),
    };
    Run {
        // As the command has it.
        max_runtime_s: None,
        ..run(what)
    }
}

/// The same of a command that changes something.
#[must_use]
pub fn change(name: &str, args: &[(&str, &str)]) -> Run {
    Run {
        purpose: Purpose::Change {
            reason: "a test".into(),
        },
        ..named(name, args)
    }
}

/// Anything, waited for as long as a call may wait.
#[must_use]
pub fn run(what: What) -> Run {
    Run {
        traceparent: None,
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

/// These bytes as a job's standard output.
#[must_use]
pub fn writes(bytes: &[u8]) -> Run {
    Run {
        stdin: Some(Bytes::from(bytes.to_vec())),
        ..argv(&["cat"])
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
    /// When it is refused, or the job has not ended.
    #[must_use]
    pub fn end_of(&mut self, job: JobId) -> JobReport {
        let report = self.job(job, 50_000).expect("the job is ours");
        let waits = report.state == State::Running || report.state.is_waiting();
        assert!(!waits, "{report:?}");
        report
    }

    /// A part of a job's output.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When there is no such part in the answer.
    pub fn part(&mut self, job: JobId, part: PartQuery) -> Result<Part, Refusal> {
        let query = JobQuery {
            job,
            wait_ms: 0,
            part: Some(part),
        };
        let (_, part) = self.job_reply(Request::Job(query))?;
        Ok(part.expect("a part was asked for"))
    }

    /// A page of a job's output.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// As [`Self::part`].
    pub fn page(
        &mut self,
        job: JobId,
        stream: Stream,
        offset: u64,
        limit: u32,
    ) -> Result<Page, Refusal> {
        self.paged(
            job,
            PageQuery {
                stream,
                offset,
                limit,
                tail: false,
                whole_characters: false,
            },
        )
    }

    /// A page of a job's output, as asked for.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// As [`Self::part`].
    pub fn paged(&mut self, job: JobId, page: PageQuery) -> Result<Page, Refusal> {
        match self.part(job, PartQuery::Page(page))? {
            Part::Page(page) => Ok(page),
            other => panic!("a page was asked for: {other:?}"),
        }
    }

    /// Lines of a job's output.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// As [`Self::part`].
    pub fn grep(&mut self, job: JobId, grep: GrepQuery) -> Result<Matches, Refusal> {
        match self.part(job, PartQuery::Grep(grep))? {
            Part::Matches(matches) => Ok(matches),
            other => panic!("lines were asked for: {other:?}"),
        }
    }

    /// What a job wrote after so many bytes of both streams.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When the answer is another one.
    pub fn follow(
        &mut self,
        job: JobId,
        [stdout, stderr]: [u64; 2],
        wait_ms: u32,
    ) -> Result<Followed, Refusal> {
        match self.ask(Request::Follow(Follow {
            job,
            stdout,
            stderr,
            wait_ms,
        }))? {
            Reply::Followed(followed) => Ok(*followed),
            other => panic!("{other:?}"),
        }
    }

    /// Stops a job.
    ///
    /// # Errors
    /// The refusal.
    pub fn stop(&mut self, job: JobId) -> Result<JobReport, Refusal> {
        self.stop_by(job, None)
    }

    /// Stops a job with a signal of ours first.
    ///
    /// # Errors
    /// The refusal.
    pub fn stop_by(&mut self, job: JobId, signal: Option<i32>) -> Result<JobReport, Refusal> {
        self.job_reply(Request::Stop { job, signal })
            .map(|(report, _)| report)
    }
}
