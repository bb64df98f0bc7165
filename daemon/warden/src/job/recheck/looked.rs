//! What a child could not find out. It is no change, so a request stays pending. A job whose turn has come ends.

use remit_common::refusal::{Code, Refusal};
use remit_policy::Basis;

use super::Check;
use crate::approval::accepted::SignaturesNow;
use crate::approval::file_hash::{Measurement, Unmeasured};
use crate::approval::grants::Grants;
use crate::request::Plan;

pub fn check_looked(grants: &Grants, job: &Check<'_>) -> Result<(), Refusal> {
    let refused = |why: String| Refusal::new(Code::NotStarted, why);
    match job {
        Check::LookedUp(plan, found) => {
            unanswered_turn(grants, plan, found).map_or(Ok(()), |why| Err(refused(why)))
        }
        _ => not_looked_at(job).map_or(Ok(()), |why| {
            let text = format!("not approved: {why}");
            let next = "it stays pending, with its earlier approvals: approve it again in a moment";
            Err(refused(text).next(next))
        }),
    }
}

/// Returns what the child could not find out about a request that is being approved.
pub fn not_looked_at(job: &Check<'_>) -> Option<String> {
    let Check::Approving(request, by, found) = job else {
        return None;
    };
    match found {
        Err(Unmeasured::Failed(why)) => Some(why.clone()),
        Err(Unmeasured::Unbindable(_) | Unmeasured::Outdated { .. }) => None,
        Ok(found) => {
            let requester = &request.draft.requester.subject;
            let mut rests_on = request.approvers().chain([*by, requester]);
            let unanswered =
                rests_on.find_map(|one| found.people.unanswered(one.uid(), one.user()));
            unanswered.or_else(|| match &found.signatures {
                SignaturesNow::Unread(why) if !job.has_bad_signature() => Some(why.clone()),
                _ => None,
            })
        }
    }
}

/// Returns what the child could not find out about a plan by a temporary grant. Without an answer the grant stays.
fn unanswered_turn(grants: &Grants, plan: &Plan, found: &Measurement) -> Option<String> {
    let people = match found {
        Err(unmeasured) => return Some(unmeasured.why().to_owned()),
        Ok(found) => &found.people,
    };
    let requester = &plan.requester.subject;
    let giver = || match plan.basis() {
        Basis::TemporaryGrant { grant, .. } => grants.giver_found(*grant, people),
        _ => None,
    };
    match people.unanswered(requester.uid(), requester.user()) {
        Some(why) => Some(why),
        None => match giver() {
            Some(answer) => answer.err(),
            None => Some("the giver of its grant was not looked up".to_owned()),
        },
    }
}
