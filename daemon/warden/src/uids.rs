//! Uids that belong to one job each.

use std::collections::BTreeSet;

/// A uid that one job has. Not clonable; given back only when the job is known to be empty.
#[derive(Debug, PartialEq, Eq)]
pub struct JobUid(u32);

impl JobUid {
    /// The uid, which is the gid too.
    pub fn get(&self) -> u32 {
        self.0
    }
}

/// The range of job uids, round robin: a uid that was just used rests longest.
#[derive(Debug)]
pub struct JobUids {
    first: u32,
    count: u32,
    next: u32,
    taken: BTreeSet<u32>,
}

impl JobUids {
    /// The range behind `first`, which is the keeper's, up to `count` in all.
    pub fn new(first: u32, count: u32) -> Self {
        Self {
            first: first.saturating_add(1),
            count: count.saturating_sub(1),
            next: 0,
            taken: BTreeSet::new(),
        }
    }

    /// A free one; `None` when all are taken.
    pub fn take(&mut self) -> Option<JobUid> {
        for _ in 0..self.count {
            let uid = self.first.saturating_add(self.next);
            self.next = (self.next + 1) % self.count;
            if self.taken.insert(uid) {
                return Some(JobUid(uid));
            }
        }
        None
    }

    /// The uids that jobs may have: the first one, and how many.
    pub fn range(&self) -> (u32, u32) {
        (self.first, self.count)
    }

    /// Never gives this one to a job: somebody has it already. One outside of the range is as good.
    pub fn avoid(&mut self, uid: u32) {
        self.taken.insert(uid);
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        count.saturating_sub(self.taken.len())
    }

    /// Gives one back. Only for a job that is verified to be empty.
    pub fn give_back(&mut self, uid: JobUid) {
        self.taken.remove(&uid.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_without_the_keepers_and_never_twice() {
        let mut uids = JobUids::new(100, 4);
        let first = uids.take().unwrap();
        assert_eq!(first.get(), 101);
        let others = [uids.take().unwrap().get(), uids.take().unwrap().get()];
        assert_eq!(others, [102, 103]);
        assert_eq!((uids.free(), uids.take()), (0, None));
        uids.give_back(first);
        assert_eq!(uids.take().unwrap().get(), 101);
    }

    #[test]
    fn what_is_avoided_is_no_jobs() {
        let mut uids = JobUids::new(100, 4);
        assert_eq!(uids.range(), (101, 3));
        uids.avoid(102);
        uids.avoid(7);
        let taken: Vec<_> = std::iter::from_fn(|| uids.take()).collect();
        assert_eq!(taken, [JobUid(101), JobUid(103)]);
    }
}
