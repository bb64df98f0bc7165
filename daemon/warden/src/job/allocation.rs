//! What jobs share: turns of users in a queue, in which each user's items are first come, first served; how many of
//! something are in use; and uids that belong to one job each. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use remit_common::view::RANGES;

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

    /// Takes the first item that may have a turn, of the first user who may. That user then goes to the end.
    pub fn next(
        &mut self,
        user_may: impl Fn(u32) -> bool,
        item_may: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let (at, first) = self.find(user_may, item_may)?;
        let (uid, mut own) = self.users.remove(at)?;
        let item = own.remove(first);
        if !own.is_empty() {
            self.users.push_back((uid, own));
        }
        item
    }

    /// Returns whether [`Self::next`] would take an item.
    pub fn has_next(&self, user_may: impl Fn(u32) -> bool, item_may: impl Fn(&T) -> bool) -> bool {
        self.find(user_may, item_may).is_some()
    }

    /// Returns the position of a user, and of one of the user's items. Items of a user who may have no turn are not looked at.
    fn find(
        &self,
        user_may: impl Fn(u32) -> bool,
        item_may: impl Fn(&T) -> bool,
    ) -> Option<(usize, usize)> {
        let users = self.users.iter().enumerate();
        let mut users = users.filter(|(_, (uid, _))| user_may(*uid));
        users.find_map(|(at, (_, own))| Some((at, own.iter().position(&item_may)?)))
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

/// How many of something are in use, of all users and of each.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    all: usize,
    own: BTreeMap<u32, usize>,
}

impl Slots {
    pub fn add(&mut self, uid: u32) {
        self.all += 1;
        *self.own.entry(uid).or_default() += 1;
    }

    pub fn remove(&mut self, uid: u32) {
        if let Entry::Occupied(mut own) = self.own.entry(uid) {
            self.all -= 1;
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }

    pub fn of(&self, uid: u32) -> usize {
        self.own.get(&uid).copied().unwrap_or_default()
    }

    pub const fn all(&self) -> usize {
        self.all
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

/// Range of job uids, round robin: the uid that was used last is reused last. No two that are taken have one range of ids
/// for a view.
#[derive(Debug)]
pub struct JobUids {
    first: u32,
    count: u32,
    next: u32,
    taken: BTreeSet<u32>,
    ranges: BTreeSet<u32>,
}

impl JobUids {
    /// `first` is the uid of PID 1. Jobs get the rest of the `count` uids.
    pub fn new(first: u32, count: u32) -> Self {
        Self {
            first: first.saturating_add(1),
            count: count.saturating_sub(1),
            next: 0,
            taken: BTreeSet::new(),
            ranges: BTreeSet::new(),
        }
    }

    pub fn take(&mut self) -> Option<JobUid> {
        for _ in 0..self.count {
            let uid = self.first.saturating_add(self.next);
            self.next = (self.next + 1) % self.count;
            if !self.taken.contains(&uid) && self.ranges.insert(uid % RANGES) {
                self.taken.insert(uid);
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
            self.ranges.insert(uid % RANGES);
        }
    }

    pub fn free(&self) -> usize {
        let count = usize::try_from(self.count.min(RANGES)).unwrap_or(usize::MAX);
        count.saturating_sub(self.taken.len())
    }

    /// Frees a uid. The job must be verified empty.
    pub fn give_back(&mut self, uid: JobUid) {
        self.taken.remove(&uid.0);
        self.ranges.remove(&(uid.0 % RANGES));
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
        std::iter::from_fn(|| turns.next(|_| true, |_| true)).collect()
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
        assert_eq!(turns.next(|uid| uid == 2, |_| true), Some('x'));
        assert_eq!(turns.next(|_| false, |_| true), None);
        assert_eq!(
            (turns.len(), turns.of(1), turns.of(2), turns.of(3)),
            (3, 2, 1, 0)
        );
        assert_eq!(all(turns), "ayb");
    }

    #[test]
    fn refused_item_is_skipped_and_keeps_turn() {
        let items = [(1, 'A'), (1, 'b'), (2, 'X'), (3, 'p')];
        let mut turns = turns(&items);
        let may = char::is_ascii_lowercase;
        assert_eq!(turns.next(|_| true, may), Some('b'));
        assert!(turns.has_next(|_| true, may) && !turns.has_next(|uid| uid < 3, may));
        assert_eq!(turns.next(|_| true, may), Some('p'));
        assert_eq!(turns.next(|_| true, may), None);
        assert_eq!(all(turns), "XA");
    }

    #[test]
    fn slots_are_counted_for_all_and_for_each() {
        let mut slots = Slots::default();
        for uid in [1, 1, 2] {
            slots.add(uid);
        }
        assert_eq!((slots.all(), slots.of(1), slots.of(2)), (3, 2, 1));
        for uid in [1, 2, 3, 1] {
            slots.remove(uid);
        }
        assert_eq!(slots.all(), 0);
        assert!(slots.own.is_empty());
    }

    #[test]
    fn put_back_item_is_next_removed_is_gone() {
        let mut turns = turns(&[(1, 'a'), (1, 'b'), (2, 'x')]);
        let first = turns.next(|_| true, |_| true).unwrap();
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
    fn two_uids_with_one_range_of_ids_are_not_taken() {
        let mut uids = JobUids::new(100, 40_000);
        let kept = uids.take().unwrap();
        let mut passed = BTreeSet::from([kept.get()]);
        for _ in 0..39_000 {
            let uid = uids.take().unwrap();
            assert_ne!(uid.get() % RANGES, kept.get() % RANGES);
            passed.insert(uid.get());
            uids.give_back(uid);
        }
        assert!(passed.contains(&39_000) && !passed.contains(&(kept.get() + RANGES)));
        uids.give_back(kept);
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
