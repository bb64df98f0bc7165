//! Calls that have to do with a plan: several requests each, without progress.

use remit_common::behalf::Behalf;
use remit_common::names::{JobId, SetId};
use remit_common::refusal::{Code, Refusal};
use remit_plan::{Bundle, Upload};
use remit_wire::edits::CallText;
use remit_wire::outcome::{OutputPart, Page};
use remit_wire::{Bytes, Reply, Request, Run, UploadPart, transfer};

use crate::answer::{Answer, Form, another, too_large};
use crate::arguments::PlanStep;
use crate::plan::Checked;
use crate::server::Server;
use crate::{arguments, plan};

impl Server {
    pub(crate) async fn planned(
        &self,
        form: Form,
        mut request: Request,
        checks: &[CallText],
        client: &str,
    ) -> Answer {
        if let (PlanStep::Commit(plan), Request::Run(run)) = (form.plan, &mut request) {
            match self.whole(plan, client).await {
                Ok(bundle) => run.stdin = Some(bundle.as_bytes().to_vec().into()),
                Err(refusal) => return Answer::refused(&refusal),
            }
        }
        let claims = match &request {
            Request::Run(run) => (run.traceparent.clone(), run.set, run.behalf.clone()),
            _ => (None, None, None),
        };
        let mut reply = self.daemon.call(client, request, None).await;
        let mut tried = None;
        if let (PlanStep::Try, Ok(Reply::Job { report, .. })) = (form.plan, &reply)
            && plan::is_made(report)
        {
            let extract = Run {
                traceparent: claims.0.clone(),
                set: claims.1,
                behalf: claims.2.clone(),
                ..arguments::extract(report.job)
            };
            tried = Some(report.clone());
            reply = self.daemon.call(client, Request::Run(extract), None).await;
        }
        let is_plan = form.plan == PlanStep::Make || tried.is_some();
        let made = match &reply {
            Ok(Reply::Job { report, .. }) if is_plan && plan::is_made(report) => report.clone(),
            _ => return Answer::new(form, reply),
        };
        let job = made.job;
        let bundle = match self.whole(job, client).await {
            Ok(bundle) => bundle,
            Err(refusal) => return Answer::refused(&refusal),
        };
        // Boxed, because a rare case should not enlarge every call.
        let checked = Box::pin(self.checked(&bundle, checks, &claims, client)).await;
        match plan::answer(&made, tried.as_deref(), &bundle, &checked) {
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

    async fn page(&self, job: JobId, offset: u64, client: &str) -> Result<Page, Refusal> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.patiently(plan::page(job, offset), client).await? {
            Reply::Job {
                part: Some(OutputPart::Page(page)),
                ..
            } => Ok(page),
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
        (trace, set, behalf): &(Option<String>, Option<SetId>, Option<Behalf>),
        client: &str,
    ) -> Vec<Checked<'a>> {
        let mut checked = Vec::new();
        for check in checks {
            let run = Run {
                traceparent: trace.clone(),
                set: *set,
                behalf: behalf.clone(),
                ..arguments::check(check, bundle.as_bytes(), checks.len())
            };
            let reply = self.daemon.call(client, Request::Run(run), None).await;
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
            let page = self.page(job, bytes.len() as u64, client).await?;
            bytes.extend_from_slice(&page.bytes);
            if page.eof || page.bytes.is_empty() || plan::is_too_long(bytes.len()) {
                return plan::decode(job, bytes);
            }
        }
    }
}
