//! Which commits and undos may start beside those that are to be confirmed. Pure.
//!
//! **Invariant:** while the undo of what nobody confirmed is due or is tried again, no other commit and no other undo begins:
//! one after another would hold the lock of the journals, and change what has to be put back.

use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_policy::CommitUse;

use super::{ConfirmStage, MOST, Unconfirmed, UndoStage};
use crate::request::BoundCall;

/// Of these, those of one user: nobody keeps the commits of others out.
pub const SHARE: usize = 16;

/// What is about to start.
#[derive(Clone, Copy, Debug)]
pub enum Starting<'a> {
    Commit {
        uid: u32,
        is_to_be_confirmed: bool,
    },
    /// The commit that it undoes.
    Undo(&'a str),
}

impl<'a> Starting<'a> {
    /// Returns `None` for what is neither a commit nor an undo.
    pub fn of(used: Option<CommitUse>, uid: u32, bound: &'a BoundCall) -> Option<Self> {
        match used? {
            CommitUse::Commit => Some(Self::Commit {
                uid,
                is_to_be_confirmed: bound.confirm.is_some(),
            }),
            CommitUse::Undo => Some(Self::Undo(bound.undo.as_ref()?.id())),
            CommitUse::Recover => None,
        }
    }
}

/// How an undo is in the way of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InTheWay {
    /// It runs, or is about to.
    Due,
    /// It has not worked.
    Failed,
}

impl Unconfirmed {
    fn in_the_way(&self, now: Duration) -> Option<InTheWay> {
        if matches!(self.undo, UndoStage::Done | UndoStage::Parted) {
            return None;
        }
        match &self.stage {
            ConfirmStage::Undoing { .. } => Some(InTheWay::Due),
            _ if self.due_at().is_some_and(|at| at <= now) => Some(InTheWay::Due),
            // A person decides about it.
            ConfirmStage::Failed { again: None, .. } => None,
            ConfirmStage::Failed { .. } => Some(InTheWay::Failed),
            ConfirmStage::Committing
            | ConfirmStage::Waiting(_)
            | ConfirmStage::Following { .. } => None,
        }
    }

    fn refusal(&self, way: InTheWay) -> Refusal {
        let what = format!("commit {} of {}", self.short(), self.user);
        match way {
            InTheWay::Due => {
                let text = format!(
                    "nobody confirmed {what} in time: it is undone before any other commit or undo starts"
                );
                Refusal::new(Code::Busy, text)
                    .object(&*self.commit)
                    .next("try again in a moment; 'remit status' shows what becomes of it")
            }
            InTheWay::Failed => {
                let text = format!(
                    "{what} is to be undone, and that has not worked, as 'remit status' shows: until its last try no other \
                     commit or undo starts before an administrator keeps it ('{}' from a new login) or undoes it \
                     ('remit undo {}')",
                    self.command(),
                    self.commit
                );
                Refusal::new(Code::NotStarted, text)
                    .object(&*self.commit)
                    .next("ask an administrator to look at it")
            }
        }
    }
}

/// Fails unless this may start now. `None`: it is neither a commit nor an undo.
pub fn may_start(
    all: &[Unconfirmed],
    starting: Option<Starting<'_>>,
    now: Duration,
) -> Result<(), Refusal> {
    let Some(starting) = starting else {
        return Ok(());
    };
    let in_the_way = |way| {
        let mut all = all.iter();
        all.find(|one| one.in_the_way(now) == Some(way))
    };
    if let Some(one) = in_the_way(InTheWay::Due) {
        return Err(one.refusal(InTheWay::Due));
    }
    match (in_the_way(InTheWay::Failed), starting) {
        (Some(_), Starting::Undo(id))
            if all
                .iter()
                .any(|one| one.commit == id && one.in_the_way(now) == Some(InTheWay::Failed)) =>
        {
            Ok(())
        }
        (Some(one), _) => Err(one.refusal(InTheWay::Failed)),
        (
            None,
            Starting::Commit {
                uid,
                is_to_be_confirmed: true,
            },
        ) => has_share(all, uid).map_err(|why| Refusal::new(Code::Busy, why)),
        (None, _) => Ok(()),
    }
}

