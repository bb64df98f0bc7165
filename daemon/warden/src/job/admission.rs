//! Bounds of what may run and wait, of each user and of all.

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};

use crate::approval::{MeasuringRequest, Request};
use crate::config::JobsConfig;
use crate::job::copy_bounds::check_copy;
use crate::job::state::Waiting;
use crate::job::table::Jobs;
use crate::request::Draft;

/// Requests measured at once, in total and per user. One per user is always possible. Approvals have their own limit.
const MEASURING: usize = 8;
const MEASURING_PER_UID: usize = 4;
const APPROVING: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobSlot {
    Now,
    Later,
}

/// Returns whether one more entry is too many for a user who has `own` of `all`. At the limit, a user without an entry is
/// still admitted, so nobody keeps others out. At most [`caps::FIRSTS`] are, so many users cannot bypass the limit.
pub fn is_full(own: usize, all: usize, most: usize) -> bool {
    let firsts = if own == 0 { caps::FIRSTS } else { 0 };
    all >= most.saturating_add(firsts)
}

/// Returns whether `bytes` more may wait, if the user holds `own` and all users `all`.
pub fn fits(own: usize, all: usize, bytes: usize) -> bool {
    let (own_most, most) = match own {
        // A user who holds nothing is admitted within twice the bound of all. One request fits the answer that shows it.
        0 => (caps::QUEUED_BYTES, caps::QUEUED_BYTES * 2),
        _ => (caps::QUEUED_BYTES / 4, caps::QUEUED_BYTES),
    };
    own.saturating_add(bytes) <= own_most && all.saturating_add(bytes) <= most
}

impl Jobs {
    /// Returns whether another job of this user may run, or waits. Errors: `busy`, with the limit: no more may wait.
    /// `rests`: the queue does, until the audit log can be written.
    pub fn slot_for(
        &self,
        uid: u32,
        limits: &JobsConfig,
        free_uids: usize,
        rests: bool,
    ) -> Result<JobSlot, Refusal> {
        let (all, own) = (self.slots.all(), self.slots.of(uid));
        let queue = self.turns();
        // A slot that has just become free belongs to the jobs that wait. One that waits for a copy cannot take it.
        let is_next = || {
            queue.has_next(
                |uid| self.has_free_slot(uid, limits),
                |serial| self.has_what_it_needs(*serial),
            )
        };
        let over = if own >= limits.max_per_user {
            format!("you have {own} running jobs, the maximum")
        } else if all >= limits.max {
            format!("this machine has {all} running jobs, the maximum")
        } else if (rests && all + 1 < limits.max) || !is_next() {
            // A queue that rests keeps one slot. The others could only be refused without a record.
            return Ok(JobSlot::Now);
        } else {
            "the jobs of other users are next".to_owned()
        };
        let over = if limits.queue == 0 || limits.queue_per_user == 0 {
            format!("{over}, and there is no queue")
        } else if queue.of(uid) >= limits.queue_per_user {
            format!(
                "{over}, and you have {} queued jobs, the maximum",
                queue.of(uid)
            )
        } else if is_full(queue.of(uid), queue.len(), limits.queue) {
            format!(
                "{over}, and all users have {} queued jobs, the maximum",
                queue.len()
            )
        } else if free_uids <= limits.max.saturating_sub(all) {
            // Queued jobs already have their uids. The uids of free slots are not for queued jobs.
            format!("{over}, and no uid of the jobs' range is free for another queued job")
        } else {
            return Ok(JobSlot::Later);
        };
        Err(Refusal::new(Code::Busy, over).next("wait for a job to end, or stop one of yours"))
    }

    pub fn has_free_slot(&self, uid: u32, limits: &JobsConfig) -> bool {
        self.slots.all() < limits.max && self.slots.of(uid) < limits.max_per_user
    }

    /// Returns whether a queued job lacks nothing but a slot. A commit needs the lock of the journals: without it, it would be
    /// over, and its approval used up.
    pub fn has_what_it_needs(&self, serial: u64) -> bool {
        self.find::<Waiting>(serial).is_none_or(|waiting| {
            let has_lock = waiting.plan.commit_use().is_none() || !self.has_commit();
            has_lock && check_copy(self, &waiting.plan).is_ok()
        })
    }

