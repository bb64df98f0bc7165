//! Calls that have to do with a plan: several requests each. Together they wait no longer than one call may.

use std::thread;
use std::time::{Duration, Instant};

use remit_common::behalf::Behalf;
use remit_common::caps;
use remit_common::names::{JobId, SetId};
use remit_common::refusal::{Code, Refusal};
use remit_plan::{BUNDLE_BYTES, Bundle, Upload};
use remit_wire::edits::{CallText, EXTRACT};
use remit_wire::outcome::{JobReport, OutputPart, Page};
use remit_wire::{Bytes, Reply, Request, Run, UploadPart, What, transfer};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::answer::{Answer, Form, another, too_large};
use crate::arguments::{DaemonCall, PlanStep};
use crate::connection::News;
use crate::daemon::{SLACK, identify, lost_hint, unanswered};
use crate::plan::{Checked, PlanSource};
use crate::server::Server;
use crate::{arguments, plan};

const WAIT: Duration = Duration::from_millis(caps::WAIT_MS as u64);
/// Time to look up the accounts of edits.
const ACCOUNTS: Duration = Duration::from_secs(10);
/// What to do if a plan could not be collected, before its commit is sent.
const NOTHING_SENT: &str = "nothing was started: call again";
/// What to do first if the request id of that commit was known before the call. The daemon compares an id with the whole
/// content, so without its plan it cannot be asked for the job.
const SENT_BEFORE: &str = "if a call with this request_id was sent before, it may have changed the files: look at job \
                           without arguments and at history first";

/// What the steps of one call have in common.
struct StepContext<'a> {
    client: &'a str,
    news: &'a News,
    /// When no step waits any longer.
    until: Instant,
    /// Of the call.
    request_id: String,
    traceparent: Option<String>,
    set: Option<SetId>,
    behalf: Option<Behalf>,
    /// What to do if the answer to the call is lost.
    hint: String,
}

impl StepContext<'_> {
    /// Shortens the wait of a step to what is left of the call's. A step that does not wait still starts its job.
    /// A default stays one, because with it the daemon does not wait for a person.
    fn shortened(&self, wait_ms: Option<u32>) -> Option<u32> {
        let left = self.until.saturating_duration_since(Instant::now());
        let left = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        match wait_ms {
            None if left >= caps::WAIT_MS_DEFAULT => None,
            wait => Some(wait.unwrap_or(caps::WAIT_MS_DEFAULT).min(left)),
        }
    }

    /// Makes `run` a step of the call.
    fn step(&self, run: Run) -> Request {
        Request::Run(Run {
            traceparent: self.traceparent.clone(),
            set: self.set,
            behalf: self.behalf.clone(),
            wait_ms: self.shortened(run.wait_ms),
            ..run
        })
    }
}

impl Server {
    /// Makes the call, and reports the progress of its jobs to `news`.
    pub(crate) async fn planned(
        &self,
        form: Form,
        call: DaemonCall,
        client: &str,
        news: &News,
    ) -> Answer {
        let DaemonCall {
            mut request,
            edits,
            checks,
            has_own_id,
            ..
        } = call;
        if let Request::Run(run) = &mut request
            && let Err(refusal) = identify(run)
        {
            return Answer::refused(&refusal);
        }
        let hint = lost_hint(&request);
        let Request::Run(mut run) = request else {
            return Answer::new(form, self.daemon.call(client, request, news.clone()).await);
        };
        let limit = WAIT + SLACK;
        let begin = Instant::now();
        if let PlanStep::Commit(plan) = form.plan {
            match timeout(limit, self.whole(plan, client)).await {
                Ok(Ok(bundle)) => run.stdin = Some(bundle.as_bytes().to_vec().into()),
                Ok(Err(refusal)) if has_own_id => return Answer::refused(&sent_before(refusal)),
                Ok(Err(refusal)) => return Answer::refused(&refusal),
                Err(_) => return Answer::refused(&unanswered(limit, NOTHING_SENT)),
            }
        }
        if !edits.is_empty() {
            match in_thread(move || plan::input(edits), ACCOUNTS).await {
                Ok(input) => run.stdin = Some(input),
                Err(refusal) => return Answer::refused(&refusal),
            }
        }
        let context = StepContext {
            client,
            news,
            until: begin + WAIT,
            request_id: run.request_id.clone().unwrap_or_default(),
            traceparent: run.traceparent.clone(),
            set: run.set,
            behalf: run.behalf.clone(),
            hint,
        };
        let left = limit.saturating_sub(begin.elapsed());
        match timeout(left, self.steps(form, run, &checks, &context)).await {
            Ok(answer) => answer,
            Err(_) => Answer::refused(&unanswered(limit, &context.hint)),
        }
    }

