//! Which undos are kept, and which are forgotten. Pure.

use remit_plan::{Change, Kind, Plan};

/// How long an undo is kept, and how many bytes all of them may have.
const KEPT_SECONDS: u64 = 30 * 24 * 3600;
const KEPT_BYTES: u64 = 2 << 30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptUndo {
    pub id: String,
    /// By the clock of the machine, which may be wrong.
    pub age_s: u64,
    /// Of its old files, of its journal, and what each one costs. Anybody can make a sparse file of any size.
    pub bytes: u64,
}

/// Returns the ids to forget: those too old, then the largest until few bytes are left: one huge undo ends no others.
/// Without a clock that is known to be right none is too old: one boot in a wrong year would forget all of them.
pub fn expired(kept: Vec<KeptUndo>, is_clock_right: bool) -> Vec<String> {
    let is_old = |undo: &KeptUndo| is_clock_right && undo.age_s > KEPT_SECONDS;
    let (old, mut rest): (Vec<_>, Vec<_>) = kept.into_iter().partition(is_old);
    rest.sort_by(|a, b| (b.bytes, b.age_s, &b.id).cmp(&(a.bytes, a.age_s, &a.id)));
    let mut bytes = rest
        .iter()
        .fold(0, |sum, undo| sum + u128::from(undo.bytes));
    let is_over = |undo: &&KeptUndo| {
        let is_over = bytes > u128::from(KEPT_BYTES);
        bytes -= u128::from(undo.bytes);
        is_over
    };
    let large = rest.iter().take_while(is_over);
    let mut ids: Vec<String> = old
        .iter()
        .chain(large)
        .map(|undo| undo.id.clone())
        .collect();
    ids.sort();
    ids
}

/// Returns bytes of old files that the undo keeps. Sizes of directories do not count: the requester chooses them.
pub fn undo_bytes(plan: &Plan) -> u64 {
    let kept = plan.entries().iter().map(|entry| match entry.change {
        Change::Replace { base, .. }
        | Change::ReplaceKind { base, .. }
        | Change::Remove { base }
            if base.stat.kind == Kind::File =>
        {
            base.stat.size
        }
        _ => 0,
    });
    kept.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(id: &str, age_s: u64, bytes: u64) -> KeptUndo {
        KeptUndo {
            id: id.to_owned(),
            age_s,
            bytes,
        }
    }

    #[test]
    fn undos_are_forgotten_by_age_then_by_size() {
        let (month, gib) = (30 * 24 * 3600, 1 << 30);
        for (kept, forgotten) in [
            (vec![], vec![]),
            (
                vec![undo("a", month, 1), undo("b", month + 1, 1)],
                vec!["b"],
            ),
            (
                vec![undo("c", 3, gib), undo("a", 1, gib), undo("b", 2, 1)],
                vec!["c"],
            ),
            (vec![undo("a", 1, 3 * gib)], vec!["a"]),
            (vec![undo("a", 1, 2 * gib), undo("b", 9, 1)], vec!["a"]),
            (vec![undo("a", 1, gib), undo("b", 2, gib)], vec![]),
            (
                vec![undo("a", 1, u64::MAX), undo("b", 2, u64::MAX)],
                vec!["a", "b"],
            ),
        ] {
            assert_eq!(expired(kept.clone(), true), forgotten, "{kept:?}");
        }
    }

    #[test]
    fn wrong_clock_forgets_by_size_alone() {
        let (century, gib) = (100 * 365 * 24 * 3600, 1 << 30);
        for (kept, by_time, by_size) in [
            (
                vec![undo("a", century, 1), undo("b", century, 1)],
                vec!["a", "b"],
                vec![],
            ),
            (
                vec![undo("a", century, 3 * gib), undo("b", 1, 1)],
                vec!["a"],
                vec!["a"],
            ),
            (
                vec![
                    undo("a", century, gib),
                    undo("b", century, gib),
                    undo("c", 1, 1),
                ],
                vec!["a", "b"],
                vec!["b"],
            ),
        ] {
            assert_eq!(expired(kept.clone(), true), by_time, "{kept:?}");
            assert_eq!(expired(kept.clone(), false), by_size, "{kept:?}");
        }
    }

    /// The size of a file is its owner's choice: a sparse one of 3 GiB costs nothing.
    #[test]
    fn one_huge_undo_does_not_forget_those_of_others() {
        let kept = vec![undo("huge", 1, 3 << 30), undo("other", 60, 100)];
        assert!(!expired(kept, true).contains(&"other".to_owned()));
    }
}
