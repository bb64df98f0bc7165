//! Allocates uids that belong to one job each.

use std::collections::BTreeSet;

/// Not clonable. It may be given back only when the job is known to be empty.
#[derive(Debug, PartialEq, Eq)]
pub struct JobUid(u32);

impl JobUid {
    /// Returns the uid, which is also the gid.
    pub fn get(&self) -> u32 {
        self.0
    }
}

/// Range of job uids, round robin: the uid that was used last is reused last.
#[derive(Debug)]
pub struct JobUids {
    first: u32,
    count: u32,
    next: u32,
    taken: BTreeSet<u32>,
}

impl JobUids {
    /// `first` is the uid of PID 1. Jobs get the rest of the `count` uids.
    pub fn new(first: u32, count: u32) -> Self {
        Self {
            first: first.saturating_add(1),
            count: count.saturating_sub(1),
            next: 0,
            taken: BTreeSet::new(),
        }
    }

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

    pub fn range(&self) -> (u32, u32) {
        (self.first, self.count)
    }

    /// Never allocates this uid, because another process has it.
    pub fn avoid(&mut self, uid: u32) {
        // A uid outside of the range would reduce `free`.
        if uid
            .checked_sub(self.first)
            .is_some_and(|at| at < self.count)
        {
            self.taken.insert(uid);
        }
    }

    pub fn free(&self) -> usize {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        count.saturating_sub(self.taken.len())
    }

    /// Frees a uid. The job must be verified empty.
    pub fn give_back(&mut self, uid: JobUid) {
        self.taken.remove(&uid.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_uids_rotate_without_watchdog_uid() {
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
    fn avoided_uid_is_not_allocated_and_counts_only_in_range() {
        let mut uids = JobUids::new(100, 4);
        assert_eq!(uids.range(), (101, 3));
        for uid in [7, 100, 102, 104, u32::MAX] {
            uids.avoid(uid);
        }
        assert_eq!(uids.free(), 2);
        let taken: Vec<_> = std::iter::from_fn(|| uids.take()).collect();
        assert_eq!(taken, [JobUid(101), JobUid(103)]);
    }
}