    async fn steps(
        &self,
        form: Form,
        run: Run,
        checks: &[CallText],
        context: &StepContext<'_>,
    ) -> Answer {
        let client = context.client;
        let source = match (form.plan, &run.what) {
            (PlanStep::Try, _) => PlanSource::Copy,
            (_, What::Named { name, .. }) if name == EXTRACT => PlanSource::Copy,
            _ => PlanSource::Edits,
        };
        let call = |run: Run| {
            let request = context.step(run);
            self.daemon.call(client, request, context.news.clone())
        };
        let is_default = run.wait_ms.is_none();
        let mut reply = call(run).await;
        if let (PlanStep::Try, true, Ok(Reply::Job { report, .. })) =
            (form.plan, is_default && checks.is_empty(), &reply)
            && plan::is_unfinished(report)
            && report.approval.is_none()
        {
            let rest = arguments::rest(report.job);
            // If the daemon is lost meanwhile, the first answer says how to go on.
            if let Ok(later) = self.daemon.call(client, rest, context.news.clone()).await {
                reply = Ok(later);
            }
        }
        let mut tried = None;
        if let (PlanStep::Try, Ok(Reply::Job { report, .. })) = (form.plan, &reply)
            && plan::is_made(report)
        {
            let extract = arguments::extract(report.job, &context.request_id);
            tried = Some(report.clone());
            let derived = extract.request_id.clone().unwrap_or_default();
            reply = call(extract).await.map_err(|refusal| {
                // The client cannot make this step itself, but repeat the whole call.
                let names_step = |next: &String| next.contains(&derived);
                match refusal.next.as_ref().is_some_and(names_step) {
                    true => refusal.next(context.hint.clone()),
                    false => refusal,
                }
            });
        }
        let is_plan = form.plan == PlanStep::Make || tried.is_some();
        let made = match &mut reply {
            Ok(Reply::Job { report, .. }) if is_plan && plan::is_made(report) => report.clone(),
            Ok(Reply::Job { report, .. }) => {
                let next = match form.plan {
                    PlanStep::Make | PlanStep::Try if is_plan => Some(format!(
                        "the plan is not made yet: call plan again with the same arguments and request_id '{}'",
                        context.request_id
                    )),
                    PlanStep::Try => Some(format!(
                        "the plan is not made yet: wait for the program with job, then call plan with job_id '{}', \
                         within 10 minutes after its end",
                        report.job
                    )),
                    _ => None,
                };
                let is_unfinished = plan::is_unfinished(report);
                report.notes.extend(next.filter(|_| is_unfinished));
                return match plan_failure(form, tried.as_deref(), report) {
                    Some(data) => data.into(),
                    None => Answer::new(form, reply),
                };
            }
            Err(refusal) if let Some(tried) = &tried => {
                let refusal = refusal.clone().with_next();
                return Answer::error(plan::refused_after(tried, &refusal));
            }
            _ => return Answer::new(form, reply),
        };
        let job = made.job;
        let bundle = match self.whole(job, client).await {
            Ok(bundle) => bundle,
            Err(refusal) => return Answer::refused(&refusal),
        };
        // Boxed, because a rare case should not enlarge every call.
        let checked = Box::pin(self.checked(&bundle, checks, context)).await;
        match plan::answer(&made, tried.as_deref(), source, &bundle, &checked) {
            Some(data) => data.into(),
            None => Answer::refused(&too_large()),
        }
    }

    /// Returns a plan whose uploads are all there.
    async fn whole(&self, job: JobId, client: &str) -> Result<Bundle, Refusal> {
        let bundle = self.bundle(job, client).await?;
        for upload in bundle.plan().uploads() {
            let received = self.received(upload, client).await?;
            transfer::check_of_plan(bundle.plan(), upload, received)?;
        }
        Ok(bundle)
    }

    /// Returns how many bytes of an upload are there.
    async fn received(&self, upload: Upload, client: &str) -> Result<u64, Refusal> {
        let part = UploadPart {
            upload,
            offset: 0,
            bytes: Bytes::new(),
        };
        match self.patiently(Request::Upload(part), client).await? {
            Reply::Uploaded(received) => Ok(received),
            _ => Err(another()),
        }
    }

    async fn page(
        &self,
        job: JobId,
        offset: usize,
        client: &str,
    ) -> Result<(Box<JobReport>, Page), Refusal> {
        match self.patiently(plan::page(job, offset), client).await? {
            Reply::Job {
                report,
                part: Some(OutputPart::Page(page)),
            } => Ok((report, page)),
            _ => Err(another()),
        }
    }

