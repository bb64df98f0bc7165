//! Starts the commands that follow a commit, and reports the commit once they are over.

use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_link::ToBroker;
use remit_policy::Basis;

use crate::job::acts::FollowedCommit;
use crate::job::context::{JobCx, RequestCx};
use crate::job::{granted, pipeline, unconfirmed};
use crate::request::{Call, Requester};

/// Starts what is due, and reports commits whose commands are over.
pub fn go_on(cx: &mut RequestCx<'_>) {
    while let Some((chain, at)) = cx.job.acts.due() {
        let started = start(cx, chain, at);
        let Some(chain) = cx.job.acts.0.get_mut(chain) else {
            return;
        };
        match started {
            Ok(job) => chain.on_started(at, job),
            Err(mut refusal) => {
                let why = format!("not started: {}", refusal.message);
                chain.on_over(at, State::NotStarted, None, &why);
                let command = chain.then.get(at).map_or("", |one| &one.command);
                let commit = chain.commit.short();
                refusal.message = format!(
                    "'{command}' does not follow job {commit}: {}",
                    refusal.message
                );
                let (requester, session) = (&chain.requester, Some(chain.session));
                let reports = &mut cx.job.reports;
                reports.record_refusal(Some(requester), session, &refusal, None);
            }
        }
    }
    for chain in cx.job.acts.take_over() {
        report(&mut cx.job, chain);
    }
}

fn report(cx: &mut JobCx<'_>, chain: FollowedCommit) {
    let FollowedCommit {
        commit,
        then,
        report,
        ..
    } = chain;
    let note = unconfirmed::on_acts_over(cx, commit, &then);
    cx.jobs.set_follow_ups(commit, &then);
    let Some((mut message, mut meta)) = report else {
        return;
    };
    meta.then = then;
    if let Some(ending) = &mut meta.ending {
        let failed = meta.then.iter().find(|one| !one.has_succeeded());
        let failed = failed.map(|one| format!("'{}': {}", one.command, one.cause));
        let undone = note.or_else(|| ending.next.take());
        let all: Vec<String> = failed.into_iter().chain(undone).collect();
        ending.next = (!all.is_empty()).then(|| all.join("; "));
    }
    cx.ledger.end(commit, &meta);
    cx.ledger.recorded(commit);
    if let ToBroker::Ended { then, ending, .. } = &mut message {
        then.clone_from(&meta.then);
        if let Some(known) = &meta.ending {
            ending.next.clone_from(&known.next);
        }
    }
    cx.reports.tell(&message);
    cx.admins.tell_ended(&meta);
}

fn start(cx: &mut RequestCx<'_>, chain: usize, at: usize) -> Result<JobId, Refusal> {
    let gone = || Refusal::new(Code::NotStarted, "it is not known any more");
    let chain = cx.job.acts.0.get(chain).ok_or_else(gone)?;
    let act = chain.acts.get(at).ok_or_else(gone)?.clone();
    let requester = Requester {
        subject: chain.requester.clone(),
        session: chain.session,
        ticket: 0,
    };
    let (effect, purpose) = (act.command.effect, chain.purpose(act.command.effect));
    let client = format!("remitd, after job {}", chain.commit.short());
    let is_undo = chain.basis == Basis::Unconfirmed;
    if !is_undo {
        cx.life.check_open()?;
        if effect == Effect::Change {
            pipeline::may_change(&cx.job, &requester.subject)?;
        }
    }
    let live = &cx.policies.live;
    if let Basis::Approved { by, .. } = &chain.basis
        && chain.policy != live.digest
    {
        let text = format!("the policy has changed: {by} approved it under the earlier policy");
        return Err(Refusal::new(Code::ApprovalVoid, text).next("ask for it by itself"));
    }
    let caller = match is_undo {
        true => requester.subject.caller_ids(),
        false => cx.policies.caller_ids(&requester.subject)?,
    };
    let grant = live.policy.act(caller, &chain.name, &act, &chain.basis)?;
    let call = Call::following(&act, purpose, client)?;
    if is_undo {
        // Never queued: a lock would end it.
        return granted::start_own(cx, requester, call, grant);
    }
    let commit = chain.commit;
    cx.job.confirmations.on_act(commit, act.text())?;
    granted::queue_own(cx, requester, call, grant)
}
