//! Bounds how many jobs have a copy of the machine at the same time, because what they write to it is in memory. Nothing is
//! started or ended here.
//!
//! **Invariant:** a job takes its copy with its slot, and no other way leads to one.

use remit_common::refusal::{Code, Refusal};

use crate::job::allocation::Slots;
use crate::job::table::Jobs;
use crate::request::Draft;

/// Jobs of one user, and of all, that have a copy of the machine.
const COPIES_PER_UID: usize = 2;
const COPIES: usize = 4;

/// Fails with `busy` if no copy of the machine is free for a job that may start now.
pub fn check_copy(jobs: &Jobs, draft: &Draft) -> Result<(), Refusal> {
    match draft.bound.is_on_copy() {
        true => check_copies(&jobs.copies, Some(draft.requester.subject.uid())),
        false => Ok(()),
    }
}

/// Fails with `busy` if no copy of the machine is left for a new job. Those in the queue have theirs first, of each user
/// as many as may run at once. `requester`: its uid, or `None` for the daemon.
pub fn check_new_copy(jobs: &Jobs, requester: Option<u32>) -> Result<(), Refusal> {
    let mut copies = jobs.copies.clone();
    for waiting in jobs.queued().filter(|one| one.plan.bound.is_on_copy()) {
        let uid = waiting.plan.requester.subject.uid();
        if copies.of(uid) < COPIES_PER_UID {
            copies.add(uid);
        }
    }
    check_copies(&copies, requester)
}

fn check_copies(copies: &Slots, requester: Option<u32>) -> Result<(), Refusal> {
    let own = requester.map_or(0, |uid| copies.of(uid));
    let over = match (own, copies.all()) {
        (COPIES_PER_UID.., _) => format!("you have {own} jobs"),
        (_, all @ COPIES..) => format!("this machine has {all} jobs"),
        _ => return Ok(()),
    };
    let text = format!("{over} that run on copies of the machine or wait for one, the maximum");
    Err(Refusal::new(Code::Busy, text).next("wait for one of them to end"))
}

#[cfg(test)]
mod tests {
    use remit_policy::MachineTable;

    use super::*;
    use crate::approval::fixture::Scene;
    use crate::config::JobsConfig;
    use crate::identity::peer::Subject;
    use crate::job::admission::JobSlot;
    use crate::job::state::{Parked, Waiting};

    const COPIES_POLICY: &str = r##"
[[command]]
name = "site.try"
summary = "Try on a copy"
argv = ["/usr/bin/true"]
effect = "change"
profile = "trial"

[[command]]
name = "site.act"
summary = "Act"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[profile.trial]
base = "plan"

[[grant]]
name = "site"
to = ["#64001"]
allow = ["site.*"]
effect = "change"
approval = { by = ["#64002"] }
"##;

    /// Queues approved jobs of these users; those of `site.try` run on copies.
    fn queue(jobs: &mut Jobs, all: &[(u32, &str)]) {
        let scene = Scene::of(COPIES_POLICY, &MachineTable::default());
        for (uid, name) in all {
            let mut plan = Box::new(scene.approved(name, &[]));
            plan.requester.subject = Subject::fake(*uid, "someone", None);
            jobs.queue(Waiting::new(plan, 0));
        }
    }

    /// Gives the next job its slot. Returns its user, whether it runs on a copy, and its serial.
    fn start(jobs: &mut Jobs) -> Option<(u32, bool, u64)> {
        let Waiting { plan, since, .. } = jobs.next_turn(&JobsConfig::default())?;
        assert!(check_copy(jobs, &plan).is_ok());
        let serial = jobs.next_serial();
        let (uid, is_on_copy) = (plan.requester.subject.uid(), plan.bound.is_on_copy());
        jobs.insert(serial, Parked { since, plan });
        Some((uid, is_on_copy, serial))
    }

    #[test]
    fn approved_jobs_wait_for_a_free_copy_and_others_do_not_wait_for_them() {
        let mut jobs = Jobs::default();
        let (copy, other) = ("site.try", "site.act");
        queue(&mut jobs, &[(1000, copy), (1000, copy), (1000, copy)]);
        queue(&mut jobs, &[(1000, other), (1001, copy)]);
        queue(&mut jobs, &[(1002, copy), (1002, copy)]);
        let started: Vec<_> = std::iter::from_fn(|| start(&mut jobs)).collect();
        let order: Vec<_> = started.iter().map(|(uid, copy, _)| (*uid, *copy)).collect();
        assert_eq!(
            order,
            [
                (1000, true),
                (1001, true),
                (1002, true),
                (1000, true),
                (1000, false)
            ]
        );
        let limits = JobsConfig::default();
        let slot = jobs.slot_for(1003, &limits, 100, false).unwrap();
        assert_eq!(slot, JobSlot::Now);
        // Of 1000, then of 1001: each frees one copy.
        for (ended, next) in [(0, 1002), (1, 1000)] {
            assert!(jobs.take::<Parked>(started[ended].2).is_some());
            let slot = jobs.slot_for(1003, &limits, 100, false).unwrap();
            assert_eq!(slot, JobSlot::Later);
            assert!(matches!(start(&mut jobs), Some((uid, true, _)) if uid == next));
            assert_eq!(start(&mut jobs), None);
        }
        assert!(jobs.turns().is_empty());
    }

    #[test]
    fn third_copy_of_a_user_is_queued_though_others_are_free() {
        let mut jobs = Jobs::default();
        queue(&mut jobs, &[(1000, "site.try"); 3]);
        let first = start(&mut jobs).unwrap().2;
        assert!(start(&mut jobs).is_some());
        assert_eq!(start(&mut jobs), None);
        assert_eq!((jobs.copies.all(), jobs.turns().len()), (2, 1));
        assert!(jobs.take::<Parked>(first).is_some());
        assert!(start(&mut jobs).is_some());
    }

    #[test]
    fn jobs_that_wait_for_a_copy_leave_those_of_others() {
        let mut jobs = Jobs::default();
        queue(&mut jobs, &[(1000, "site.try"); 5]);
        let is_busy = |jobs: &Jobs, uid| {
            let checked = check_new_copy(jobs, uid);
            checked.is_err_and(|refusal| refusal.code == Code::Busy)
        };
        assert!(is_busy(&jobs, Some(1000)) && !is_busy(&jobs, Some(1001)));
        assert!(start(&mut jobs).is_some());
        assert!(is_busy(&jobs, Some(1000)) && !is_busy(&jobs, Some(1001)));
        queue(&mut jobs, &[(1001, "site.act"), (1001, "site.try")]);
        assert!(!is_busy(&jobs, Some(1001)));
        queue(&mut jobs, &[(1002, "site.try")]);
        assert!(is_busy(&jobs, Some(1001)) && is_busy(&jobs, None));
    }
}