    /// Waits while the rate of requests of this user is used up.
    async fn patiently(&self, request: Request, client: &str) -> Result<Reply, Refusal> {
        let mut pauses = transfer::PAUSES;
        loop {
            let reply = self.daemon.call(client, request.clone(), None).await;
            match reply {
                Err(refusal) if refusal.code == Code::RateLimited && pauses > 0 => {
                    pauses -= 1;
                    tokio::time::sleep(transfer::PAUSE).await;
                }
                reply => return reply,
            }
        }
    }

    /// Runs the checks in their order. A refused one leaves the plan and the others.
    async fn checked<'a>(
        &self,
        bundle: &Bundle,
        checks: &'a [CallText],
        context: &StepContext<'_>,
    ) -> Vec<Checked<'a>> {
        let mut checked = Vec::new();
        for check in checks {
            let run = arguments::check(check, bundle.as_bytes(), checks.len());
            let (request, news) = (context.step(run), context.news.clone());
            let reply = self.daemon.call(context.client, request, news).await;
            let end = reply.and_then(|reply| match reply {
                Reply::Job { report, .. } => Ok(report),
                _ => Err(another()),
            });
            checked.push(Checked {
                call: &check.text,
                end,
            });
        }
        checked
    }

    async fn bundle(&self, job: JobId, client: &str) -> Result<Bundle, Refusal> {
        let mut bytes = Vec::new();
        loop {
            let (report, page) = self.page(job, bytes.len(), client).await?;
            bytes.extend_from_slice(&page.bytes);
            if page.eof || page.bytes.is_empty() || bytes.len() > BUNDLE_BYTES {
                let is_cut = (bytes.len() as u64) < page.total;
                return Bundle::decode(bytes)
                    .map_err(|error| transfer::no_plan(&report, is_cut, error));
            }
        }
    }
}

/// Makes the input of a plan. It looks up accounts, and a slow directory must not keep the only thread from other calls.
async fn in_thread<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    limit: Duration,
) -> Result<T, Refusal> {
    let (sender, made) = oneshot::channel();
    let not_made = |why: String| {
        Refusal::new(Code::NotStarted, why)
            .next("nothing was started: call again, with numbers as owner and group")
    };
    let thread = thread::Builder::new().spawn(move || sender.send(make()));
    thread.map_err(|error| not_made(format!("cannot start a thread: {error}")))?;
    match timeout(limit, made).await {
        Ok(Ok(input)) => input,
        Ok(Err(_)) => Err(not_made("the thread of the edits ended early".to_owned())),
        Err(_) => Err(not_made(format!(
            "the accounts of the edits were not found within {} s",
            limit.as_secs()
        ))),
    }
}

/// Returns the answer if this job has ended and there is no plan of a program on a copy. A plan of edits has only its job,
/// which then says what to do.
fn plan_failure(form: Form, tried: Option<&JobReport>, last: &mut JobReport) -> Option<String> {
    let ending = last.ending.as_ref();
    // What was refused while it was queued is an error.
    if ending.is_none_or(|ending| ending.code.is_some()) {
        return None;
    }
    match (form.plan, tried) {
        (PlanStep::Try, Some(tried)) => plan::no_plan(tried, Some(last)),
        (PlanStep::Try, None) => plan::no_plan(last, None),
        (PlanStep::Make, _) => {
            let next = plan::after_no_plan(last);
            last.ending.as_mut()?.next.get_or_insert(next);
            None
        }
        (PlanStep::None | PlanStep::Commit(_), _) => None,
    }
}

fn sent_before(refusal: Refusal) -> Refusal {
    let refusal = refusal.with_next();
    let next = refusal.next.clone().unwrap_or_default();
    refusal.next(format!("{SENT_BEFORE}; then: {next}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_look_up_of_accounts_is_left() {
        let limit = Duration::from_millis(50);
        assert_eq!(in_thread(|| Ok(7), Duration::from_secs(20)).await, Ok(7));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let slow = in_thread(move || Ok(held.recv().is_ok()), limit).await;
        assert_eq!(slow.unwrap_err().code, Code::NotStarted);
        drop(release);
    }

    #[test]
    fn step_ends_with_the_wait_of_its_call() {
        let shortened = |left_ms: u64, wait_ms| {
            let context = StepContext {
                client: "",
                news: &None,
                until: Instant::now() + Duration::from_millis(left_ms),
                request_id: String::new(),
                traceparent: None,
                set: None,
                behalf: None,
                hint: String::new(),
            };
            context.shortened(wait_ms)
        };
        assert_eq!(shortened(40_000, None), None);
        assert_eq!(shortened(40_000, Some(10_000)), Some(10_000));
        assert!(shortened(9_000, Some(10_000)).unwrap() <= 9_000);
        assert!(shortened(9_000, None).unwrap() <= 9_000);
        assert_eq!(shortened(0, Some(10_000)), Some(0));
    }
}