    /// Checks the bytes that waiting jobs hold. Each user has a share of them. A user with nothing waiting is admitted
    /// within a separate bound, so nobody keeps others out. Errors: `busy`: waiting jobs hold too many bytes.
    pub fn check_queued_bytes(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        if self.may_hold(uid, bytes) {
            return Ok(());
        }
        let text = "the queued jobs hold the maximum number of bytes";
        Err(Refusal::new(Code::Busy, text)
            .object(caps::QUEUED_BYTES.to_string())
            .next("wait for a job to end"))
    }

    fn may_hold(&self, uid: u32, bytes: usize) -> bool {
        let held = |own: &dyn Fn(u32) -> bool| -> usize {
            let plans = self.waiting().map(|waiting| &waiting.plan);
            let own = plans.filter(|plan| own(plan.requester.subject.uid()));
            own.map(|plan| plan.held).sum()
        };
        fits(held(&|other| other == uid), held(&|_| true), bytes)
    }

    /// Fails with `busy`, naming the bound, if one more request of this user may not be measured and wait.
    pub fn check_requests(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let busy = |text: String, object: usize| {
            Err(Refusal::new(Code::Busy, text)
                .object(object.to_string())
                .next("ask again when some of them were decided"))
        };
        let own_fresh = self.examined().filter(|draft| is_of(draft, uid)).count();
        let fresh = self.examined().count();
        if own_fresh >= MEASURING_PER_UID || is_full(own_fresh, fresh, MEASURING) {
            let text = "too many approval requests are being examined";
            return Err(Refusal::new(Code::Busy, text).next("ask again in a second"));
        }
        let own = self.drafts().filter(|draft| is_of(draft, uid)).count();
        let all = self.drafts().count();
        if own >= caps::PENDING_PER_UID {
            let text = format!("{own} of your changes wait for an approval, the maximum");
            return busy(text, caps::PENDING_PER_UID);
        }
        if is_full(own, all, caps::PENDING) {
            let text = format!("{all} changes wait for an approval, the maximum");
            return busy(text, caps::PENDING);
        }
        self.check_requests_bytes(uid, bytes)
    }

    /// Fails with `busy` if waiting requests and their signed bytes are too large, of the user or in total.
    pub fn check_requests_bytes(&self, uid: u32, bytes: usize) -> Result<(), Refusal> {
        let held = |mine: bool| -> usize {
            let asked = self.all::<Request>();
            let asked = asked.map(|(_, request)| (request.draft.as_ref(), request.held()));
            let all = asked.chain(self.examined().map(|draft| (draft, draft.held)));
            let all = all.filter(|(draft, _)| !mine || is_of(draft, uid));
            all.map(|(_, bytes)| bytes).sum()
        };
        match fits(held(true), held(false), bytes) {
            true => Ok(()),
            false => {
                let text = "the changes that wait for an approval hold the maximum number of bytes";
                Err(Refusal::new(Code::Busy, text)
                    .object(caps::QUEUED_BYTES.to_string())
                    .next("ask again when some of them were decided"))
            }
        }
    }

    pub fn may_approve_more(&self) -> bool {
        let asked = self.all::<Request>();
        asked
            .filter(|(_, request)| request.approving.is_some())
            .count()
            < APPROVING
    }

    /// Returns whether the files of this request are being hashed.
    pub fn is_examined(&self, uid: u32, request: &str) -> bool {
        self.examined().any(|draft| {
            is_of(draft, uid) && draft.request.as_ref().is_some_and(|(id, _)| id == request)
        })
    }

    fn examined(&self) -> impl Iterator<Item = &Draft> {
        let fresh = self.all::<MeasuringRequest>();
        fresh.map(|(_, fresh)| fresh.draft.as_ref())
    }

    fn drafts(&self) -> impl Iterator<Item = &Draft> {
        let asked = self.all::<Request>();
        let asked = asked.map(|(_, request)| request.draft.as_ref());
        asked.chain(self.examined())
    }
}

