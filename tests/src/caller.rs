//! Requests of one user, without the details of the wire types; also from threads that outlive the daemon.

use std::path::PathBuf;
use std::time::Duration;

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::client::{Client, ClientError};
use remit_wire::outcome::{Followed, JobReport, Matches, OutputPart, Page, State, Stream};
use remit_wire::{
    Bytes, Follow, GrepQuery, JobQuery, PageQuery, PartQuery, Purpose, Reply, Request, Run, What,
};

use crate::daemon::Daemon;
use crate::process::Identity;

/// A connection of one user.
#[derive(Debug)]
pub struct Caller(pub Client);

/// Builds a run of a program with arguments, with a wait.
#[must_use]
pub fn argv(words: &[&str]) -> Run {
    run(What::Argv(
        words
            .iter()
            .map(|word| Bytes::from(word.as_bytes().to_vec()))
            .collect(),
    ))
}

/// Builds a run of a shell script, with a wait.
#[must_use]
pub fn script(text: &str) -> Run {
    run(What::Script {
        text: Bytes::from(text.as_bytes().to_vec()),
        interpreter: None,
    })
}

/// Builds a run of a named command for reading, with a wait.
#[must_use]
pub fn named(name: &str, args: &[(&str, &str)]) -> Run {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let what = What::Named {
        name: name.to_owned(),
        args: args.iter().map(owned).collect(),
    };
    Run {
        // The command's own limit applies.
        max_runtime_s: None,
        ..run(what)
    }
}

/// Builds a run of a named command that changes something.
#[must_use]
pub fn change(name: &str, args: &[(&str, &str)]) -> Run {
    Run {
        purpose: Purpose::Change {
            reason: "a test".into(),
        },
        ..named(name, args)
    }
}

/// Builds a run with the maximum wait. The job may run as long as any test, so that none ends by its time by chance.
#[must_use]
pub fn run(what: What) -> Run {
    Run {
        wait_ms: Some(50_000),
        max_runtime_s: Some(600),
        ..Run::new(what, Purpose::Use)
    }
}

/// Builds a run that writes these bytes to standard output.
#[must_use]
pub fn writes(bytes: &[u8]) -> Run {
    Run {
        stdin: Some(Bytes::from(bytes.to_vec())),
        ..argv(&["cat"])
    }
}

/// Removes the wait.
#[must_use]
pub fn at_once(run: Run) -> Run {
    Run {
        wait_ms: Some(0),
        ..run
    }
}

/// Returns the start of standard output as text.
#[must_use]
pub fn stdout(report: &JobReport) -> String {
    String::from_utf8_lossy(&report.stdout.head).into_owned()
}

/// Returns the cause of a job's end.
#[must_use]
pub fn cause(report: &JobReport) -> &str {
    report.ending.as_ref().map_or("", |ending| &ending.cause)
}

impl Caller {
    /// Connects as `user`. Panics if the daemon refuses.
    #[must_use]
    pub fn new(daemon: &Daemon, user: &Identity) -> Self {
        Self(daemon.client(user).expect("the daemon lets them in"))
    }

