//! Calls that have to do with a plan: several requests each, without progress.

use remit_common::names::JobId;
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
            match self.whole(plan, true, client).await {
                Ok(bundle) => run.stdin = Some(bundle.as_bytes().to_vec().into()),
                Err(refusal) => return Answer::refused(&refusal),
            }
        }
        let trace = match &request {
            Request::Run(run) => run.traceparent.clone(),
            _ => None,
        };
        let mut reply = self.daemon.call(client, request, None).await;
        let mut tried = None;
        if let (PlanStep::Try, Ok(Reply::Job { report, .. })) = (form.plan, &reply)
            && plan::is_made(report)
        {
            let extract = Run {
                traceparent: trace.clone(),
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
        let bundle = match self.whole(job, false, client).await {
            Ok(bundle) => bundle,
            Err(refusal) => return Answer::refused(&refusal),
        };
        // Boxed, because a rare case should not enlarge every call.
        let checked = Box::pin(self.checked(&bundle, checks, trace.as_deref(), client)).await;
        match plan::answer(&made, tried.as_deref(), &bundle, &checked) {
            Some(data) => data.into(),
            None => Answer::refused(&too_large()),
        }
    }

    /// Returns a plan whose uploads are all there. A pack is sent from the output of the job if it `is_needed`.
    async fn whole(&self, job: JobId, is_needed: bool, client: &str) -> Result<Bundle, Refusal> {
        let bundle = self.bundle(job, client).await?;
        let pack = bundle.plan().pack();
        for upload in bundle.plan().uploads() {
            let mut received = self.uploaded(upload, 0, Bytes::new(), client).await?;
            if pack == Some(upload) {
                if !is_needed {
                    continue;
                }
                let start = bundle.as_bytes().len() as u64;
                while received < upload.size {
                    let page = self.page(job, start + received, client).await?.bytes;
                    if page.is_empty() {
                        break;
                    }
                    received = self.uploaded(upload, received, page, client).await?;
                }
            }
            transfer::check_whole(upload, received)?;
        }
        Ok(bundle)
    }

    /// Sends a part of an upload, and returns how many bytes of it are there.
    async fn uploaded(
        &self,
        upload: Upload,
        offset: u64,
        bytes: Bytes,
        client: &str,
    ) -> Result<u64, Refusal> {
        let part = UploadPart {
            upload,
            offset,
            bytes,
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
        trace: Option<&str>,
        client: &str,
    ) -> Vec<Checked<'a>> {
        let mut checked = Vec::new();
        for check in checks {
            let run = Run {
                traceparent: trace.map(str::to_owned),
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
