//! Files between a client and the daemon: uploads that plans name, and downloads, which are the output of a job.

use std::fmt;
use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::token_bucket::TokenBucket;
use remit_common::{caps, text};
use remit_plan::{Plan, Upload};
use sha2::{Digest, Sha256};

use crate::client::{Client, ClientError};
use crate::outcome::{JobReport, OutputPart, State, Stream};
use crate::{
    Bytes, JobQuery, PageQuery, PartQuery, Purpose, Reply, Request, Run, UploadPart, What,
    request_id,
};

/// Pause after a rate limit refusal: the limiter refills the cost of one part meanwhile.
pub const PAUSE: Duration = Duration::from_millis(100);
/// Pauses in a row before a refusal is final.
pub const PAUSES: u32 = 100;

#[derive(Debug)]
pub enum TransferError {
    Client(ClientError),
    /// Of the file that is sent.
    Read(io::Error),
    /// Of what is written here.
    Write(io::Error),
    /// The file is not sent, or not printed; why, in words.
    Failed(String),
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Read(error) => write!(f, "cannot read the file: {error}"),
            Self::Write(error) => write!(f, "cannot write the file: {error}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<ClientError> for TransferError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Sends the bytes of an upload, without those that are there already.
pub fn put(client: &mut Client, upload: Upload, from: &mut impl Read) -> Result<(), TransferError> {
    let mut at = received(client, upload)?;
    if at == upload.size {
        return Ok(());
    }
    let mut pace = Pace::new(Instant::now());
    let skipped = io::copy(&mut from.take(at), &mut io::sink());
    match skipped.map_err(TransferError::Read)? {
        skipped if skipped == at => {}
        _ => return Err(changed("shorter")),
    }
    while at < upload.size {
        let mut bytes = Vec::new();
        let left = (upload.size - at).min(caps::UPLOAD_PART as u64);
        let read = from.take(left).read_to_end(&mut bytes);
        if read.map_err(TransferError::Read)? as u64 != left {
            return Err(changed("shorter"));
        }
        let part = UploadPart {
            upload,
            offset: at,
            bytes: bytes.into(),
        };
        thread::sleep(pace.pause(part.bytes.len(), Instant::now()));
        let now = part_sent(client, part)?;
        if now != at + left {
            let text = format!("the daemon has {now} bytes of it, not {}", at + left);
            return Err(TransferError::Failed(text + "; send it again"));
        }
        at = now;
    }
    let more = from.take(1).read_to_end(&mut Vec::new());
    match more.map_err(TransferError::Read)? {
        0 => Ok(()),
        _ => Err(changed("longer")),
    }
}

/// Sends parts no faster than the daemon takes requests of one user: each refusal is a record of the audit log.
struct Pace(TokenBucket);

impl Pace {
    /// Half of the burst is left for other requests of the user, and for what comes sooner there than it was sent.
    fn new(now: Instant) -> Self {
        let burst = caps::REQUEST_BURST / 2;
        Self(TokenBucket::per_second(
            caps::REQUESTS_PER_SECOND,
            burst,
            now,
        ))
    }

    /// Returns the time before a part of these bytes can be sent.
    fn pause(&mut self, bytes: usize, now: Instant) -> Duration {
        let cost = 1 + bytes.div_ceil(caps::REQUEST_UNIT) as u64;
        let pause = self.0.check(cost, now).err().unwrap_or_default();
        self.0.charge(cost, now);
        pause
    }
}

/// Returns how many bytes of an upload are there. All of them: their hash is right.
pub fn received(client: &mut Client, upload: Upload) -> Result<u64, TransferError> {
    let bytes = Bytes::new();
    part_sent(
        client,
        UploadPart {
            upload,
            offset: 0,
            bytes,
        },
    )
}

/// Fails if bytes of an upload are missing. Errors: `not_found`.
pub fn check_whole(upload: Upload, received: u64) -> Result<(), Refusal> {
    if received == upload.size {
        return Ok(());
    }
    let text = match received {
        0 => format!("there is no upload {upload} of yours"),
        received => format!("of the upload {upload} only {received} bytes are there"),
    };
    Err(Refusal::new(Code::NotFound, text)
        .object("upload")
        .next("send it: 'remit put FILE' here, or 'remit put FILE HOST:' from another machine"))
}

/// Fails if an upload of a plan is not there. Errors: `not_found`.
pub fn check_of_plan(plan: &Plan, upload: Upload, received: u64) -> Result<(), Refusal> {
    if plan.pack() != Some(upload) || received == upload.size {
        return check_whole(upload, received);
    }
    let text = format!(
        "the {} bytes of new files of this plan are not kept any more: they are for a day, and while there is space",
        upload.size
    );
    Err(Refusal::new(Code::NotFound, text).next("plan again"))
}

/// Returns why the output of a job is no plan. `is_cut`: bytes that it wrote are missing.
#[must_use]
pub fn no_plan(report: &JobReport, is_cut: bool, error: impl fmt::Display) -> Refusal {
    let job = report.job.short();
    let (code, why, next) = match &report.ending {
        None => (
            Code::Busy,
            format!("job {job} has not written its plan yet"),
            "wait for the end of the job, and call again",
        ),
        Some(ending) if !ending.has_succeeded() => (
            Code::InvalidArgs,
            format!("no plan was made: {}", failure(report)),
            "plan again",
        ),
        Some(_) if is_cut => (
            Code::NotFound,
            format!("the output of job {job}, a plan, is not kept any more"),
            "plan again",
        ),
        Some(_) => (
            Code::InvalidArgs,
            format!("the output of job {job} is no plan: {error}"),
            "'remit plan', or the tool plan, makes one and says its id",
        ),
    };
    Refusal::new(code, why).next(next)
}

fn part_sent(client: &mut Client, part: UploadPart) -> Result<u64, TransferError> {
    match call(client, &Request::Upload(part))? {
        Reply::Uploaded(received) => Ok(received),
        _ => Err(another()),
    }
}

/// Waits while other clients of this user use up the rate of requests.
fn call(client: &mut Client, request: &Request) -> Result<Reply, ClientError> {
    let mut pauses = PAUSES;
    loop {
        match client.call(request.clone(), |_| ()) {
            Err(ClientError::Refused(refusal))
                if pauses > 0 && refusal.code == Code::RateLimited =>
            {
                pauses -= 1;
                thread::sleep(PAUSE);
            }
            answer => return answer,
        }
    }
}

fn changed(how: &str) -> TransferError {
    let text = format!("the file is {how} than its name says; did it change while it was sent?");
    TransferError::Failed(text)
}

fn another() -> TransferError {
    let refusal = Refusal::new(Code::DaemonUnavailable, "remitd gave an unexpected answer");
    ClientError::Refused(refusal.next("install the same release of remit on both sides")).into()
}

/// Copies all bytes, and returns the name that an upload of them has.
pub fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<Upload, TransferError> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(TransferError::Read)?,
        };
        let part = buffer.get(..read).unwrap_or_default();
        if part.is_empty() {
            let sha256 = hash.finalize().into();
            return Ok(Upload { sha256, size });
        }
        hash.update(part);
        size += part.len() as u64;
        to.write_all(part).map_err(TransferError::Write)?;
    }
}

