//! Lists and shows requests that wait for an approval.

use std::collections::BTreeMap;

use remit_common::admin::AdminReply;
use remit_common::id_prefix::IdPrefix;
use remit_common::refusal::{Code, Refusal};

use super::Wants;
use super::replies::pending_list;
use super::showing::start_showing;
use crate::approval::{Request, copies, end, no_such_request};
use crate::identity::peer::Subject;
use crate::job::context::{JobCx, RequestCx};

/// Returns the list at once if it differs from the state `seen`. Otherwise the caller waits for a change.
pub fn pending(
    cx: &mut JobCx<'_>,
    subject: &Subject,
    seen: Option<u64>,
) -> Result<Wants, AdminReply> {
    end::end_expired(cx);
    match seen == Some(cx.jobs.generation) {
        true => Ok(Wants::Pending),
        false => Err(pending_list(cx.jobs, subject)),
    }
}

/// Starts to send a request with all that will run, at once or after its copies are compared. Returns the wait for that.
pub fn show(
    cx: &mut RequestCx<'_>,
    number: u64,
    subject: &Subject,
    id: &str,
) -> Result<Option<Wants>, Refusal> {
    end::end_expired(&mut cx.job);
    let id: IdPrefix = id.parse()?;
    let asked = cx.job.jobs.all::<Request>();
    let found = id.choose(asked, |(_, request)| request.draft.job)?;
    let (serial, _) = found.ok_or_else(no_such_request)?;
    let is_own = |(other, what): &(u64, Wants)| *other == number && matches!(what, Wants::Show(_));
    if cx.job.admins.waiting.iter().any(is_own) {
        let text = "another request is being shown on this connection";
        return Err(Refusal::new(Code::Busy, text).next("wait for its answer first"));
    }
    if let Some(wants) = copies::compare_copies(cx, serial, subject) {
        return Ok(Some(wants));
    }
    let (admins, today) = (&mut cx.job.admins, BTreeMap::new());
    match start_showing(admins, cx.job.jobs, number, subject, serial, today) {
        true => Ok(None),
        false => Err(no_such_request()),
    }
}
