//! A connection to the daemon, and requests that several verbs share.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use remit_common::names::{JobId, Runtime};
use remit_common::refusal::Code;
use remit_common::{RELEASE, caps};
use remit_wire::client::{Client, ClientError};
use remit_wire::outcome::{Followed, JobReport, Matches, OutputPart, Page, QueuePosition, Stream};
use remit_wire::{
    Follow, GrepQuery, JobQuery, PageQuery, PartQuery, Progress, Reply, Request, Run,
    protocol_of_daemon, request_id,
};

use crate::error::Failure;
use crate::render::output::{Sink, note};
use crate::render::units;

/// Retries in a row after the daemon closed a connection. It may replace its broker; a third loss is a fault.
pub const LOSSES: u32 = 2;
/// Time to wait for a daemon that was reachable before: it may be restarting, for example in an upgrade.
const ABSENCE: Duration = Duration::from_secs(30);
/// First and longest pause between two connection attempts.
const LOOKS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Pause after a rate limit refusal, for example of many pages. Meanwhile the limiter refills twenty requests.
const PAUSE: Duration = Duration::from_millis(20_000 / caps::REQUESTS_PER_SECOND as u64);
/// Pauses in a row before giving up. By then other clients have used the whole rate for ten seconds.
const PAUSES: u32 = 100;

pub struct Daemon {
    socket: PathBuf,
    client: Client,
    queue_notifier: QueueNotifier,
}

impl Daemon {
    /// Fails as [`Client::connect`], like every function here.
    pub fn connect(runtime: &Runtime) -> Result<Self, Failure> {
        let socket = runtime.socket();
        let client = dial(&socket)?;
        Ok(Self {
            socket,
            client,
            queue_notifier: QueueNotifier::new(),
        })
    }