/// Writes the content of a file, as a job of profile `read` sees it. Returns the name that an upload of it has. `note` gets
/// a sentence if a person has to approve the job first.
pub fn get(
    client: &mut Client,
    path: &[u8],
    to: &mut impl Write,
    note: impl FnOnce(&str),
) -> Result<Upload, TransferError> {
    let mut report = started(client, path)?;
    if report.state == State::AwaitingApproval {
        note(&format!("job {} waits for an approval", report.job.short()));
    }
    while report.ending.is_none() {
        let query = JobQuery {
            job: report.job,
            wait_ms: caps::WAIT_MS,
            part: None,
        };
        report = match call(client, &Request::Job(query))? {
            Reply::Job { report, .. } => report,
            _ => return Err(another()),
        };
    }
    let succeeded = report
        .ending
        .as_ref()
        .is_some_and(|end| end.has_succeeded());
    if !succeeded {
        return Err(TransferError::Failed(failure(&report)));
    }
    let (mut at, mut hash) = (0, Sha256::new());
    loop {
        let (bytes, is_end) = page(client, report.job, at)?;
        hash.update(&bytes);
        to.write_all(&bytes).map_err(TransferError::Write)?;
        at += bytes.len() as u64;
        if is_end {
            break;
        }
        if bytes.is_empty() {
            let text = "output of the job is not kept any more".to_owned();
            return Err(TransferError::Failed(text));
        }
    }
    to.flush().map_err(TransferError::Write)?;
    let (sha256, size) = (hash.finalize().into(), at);
    Ok(Upload { sha256, size })
}

