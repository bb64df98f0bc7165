//! Which commits and undos may start beside those that are to be confirmed. Pure.
//!
//! **Invariant:** while the undo of what nobody confirmed is due or is tried again, no other commit and no other undo begins:
//! one after another would hold the lock of the journals, and change what has to be put back.
//!
//! **Invariant:** what an undo of an unconfirmed commit puts back is changed by no later commit, and by no undo of another
//! one: the undo would leave it, and an undo of the later one would bring the unconfirmed change again.

use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_plan::Extent;
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
        if self.is_undone() {
            return None;
        }
        match &self.stage {
            ConfirmStage::Undoing { .. } => Some(InTheWay::Due),
            _ if self.due_at().is_some_and(|at| at <= now) => Some(InTheWay::Due),
            // A person decides about it.
            ConfirmStage::Failed { again: None, .. } => None,
            ConfirmStage::Failed { .. } => Some(InTheWay::Failed),
            ConfirmStage::Committing { .. }
            | ConfirmStage::Waiting(_)
            | ConfirmStage::Following { .. } => None,
        }
    }

    /// Fails if it can still be undone, and what is about to start changes something there.
    fn is_clear_of(&self, extent: &Extent) -> Result<(), Refusal> {
        let can_be_undone = matches!(self.undo, UndoStage::Started | UndoStage::Kept);
        let common = can_be_undone.then(|| self.extent.common(extent)).flatten();
        common.map_or(Ok(()), |paths| {
            let text = format!(
                "commit {} of {} is not confirmed: until it is confirmed or undone, nothing else changes its paths ({paths})",
                self.short(),
                self.user,
            );
            Err(Refusal::new(Code::NotStarted, text)
                .object(&*self.commit)
                .next(self.ways_out()))
        })
    }

    fn ways_out(&self) -> String {
        format!(
            "an administrator keeps it ('{}' from a new login), or a user with a grant of plan.undo undoes it ('remit undo {} -m WHY')",
            self.command(),
            self.commit
        )
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
                     commit or undo starts before {}",
                    self.ways_out()
                );
                Refusal::new(Code::NotStarted, text)
                    .object(&*self.commit)
                    .next("ask an administrator to look at it")
            }
        }
    }
}

