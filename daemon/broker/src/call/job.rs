//! `run`, `job`, `follow`, `stop` and searches, the last four only for jobs of the caller, and the wait for a job.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use remit_common::calendar::now_ms;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, traceparent};
use remit_link::{Answer, Spec, SpecWhat, ToWarden};
use remit_wire::outcome::{Followed, Matches, OutputPart, Stream};
use remit_wire::{
    Bytes, Follow, GrepQuery, JobQuery, PartQuery, Purpose, Reply, Run, ToClient, What,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Call, CallRefusal, validate, wrong_answer};
use crate::hints::{MayUse, notes};
use crate::job::{Job, note};
use crate::runtime::threads::run_blocking;
use crate::search::{self, BadPattern, Found, Pattern, Range, SearchLimits};
use crate::warden_link::Granted;

impl Call {
    pub async fn job(&self, query: JobQuery) -> Result<Reply, CallRefusal> {
        let job = self.broker.jobs.of(&self.client.owner, query.job)?;
        if query.wait_ms > 0 {
            self.wait(&job, query.wait_ms).await;
        }
        let matches = match &query.part {
            Some(PartQuery::Grep(query)) => Some(self.grep(&job, query).await?),
            Some(PartQuery::Page(_)) | None => None,
        };
        self.ready(&job).await;
        let (mut report, inline) = self.bare_report(&job);
        let (part, secret) = match &query.part {
            Some(PartQuery::Page(page)) => {
                let (page, secret) = job.page(&self.broker.spool, page);
                (Some(OutputPart::Page(page)), note(secret))
            }
            Some(PartQuery::Grep(_)) => (matches.map(OutputPart::Matches), job.search_note()),
            None => (None, note(inline)),
        };
        report.notes.extend(secret);
        Ok(Reply::Job { report, part })
    }

    pub async fn stop(&self, id: JobId, signal: Option<i32>) -> Result<Reply, CallRefusal> {
        validate::signal(signal)?;
        let job = self.broker.jobs.of(&self.client.owner, id)?;
        if !job.has_ended() {
            let session = self.client.session;
            let message = |ticket| ToWarden::Stop {
                session,
                ticket,
                job: id,
                signal,
            };
            match self.question(message).await {
                Ok(Answer::Stopping(_)) => self.wait(&job, caps::WAIT_MS_DEFAULT).await,
                Ok(Answer::Known(_) | Answer::Access(..) | Answer::Upload | Answer::Dropped(_)) => {
                    return Err(wrong_answer());
                }
                // The job can have ended during the question.
                Err(_) if job.has_ended() => {}
                Err(refused) => return Err(refused),
            }
        }
        self.ready(&job).await;
        let report = self.report(&job);
        Ok(Reply::Job { report, part: None })
    }
}

impl Call {
    pub async fn drop_copy(&self, job: JobId) -> Result<Reply, CallRefusal> {
        let session = self.client.session;
        let message = |ticket| ToWarden::DropCopy {
            session,
            ticket,
            job,
        };
        match self.question(message).await? {
            Answer::Dropped(bytes) => Ok(Reply::Dropped(bytes)),
            _ => Err(wrong_answer()),
        }
    }
}

/// Wait after the first new byte for more, so that a job that writes single bytes causes few answers.
const GATHER: Duration = Duration::from_millis(20);

