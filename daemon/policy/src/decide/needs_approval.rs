//! The refusal of a call that a person has to approve, with what would lift it.

use remit_common::refusal::{Code, Refusal};

use crate::decide::approval::Pending;
use crate::model::command::CommitUse;
use crate::model::profile::{Base, Inspect};

const FLOOR: &str = "floor.approval of remit.toml";

/// The refusal shown before an approval is requested.
impl From<Pending> for Refusal {
    fn from(pending: Pending) -> Self {
        let (what, of) = match pending.command() {
            Some(command) => (
                format!("'{0}'", command.name),
                format!(" of '{0}'", command.name),
            ),
            None => ("this".to_owned(), String::new()),
        };
        let asks = pending.approval();
        let by = match pending.is_by_floor {
            true => FLOOR.to_owned(),
            false => pending.rule().to_string(),
        };
        let refusal = Self::new(Code::NeedsApproval, format!("{what} {asks}"))
            .by(by)
            .next(
                "ask for it all the same, with the reason: the request waits until they approve it, or one of them denies \
                 it; approved, it starts by itself",
            );
        // Without the floor that the advice removes, the rules have to allow it.
        if pending.is_by_floor && !pending.is_refused_alone {
            return refusal.lift(format!(
                "{FLOOR}, which asks before each change: without it, and after a restart of remitd, the rule {} asks for no approval",
                pending.rule()
            ));
        }
        if pending.is_refused_alone || always_asks(&pending) {
            return refusal;
        }
        let is_commit = pending.command().is_some_and(|command| command.is_commit());
        let limit = match (pending.profile().base, is_commit) {
            (_, true) => " and paths = [\"/DIRECTORY\"]",
            (Base::Host, false) => " and unconfined = true",
            (Base::Read | Base::Strict | Base::Plan | Base::Extract, false) => "",
        };
        refusal.lift(format!(
            "a [[grant]]{of} with approval = \"none\"{limit} in place of that one; then remit policy reload"
        ))
    }
}

/// Returns true if no rule that loads lifts the approval: of a one-off change, an undo, private files, and a check with the
/// eyes of root.
fn always_asks(pending: &Pending) -> bool {
    let commit_use = pending.command().and_then(|command| command.commit_use());
    pending.terms().is_one_off()
        || pending
            .command()
            .is_some_and(|command| command.shows_any_file())
        || commit_use == Some(CommitUse::Undo)
        || pending.profile().inspect == Some(Inspect::File)
}
