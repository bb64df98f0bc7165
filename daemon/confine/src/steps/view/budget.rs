//! What a walk may cost. A directory of others than root has a share: beyond that it is hidden as a whole.

use std::io;
use std::time::{Duration, Instant};

/// Names that are looked at in directories of root, and nodes that hide some of them, with the directories above.
const ROOTS: [usize; 2] = [10_000_000, 150_000];
/// Of all directories of others together, and of one of them with all beneath it.
const OTHERS: [usize; 2] = [4_000_000, 50_000];
const EACH: [usize; 2] = [250_000, 6_000];
/// When directories of root must be done, and those of others.
const ROOTS_TIME: Duration = Duration::from_secs(14);
const OTHERS_TIME: Duration = Duration::from_secs(18);
/// And how long one of these may take.
const EACH_TIME: Duration = Duration::from_millis(500);
/// Names between two looks at the clock.
const NAMES_A_CLOCK: usize = 64;
/// The longest and deepest path: what is beyond is hidden by the directory above it.
const PATH_BYTES: usize = 1024;
const PATH_DEPTH: usize = 48;

/// Returns the path, or the last directory above it that can be hidden.
pub(super) fn hideable(path: &[u8]) -> &[u8] {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let ends = slashes.map(|(end, _)| end).chain([path.len()]);
    let end = ends
        .take(PATH_DEPTH)
        .filter(|end| *end <= PATH_BYTES)
        .last();
    path.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    LookedAt,
    Hidden,
}

#[derive(Debug)]
pub(super) struct Budget {
    most: [usize; 2],
    spent: [usize; 2],
    end: Instant,
}

impl Budget {
    pub(super) fn of_root(start: Instant) -> Budget {
        Self::new(ROOTS, start + ROOTS_TIME)
    }

    pub(super) fn of_others(start: Instant) -> Budget {
        Self::new(OTHERS, start + OTHERS_TIME)
    }

    fn new(most: [usize; 2], end: Instant) -> Budget {
        let spent = [0; 2];
        Budget { most, spent, end }
    }

    /// Returns what one directory may cost.
    pub(super) fn share(&self) -> Budget {
        let [looked_at, nodes] = EACH;
        let left = |of: usize| {
            let [most, spent] = [self.most, self.spent].map(|both| both.get(of).copied());
            most.unwrap_or(0).saturating_sub(spent.unwrap_or(0))
        };
        let end = self.end.min(Instant::now() + EACH_TIME);
        Self::new([looked_at.min(left(0)), nodes.min(left(1))], end)
    }

    pub(super) fn take(&mut self, share: &Budget) {
        let both = self.spent.iter_mut().zip(share.spent);
        both.for_each(|(own, of_share)| *own += of_share);
    }

    /// Fails with ENAMETOOLONG for a path that nothing can hide, with E2BIG or ETIMEDOUT once the budget is spent.
    pub(super) fn spend(&mut self, cost: Cost, path: &[u8]) -> io::Result<()> {
        let depth = 1 + path.iter().filter(|byte| **byte == b'/').count();
        self.spend_on(cost, path.len(), depth)?;
        self.in_time()
    }

    /// Spends for a name that is looked at in a directory; now and then the clock is looked at, too.
    pub(super) fn look(&mut self, directory: &[u8], name: &[u8]) -> io::Result<()> {
        let above = match directory {
            [] => [0; 2],
            path => [
                path.len() + 1,
                1 + path.iter().filter(|byte| **byte == b'/').count(),
            ],
        };
        self.spend_on(Cost::LookedAt, above[0] + name.len(), above[1] + 1)?;
        match self.spent[0].is_multiple_of(NAMES_A_CLOCK) {
            true => self.in_time(),
            false => Ok(()),
        }
    }

    fn in_time(&self) -> io::Result<()> {
        match Instant::now() > self.end {
            true => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
            false => Ok(()),
        }
    }