    pub fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        Ok(self.client.call(request, |_| ())?)
    }

    /// Starts a job. The request always has a request id, the caller's or a new one, so a retry starts no second job.
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

    pub fn stop(&mut self, job: JobId, signal: Option<i32>) -> Result<JobReport, Failure> {
        match self.ask(&Request::Stop { job, signal })? {
            Reply::Job { report, .. } => self.ended(*report),
            _ => Err(Failure::off_protocol()),
        }
    }

    pub fn report(&mut self, job: JobId) -> Result<JobReport, Failure> {
        Ok(self.about(job, 0, None)?.0)
    }

    pub fn ended(&mut self, mut report: JobReport) -> Result<JobReport, Failure> {
        while report.ending.is_none() {
            self.note_queue_position(&report);
            report = self.about(report.job, caps::WAIT_MS, None)?.0;
        }
        Ok(report)
    }

    pub fn note_queue_position(&mut self, report: &JobReport) {
        self.queue_notifier.tell(report.queue_position);
    }

    pub fn follow(&mut self, follow: Follow) -> Result<Followed, Failure> {
        match self.ask(&Request::Follow(follow))? {
            Reply::Followed(followed) => {
                self.queue_notifier.tell(followed.queue_position);
                Ok(*followed)
            }
            _ => Err(Failure::off_protocol()),
        }
    }

    fn about(
        &mut self,
        job: JobId,
        wait_ms: u32,
        part: Option<PartQuery>,
    ) -> Result<(JobReport, Option<OutputPart>), Failure> {
        match self.ask(&Request::Job(JobQuery { job, wait_ms, part }))? {
            Reply::Job { report, part } => Ok((*report, part)),
            _ => Err(Failure::off_protocol()),
        }
    }

    /// Sends a request. Retries after a lost connection or a rate limit: only for requests safe to repeat.
    fn ask(&mut self, question: &Request) -> Result<Reply, Failure> {
        let (mut losses, mut pauses) = (LOSSES, PAUSES);
        loop {
            let queue_notifier = &mut self.queue_notifier;
            let waiting = |progress: Progress| queue_notifier.tell(progress.queue_position);
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

/// Connects to a daemon that may be restarting. Without socket activation the socket may be missing, so this polls.
fn find(socket: &Path) -> Result<Client, ClientError> {
    let begin = Instant::now();
    let (mut pause, longest) = LOOKS;
    let mut was_reported = false;
    loop {
        match dial(socket) {
            Err(error) if is_absence(&error) && begin.elapsed() < ABSENCE => {
                if !was_reported && begin.elapsed() >= longest {
                    note("remitd does not answer; trying again for half a minute");
                    was_reported = true;
                }
                thread::sleep(pause);
                pause = longest.min(pause * 2);
            }
            other => return other,
        }
    }
}

/// Returns true for a lost connection, also if the daemon refused because it is unavailable. One of another protocol is there.
pub fn is_loss(error: &ClientError) -> bool {
    match error {
        ClientError::Broken(_) => true,
        ClientError::Refused(refusal) => {
            refusal.code == Code::DaemonUnavailable && protocol_of_daemon(refusal).is_none()
        }
        ClientError::NotRunning { .. } | ClientError::NotAllowed { .. } => false,
    }
}

fn is_absence(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning { .. }) || is_loss(error)
}

impl Daemon {
    pub fn page(
        &mut self,
        job: JobId,
        stream: Stream,
        offset: u64,
        limit: u64,
    ) -> Result<Page, Failure> {
        let cap = u32::try_from(caps::PAGE).unwrap_or(u32::MAX);
        self.asked(
            job,
            PageQuery {
                stream,
                offset,
                limit: u32::try_from(limit).map_or(cap, |limit| limit.min(cap)),
                tail: false,
                whole_characters: false,
            },
        )
    }

    pub fn end(&mut self, job: JobId, stream: Stream) -> Result<u64, Failure> {
        let page = self.asked(
            job,
            PageQuery {
                stream,
                offset: 0,
                limit: 1,
                tail: true,
                whole_characters: false,
            },
        )?;
        Ok(page.offset.saturating_add(page.bytes.len() as u64))
    }

    fn asked(&mut self, job: JobId, page: PageQuery) -> Result<Page, Failure> {
        match self.about(job, 0, Some(PartQuery::Page(page)))? {
            (_, Some(OutputPart::Page(page))) => Ok(page),
            (_, Some(OutputPart::Matches(_)) | None) => Err(Failure::off_protocol()),
        }
    }

    /// Copies at most `limit` bytes from `offset` on to `sink`, up to the end. Returns the offset after them.
    pub fn copy(
        &mut self,
        job: JobId,
        stream: Stream,
        mut offset: u64,
        mut limit: u64,
        sink: &mut Sink<'_>,
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

    pub fn matches(&mut self, job: JobId, query: GrepQuery) -> Result<Matches, Failure> {
        match self.about(job, 0, Some(PartQuery::Grep(query)))? {
            (_, Some(OutputPart::Matches(matches))) => Ok(matches),
            (_, Some(OutputPart::Page(_)) | None) => Err(Failure::off_protocol()),
        }
    }
}

const EVERY: Duration = Duration::from_secs(1);

pub struct QueueNotifier {
    /// stderr is a terminal. Logs do not get such lines.
    watched: bool,
    last_reported: Option<(QueuePosition, Instant)>,
}

impl QueueNotifier {
    pub fn new() -> Self {
        Self {
            watched: io::stderr().is_terminal(),
            last_reported: None,
        }
    }

    pub fn tell(&mut self, in_queue: Option<QueuePosition>) {
        if self.watched
            && let Some(in_queue) = in_queue
            && self.is_news(in_queue, Instant::now())
        {
            note(&format!(
                "waiting for a job slot: {}",
                queue_position(in_queue)
            ));
        }
    }

    fn is_news(&mut self, in_queue: QueuePosition, now: Instant) -> bool {
        let is_news = self.last_reported.is_none_or(|(last_reported, at)| {
            last_reported != in_queue && now.saturating_duration_since(at) >= EVERY
        });
        if is_news {
            self.last_reported = Some((in_queue, now));
        }
        is_news
    }
}

/// `3rd of 7`.
pub fn queue_position(in_queue: QueuePosition) -> String {
    format!("{} of {}", units::ordinal(in_queue.position), in_queue.of)
}

#[cfg(test)]
mod tests {
    use remit_common::refusal::Refusal;

    use super::*;

    #[test]
    fn daemon_of_another_protocol_is_not_awaited() {
        let refused = |refusal| is_absence(&ClientError::Refused(refusal));
        assert!(refused(Refusal::new(Code::DaemonUnavailable, "stopping")));
        assert!(!refused(remit_wire::other_protocol(0)));
    }

    #[test]
    fn position_is_reported_on_change_once_a_second() {
        let mut notifier = QueueNotifier {
            watched: true,
            last_reported: None,
        };
        let begin = Instant::now();
        let at = |position| QueuePosition { position, of: 7 };
        for (ms, position, is_news) in [
            (0, 5, true),
            (900, 4, false),
            (1000, 3, true),
            (5000, 3, false),
            (5001, 2, true),
            (5002, 1, false),
            (6001, 1, true),
        ] {
            let now = begin + Duration::from_millis(ms);
            assert_eq!(notifier.is_news(at(position), now), is_news, "{ms}");
        }
        assert_eq!(queue_position(at(3)), "3rd of 7");
    }
}