fn is_of(draft: &Draft, uid: u32) -> bool {
    draft.requester.subject.uid() == uid
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use remit_common::wire::Purpose;
    use remit_link::SpecWhat;

    use super::*;
    use crate::approval::file_hash::Measuring;
    use crate::approval::fixture::{Scene, spec};
    use crate::identity::accounts::Question;
    use crate::job::state::{MeasuringAgain, Parked};

    #[test]
    fn a01_many_users_stay_within_global_bounds() {
        for (own, all, is_over) in [
            (0, 127, false),
            (1, 127, false),
            (1, 128, true),
            (0, 128, false),
            (0, 128 + caps::FIRSTS - 1, false),
            (0, 128 + caps::FIRSTS, true),
            (0, usize::MAX, true),
        ] {
            assert_eq!(is_full(own, all, 128), is_over, "{own} of {all}");
        }
        let most = caps::QUEUED_BYTES;
        for (own, all, bytes, is_let_in) in [
            (0, 0, most, true),
            (0, 0, most + 1, false),
            (0, most, most, true),
            (0, most, most + 1, false),
            (0, 2 * most, 1, false),
            (1, most - 1, 1, true),
            (1, most, 1, false),
            (most / 4, most / 4, 1, false),
        ] {
            assert_eq!(
                fits(own, all, bytes),
                is_let_in,
                "{own} of {all}, {bytes} more"
            );
        }
    }

    fn request(encoded: Vec<u8>) -> Request {
        let what = SpecWhat::Argv(vec![b"ls".to_vec().into()]);
        Scene::new().request(spec(what, Purpose::Use), encoded)
    }

    #[test]
    fn signed_bytes_are_held_until_the_request_is_decided() {
        let share = caps::QUEUED_BYTES / 4;
        for (encoded, may_hold_more) in [(share / 2, true), (share, false)] {
            let mut jobs = Jobs::default();
            let serial = jobs.next_serial();
            jobs.insert(serial, request(vec![0; encoded]));
            let more = jobs.check_requests(64_001, 1);
            assert_eq!(more.is_ok(), may_hold_more, "{encoded}: {more:?}");
            assert!(jobs.check_requests(64_003, caps::QUEUED_BYTES).is_ok());
            jobs.take::<Request>(serial).unwrap();
            assert!(jobs.check_requests(64_001, share).is_ok());
        }
    }

    #[test]
    fn queue_that_rests_keeps_one_slot() {
        let scene = Scene::new();
        let mut jobs = Jobs::default();
        jobs.queue(Waiting::new(Box::new(scene.plan()), 0));
        for (max, queue, rests, expect) in [
            (2, 0, true, Some(JobSlot::Now)),
            (2, 8, true, Some(JobSlot::Now)),
            (2, 0, false, None),
            (2, 8, false, Some(JobSlot::Later)),
            (1, 0, true, None),
            (1, 8, true, Some(JobSlot::Later)),
        ] {
            let limits = JobsConfig {
                max,
                queue,
                ..JobsConfig::default()
            };
            let slot = jobs.slot_for(64_009, &limits, 100, rests);
            assert_eq!(slot.ok(), expect, "{max} {queue} {rests}");
        }
    }

    #[test]
    fn approved_commit_starts_after_the_end_of_another_one_and_other_jobs_at_once() {
        let (undoes, others) = (Scene::undoes(), Scene::new());
        let undo = |id: &str| Box::new(undoes.undo(id, &[]));
        let (first, second) = (&*"a".repeat(32), &*"b".repeat(32));
        for (before, is_commit, may_start) in [
            ("none", false, true),
            ("runs", true, false),
            ("is hashed", true, false),
            ("runs", false, true),
            ("is hashed", false, true),
        ] {
            let what = format!("{before} {is_commit}");
            let mut jobs = Jobs::default();
            let (serial, since) = (jobs.next_serial(), Instant::now());
            let plan = match is_commit {
                true => undo(first),
                false => Box::new(others.plan()),
            };
            match before {
                "runs" => jobs.insert(serial, Parked { since, plan }),
                "is hashed" => {
                    let waiting = Waiting::new(plan, 0);
                    let measuring = Measuring::of_people(&Question::default(), None).unwrap();
                    jobs.insert(serial, MeasuringAgain { waiting, measuring });
                }
                _ => {}
            }
            assert_eq!(jobs.has_commit(), is_commit, "{what}");
            jobs.queue(Waiting::new(undo(second), 0));
            jobs.queue(Waiting::new(Box::new(others.plan()), 0));
            let next = || jobs.next_turn(&JobsConfig::default());
            let started: Vec<_> = std::iter::from_fn(next).collect();
            let starts = started.iter().any(|one| one.plan.commit_use().is_some());
            let count = 1 + usize::from(may_start);
            assert_eq!((starts, started.len()), (may_start, count), "{what}");
        }
    }
}
