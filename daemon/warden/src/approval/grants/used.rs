//! Requests that a temporary grant covers: requester and giver are looked up before a use is taken.

use remit_common::refusal::{Code, Refusal};

use super::ended::judge_grants;
use crate::audit::reports::Outcome;
use crate::identity::accounts::People;
use crate::identity::lookups::GrantUse;
use crate::job::context::RequestCx;
use crate::job::pipeline;

/// Decides the request again, by the accounts that were found.
pub fn on_use_looked_up(cx: &mut RequestCx<'_>, used: GrantUse, people: Result<People, String>) {
    let to = (used.requester.session, used.requester.ticket);
    let asked = cx.policies.summary_of(&used.call);
    let reply = run_again(cx, used, people);
    let reports = &mut cx.job.reports;
    reports.reply(cx.sessions, to, Some(&asked), reply);
}

fn run_again(
    cx: &mut RequestCx<'_>,
    used: GrantUse,
    people: Result<People, String>,
) -> Result<Outcome, Refusal> {
    let GrantUse { requester, call } = used;
    cx.life.check_open()?;
    cx.sessions.subject(requester.session)?;
    let people = people.map_err(|why| Refusal::new(Code::NotStarted, why).next("ask again"))?;
    let mut named = cx.policies.live.policy.groups_named().clone();
    named.extend(cx.approvals.grants.groups());
    if let Some(why) = people.has_lost(&requester.subject, &named) {
        return Err(Refusal::new(Code::DeniedRule, why));
    }
    let policy = &cx.policies.live.policy;
    judge_grants(&mut cx.job, &mut cx.approvals.grants, policy, &people);
    pipeline::decide_request(cx, requester, call, Some(&people))
}

/// Drops these requests: their clients are gone, and their tickets belong to the dead broker.
pub fn drop_uses(cx: &mut RequestCx<'_>) {
    for used in cx.lookups.take_uses(cx.job.reactor) {
        let asked = cx.policies.summary_of(&used.call);
        let text = "the broker died while the request was examined";
        cx.job.reports.drop_request(&used.requester, &asked, text);
    }
}
