//! A connection to the daemon, and the questions that verbs share.

mod output;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use remit_common::client::{Client, ClientError};
use remit_common::names::{JobId, Runtime};
use remit_common::outcome::{Followed, JobReport, Part};
use remit_common::refusal::Code;
use remit_common::request_id;
use remit_common::wire::{Follow, JobQuery, PartQuery, Progress, Reply, Request, Run};
use remit_common::{RELEASE, caps};

use crate::failure::Failure;
use crate::output::note;
use crate::places::Places;

/// How often in a row a question about a job is asked again of a daemon that welcomes us and then breaks the
/// connection. It replaces its broker without losing a job; a third loss is a fault.
pub const LOSSES: u32 = 2;
/// How long to look for a daemon that was there before and is gone: it is restarted, by an upgrade maybe.
const ABSENCE: Duration = Duration::from_secs(30);
/// The first and the longest time between two looks.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long to be quiet when the daemon says that this user asks too often: many
/// pages of long output can do that. Room for twenty questions comes back meanwhile.
const PAUSE: Duration = Duration::from_millis(20_000 / caps::REQUESTS_PER_SECOND as u64);
/// How often in a row to pause; after ten seconds others take all the room.
const PAUSES: u32 = 100;

/// A connection to the daemon.
pub struct Daemon {
    socket: PathBuf,
    client: Client,
    places: Places,
}

impl Daemon {
    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`], like every function here.
    pub fn connect(runtime: &Runtime) -> Result<Self, Failure> {
        let socket = runtime.socket();
        let client = dial(&socket)?;
        Ok(Self {
            socket,
            client,
            places: Places::new(),
        })
    }

    /// Makes one call.
    pub fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        Ok(self.client.call(request, |_| ())?)
    }

    /// Starts a job. The request has a name, the caller's or a new one: it is the same job however often
    /// it is asked for.
    pub fn run(&mut self, mut run: Run) -> Result<JobReport, Failure> {
        let id = match run.request_id.take() {
            Some(id) => id,
            None => request_id::fresh()?,
        };
        run.request_id = Some(id.clone());
        let answer = self.ask(&Request::Run(run));
        match answer.map_err(|failure| failure.may_have_started(&id))? {
            Reply::Job { report, .. } => Ok(*report),
            _ => Err(Failure::off_protocol()),
        }
    }

    /// Has a job ended, and waits until it has.
    pub fn stop(&mut self, job: JobId, signal: Option<i32>) -> Result<JobReport, Failure> {
        match self.ask(&Request::Stop { job, signal })? {
            Reply::Job { report, .. } => self.ended(*report),
            _ => Err(Failure::off_protocol()),
        }
    }

    /// The job as it is now.
    pub fn report(&mut self, job: JobId) -> Result<JobReport, Failure> {
        Ok(self.about(job, 0, None)?.0)
    }

    /// The job when it has ended; waits as long as that takes.
    pub fn ended(&mut self, mut report: JobReport) -> Result<JobReport, Failure> {
        while report.ending.is_none() {
            self.waits_for(&report);
            report = self.about(report.job, caps::WAIT_MS, None)?.0;
        }
        Ok(report)
    }

    /// A job is about to be waited for: tells where it stands.
    pub fn waits_for(&mut self, report: &JobReport) {
        self.places.tell(report.place);
    }

    /// What came of a job's output since.
    pub fn follow(&mut self, follow: Follow) -> Result<Followed, Failure> {
        match self.ask(&Request::Follow(follow))? {
            Reply::Followed(followed) => {
                self.places.tell(followed.place);
                Ok(*followed)
            }
            _ => Err(Failure::off_protocol()),
        }
    }

    /// A job's report after so long, or at its end; and a part of its output.
    fn about(
        &mut self,
        job: JobId,
        wait_ms: u32,
        part: Option<PartQuery>,
    ) -> Result<(JobReport, Option<Part>), Failure> {
        match self.ask(&Request::Job(JobQuery { job, wait_ms, part }))? {
            Reply::Job { report, part } => Ok((*report, part)),
            _ => Err(Failure::off_protocol()),
        }
    }

    /// Asks; again on a new connection when this one breaks, and more slowly when it was
    /// too often. Only where asking twice does no harm.
    fn ask(&mut self, question: &Request) -> Result<Reply, Failure> {
        let (mut losses, mut pauses) = (LOSSES, PAUSES);
        loop {
            let places = &mut self.places;
            let waiting = |progress: Progress| places.tell(progress.place);
            match self.client.call(question.clone(), waiting) {
                Ok(reply) => return Ok(reply),
                Err(error) if losses > 0 && is_loss(&error) => {
                    losses -= 1;
                    self.client = find(&self.socket)?;
                }
                Err(ClientError::Refused(refusal))
                    if pauses > 0 && refusal.code == Code::RateLimited =>
                {
                    pauses -= 1;
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn dial(socket: &Path) -> Result<Client, ClientError> {
    Client::connect(socket, &format!("remit {RELEASE}"))
}

/// Connects to a daemon that may be about to start. Where sockets outlive it, the kernel keeps our
/// connection until then; where it makes them itself, there is nothing to wait on but time.
fn find(socket: &Path) -> Result<Client, ClientError> {
    let begin = Instant::now();
    let (mut pause, longest) = LOOKS;
    let mut told = false;
    loop {
        match dial(socket) {
            Err(error) if is_absence(&error) && begin.elapsed() < ABSENCE => {
                if !told && begin.elapsed() >= longest {
                    note("remitd does not answer; trying again for half a minute");
                    told = true;
                }
                thread::sleep(pause);
                pause = longest.min(pause * 2);
            }
            other => return other,
        }
    }
}

/// The connection is gone, and nothing was said against the question.
pub fn is_loss(error: &ClientError) -> bool {
    match error {
        ClientError::Broken(_) => true,
        ClientError::Refused(refusal) => refusal.code == Code::DaemonUnavailable,
        ClientError::NotRunning { .. } | ClientError::NotAllowed { .. } => false,
    }
}

/// Nobody is there just now.
fn is_absence(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning { .. }) || is_loss(error)
}
