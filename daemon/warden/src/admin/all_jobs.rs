//! Lists and stops jobs of all users for administrators, and shows them the requests that wait for an approval. Never
//! shows the output of a job.

use std::borrow::Cow;
use std::collections::BTreeMap;

use remit_common::admin::{AdminReply, AnyJob};
use remit_common::caps;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::outcome::FollowUp;
use remit_common::refusal::{Code, Refusal};
use remit_link::JobMeta;

use super::Wants;
use super::replies::{any_job, pending_list};
use super::showing::start_showing;
use crate::approval::approver::may_read_content;
use crate::approval::{Request, content_shown, copies, end, no_such_request};
use crate::audit::unrecorded;
use crate::identity::peer::Subject;
use crate::job::context::{JobCx, RequestCx};
use crate::job::live::Job;
use crate::job::state::NeverRan;
use crate::job::table::Jobs;
use crate::job::termination;

/// Bytes of a list entry without its texts, and of the list itself, at most.
const FIXED: usize = 96;

/// Finds the job of this id. `Ok`: the answer follows at its end. Errors: the job that has ended, or a refusal.
pub fn any_job_or_end(
    cx: &mut JobCx<'_>,
    admin: &Subject,
    id: &str,
    wait: bool,
) -> Result<Wants, AdminReply> {
    end::end_expired(cx);
    match one_job(cx.jobs, id) {
        Ok(job) if wait && !is_over(&job) => Ok(Wants::Job(job.job)),
        Ok(job) => {
            let unconfirmed = cx.confirmations.sentence_of(job.job);
            Err(AdminReply::Job(Box::new(AnyJob { unconfirmed, ..job })))
        }
        Err(refusal) => Err(cx.reports.refuse(admin, refusal)),
    }
}

fn is_over(job: &AnyJob) -> bool {
    job.kill_verified.is_some() && job.then.iter().all(FollowUp::is_over)
}

/// Stops a job of any user. `Ok`: the answer follows. Errors: the job has ended, takes back changes of files by itself, or
/// no such job or signal.
pub fn stop_any(
    cx: &mut JobCx<'_>,
    admin: &Subject,
    job: JobId,
    signal: Option<i32>,
) -> Result<Wants, AdminReply> {
    // The end of such a job is reported once its commands are over.
    let is_followed = cx.acts.is_followed(job);
    let has_ended = |jobs: &Jobs| {
        let mut ended = jobs.ended().filter(|_| !is_followed);
        let ended = ended.find(|meta| meta.job == job)?;
        Some(AdminReply::Stopped(Box::new(any_job(ended))))
    };
    if let Some(ended) = has_ended(cx.jobs) {
        return Err(ended);
    }
    let waiting = cx.jobs.is_waiting(job)
        || cx.jobs.serial_of::<Request>(job).is_some()
        || cx.jobs.serial_of::<NeverRan>(job).is_some();
    let live = cx.jobs.serial(job);
    if live.is_none() && !waiting && !is_followed {
        return Err(cx.reports.refuse(admin, no_such_job()));
    }
    let live = live.and_then(|serial| cx.jobs.find::<Job>(serial));
    // Root can kill its processes anyway, and a kill would count as a failed try.
    if admin.uid() != 0 && live.is_some_and(|job| job.plan.is_automatic_undo()) {
        let text = "remitd itself takes back changes of files by this job, so it is not stopped";
        let refusal = Refusal::new(Code::DeniedRule, text)
            .object(job.to_string())
            .next(
                "remit confirm keeps a commit whose undo has not begun or has not worked; root can stop it",
            );
        return Err(cx.reports.refuse(admin, refusal));
    }
    let cause = format!("stopped by administrator {}", admin.user());
    if let Err(refusal) = termination::stop_job(cx, job, signal, &cause) {
        return Err(AdminReply::Refused(refusal));
    }
    // A waiting job may have ended just now.
    has_ended(cx.jobs).map_or(Ok(Wants::End(job)), Err)
}