    /// Sends a request. Panics if the connection breaks.
    pub fn ask(&mut self, request: Request) -> Result<Reply, Refusal> {
        match self.0.call(request, |_| {}) {
            Ok(reply) => Ok(reply),
            Err(ClientError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    fn job_reply(&mut self, request: Request) -> Result<(JobReport, Option<OutputPart>), Refusal> {
        match self.ask(request)? {
            Reply::Job { report, part } => Ok((*report, part)),
            other => panic!("{other:?}"),
        }
    }

    /// Runs something and waits as the run says.
    pub fn run(&mut self, run: Run) -> Result<JobReport, Refusal> {
        self.job_reply(Request::Run(run)).map(|(report, _)| report)
    }

    /// Runs something, again while it is rate limited: large requests cost more.
    pub fn run_patiently(&mut self, run: &Run) -> Result<JobReport, Refusal> {
        loop {
            match self.run(run.clone()) {
                Err(refusal) if refusal.code == Code::RateLimited => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                answer => return answer,
            }
        }
    }

    /// Returns the state of a job after at most `wait_ms` milliseconds.
    pub fn job(&mut self, job: JobId, wait_ms: u32) -> Result<JobReport, Refusal> {
        let query = JobQuery {
            job,
            wait_ms,
            part: None,
        };
        self.job_reply(Request::Job(query))
            .map(|(report, _)| report)
    }

    /// Waits for a job's end for at most 50 s. Panics if it has not ended.
    #[must_use]
    pub fn end_of(&mut self, job: JobId) -> JobReport {
        let report = self.job(job, 50_000).expect("the job is ours");
        let is_unfinished = report.state == State::Running || report.state.is_waiting();
        assert!(!is_unfinished, "{report:?}");
        report
    }

    /// Reads a part of a job's output.
    pub fn part(&mut self, job: JobId, part: PartQuery) -> Result<OutputPart, Refusal> {
        let query = JobQuery {
            job,
            wait_ms: 0,
            part: Some(part),
        };
        let (_, part) = self.job_reply(Request::Job(query))?;
        Ok(part.expect("a part was asked for"))
    }

    /// Reads a page of a job's output.
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

    /// Reads a page of a job's output with all options.
    pub fn paged(&mut self, job: JobId, page: PageQuery) -> Result<Page, Refusal> {
        match self.part(job, PartQuery::Page(page))? {
            OutputPart::Page(page) => Ok(page),
            other => panic!("a page was asked for: {other:?}"),
        }
    }

    /// Reads all of a job's output, in pages of `limit` bytes.
    pub fn whole(&mut self, job: JobId, stream: Stream, limit: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let offset = u64::try_from(bytes.len()).expect("it fits");
            let page = self.page(job, stream, offset, limit);
            let page = page.expect("the job is ours");
            // Removed output has no offset to start at.
            let gone = page.bytes.is_empty() && page.eof;
            assert!(page.offset == offset || gone, "{page:?}");
            assert!(page.bytes.len() <= limit as usize);
            assert!(page.eof || !page.bytes.is_empty(), "no progress: {page:?}");
            bytes.extend_from_slice(&page.bytes);
            if page.eof {
                return bytes;
            }
        }
    }

    /// Searches a job's output.
    pub fn grep(&mut self, job: JobId, grep: GrepQuery) -> Result<Matches, Refusal> {
        match self.part(job, PartQuery::Grep(grep))? {
            OutputPart::Matches(matches) => Ok(matches),
            other => panic!("lines were asked for: {other:?}"),
        }
    }

    /// Returns a job's output after these offsets of both streams.
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
    pub fn stop(&mut self, job: JobId) -> Result<JobReport, Refusal> {
        self.stop_by(job, None)
    }

    /// Stops a job, with `signal` as the first signal.
    pub fn stop_by(&mut self, job: JobId, signal: Option<i32>) -> Result<JobReport, Refusal> {
        self.job_reply(Request::Stop { job, signal })
            .map(|(report, _)| report)
    }
}

/// A daemon's socket and a user.
#[derive(Clone, Debug)]
pub struct Door {
    socket: PathBuf,
    user: Identity,
}

impl Door {
    /// Stays valid for later daemons in the same directory.
    #[must_use]
    pub fn new(daemon: &Daemon, user: &Identity) -> Self {
        Self {
            socket: daemon.runtime().socket(),
            user: user.clone(),
        }
    }

    /// Returns true if it belongs to this user.
    #[must_use]
    pub fn is_of(&self, user: &Identity) -> bool {
        self.user == *user
    }

    /// Connects. Fails if the daemon refuses or is not running.
    pub fn enter(&self) -> Result<Client, ClientError> {
        let Self { socket, user } = self.clone();
        // A separate thread, because it keeps the identity.
        let connect = move || {
            user.adopt().expect("the tests run as root");
            Client::connect(&socket, "remit-tests")
        };
        std::thread::spawn(connect)
            .join()
            .expect("connecting does not panic")
    }
}
