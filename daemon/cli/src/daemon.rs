//! A connection to the daemon, and the questions that verbs share.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use remit_common::client::{Client, ClientError};
use remit_common::names::{JobId, Runtime};
use remit_common::outcome::{JobReport, Page, Part, Stream};
use remit_common::refusal::Code;
use remit_common::wire::{JobQuery, PageQuery, PartQuery, Reply, Request};
use remit_common::{RELEASE, caps};

use crate::failure::Failure;
use crate::sink::Sink;

/// How often in a row a question about a job is asked again on a new connection.
/// The daemon replaces its broker without losing a job; a second loss is a fault.
const RECONNECTS: u32 = 2;
/// How long to be quiet when the daemon says that this user asks too often: many
/// pages of long output can do that. Room for twenty questions comes back meanwhile.
const PAUSE: Duration = Duration::from_millis(20_000 / caps::REQUESTS_PER_SECOND as u64);
/// How often in a row to pause; after ten seconds others take all the room.
const PAUSES: u32 = 100;

/// A connection to the daemon.
pub struct Daemon {
    socket: PathBuf,
    client: Client,
}

impl Daemon {
    /// Connects.
    ///
    /// # Errors
    /// As [`Client::connect`], like every function here.
    pub fn connect(runtime: &Runtime) -> Result<Self, Failure> {
        let socket = runtime.socket();
        let client = dial(&socket)?;
        Ok(Self { socket, client })
    }

    /// Makes one call.
    pub fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        Ok(self.client.call(request, |_| ())?)
    }

    /// Makes a call that is answered by a job.
    pub fn job(&mut self, request: Request) -> Result<JobReport, Failure> {
        match self.call(request)? {
            Reply::Job { report, .. } => Ok(*report),
            Reply::Jobs(_) | Reply::Followed(_) | Reply::Access(_) | Reply::Host(_) => {
                Err(Failure::off_protocol())
            }
        }
    }

    /// Asks about a job; again on a new connection when this one breaks, and more slowly
    /// when it was too often: asking twice does no harm.
    pub fn ask(&mut self, query: &JobQuery) -> Result<(JobReport, Option<Part>), Failure> {
        let (mut reconnects, mut pauses) = (RECONNECTS, PAUSES);
        loop {
            match self.client.call(Request::Job(query.clone()), |_| ()) {
                Ok(Reply::Job { report, part }) => return Ok((*report, part)),
                Ok(_) => return Err(Failure::off_protocol()),
                Err(error) if reconnects > 0 && is_loss(&error) => {
                    reconnects -= 1;
                    self.client = dial(&self.socket)?;
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

    /// The job as it is now.
    pub fn report(&mut self, job: JobId) -> Result<JobReport, Failure> {
        Ok(self.ask(&question(job, 0, None))?.0)
    }

    /// The job when it has ended; waits as long as that takes.
    pub fn ended(&mut self, mut report: JobReport) -> Result<JobReport, Failure> {
        while report.ending.is_none() {
            report = self.ask(&question(report.job, caps::WAIT_MS, None))?.0;
        }
        Ok(report)
    }

    /// At most `limit` bytes of a job's output from `offset` on.
    pub fn page(
        &mut self,
        job: JobId,
        stream: Stream,
        offset: u64,
        limit: u64,
    ) -> Result<Page, Failure> {
        let cap = u32::try_from(caps::PAGE).unwrap_or(u32::MAX);
        let page = PageQuery {
            stream,
            offset,
            limit: u32::try_from(limit).map_or(cap, |limit| limit.min(cap)),
            tail: false,
            whole_characters: false,
        };
        match self.ask(&question(job, 0, Some(PartQuery::Page(page))))? {
            (_, Some(Part::Page(page))) => Ok(page),
            (_, Some(Part::Matches(_)) | None) => Err(Failure::off_protocol()),
        }
    }

    /// Copies at most `limit` bytes from `offset` on to `sink`, page by page, up to what is there now.
    /// Gives the place after the last byte copied.
    pub fn copy<W: Write + IsTerminal>(
        &mut self,
        job: JobId,
        stream: Stream,
        mut offset: u64,
        mut limit: u64,
        sink: &mut Sink<W>,
    ) -> Result<u64, Failure> {
        while limit > 0 {
            let page = self.page(job, stream, offset, limit)?;
            let length = page.bytes.len() as u64;
            if length == 0 || length > limit {
                break;
            }
            sink.write(&page.bytes)?;
            offset += length;
            limit -= length;
            if page.eof || offset >= page.total {
                break;
            }
        }
        Ok(offset)
    }
}

fn dial(socket: &std::path::Path) -> Result<Client, ClientError> {
    Client::connect(socket, &format!("remit {RELEASE}"))
}

fn question(job: JobId, wait_ms: u32, part: Option<PartQuery>) -> JobQuery {
    JobQuery { job, wait_ms, part }
}

/// The connection is gone, and nothing was said against the question.
fn is_loss(error: &ClientError) -> bool {
    match error {
        ClientError::Broken(_) => true,
        ClientError::Refused(refusal) => refusal.code == Code::DaemonUnavailable,
        ClientError::NotRunning { .. } | ClientError::NotAllowed { .. } => false,
    }
}
