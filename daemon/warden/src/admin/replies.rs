//! Answers to connections that wait: for the end of a job, a decision, a change of the list. Sends nothing itself.

use std::collections::BTreeMap;

use remit_common::admin::{AdminReply, AnyJob, PendingView};
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::Refusal;
use remit_common::{caps, frame, text};
use remit_link::{JobMeta, WaitReason};

use super::{Admins, Wants};
use crate::approval::Request;
use crate::audit::reports::Reports;
use crate::identity::peer::Subject;
use crate::job::acts::without_failure;
use crate::job::table::Jobs;

/// Bytes of a command and of a cause in a list.
const LINE: usize = 200;
/// Bytes of an answer without the entries of its list.
const FIXED: usize = 64;

impl Admins {
    pub fn tell(&mut self, wants: Wants, reply: impl FnOnce() -> AdminReply) {
        if !self.waiting.iter().any(|(_, what)| *what == wants) {
            return;
        }
        if let Ok(bytes) = frame::encode(&reply(), caps::ADMIN_FRAME) {
            let is_meant = |(_, what): &mut (u64, Wants)| *what == wants;
            let answered: Vec<_> = self.waiting.extract_if(.., is_meant).collect();
            for (number, _) in answered {
                self.deliver(number, &bytes);
            }
        }
    }

    fn deliver(&mut self, number: u64, bytes: &[u8]) {
        match self.live.get_mut(&number) {
            Some(admin) => {
                admin.output.extend_from_slice(bytes);
                admin.was_answered();
                self.due.push_back(number);
            }
            None => self.undelivered.push((number, bytes.to_vec())),
        }
    }

    pub fn tell_ended(&mut self, meta: &JobMeta) {
        self.tell(Wants::End(meta.job), || {
            AdminReply::Stopped(Box::new(any_job(meta)))
        });
        self.tell(Wants::Job(meta.job), || {
            let ending = meta.ending.as_ref().filter(|ending| ending.code.is_none());
            let note = ending.and_then(|ending| ending.next.as_deref());
            let job = AnyJob {
                unconfirmed: note.and_then(|note| without_failure(note, &meta.then)),
                ..any_job(meta)
            };
            AdminReply::Job(Box::new(job))
        });
    }

    pub fn tell_approver(
        &mut self,
        reports: &mut Reports,
        (job, digest): (JobId, &[u8; 32]),
        by: &Subject,
        reply: Result<AdminReply, Refusal>,
    ) {
        let reply = match reply {
            Ok(reply) => reply,
            Err(refusal) => reports.refuse_decision(by, (job, Some(*digest)), refusal),
        };
        self.tell(Wants::Approval(job), || reply);
    }
}

/// Lists the oldest first. If not all fit, those that this person can approve are taken first, of each requester in turn.
pub fn pending_list(jobs: &Jobs, subject: &Subject) -> AdminReply {
    let mut free_bytes = caps::ADMIN_FRAME - FIXED;
    let mut turns: BTreeMap<u32, usize> = BTreeMap::new();
    let views = jobs.all::<Request>().map(|(serial, request)| {
        let view = request.pending_view(Some(subject));
        let turn = turns.entry(view.uid).or_default();
        *turn += 1;
        ((!view.yours, *turn, serial), view)
    });
    let views: BTreeMap<_, PendingView> = views.collect();
    let all = views.len();
    let mut fits = |view: &PendingView| {
        let size = postcard::to_extend(view, Vec::new()).map_or(usize::MAX, |bytes| bytes.len());
        let fits = size <= free_bytes;
        free_bytes = free_bytes.saturating_sub(size);
        fits
    };
    let views = views.into_iter().map(|((.., serial), view)| (serial, view));
    let listed: BTreeMap<u64, PendingView> = views.take_while(|(_, view)| fits(view)).collect();
    let omitted = all - listed.len();
    AdminReply::Pending {
        state: jobs.generation,
        requests: listed.into_values().collect(),
        omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
    }
}

pub fn any_job(meta: &JobMeta) -> AnyJob {
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
        unconfirmed: None,
        started_ms: meta.started_ms,
        runtime_ms: ending.map_or(age_ms, |ending| ending.runtime_ms),
        kill_verified: ending.map(|ending| ending.kill_verified),
        then: meta.then.clone(),
    }
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;

    use super::*;
    use crate::approval::fixture::{Scene, spec};
    use crate::request::fixture::named;

    #[test]
    fn full_list_has_the_first_request_of_each_requester() {
        let scene = Scene::new();
        let mut jobs = Jobs::default();
        for number in 1..=201 {
            let reason = "x".repeat(1000);
            let disk = named("disk.wipe", &[("disk", "a")]);
            let spec = spec(disk, Purpose::Change { reason });
            let mut request = scene.request(spec, Vec::new());
            let uid = 64_001 + u32::from(number == 201);
            request.draft.job = JobId([number; 16]);
            request.draft.requester.subject = Subject::fake(uid, "agent", Some(uid));
            jobs.insert(number.into(), request);
        }
        let reader = Subject::fake(64_009, "ann", Some(64_009));
        let AdminReply::Pending {
            requests, omitted, ..
        } = pending_list(&jobs, &reader)
        else {
            panic!("no list");
        };
        let (last, first) = requests.split_last().unwrap();
        assert_eq!(last.job, JobId([201; 16]));
        let numbers = (1..).map(|number| JobId([number; 16]));
        assert!(
            first
                .iter()
                .map(|one| one.job)
                .eq(numbers.take(first.len()))
        );
        assert_eq!(requests.len() + omitted as usize, 201);
        assert!(omitted > 0);
    }
}
