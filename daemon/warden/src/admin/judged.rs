//! What a look at a temporary grant is about, and whether it is the same when the grant is given.

use remit_common::refusal::{Code, Refusal};

use crate::identity::lookups::JudgedBy;
use crate::job::context::RequestCx;

pub fn judged_by(cx: &RequestCx<'_>) -> JudgedBy {
    JudgedBy {
        policy: cx.policies.live.digest.clone(),
        is_proved: cx.policies.live.is_proved,
        next_number: cx.approvals.grants.next_number(),
        asked_loads: cx.policies.asked_loads,
    }
}

/// Fails if that has changed, or is about to: a load that is under way has not seen this grant.
pub fn check_judged(cx: &RequestCx<'_>, judged: &JudgedBy) -> Result<(), Refusal> {
    let loading = cx.policies.loading.as_ref();
    // One that nobody asked for permits nothing new.
    let is_loading = loading.is_some_and(|loading| !loading.is_unasked);
    match *judged == judged_by(cx) && !is_loading {
        true => Ok(()),
        false => {
            let text = "the policy or the temporary grants have changed meanwhile";
            Err(Refusal::new(Code::Busy, text).next("give it again"))
        }
    }
}
