//! Has a requester's copy of the machine forgotten, before anything reads it. Copies of others do not exist for them.

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_link::Answer;

use super::with_subject;
use crate::audit::{Event, Record, unrecorded};
use crate::job::context::RequestCx;
use crate::job::kept_views::{self, NoView};

/// Records it, and drops the copy that this job of the session's user left. Its memory and its uid are free then.
pub fn drop_own(cx: &mut RequestCx<'_>, session: u64, job: JobId) -> Result<Answer, Refusal> {
    let subject = cx.sessions.subject(session)?;
    let owner = subject.uid();
    let found = cx.job.jobs.views.own(job, owner);
    let bytes = found.map_err(|why| match why {
        NoView::IsRead => Refusal::new(Code::Busy, format!("the copy of job {job} is being extracted just now"))
            .next("stop the extraction, or wait for its end"),
        NoView::None => Refusal::new(Code::NotFound, format!("no copy of job {job} is kept"))
            .next("nothing is to be done: a copy goes by itself once there is a plan of it, and after 10 minutes"),
    })?;
    let audit = &mut cx.job.reports.audit;
    audit.may_write(owner)?;
    let message = format!(
        "{} drops the copy of the machine of job {}",
        subject.user(),
        job.short()
    );
    let record = with_subject(Record::new(Event::Drop, message), subject, Some(session))
        .field("JOB", job.to_string())
        .number("COPY_BYTES", bytes)
        .for_history(subject.owner(), None, None);
    audit.write(record).map_err(|why| unrecorded(&why))?;
    kept_views::drop_own(&mut cx.job, job);
    Ok(Answer::Dropped(bytes))
}