fn started(client: &mut Client, path: &[u8]) -> Result<Box<JobReport>, TransferError> {
    let argv = [b"cat", &b"--"[..], path];
    let id = request_id::fresh().map_err(TransferError::Read)?;
    let what = What::Argv(argv.map(|word| word.to_vec().into()).into());
    let run = Run {
        wait_ms: Some(0),
        request_id: Some(id),
        ..Run::new(what, Purpose::Use)
    };
    match call(client, &Request::Run(run))? {
        Reply::Job { report, .. } => Ok(report),
        _ => Err(another()),
    }
}

fn page(client: &mut Client, job: JobId, offset: u64) -> Result<(Vec<u8>, bool), TransferError> {
    let page = PageQuery {
        stream: Stream::Stdout,
        offset,
        limit: u32::try_from(caps::PAGE).unwrap_or(u32::MAX),
        tail: false,
        whole_characters: false,
    };
    let query = JobQuery {
        job,
        wait_ms: 0,
        part: Some(PartQuery::Page(page)),
    };
    match call(client, &Request::Job(query))? {
        Reply::Job {
            part: Some(OutputPart::Page(page)),
            ..
        } => {
            let end = page.offset + page.bytes.len() as u64;
            let is_end = page.eof && end >= page.total;
            Ok((page.bytes.into_vec(), is_end))
        }
        _ => Err(another()),
    }
}

fn failure(report: &JobReport) -> String {
    let cause = report.ending.as_ref().map_or("", |ending| &ending.cause);
    let printed = text::line(report.stderr.head.trim_ascii_end(), 1024);
    let mut whys = [cause, &printed].into_iter().filter(|why| !why.is_empty());
    let why = whys
        .next_back()
        .unwrap_or("it failed and printed no reason");
    format!("job {}: {why}", report.job.short())
}

#[cfg(test)]
mod tests {
    use crate::outcome::{Captured, Ending};

    use super::*;

    #[test]
    fn output_that_is_no_plan_yet_or_any_more_is_not_called_another() {
        let report = |exit: Option<i32>| JobReport {
            then: Vec::new(),
            denials: Vec::new(),
            job: JobId([7; 16]),
            command: "plan.make".to_owned(),
            state: State::Running,
            ending: exit.map(|exit| Ending {
                exit: Some(exit),
                ..Ending::unmeasured(State::Exited, format!("exit {exit}"), true)
            }),
            started_ms: 0,
            waited_ms: 0,
            queue_position: None,
            enforced: None,
            stdout: Captured::default(),
            stderr: Captured {
                head: b"remit-look: '/etc/x': it exists\n".to_vec().into(),
                ..Captured::default()
            },
            notes: Vec::new(),
            approval: None,
        };
        for (exit, is_cut, code, words) in [
            (None, true, Code::Busy, "has not written its plan yet"),
            (None, false, Code::Busy, "has not written its plan yet"),
            (Some(0), true, Code::NotFound, "is not kept any more"),
            (Some(0), false, Code::InvalidArgs, "is no plan: it is cut"),
            (Some(1), false, Code::InvalidArgs, "'/etc/x': it exists"),
        ] {
            let refusal = no_plan(&report(exit), is_cut, "it is cut");
            assert_eq!(refusal.code, code, "{refusal}");
            assert!(refusal.message.contains(words), "{refusal}");
        }
    }

    #[test]
    fn no_part_comes_too_soon() {
        let start = Instant::now();
        let whole = vec![caps::UPLOAD_PART; 1000];
        for parts in [whole, vec![1; 5000], vec![(64 << 10) - 1; 2000]] {
            let (mut pace, mut now) = (Pace::new(start), start);
            let mut daemon =
                TokenBucket::per_second(caps::REQUESTS_PER_SECOND, caps::REQUEST_BURST, start);
            let mut paid = 0;
            for part in &parts {
                now += pace.pause(*part, now);
                // The frame has more bytes than the part.
                let cost = 1 + ((part + 200) / caps::REQUEST_UNIT) as u64;
                paid += cost;
                assert_eq!(daemon.take(cost, now), Ok(()));
            }
            let least = paid * 1000 / u64::from(caps::REQUESTS_PER_SECOND);
            let took = (now - start).as_millis();
            assert!(took <= 2 * u128::from(least), "{took} ms, at least {least}");
        }
    }
}