/// Returns as many jobs as requested and as fit in a frame, newest first. Live jobs have priority. `unconfirmed` describes
/// what becomes of the commit of a job.
pub fn all_jobs(
    jobs: &Jobs,
    unconfirmed: impl Fn(JobId) -> Option<String>,
    limit: u32,
) -> AdminReply {
    // Borrowed if possible: most jobs have ended, and few of those fit.
    let mut metas = all_metas(jobs);
    let newest_first = |meta: &JobMeta| std::cmp::Reverse(meta.number);
    metas.sort_by_key(|meta| (meta.ending.is_some(), newest_first(meta)));
    let all = metas.len();
    let mut free_bytes = caps::ADMIN_FRAME - FIXED;
    metas.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut listed: Vec<(u64, AnyJob)> = metas
        .iter()
        .map(|meta| {
            let mut job = any_job(meta);
            job.then.clear();
            job.unconfirmed = unconfirmed(job.job);
            (meta.number, job)
        })
        .take_while(|(_, job)| {
            let texts = [&job.user, &job.command].map(String::len);
            let others =
                [&job.cause, &job.unconfirmed].map(|text| text.as_ref().map_or(0, String::len));
            let size = FIXED + texts.iter().chain(&others).sum::<usize>();
            let fits = size <= free_bytes;
            free_bytes = free_bytes.saturating_sub(size);
            fits
        })
        .collect();
    let omitted = u32::try_from(all - listed.len()).unwrap_or(u32::MAX);
    listed.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let jobs = listed.into_iter().map(|(_, job)| job).collect();
    AdminReply::Jobs { jobs, omitted }
}

fn all_metas(jobs: &Jobs) -> Vec<Cow<'_, JobMeta>> {
    let mut metas: Vec<Cow<'_, JobMeta>> = jobs.ended().map(Cow::Borrowed).collect();
    metas.extend(jobs.never_ran().map(Cow::Borrowed));
    metas.extend(jobs.live().map(|(_, job)| Cow::Owned(job.meta())));
    let waiting = jobs.waiting();
    metas.extend(waiting.map(|waiting| Cow::Owned(waiting.meta())));
    let asked = jobs.all::<Request>();
    metas.extend(asked.map(|(_, request)| Cow::Owned(request.meta())));
    metas
}

fn one_job(jobs: &Jobs, id: &str) -> Result<AnyJob, Refusal> {
    let id: IdPrefix = id.parse()?;
    let found = id.choose(all_metas(jobs), |meta| meta.job)?;
    found.map(|meta| any_job(&meta)).ok_or_else(no_such_job)
}

fn no_such_job() -> Refusal {
    Refusal::new(Code::NotFound, "there is no job with this id")
        .next("`remit jobs` lists those that run or are remembered")
}

/// Returns the list at once if it differs from the state `seen`. Otherwise the caller waits for a change.
pub fn pending(
    cx: &mut JobCx<'_>,
    subject: &Subject,
    seen: Option<u64>,
) -> Result<Wants, AdminReply> {
    end::end_expired(cx);
    match seen == Some(cx.jobs.generation) {
        true => Ok(Wants::Pending),
        false => Err(pending_list(cx.jobs, subject)),
    }
}

/// Refuses an id with which no request waits. Says what became of its job, if that is remembered.
fn not_shown(jobs: &Jobs, id: &IdPrefix) -> Refusal {
    match id.choose(all_metas(jobs), |meta| meta.job) {
        Ok(Some(meta)) => end::not_waiting(jobs, meta.job),
        Ok(None) => no_such_request(),
        Err(ambiguous) => ambiguous,
    }
}

