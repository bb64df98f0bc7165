//! What keeps a commit or an undo from its start for now. It is no change, so it must not use up the last approval.

use remit_common::refusal::{Code, Refusal};
use remit_policy::Command;

use crate::approval::Request;
use crate::job::context::RequestCx;
use crate::job::granted::may_commit_draft;

/// Fails unless a request could start now, if it commits or undoes.
pub fn may_start_once_approved(cx: &RequestCx<'_>, request: &Request) -> Result<(), Refusal> {
    let command = request.pending.command().map(AsRef::as_ref);
    if request.missing() > 1 || command.and_then(Command::commit_use).is_none() {
        return Ok(());
    }
    let free = match cx.job.jobs.has_commit() {
        true => {
            let text = "another commit, undo or recovery of files runs";
            Err(Refusal::new(Code::Busy, text))
        }
        false => may_commit_draft(cx, &request.draft, command),
    };
    free.map_err(keep_pending)
}

fn keep_pending(refusal: Refusal) -> Refusal {
    let message = format!(
        "not approved, as it cannot start now, and it still waits: {}",
        refusal.message
    );
    let next = refusal.next.clone();
    let next = next.unwrap_or_else(|| "approve it again in a moment".to_owned());
    Refusal { message, ..refusal }.next(next)
}
