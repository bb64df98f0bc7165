//! Audit records about requests that wait for an approval.

use remit_common::refusal::Code;

use super::table::Request;
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::identity::peer::Subject;

pub fn asked(request: &Request) -> Record {
    let draft = &request.draft;
    let by = request.pending.approval().by().join(" ");
    let message = format!(
        "{} asks for a change in {} [{}], which {by} can approve: {}{}",
        draft.requester.subject.user(),
        draft.bound.compiled.name(),
        draft.job.short(),
        draft.command(),
        draft.because()
    );
    let verdict = Code::NeedsApproval.as_str();
    let record = draft.about(Event::Asked, message, request.pending.rule(), verdict);
    about(draft.marked(record), request).field("BY", by)
}

pub fn approved(request: &Request, by: &Subject) -> Record {
    let draft = &request.draft;
    let (approver, change) = (by.user(), draft.named("change"));
    let message = format!("{approver} approves {change}: {}", draft.command());
    let record = draft.about(Event::Approved, message, request.pending.rule(), "approved");
    with_approver(about(draft.marked(record), request), by)
}

pub fn about(record: Record, request: &Request) -> Record {
    record
        .field("DIGEST", hex(&request.digest))
        .number("EXPIRES", request.expires_ms)
}

pub fn with_approver(record: Record, by: &Subject) -> Record {
    record
        .field("APPROVER", by.user())
        .number("APPROVER_UID", by.uid())
        .maybe(
            "APPROVER_LOGINUID",
            by.loginuid().map(|uid| uid.to_string()),
        )
        .maybe(
            "APPROVER_LOGINUID_CLAIMED",
            by.claimed().map(|uid| uid.to_string()),
        )
        .field("APPROVER_PEER", by.peer())
}