impl Call {
    pub async fn follow(&self, query: Follow) -> Result<Reply, CallRefusal> {
        let job = self.broker.jobs.of(&self.client.owner, query.job)?;
        let known = [query.stdout, query.stderr];
        let page = u64::try_from(caps::PAGE).unwrap_or(u64::MAX);
        let more = async {
            job.until_shown(&self.broker.spool, known).await;
            // A timeout here is not an error: the answer has what came.
            let _ = timeout(GATHER, job.until_more(known, page)).await;
        };
        self.wait_for(&job, query.wait_ms, more).await;
        let spool = &self.broker.spool;
        self.ready(&job).await;
        let report = job.has_ended().then(|| self.report(&job));
        Ok(Reply::Followed(Box::new(Followed {
            state: report.as_ref().map_or(job.state(), |report| report.state),
            queue_position: self.broker.jobs.queue_position(&job),
            stdout: job.page_after(spool, Stream::Stdout, query.stdout),
            stderr: job.page_after(spool, Stream::Stderr, query.stderr),
            report,
        })))
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl Call {
    /// Waits for the end of the job, at most `wait_ms` (limited to [`caps::WAIT_MS`]).
    pub async fn wait(&self, job: &Job, wait_ms: u32) {
        self.wait_for(job, wait_ms, job.until_ended()).await;
    }

    pub async fn wait_for(&self, job: &Job, wait_ms: u32, what: impl Future<Output = ()>) {
        let now = Instant::now();
        let end = now + Duration::from_millis(u64::from(wait_ms.min(caps::WAIT_MS)));
        let mut next = now + SECOND;
        let mut what = pin!(what);
        self.broker.timer_anchor.touch(&self.broker);
        loop {
            tokio::select! {
                biased;
                () = &mut what => return,
                () = until(next.min(end)) => {}
            }
            let now = Instant::now();
            if now >= end {
                return;
            }
            let queue_position = self.broker.jobs.queue_position(job);
            let progress = job.progress(&self.broker.spool, queue_position);
            self.client.outbox.send(&ToClient::Progress {
                id: self.id,
                progress,
            });
            // After a suspension of this process one message is sent, not one for each missed second.
            next = now + SECOND;
        }
    }
}

async fn until(then: Instant) {
    if then > Instant::now() {
        sleep_until(then).await;
    }
}

impl Call {
    pub async fn run(&self, mut run: Run) -> Result<Reply, CallRefusal> {
        if let Some(command) = validate::run(&run)? {
            run.stdin = self.facts(&command).await?;
        }
        run.traceparent = traceparent::checked(run.traceparent);
        let wait_ms = run.wait_ms;
        let may_change = match run.purpose {
            Purpose::Use => false,
            Purpose::Change { .. } | Purpose::Try => true,
        };
        if may_change {
            let account = &self.client.account;
            self.broker.snapshots.before_change(account).await;
        }
        let mut about = notes::of_run(&run, &MayUse::default());
        if about.asks_for_grants() {
            let may_use = self.may_use(&about.wanted).await;
            about = notes::of_run(&run, &may_use);
        }
        let (session, client) = (self.client.session, self.client.name.clone());
        let message = |ticket| {
            let (spec, contents) = specified(run, client);
            let spec = Box::new(spec);
            Ok((
                ToWarden::Run {
                    session,
                    ticket,
                    spec,
                },
                contents,
            ))
        };
        let mut stale = None;
        let job = match self.ask(about, message).await? {
            Granted::Started(job) => job,
            Granted::Answer(Answer::Known(id)) => {
                let job = self.broker.jobs.of(&self.client.owner, id)?;
                stale = job.stale(now_ms());
                job
            }
            Granted::Answer(
                Answer::Access(..) | Answer::Stopping(_) | Answer::Upload | Answer::Dropped(_),
            ) => {
                return Err(wrong_answer());
            }
        };
        let wait_ms = match wait_ms {
            Some(wait_ms) => wait_ms,
            // An approval can take long, and the client must inform its user about it first.
            None if job.approval().is_some() => 0,
            None => caps::WAIT_MS_DEFAULT,
        };
        self.wait(&job, wait_ms).await;
        if may_change && job.has_ended() {
            self.broker.snapshots.until_kept(job.id).await;
        }
        self.ready(&job).await;
        let mut report = self.report(&job);
        report.notes.extend(stale);
        Ok(Reply::Job { report, part: None })
    }
}

/// Splits a run into its spec and the contents: script and stdin, in this order.
fn specified(run: Run, client: String) -> (Spec, Vec<Vec<u8>>) {
    let mut contents = Vec::new();
    let what = match run.what {
        What::Argv(argv) => SpecWhat::Argv(argv),
        What::Script { text, interpreter } => {
            contents.push(text.into_vec());
            SpecWhat::Script { interpreter }
        }
        What::Named { name, args } => SpecWhat::Named { name, args },
    };
    let stdin = run.stdin.map(Bytes::into_vec);
    let spec = Spec {
        what,
        cwd: run.cwd,
        env: run.env,
        stdin: stdin.is_some(),
        profile: run.profile,
        max_runtime_s: run.max_runtime_s,
        request_id: run.request_id,
        client,
        purpose: run.purpose,
        traceparent: run.traceparent,
        set: run.set,
        behalf: run.behalf,
    };
    contents.extend(stdin);
    (spec, contents)
}

pub const SEARCHES: usize = 2;
const TIME: Duration = Duration::from_millis(80);

impl Call {
    pub async fn grep(&self, job: &Job, query: &GrepQuery) -> Result<Matches, CallRefusal> {
        validate::grep(query)?;
        let turn = self.client.account.search_turn().await;
        let permit = Arc::clone(&self.broker.searches).acquire_owned().await.ok();
        let (stream, pattern) = (query.stream, query.pattern.clone());
        let output = job.output(stream);
        let file = job.file(&self.broker.spool, stream);
        let there = output.there(file.as_ref());
        let end = job.searchable_length(stream, file.as_ref(), there);
        let (ended, total) = (job.has_ended(), output.written());
        let file = file.and_then(|file| job.to_search(stream, file, there));
        let range = Range {
            offset: query.offset,
            end,
            ended,
        };
        let limits = SearchLimits {
            matches: query.limit,
            context: query.context,
        };
        let search = move || {
            // The thread holds the permits until the search ends, even if the client is gone.
            let _permits = (turn, permit);
            let start = std::time::Instant::now();
            let pattern = Pattern::new(&pattern).map_err(|bad| bad_pattern(&bad))?;
            let over = || start.elapsed() > TIME;
            let nothing = || Found::nothing(range.end);
            let found = file
                .map(|file| search::search(&file, &pattern, range, limits, search::SIZES, over));
            found
                .unwrap_or_else(|| Ok(nothing()))
                .map_err(|error| failed(&error))
        };
        let found = run_blocking(search).await.ok_or_else(stopping)??;
        Ok(Matches {
            stream,
            lines: found.lines,
            matching: found.matching,
            offset: found.from,
            next: found.next,
            total,
            eof: ended && found.next >= end,
        })
    }
}

fn bad_pattern(bad: &BadPattern) -> Refusal {
    let (text, next) = match bad {
        BadPattern::Invalid(reason) => (
            format!("the pattern is not a valid regular expression: {reason}"),
            "escape literal characters with \\; look-around and back-references are not supported",
        ),
        BadPattern::Large { most } => (
            format!("the pattern is too large: compiled, it would take more than {most} bytes"),
            "use a simpler pattern, with fewer or smaller counted repetitions",
        ),
    };
    Refusal::new(Code::InvalidArgs, text)
        .object("pattern")
        .next(next)
}

fn failed(error: &search::Error) -> Refusal {
    match error {
        search::Error::Read(error) => {
            tracing::warn!("cannot search a spool file: {error}");
            let message = format!("its output cannot be read: {error}");
            Refusal::new(Code::NotFound, message)
        }
        search::Error::TooHard { number, offset } => Refusal::new(
            Code::InvalidArgs,
            format!("searching line {number}, at byte {offset}, for this pattern takes too long"),
        )
        .object("pattern")
        .next(
            "use a simpler pattern, with fewer counted repetitions and (?-u:\\b) for \\b; or read that line and \
             continue after it",
        ),
    }
}

fn stopping() -> Refusal {
    Refusal::new(Code::DaemonUnavailable, "the daemon is stopping")
}