    fn spend_on(&mut self, cost: Cost, length: usize, depth: usize) -> io::Result<()> {
        let error = |errno| Err(io::Error::from_raw_os_error(errno));
        if length > PATH_BYTES || depth > PATH_DEPTH {
            return error(libc::ENAMETOOLONG);
        }
        let costs = match cost {
            Cost::LookedAt => [1, 0],
            Cost::Hidden => [0, depth],
        };
        let both = self.spent.iter_mut().zip(costs);
        both.for_each(|(spent, cost)| *spent += cost);
        if self
            .spent
            .iter()
            .zip(self.most)
            .any(|(spent, most)| *spent > most)
        {
            return error(libc::E2BIG);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_ends_a_walk() {
        let errno = |done: io::Result<()>| done.err().and_then(|error| error.raw_os_error());
        let start = Instant::now();
        let mut all = Budget::of_others(start);
        let far = start + Duration::from_secs(3600);
        let mut one = all.share();
        one.end = far;
        for number in 0..EACH[0] {
            assert_eq!(
                errno(one.spend(Cost::LookedAt, b"home/u/x")),
                None,
                "{number}"
            );
        }
        assert_eq!(
            errno(one.spend(Cost::LookedAt, b"home/u/x")),
            Some(libc::E2BIG)
        );
        all.take(&one);
        let mut two = all.share();
        two.end = far;
        for number in 0..EACH[1] / 3 {
            assert_eq!(
                errno(two.spend(Cost::Hidden, b"home/u/x")),
                None,
                "{number}"
            );
        }
        assert_eq!(
            errno(two.spend(Cost::Hidden, b"home/u/x")),
            Some(libc::E2BIG)
        );
        let long = vec![b'a'; PATH_BYTES + 1];
        assert_eq!(
            errno(all.spend(Cost::LookedAt, &long)),
            Some(libc::ENAMETOOLONG)
        );
        let deep = b"a/".repeat(PATH_DEPTH);
        assert_eq!(
            errno(all.spend(Cost::LookedAt, &deep)),
            Some(libc::ENAMETOOLONG)
        );
        let past = start.checked_sub(OTHERS_TIME).unwrap();
        let mut late = Budget::of_others(past);
        assert_eq!(
            errno(late.spend(Cost::LookedAt, b"a")),
            Some(libc::ETIMEDOUT)
        );
    }

    #[test]
    fn name_in_a_directory_costs_what_its_path_costs() {
        let deep = |count: usize| vec!["a"; count].join("/").into_bytes();
        for (directory, is_short) in [
            (Vec::new(), true),
            (b"a/b".to_vec(), true),
            (deep(PATH_DEPTH - 1), true),
            (deep(PATH_DEPTH), false),
            (vec![b'a'; PATH_BYTES - 2], true),
            (vec![b'a'; PATH_BYTES - 1], false),
        ] {
            let path = match directory.as_slice() {
                [] => b"c".to_vec(),
                directory => [directory, b"/c"].concat(),
            };
            let start = Instant::now();
            let (mut one, mut two) = (Budget::of_root(start), Budget::of_root(start));
            let looked = one.look(&directory, b"c").is_ok();
            let spent = two.spend(Cost::LookedAt, &path).is_ok();
            assert_eq!((looked, spent), (is_short, is_short), "{path:?}");
            assert_eq!(one.spent, two.spent);
        }
        let past = Instant::now().checked_sub(OTHERS_TIME).unwrap();
        let mut late = Budget::of_others(past);
        let seen: Vec<bool> = (0..NAMES_A_CLOCK)
            .map(|_| late.look(b"a", b"b").is_ok())
            .collect();
        assert_eq!(seen.iter().filter(|is_ok| !**is_ok).count(), 1);
    }

    #[test]
    fn a_path_that_nothing_can_hide_is_cut_to_one_above() {
        assert_eq!(hideable(b"a/b"), b"a/b");
        let deep = b"a/".repeat(PATH_DEPTH + 2);
        assert_eq!(hideable(&deep).len(), 2 * PATH_DEPTH - 1);
        let long = [b"a/".as_slice(), &vec![b'b'; PATH_BYTES]].concat();
        assert_eq!(hideable(&long), b"a");
    }

    #[test]
    fn shares_end_with_the_budget_of_all() {
        let mut all = Budget::of_others(Instant::now());
        all.spent = [OTHERS[0] - 1, 0];
        let mut last = all.share();
        assert!(last.spend(Cost::LookedAt, b"a").is_ok());
        assert!(last.spend(Cost::LookedAt, b"b").is_err());
    }
}
