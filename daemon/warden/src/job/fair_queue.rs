//! A queue in which users take turns. Each user's items are first come, first served. Pure.

use std::collections::VecDeque;

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
}
