//! Approvals of a request that still needs more people.

use remit_common::admin::AdminReply;
use remit_common::refusal::Refusal;
use remit_link::ToBroker;

use super::table::{Approval, Request, no_such_request};
use crate::job::context::RequestCx;

/// Keeps a recorded approval of a request that waits for more people. Its requester and the lists of approvers show it.
pub fn count_approval(
    cx: &mut RequestCx<'_>,
    serial: u64,
    approval: Approval,
) -> Result<AdminReply, Refusal> {
    let request = cx.job.jobs.find_mut::<Request>(serial);
    let request = request.ok_or_else(no_such_request)?;
    request.approvals.push(approval);
    let (job, missing) = (request.draft.job, request.still_missing());
    let approved_by = request.approved_by();
    cx.job.reports.tell(&ToBroker::Counted {
        job,
        approved_by,
        missing,
    });
    cx.job.jobs.generation += 1;
    let people = match missing {
        1 => "1 other person has".to_owned(),
        more => format!("{more} other people have"),
    };
    let name = job.short();
    Ok(AdminReply::Counted {
        text: format!("your approval is recorded; {people} to approve job {name}, too"),
        missing,
    })
}
