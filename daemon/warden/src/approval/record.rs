//! The records about a request that waits for an approval. Pure.

use super::table::Request;
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::peer::Subject;

/// The record that somebody is asked.
pub fn asked(request: &Request) -> Record {
    let draft = &request.draft;
    let does = "asks for a change that another person has to approve";
    let record = draft.about(Event::Asked, does, request.pending.rule());
    about(draft.marked(record), request).field("BY", request.pending.approval().by().join(" "))
}

/// The record of an approval.
pub fn approved(request: &Request, by: &Subject) -> Record {
    let draft = &request.draft;
    let does = format!("may do what {} approved", by.user());
    let record = draft.about(Event::Approved, &does, request.pending.rule());
    by_whom(about(draft.marked(record), request), by)
}

/// Adds what every record about a request has.
pub fn about(record: Record, request: &Request) -> Record {
    record
        .field("DIGEST", hex(&request.digest))
        .number("EXPIRES", request.expires_ms)
}

/// Adds who decided.
pub fn by_whom(record: Record, by: &Subject) -> Record {
    record
        .field("APPROVER", by.user())
        .number("APPROVER_UID", by.uid())
        .maybe(
            "APPROVER_LOGINUID",
            by.loginuid().map(|uid| uid.to_string()),
        )
        .field("APPROVER_PEER", by.peer())
}
