//! Remembers a bounded number of ended jobs in little memory.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::{Enforced, FollowUp};
use remit_link::{JobMeta, Owner};
use remit_policy::model::command::ACTS;

/// Shared copies of `Enforced`, at most. Jobs of one profile have the same layers and limits.
const SHARED: usize = 16;

/// An ended and recorded job. `enforced` has its uid and the shared copy; `meta.enforced` is empty.
#[derive(Debug)]
struct EndedJob {
    meta: JobMeta,
    enforced: Option<(u32, Rc<Enforced>)>,
    request: Option<String>,
}

impl EndedJob {
    fn whole(&self) -> JobMeta {
        JobMeta {
            enforced: self.enforced.as_ref().map(|(uid, enforced)| Enforced {
                uid: *uid,
                ..Enforced::clone(enforced)
            }),
            ..self.meta.clone()
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Forgotten {
    pub job: JobId,
    pub request: Option<(Owner, String)>,
}

/// At most [`caps::ENDED`] jobs, [`caps::ENDED_CHANGES`] of them changes. Of one user at most [`caps::ENDED_PER_UID`]
/// changes, and as many others. No job that only looked has a change forgotten: its request id could run again. Above a bound
/// of all users, one of the user with the most is forgotten: users with few keep all of them.
#[derive(Debug, Default)]
pub struct EndedJobs {
    next: u64,
    /// In the order of their ends. Boxed, because a B-tree moves its elements.
    all: BTreeMap<u64, Box<EndedJob>>,
    /// By whether they are changes, and by uid.
    own: BTreeMap<(bool, u32), VecDeque<u64>>,
    /// What was enforced, without the uid. The newest is last.
    shared: VecDeque<Rc<Enforced>>,
}

impl EndedJobs {
    /// Returns the jobs, oldest first, without `enforced`.
    pub fn iter(&self) -> impl Iterator<Item = &JobMeta> {
        self.all.values().map(|one| &one.meta)
    }

    /// Sets the commands that have followed a job. `is_undo`: the daemon itself has had these follow an undo, after those that
    /// it carried. Of earlier tries as many are kept as it can carry.
    pub fn set_follow_ups(&mut self, job: JobId, then: &[FollowUp], is_undo: bool) {
        let mut all = self.all.values_mut().rev();
        if let Some(one) = all.find(|one| one.meta.job == job) {
            one.meta.then.truncate(if is_undo { ACTS } else { 0 });
            one.meta.then.extend_from_slice(then);
        }
    }

    /// Sets what the requester of an ended job has to know. `note`: from what it was. Returns the job, with `enforced`.
    pub fn set_note(
        &mut self,
        job: JobId,
        note: impl FnOnce(Option<&str>) -> Option<String>,
    ) -> Option<JobMeta> {
        let mut all = self.all.values_mut().rev();
        let one = all.find(|one| one.meta.job == job)?;
        let ending = one.meta.ending.as_mut()?;
        ending.next = note(ending.next.as_deref());
        Some(one.whole())
    }

    pub fn whole(&self) -> impl Iterator<Item = JobMeta> {
        self.all.values().map(|one| one.whole())
    }

    /// Adds a job and the id of its request. Returns the job that is forgotten for it, if any.
    pub fn push(&mut self, mut meta: JobMeta, request: Option<String>) -> Option<Forgotten> {
        let key = (meta.may_change, meta.owner.uid);
        let enforced = meta.enforced.take().map(|enforced| self.share(enforced));
        self.next += 1;
        let one = EndedJob {
            meta,
            enforced,
            request,
        };
        self.all.insert(self.next, Box::new(one));
        let own = self.own.entry(key).or_default();
        own.push_back(self.next);
        let oldest = if own.len() > caps::ENDED_PER_UID {
            own.front().copied()
        } else if self.kind(true).map(VecDeque::len).sum::<usize>() > caps::ENDED_CHANGES {
            self.oldest(true)
        } else if self.all.len() > caps::ENDED {
            self.oldest(false)
        } else {
            None
        };
        oldest.and_then(|at| self.forget(at))
    }

    /// Returns the changes, or the other jobs, of each user.
    fn kind(&self, may_change: bool) -> impl Iterator<Item = &VecDeque<u64>> {
        let kind = self.own.range((may_change, 0)..=(may_change, u32::MAX));
        kind.map(|(_, own)| own)
    }

    /// Returns the oldest one of the users with the most of this kind.
    fn oldest(&self, may_change: bool) -> Option<u64> {
        let most = self.kind(may_change).map(VecDeque::len).max()?;
        let of_most = self.kind(may_change).filter(|own| own.len() == most);
        of_most.filter_map(|own| own.front().copied()).min()
    }

    fn forget(&mut self, at: u64) -> Option<Forgotten> {
        let one = self.all.remove(&at)?;
        let key = (one.meta.may_change, one.meta.owner.uid);
        if let Some(own) = self.own.get_mut(&key) {
            // The oldest job of its kind is also the oldest of its user.
            own.pop_front();
            if own.is_empty() {
                self.own.remove(&key);
            }
        }
        let EndedJob { meta, request, .. } = *one;
        Some(Forgotten {
            job: meta.job,
            request: request.map(|id| (meta.owner, id)),
        })
    }

    fn share(&mut self, mut enforced: Enforced) -> (u32, Rc<Enforced>) {
        let uid = std::mem::take(&mut enforced.uid);
        if let Some(same) = self.shared.iter().find(|other| ***other == enforced) {
            return (uid, Rc::clone(same));
        }
        if self.shared.len() >= SHARED {
            self.shared.pop_front();
        }
        let enforced = Rc::new(enforced);
        self.shared.push_back(Rc::clone(&enforced));
        (uid, enforced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_common::outcome::State;

    fn ended(number: u64, uid: u32, profile: &str) -> JobMeta {
        JobMeta {
            owner: Owner {
                uid,
                user: uid.to_string(),
            },
            enforced: Some(Enforced {
                profile: profile.into(),
                uid: 7000 + uid,
                layers: vec!["seccomp".into()],
                ..Enforced::default()
            }),
            ..crate::job::table::tests::ended(number)
        }
    }

    #[test]
    fn full_users_oldest_job_goes_first() {
        let mut all = EndedJobs::default();
        let id = |number| ended(number, 0, "").job;
        let mut number = 0;
        let mut push = |all: &mut EndedJobs, uid| {
            number += 1;
            all.push(ended(number, uid, "read"), None)
                .map(|one| one.job)
        };
        for uid in 0..4 {
            for _ in 0..caps::ENDED_PER_UID {
                assert_eq!(push(&mut all, uid), None);
            }
        }
        assert_eq!(all.iter().count(), caps::ENDED);
        let per_user = caps::ENDED_PER_UID as u64;
        assert_eq!(push(&mut all, 1), Some(id(per_user + 1)));
        assert_eq!(push(&mut all, 9), Some(id(1)));
        assert_eq!(push(&mut all, 0), Some(id(2)));
        assert_eq!(push(&mut all, 0), Some(id(3)));
        assert_eq!(all.iter().count(), caps::ENDED);
        let own: usize = all.own.values().map(VecDeque::len).sum();
        assert_eq!((own, all.shared.len()), (caps::ENDED, 1));
    }

    #[test]
    fn jobs_that_look_never_have_a_change_forgotten() {
        let per_user = caps::ENDED_PER_UID;
        // Each step: whether they are changes, the uid, how many end, how many changes and others are remembered then.
        let steps = [
            (true, 1, per_user, per_user, 0),
            (false, 1, 3 * per_user, per_user, per_user),
            (true, 2, per_user, caps::ENDED_CHANGES, per_user),
            (
                false,
                2,
                per_user,
                caps::ENDED_CHANGES,
                caps::ENDED - caps::ENDED_CHANGES,
            ),
            (
                false,
                3,
                per_user,
                caps::ENDED_CHANGES,
                caps::ENDED - caps::ENDED_CHANGES,
            ),
            (
                true,
                3,
                10,
                caps::ENDED_CHANGES,
                caps::ENDED - caps::ENDED_CHANGES,
            ),
        ];
        let mut all = EndedJobs::default();
        let mut number = 0;
        for (may_change, uid, count, changes, others) in steps {
            for _ in 0..count {
                number += 1;
                let meta = JobMeta {
                    may_change,
                    ..ended(number, uid, "read")
                };
                all.push(meta, None);
            }
            let kept = |kind| all.iter().filter(|meta| meta.may_change == kind).count();
            assert_eq!((kept(true), kept(false)), (changes, others), "{uid}");
            let counted: usize = all.own.values().map(VecDeque::len).sum();
            assert_eq!(counted, changes + others);
        }
        // Above the bound of all changes, one of the user with the most is forgotten.
        let own = |uid| all.own.get(&(true, uid)).map_or(0, VecDeque::len);
        assert_eq!([1, 2, 3].map(own), [per_user - 5, per_user - 5, 10]);
    }

    #[test]
    fn users_with_many_jobs_have_none_forgotten_of_a_user_with_few() {
        for (may_change, bound) in [(true, caps::ENDED_CHANGES), (false, caps::ENDED)] {
            let mut all = EndedJobs::default();
            let mut number = 0;
            let mut push = |all: &mut EndedJobs, uid| {
                number += 1;
                let meta = JobMeta {
                    may_change,
                    ..ended(number, uid, "read")
                };
                all.push(meta, None);
            };
            for uid in [1, 1, 2] {
                push(&mut all, uid);
            }
            for _ in 0..caps::ENDED {
                for uid in 3..8 {
                    push(&mut all, uid);
                }
            }
            let kept = |uid| all.iter().filter(|meta| meta.owner.uid == uid).count();
            assert_eq!((kept(1), kept(2)), (2, 1), "{may_change}");
            assert!((3..8).all(|uid| kept(uid) >= (bound - 3) / 5));
            assert_eq!(all.iter().count(), bound);
        }
    }

    #[test]
    fn commands_that_an_undo_carried_are_kept_with_those_of_the_daemon() {
        let mut all = EndedJobs::default();
        let undo = ended(1, 1, "host");
        all.push(undo.clone(), None);
        let then = |command: &str| FollowUp {
            command: command.to_owned(),
            job: None,
            state: State::Exited,
            exit: Some(0),
            cause: String::new(),
        };
        let mut set = |commands: &[&str], is_undo| {
            let then: Vec<FollowUp> = commands.iter().map(|command| then(command)).collect();
            all.set_follow_ups(undo.job, &then, is_undo);
            let kept = all.iter().next().unwrap().then.iter();
            kept.map(|one| one.command.clone()).collect::<Vec<_>>()
        };
        assert_eq!(set(&["a"], false), ["a"]);
        assert_eq!(set(&["b", "c"], true), ["a", "b", "c"]);
        for _ in 0..9 {
            let kept = set(&["c", "d", "e", "f"], true);
            assert!(kept.starts_with(&["a".to_owned()]) && kept.len() <= 2 * ACTS);
            assert!(kept.ends_with(&["c", "d", "e", "f"].map(str::to_owned)));
        }
        assert_eq!(set(&["a"], false), ["a"]);
    }

    #[test]
    fn shared_enforcement_is_stored_once() {
        let mut all = EndedJobs::default();
        let profiles: Vec<String> = (0..2 * SHARED).map(|at| format!("p{}", at % 20)).collect();
        let metas: Vec<_> = (0..)
            .zip(&profiles)
            .map(|(at, name)| ended(at, 3, name))
            .collect();
        for meta in &metas {
            all.push(meta.clone(), None);
        }
        assert_eq!(all.whole().collect::<Vec<_>>(), metas);
        assert!(all.shared.len() <= SHARED && all.iter().all(|meta| meta.enforced.is_none()));
    }
}
