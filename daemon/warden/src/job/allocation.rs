//! What jobs share: turns of users in a queue, in which each user's items are first come, first served; and uids that
//! belong to one job each. Pure.

use std::collections::{BTreeSet, VecDeque};

/// Items by user. The user whose turn is next comes first.
#[derive(Debug)]
pub struct Turns<T> {
    users: VecDeque<(u32, VecDeque<T>)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        let users = VecDeque::new();
        Self { users }
    }
}

impl<T> Turns<T> {
    pub fn push(&mut self, uid: u32, item: T) {
        match self.users.iter_mut().find(|(user, _)| *user == uid) {
            Some((_, own)) => own.push_back(item),
            None => self.users.push_back((uid, VecDeque::from([item]))),
        }
    }

    /// Takes the first item of the first user who may have a turn. That user then goes to the end.
    pub fn next(&mut self, mut may: impl FnMut(u32) -> bool) -> Option<T> {
        let at = self.users.iter().position(|(uid, _)| may(*uid))?;
        let (uid, mut own) = self.users.remove(at)?;
        let item = own.pop_front();
        if !own.is_empty() {
            self.users.push_back((uid, own));
        }
        item
    }

    /// Puts back what [`Self::next`] took: it comes next again.
    pub fn put_back(&mut self, uid: u32, item: T) {
        let at = self.users.iter().position(|(user, _)| *user == uid);
        let mut own = at
            .and_then(|at| self.users.remove(at))
            .map_or_else(VecDeque::new, |(_, own)| own);
        own.push_front(item);
        self.users.push_front((uid, own));
    }

    pub fn remove(&mut self, meant: impl Fn(&T) -> bool) -> Option<T> {
        for (_, own) in &mut self.users {
            if let Some(at) = own.iter().position(&meant) {
                let item = own.remove(at);
                self.users.retain(|(_, own)| !own.is_empty());
                return item;
            }
        }
        None
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.users.iter().flat_map(|(_, own)| own)
    }

    pub fn users(&self) -> impl Iterator<Item = u32> {
        self.users.iter().map(|(uid, _)| *uid)
    }

    pub fn len(&self) -> usize {
        self.users.iter().map(|(_, own)| own.len()).sum()
    }

    pub fn of(&self, uid: u32) -> usize {
        let own = self.users.iter().find(|(user, _)| *user == uid);
        own.map_or(0, |(_, own)| own.len())
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

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

    fn turns(items: &[(u32, char)]) -> Turns<char> {
        let mut turns = Turns::default();
        for (uid, item) in items {
            turns.push(*uid, *item);
        }
        turns
    }

    fn all(mut turns: Turns<char>) -> String {
        std::iter::from_fn(|| turns.next(|_| true)).collect()
    }

    #[test]
    fn users_take_turns_and_each_keeps_its_order() {
        for (items, order) in [
            (&[][..], ""),
            (&[(1, 'a'), (1, 'b'), (1, 'c')], "abc"),
            (&[(1, 'a'), (1, 'b'), (1, 'c'), (2, 'x')], "axbc"),
            (&[(1, 'a'), (1, 'b'), (2, 'x'), (3, 'p'), (2, 'y')], "axpby"),
        ] {
            assert_eq!(all(turns(items)), order);
        }
    }

    #[test]
    fn refused_user_is_skipped_and_keeps_turn() {
        let mut turns = turns(&[(1, 'a'), (1, 'b'), (2, 'x'), (2, 'y')]);
        assert_eq!(turns.next(|uid| uid == 2), Some('x'));
        assert_eq!(turns.next(|_| false), None);
        assert_eq!(
            (turns.len(), turns.of(1), turns.of(2), turns.of(3)),
            (3, 2, 1, 0)
        );
        assert_eq!(all(turns), "ayb");
    }

    #[test]
    fn put_back_item_is_next_removed_is_gone() {
        let mut turns = turns(&[(1, 'a'), (1, 'b'), (2, 'x')]);
        let first = turns.next(|_| true).unwrap();
        turns.put_back(1, first);
        assert_eq!(turns.iter().collect::<String>(), "abx");
        assert_eq!(turns.remove(|item| *item == 'x'), Some('x'));
        assert_eq!(turns.remove(|item| *item == 'x'), None);
        assert_eq!(turns.of(2), 0);
        assert_eq!(all(turns), "ab");
    }

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
