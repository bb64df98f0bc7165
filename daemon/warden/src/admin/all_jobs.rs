//! Lists and stops jobs of all users for administrators. Never shows their output.

use std::borrow::Cow;

use remit_common::admin::{AdminReply, AnyJob};
use remit_common::caps;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_link::{JobMeta, WaitReason};

use crate::admin::Wants;
use crate::approval::Request;
use crate::identity::peer::Subject;
use crate::job::never_ran::NeverRan;
use crate::state::Warden;

/// Bytes of a command and of a cause in a list.
const LINE: usize = 200;
/// Bytes of a list entry without its texts, and of the list itself, at most.
const FIXED: usize = 96;

impl Warden {
    /// Returns as many jobs as requested and as fit in a frame, newest first. Live jobs have priority.
    pub fn all_jobs(&self, limit: u32) -> AdminReply {
        // Borrowed if possible: most jobs have ended, and few of those fit.
        let mut metas = self.all_metas();
        let newest_first = |meta: &JobMeta| std::cmp::Reverse(meta.number);
        metas.sort_by_key(|meta| (meta.ending.is_some(), newest_first(meta)));
        let all = metas.len();
        let mut free_bytes = caps::ADMIN_FRAME - FIXED;
        metas.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut jobs: Vec<(u64, AnyJob)> = metas
            .iter()
            .map(|meta| (meta.number, any_job(meta)))
            .take_while(|(_, job)| {
                let texts = [&job.user, &job.command].map(String::len);
                let cause = job.cause.as_ref().map_or(0, String::len);
                let size = FIXED + cause + texts.iter().sum::<usize>();
                let fits = size <= free_bytes;
                free_bytes = free_bytes.saturating_sub(size);
                fits
            })
            .collect();
        let omitted = u32::try_from(all - jobs.len()).unwrap_or(u32::MAX);
        jobs.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let jobs = jobs.into_iter().map(|(_, job)| job).collect();
        AdminReply::Jobs { jobs, omitted }
    }

    fn all_metas(&self) -> Vec<Cow<'_, JobMeta>> {
        let mut metas: Vec<Cow<'_, JobMeta>> = self.jobs.ended().map(Cow::Borrowed).collect();
        metas.extend(self.jobs.never_ran().map(Cow::Borrowed));
        metas.extend(self.jobs.live().map(|(_, job)| Cow::Owned(job.meta())));
        let waiting = self.jobs.waiting();
        metas.extend(waiting.map(|waiting| Cow::Owned(waiting.meta())));
        let asked = self.jobs.all::<Request>();
        metas.extend(asked.map(|(_, request)| Cow::Owned(request.meta())));
        metas
    }

    /// Finds the job whose id begins with `id`. `Ok`: it has not ended, and the answer follows when it has.
    /// Errors: The answer now: the job as it is, or a refusal if none or more than one matches.
    pub fn any_job_or_end(
        &mut self,
        admin: &Subject,
        id: &str,
        wait: bool,
    ) -> Result<Wants, AdminReply> {
        self.end_expired();
        match self.one_job(id) {
            Ok(job) if wait && job.kill_verified.is_none() => Ok(Wants::Job(job.job)),
            Ok(job) => Err(AdminReply::Job(Box::new(job))),
            Err(refusal) => {
                self.record_refusal(Some(admin), None, &refusal, None);
                Err(AdminReply::Refused(refusal))
            }
        }
    }

    fn one_job(&self, id: &str) -> Result<AnyJob, Refusal> {
        let id: IdPrefix = id.parse()?;
        let found = id.choose(self.all_metas(), |meta| meta.job)?;
        found.map(|meta| any_job(&meta)).ok_or_else(no_such_job)
    }

    /// Stops a job of any user. `Ok`: the answer follows when it has ended.
    /// Errors: The answer now: the job has already ended, or there is no such job or signal.
    pub fn stop_any(
        &mut self,
        admin: &Subject,
        job: JobId,
        signal: Option<i32>,
    ) -> Result<Wants, AdminReply> {
        if let Some(ended) = self.jobs.ended().find(|meta| meta.job == job) {
            return Err(AdminReply::Stopped(Box::new(any_job(ended))));
        }
        let waiting = self.jobs.is_waiting(job)
            || self.jobs.serial_of::<Request>(job).is_some()
            || self.jobs.serial_of::<NeverRan>(job).is_some();
        if self.jobs.serial(job).is_none() && !waiting {
            let refusal = no_such_job();
            self.record_refusal(Some(admin), None, &refusal, None);
            return Err(AdminReply::Refused(refusal));
        }
        let cause = format!("stopped by administrator {}", admin.user());
        if let Err(refusal) = self.stop_job(job, signal, &cause) {
            return Err(AdminReply::Refused(refusal));
        }
        // A waiting job may have ended just now.
        match self.jobs.ended().find(|meta| meta.job == job) {
            Some(ended) => Err(AdminReply::Stopped(Box::new(any_job(ended)))),
            None => Ok(Wants::End(job)),
        }
    }

    pub fn tell_ended(&mut self, meta: &JobMeta) {
        self.tell_waiting(Wants::End(meta.job), || {
            AdminReply::Stopped(Box::new(any_job(meta)))
        });
        self.tell_waiting(Wants::Job(meta.job), || {
            AdminReply::Job(Box::new(any_job(meta)))
        });
    }
}

fn no_such_job() -> Refusal {
    Refusal::new(Code::NotFound, "there is no job with this id")
        .next("`remit jobs` lists those that run or are remembered")
}

fn any_job(meta: &JobMeta) -> AnyJob {
    let ending = meta.ending.as_ref();
    let state = match (ending, &meta.waiting) {
        (Some(ending), _) => ending.state,
        (None, Some(WaitReason::QueuePosition)) => State::Queued,
        (None, Some(WaitReason::Approval(_))) => State::AwaitingApproval,
        (None, None) => State::Running,
    };
    let age_ms = match meta.waiting {
        Some(_) => 0,
        None => meta.age_ms,
    };
    AnyJob {
        job: meta.job,
        user: text::line(meta.owner.user.as_bytes(), LINE),
        uid: meta.owner.uid,
        command: text::line(meta.command.as_bytes(), LINE),
        state,
        exit: ending.and_then(|ending| ending.exit),
        cause: ending.map(|ending| text::line(ending.cause.as_bytes(), LINE)),
        started_ms: meta.started_ms,
        runtime_ms: ending.map_or(age_ms, |ending| ending.runtime_ms),
        kill_verified: ending.map(|ending| ending.kill_verified),
    }
}
