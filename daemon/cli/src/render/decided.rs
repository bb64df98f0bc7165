//! State of a request or job, for administrators. It never shows output.

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};

use crate::context::Context;
use crate::error::Failure;
use crate::render::job_end::Ended;
use crate::render::untrusted_columns::Page;
use crate::{
    client::admin_socket,
    render::{request, units},
};

/// Requests the job whose id starts with `id`. If `wait`, the answer comes at the job's end. A daemon of an older
/// release that does not know the request disconnects.
pub fn ask(context: &Context, id: impl Into<String>, wait: bool) -> Result<AnyJob, Failure> {
    let id = id.into();
    admin_socket::ask(
        context,
        AdminRequest::Job { id, wait },
        |reply| match reply {
            AdminReply::Job(job) => Some(*job),
            _ => None,
        },
    )
}

pub fn sentence(job: &AnyJob) -> String {
    let name = request::name(job.job);
    let account = Ended::from(job).account();
    let ran = match job.runtime_ms {
        0 => String::new(),
        ms => format!(" (it ran for {})", units::duration(ms)),
    };
    match Ended::from(job).doubt() {
        None => format!("{name}: {account}{ran}"),
        Some(doubt) => format!("{name}: {account}{ran}; {doubt}"),
    }
}

pub fn page(job: &AnyJob) -> String {
    let mut page = Page::default();
    page.line(&format!("request {}", job.job));
    page.line("");
    page.value("who", &format!("{} (uid {})", job.user, job.uid));
    page.value("command", &job.command);
    let time_label = match job.runtime_ms {
        0 => "since",
        _ => "started",
    };
    page.own_text(time_label, &units::time(job.started_ms / 1000));
    page.own_text("state", Ended::from(job).word());
    if job.kill_verified.is_some() {
        page.sentence("end", &sentence(job));
    }
    page.line("");
    page.own_text("story", &format!("remit audit show {}", job.job.short()));
    page.own_text(
        "",
        "who asked, who decided and when (as root or in group systemd-journal)",
    );
    page.into_text()
}