/// Fails if one more commit of this user cannot wait for a confirmation.
pub fn has_share(all: &[Unconfirmed], uid: u32) -> Result<(), String> {
    let own = all.iter().filter(|one| one.uid == uid).count();
    let rest = "wait for a confirmation, the maximum; 'remit status' lists them, and an administrator confirms or undoes them";
    match () {
        () if own >= SHARE => Err(format!("{own} commits of this user {rest}")),
        () if all.len() >= MOST => Err(format!("{} commits {rest}", all.len())),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{committing, undoing, waiting};
    use super::*;

    const NOW: Duration = Duration::from_secs(500);
    const COMMIT: Starting<'_> = Starting::Commit {
        uid: 1000,
        is_to_be_confirmed: true,
    };

    fn failed() -> Unconfirmed {
        let mut one = undoing();
        one.undo = UndoStage::Kept;
        one.on_undo_failed("x", NOW);
        one
    }

    fn code(one: &Unconfirmed, starting: Starting<'_>) -> Option<Code> {
        let started = may_start(std::slice::from_ref(one), Some(starting), NOW);
        started.err().map(|refusal| refusal.code)
    }

    #[test]
    fn nothing_starts_while_an_undo_is_due_and_only_its_own_after_it_failed() {
        let own = committing().commit;
        let (own, other) = (Starting::Undo(&own), Starting::Undo("00"));
        let (mut overdue, mut exhausted, mut parted) = (failed(), failed(), undoing());
        overdue.retry(NOW);
        (0..4).for_each(|_| exhausted.on_undo_failed("x", NOW));
        parted.undo = UndoStage::Parted;
        let (busy, not) = (Some(Code::Busy), Some(Code::NotStarted));
        for (one, commit, undo, own_undo) in [
            (committing(), None, None, None),
            (waiting(501), None, None, None),
            (waiting(500), busy, busy, busy),
            (undoing(), busy, busy, busy),
            (failed(), not, not, None),
            (overdue, busy, busy, busy),
            (exhausted, None, None, None),
            (parted, None, None, None),
        ] {
            let codes = [COMMIT, other, own].map(|starting| code(&one, starting));
            assert_eq!(codes, [commit, undo, own_undo], "{:?}", one.stage);
            assert!(may_start(&[one], None, NOW).is_ok());
        }
    }

    #[test]
    fn refusal_names_the_commit_and_the_way_out() {
        let one = failed();
        let started = may_start(std::slice::from_ref(&one), Some(COMMIT), NOW);
        let (text, id) = (started.unwrap_err().message, &one.commit);
        for word in [
            "commit 0123456789ab of bot",
            "remit status",
            "remit confirm 0123456789ab",
            &format!("remit undo {id}"),
        ] {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }

    #[test]
    fn undone_commit_with_failed_commands_blocks_no_commit() {
        let mut one = undoing();
        one.on_follow();
        one.saw(None);
        one.on_undo_failed("x", NOW);
        assert_eq!(code(&one, COMMIT), None);
    }

    #[test]
    fn each_user_has_a_share() {
        let of = |uid: u32| Unconfirmed {
            uid,
            ..waiting(600)
        };
        let mut all: Vec<_> = (0..SHARE).map(|_| of(1000)).collect();
        let text = has_share(&all, 1000).unwrap_err();
        assert!(text.starts_with("16 commits of this user wait"), "{text}");
        assert!(has_share(&all[1..], 1000).is_ok() && has_share(&all, 1001).is_ok());
        assert_eq!(
            may_start(&all, Some(COMMIT), NOW).unwrap_err().code,
            Code::Busy
        );
        let plain = Starting::Commit {
            uid: 1000,
            is_to_be_confirmed: false,
        };
        assert!(may_start(&all, Some(plain), NOW).is_ok());
        all.extend((0..48).map(|at| of(2000 + at)));
        assert!(
            has_share(&all, 1001)
                .unwrap_err()
                .starts_with("64 commits wait")
        );
    }
}