/// Starts to send a request with all that will run, at once or after its copies are compared. Returns the wait for that.
/// A plan and copies of files go to root and to its possible approvers, after a record, one for each of them. `gids`: groups of the
/// account, as they were looked up; `None` for a process that cannot approve anything. Errors: there is no such request, or one
/// that has a plan or copies cannot be recorded as shown.
pub fn show(
    cx: &mut RequestCx<'_>,
    number: u64,
    (subject, gids): (&Subject, Option<&[u32]>),
    id: &str,
) -> Result<Option<Wants>, Refusal> {
    end::end_expired(&mut cx.job);
    let id: IdPrefix = id.parse()?;
    let asked = cx.job.jobs.all::<Request>();
    let found = id.choose(asked, |(_, request)| request.draft.job)?;
    let (serial, request) = found.ok_or_else(|| not_shown(cx.job.jobs, &id))?;
    let gids = gids.filter(|_| cx.policies.caller_ids(subject).is_ok());
    let reads_content = gids.is_some_and(|gids| may_read_content(subject, gids, request));
    let reads_content_now = reads_content && request.has_private_content();
    let is_new = !request.content_read_by.contains(&subject.ids());
    let record = (reads_content_now && is_new).then(|| content_shown(request, subject));
    let is_own = |(other, what): &(u64, Wants)| *other == number && matches!(what, Wants::Show(_));
    if cx.job.admins.waiting.iter().any(is_own) {
        let text = "another request is being shown on this connection";
        return Err(Refusal::new(Code::Busy, text).next("wait for its answer first"));
    }
    if let Some(record) = record {
        let written = cx.job.reports.audit.write(record);
        written.map_err(|why| unrecorded(&why))?;
        if let Some(request) = cx.job.jobs.find_mut::<Request>(serial) {
            request.content_read_by.insert(subject.ids());
        }
    }
    if reads_content_now && let Some(wants) = copies::compare_copies(cx, serial, subject) {
        return Ok(Some(wants));
    }
    let (admins, today) = (&mut cx.job.admins, BTreeMap::new());
    let to = (number, subject, reads_content);
    match start_showing(admins, cx.job.jobs, to, serial, today) {
        true => Ok(None),
        false => Err(no_such_request()),
    }
}

#[cfg(test)]
mod tests {
    use remit_common::outcome::{Ending, State};

    use super::*;
    use crate::job::table::tests::ended;

    #[test]
    fn list_says_what_becomes_of_an_unconfirmed_commit() {
        let mut jobs = Jobs::default();
        for number in [1, 2] {
            jobs.remember(ended(number), None);
        }
        let long = "x".repeat(caps::ADMIN_FRAME / 2);
        for (sentence, listed, left_out) in [("undone by itself", 2, 0), (&long, 1, 1)] {
            let all = all_jobs(&jobs, |_| Some(sentence.to_owned()), 9);
            let AdminReply::Jobs { jobs, omitted } = all else {
                panic!("{all:?}");
            };
            assert_eq!((jobs.len(), omitted), (listed, left_out));
            for job in jobs {
                assert_eq!(job.unconfirmed.as_deref(), Some(sentence));
            }
        }
    }

    #[test]
    fn decided_request_is_not_refused_as_an_unknown_id() {
        let denied = "denied by ann: not today; it never ran";
        let cases = [
            (State::Denied, denied, denied),
            (
                State::Denied,
                "the policy has changed",
                "the policy has changed",
            ),
            (
                State::Expired,
                "nobody approved it in time",
                "nobody approved it in time",
            ),
            (State::Exited, "", "it has ended"),
        ];
        let mut jobs = Jobs::default();
        for (number, (state, cause, _)) in (0x11..).zip(cases) {
            let ending = Ending::unmeasured(state, cause.to_owned(), true);
            let meta = JobMeta {
                ending: Some(ending),
                ..ended(number)
            };
            jobs.remember(meta, None);
        }
        let refused = |jobs: &Jobs, id: &str| not_shown(jobs, &id.parse().unwrap());
        for (number, (_, _, why)) in (0x11_u64..).zip(cases) {
            let id = ended(number).job.short();
            let refusal = refused(&jobs, &id);
            let text = format!("job {id} is not waiting for an approval: {why}");
            assert_eq!((refusal.code, refusal.message), (Code::NotFound, text));
            assert_eq!(refusal.next, Some(format!("remit show {id} says more")));
        }
        assert_eq!(refused(&jobs, "ffffffff"), no_such_request());
        jobs.remember(ended(0x01_0011), None);
        assert_eq!(refused(&jobs, "110000").code, Code::NotFound);
        assert_eq!(refused(&jobs, "1100").code, Code::InvalidArgs);
    }
}
