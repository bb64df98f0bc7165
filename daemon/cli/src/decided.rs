//! What became of a request or a job, for administrators. It never shows output.

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};

use crate::app::Context;
use crate::ending::Ended;
use crate::failure::Failure;
use crate::fold::Page;
use crate::{admin, human, request};

/// Asks for the job whose id begins so; if `wait`, the answer comes when it has ended.
///
/// # Errors
/// The daemon refuses, goes away, or is of a release that does not know the question.
pub fn ask(context: &Context, id: String, wait: bool) -> Result<AnyJob, Failure> {
    admin::ask(
        context,
        AdminRequest::Job { id, wait },
        |reply| match reply {
            AdminReply::Job(job) => Some(*job),
            _ => None,
        },
    )
}

/// How it ended, in a sentence.
pub fn sentence(job: &AnyJob) -> String {
    let name = request::name(job.job);
    let account = Ended::from(job).account();
    let ran = match job.runtime_ms {
        0 => String::new(),
        ms => format!(" (it ran for {})", human::duration(ms)),
    };
    match Ended::from(job).doubt() {
        None => format!("{name}: {account}{ran}"),
        Some(doubt) => format!("{name}: {account}{ran}; {doubt}"),
    }
}

/// What is known of it, on a page.
pub fn page(job: &AnyJob) -> String {
    let mut page = Page::default();
    page.line(&format!("request {}", job.job));
    page.line("");
    page.value("who", &format!("{} (uid {})", job.user, job.uid));
    page.value("command", &job.command);
    let begun = match job.runtime_ms {
        0 => "since",
        _ => "started",
    };
    page.ours(begun, &human::time(job.started_ms / 1000));
    page.ours("state", Ended::from(job).word());
    if job.kill_verified.is_some() {
        page.sentence("end", &sentence(job));
    }
    page.line("");
    page.ours("story", &format!("remit audit show {}", job.job.short()));
    page.ours(
        "",
        "who asked, who decided, and when; for root and group systemd-journal",
    );
    page.into_text()
}
