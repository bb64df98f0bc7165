//! Jobs that have ended and are remembered: bounded, and small each.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::Enforced;
use remit_link::{JobMeta, Owner};

/// Of walls and limits that jobs had, so many are held once for all jobs that had the same: there are
/// as many as profiles.
const SHARED: usize = 16;

/// A job that has ended and is recorded. What was enforced stands beside its `meta`, which has none.
#[derive(Debug)]
struct One {
    meta: JobMeta,
    enforced: Option<(u32, Rc<Enforced>)>,
    request: Option<String>,
}

/// One that is not remembered any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Its id.
    pub job: JobId,
    /// Whose request id stood for it.
    pub request: Option<(Owner, String)>,
}

/// All of them, at most [`caps::ENDED`], and [`caps::ENDED_PER_UID`] of one user.
#[derive(Debug, Default)]
pub struct AllEnded {
    next: u64,
    /// In the order in which they ended. Boxed, since a tree moves what is in it.
    all: BTreeMap<u64, Box<One>>,
    own: BTreeMap<u32, VecDeque<u64>>,
    /// What was enforced but for the uid, the newest last.
    shared: VecDeque<Rc<Enforced>>,
}

impl AllEnded {
    /// Oldest first, without what was enforced.
    pub fn iter(&self) -> impl Iterator<Item = &JobMeta> {
        self.all.values().map(|one| &one.meta)
    }

    /// Oldest first, with all that is known.
    pub fn whole(&self) -> impl Iterator<Item = JobMeta> {
        self.all.values().map(|one| JobMeta {
            enforced: one.enforced.as_ref().map(|(uid, enforced)| Enforced {
                uid: *uid,
                ..Enforced::clone(enforced)
            }),
            ..one.meta.clone()
        })
    }

    /// Remembers one more, whose request id was this. Gives one that is forgotten for it, if any is.
    pub fn push(&mut self, mut meta: JobMeta, request: Option<String>) -> Option<Forgotten> {
        let uid = meta.owner.uid;
        let enforced = meta.enforced.take().map(|enforced| self.share(enforced));
        self.next += 1;
        let one = One {
            meta,
            enforced,
            request,
        };
        self.all.insert(self.next, Box::new(one));
        let own = self.own.entry(uid).or_default();
        own.push_back(self.next);
        let oldest = if own.len() > caps::ENDED_PER_UID {
            own.front().copied()
        } else if self.all.len() > caps::ENDED {
            self.all.keys().next().copied()
        } else {
            None
        };
        oldest.and_then(|at| self.forget(at))
    }

    fn forget(&mut self, at: u64) -> Option<Forgotten> {
        let one = self.all.remove(&at)?;
        let uid = one.meta.owner.uid;
        if let Some(own) = self.own.get_mut(&uid) {
            // The oldest of all is the oldest of its user's, too.
            own.pop_front();
            if own.is_empty() {
                self.own.remove(&uid);
            }
        }
        let One { meta, request, .. } = *one;
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

    fn ended(number: u64, uid: u32, profile: &str) -> JobMeta {
        JobMeta {
            owner: Owner {
                uid,
                user: uid.to_string(),
            },
            enforced: Some(Enforced {
                profile: profile.into(),
                uid: 7000 + uid,
                walls: vec!["seccomp".into()],
                ..Enforced::default()
            }),
            ..crate::jobs::tests::ended(number)
        }
    }

    #[test]
    fn the_oldest_of_who_has_too_many_goes_then_the_oldest_of_all() {
        let mut all = AllEnded::default();
        let id = |number| ended(number, 0, "").job;
        let mut number = 0;
        let mut push = |all: &mut AllEnded, uid| {
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
    fn what_many_had_is_held_once_and_given_back_whole() {
        let mut all = AllEnded::default();
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