/// Fails unless this may start now, which changes something in `extent`. `None`: it is neither a commit nor an undo.
pub fn may_start(
    all: &[Unconfirmed],
    starting: Option<Starting<'_>>,
    extent: &Extent,
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
    let own = match starting {
        Starting::Undo(id) => all.iter().find(|one| one.commit == id),
        Starting::Commit { .. } => None,
    };
    let failed = in_the_way(InTheWay::Failed);
    if let Some(one) = failed
        && own.and_then(|own| own.in_the_way(now)) != Some(InTheWay::Failed)
    {
        return Err(one.refusal(InTheWay::Failed));
    }
    if own.is_none() {
        all.iter().try_for_each(|one| one.is_clear_of(extent))?;
    }
    match starting {
        Starting::Commit {
            uid,
            is_to_be_confirmed: true,
        } => has_share(all, uid).map_err(|why| Refusal::new(Code::Busy, why)),
        Starting::Commit { .. } | Starting::Undo(_) => Ok(()),
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
    use remit_common::names::JobId;
    use remit_common::outcome::{Ending, State};
    use remit_plan::{Change, Entry, Metadata, New, Phase, Plan, PlanPath};

    use super::super::Clocks;
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

    fn within(path: &str) -> Extent {
        let meta = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let change = Change::Create {
            new: New::Directory,
            meta,
        };
        let path = PlanPath::new(path).unwrap();
        Extent::new(&Plan::new(vec![Entry { path, change }]).unwrap())
    }

    fn tries(all: &[Unconfirmed], starting: Starting<'_>) -> Result<(), Refusal> {
        may_start(all, Some(starting), &within("/etc/x"), NOW)
    }

    fn code(one: &Unconfirmed, starting: Starting<'_>) -> Option<Code> {
        let started = tries(std::slice::from_ref(one), starting);
        started.err().map(|refusal| refusal.code)
    }

    #[test]
    fn paths_of_an_unconfirmed_commit_stay_as_they_are_until_its_undo() {
        let mut one = Unconfirmed {
            window_s: 300,
            extent: within("/etc/ssh/sshd_config"),
            ..committing()
        };
        let id = one.commit.clone();
        let all = [
            COMMIT,
            Starting::Commit {
                uid: 1001,
                is_to_be_confirmed: false,
            },
            Starting::Undo("00"),
            Starting::Undo(&id),
        ];
        let codes = |one: &Unconfirmed, path: &str, now: u64| {
            all.map(|starting| {
                let now = Duration::from_secs(now);
                let one = std::slice::from_ref(one);
                let started = may_start(one, Some(starting), &within(path), now);
                started.err().map(|refusal| refusal.code)
            })
        };
        let refused = [Some(Code::NotStarted); 3];
        let is_kept = |one: &Unconfirmed, now| {
            for path in ["/etc/ssh/sshd_config", "/etc/ssh", "/etc/ssh/sshd_config/a"] {
                let [others @ .., own] = codes(one, path, now);
                assert_eq!((others, own), (refused, None), "{path} {:?}", one.stage);
            }
            assert_eq!(codes(one, "/etc/ssh/sshd_config.d", now), [None; 4]);
        };
        is_kept(&one, 0);
        let end = Ending {
            exit: Some(0),
            ..Ending::unmeasured(State::Exited, "exit 0".to_owned(), true)
        };
        let start = Clocks {
            boot: Duration::ZERO,
            monotonic: Duration::ZERO,
            unix_ms: 0,
        };
        assert!(one.on_commit_end(&end, false, start).is_some());
        is_kept(&one, 120);
        let busy = [Some(Code::Busy); 4];
        assert_eq!(codes(&one, "/etc/ssh/sshd_config", 300), busy);
        // A person decides about it: somebody may still undo it.
        for _ in 0..5 {
            one.on_undo_started(JobId([9; 16]));
            one.on_undo_failed("x", Duration::from_secs(300));
            one.saw(Some(Phase::Kept));
        }
        is_kept(&one, 4000);
        for undo in [UndoStage::Done, UndoStage::Parted, UndoStage::Lost] {
            one.undo = undo;
            assert_eq!(codes(&one, "/etc/ssh/sshd_config", 4000), [None; 4]);
        }
    }

    #[test]
    fn commit_with_unknown_paths_keeps_all_others() {
        let one = Unconfirmed {
            extent: Extent::default(),
            ..waiting(501)
        };
        let text = tries(&[one], COMMIT).unwrap_err().message;
        assert!(text.contains("or not known"), "{text}");
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
            assert!(may_start(&[one], None, &Extent::default(), NOW).is_ok());
        }
    }

    #[test]
    fn refusal_names_the_commit_and_the_way_out() {
        let armed = Unconfirmed {
            extent: within("/etc"),
            ..waiting(501)
        };
        for (one, word) in [(failed(), "remit status"), (armed, "its paths ('/etc')")] {
            let refusal = tries(std::slice::from_ref(&one), COMMIT).unwrap_err();
            let text = format!("{refusal:?}");
            for word in [
                word,
                "commit 0123456789ab of bot",
                "remit confirm 0123456789ab",
                &format!("remit undo {}", one.commit),
            ] {
                assert!(text.contains(word), "{word:?} is not in {text}");
            }
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
        assert_eq!(tries(&all, COMMIT).unwrap_err().code, Code::Busy);
        let plain = Starting::Commit {
            uid: 1000,
            is_to_be_confirmed: false,
        };
        assert!(tries(&all, plain).is_ok());
        all.extend((0..48).map(|at| of(2000 + at)));
        assert!(
            has_share(&all, 1001)
                .unwrap_err()
                .starts_with("64 commits wait")
        );
    }
}
