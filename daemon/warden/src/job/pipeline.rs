//! Takes one request to run something through all steps, in order, each in its own file. A refusal at any step ends the
//! request with a record and an answer, and nothing has run. Commands that follow a commit take the same way.

use std::os::fd::OwnedFd;

use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_link::{Answer, Spec, ToBroker};
use remit_policy::{Basis, Lifted};

use crate::approval::flow;
use crate::audit::reports::Outcome;
use crate::config::policy_reload::Decided;
use crate::event_loop::timers;
use crate::identity::accounts::{People, Question};
use crate::identity::lookups::{GrantUse, LookUpPurpose};
use crate::identity::peer::Subject;
use crate::job::acts::{self, FollowedCommit};
use crate::job::admission::JobSlot;
use crate::job::context::{JobCx, RequestCx};
use crate::job::{backpressure, granted, queue, unconfirmed};
use crate::request::{Call, Draft, Requester, upload};

/// Runs a request of a session, and reports the result. After a refusal, nothing ran.
pub fn run(cx: &mut RequestCx<'_>, session: u64, ticket: u64, spec: Spec, fds: Vec<OwnedFd>) {
    let mut asked = None;
    let reply = cx.sessions.subject(session).and_then(|subject| {
        let mut call = Call::new(spec, fds)?;
        let sent = cx.policies.has_shadow().then(|| call.args().to_vec());
        cx.policies.complete(subject, &mut call);
        // A plan takes time and memory, and a caller without a rule is refused by the name alone.
        let may_be_granted = cx.policies.may_grant(subject, &call);
        if may_be_granted {
            call.decode_plan(&cx.policies.live.policy);
        }
        upload::add_words(&mut call, cx.settings, subject);
        let asked = asked.insert(cx.policies.summary_of(subject, &call));
        let subject = subject.clone();
        let requester = Requester {
            subject,
            session,
            ticket,
        };
        if let Some(known) = check_request(cx, &requester.subject, &call)? {
            return Ok(Outcome::Answered(Answer::Known(known)));
        }
        // A journal is read from the disk, which only a request that may go on is worth.
        if may_be_granted {
            call.read_undone(&cx.policies.live.policy);
        }
        if let Some(sent) = sent {
            call.shadow = cx.policies.shadow_verdict(&requester.subject, &call, &sent);
            asked.shadow.clone_from(&call.shadow);
        }
        decide_request(cx, requester, call, None)
    });
    let (reports, to) = (&mut cx.job.reports, (session, ticket));
    reports.reply(cx.sessions, to, asked.as_ref(), reply);
}

/// Checks what needs no policy. Returns the job of the same request, if there is one.
fn check_request(
    cx: &RequestCx<'_>,
    subject: &Subject,
    call: &Call,
) -> Result<Option<JobId>, Refusal> {
    if let Some(job) = cx.job.jobs.same_request(subject.owner(), call.request())? {
        return Ok(Some(job));
    }
    backpressure::check_not_parked(cx, subject.uid(), call.request())?;
    cx.life.check_open()?;
    cx.job.reports.breakers.check(subject.uid(), Effect::Read)?;
    cx.job.reports.audit.may_write(subject.uid())?;
    Ok(None)
}

/// Applies the policy to a request. `people`: the accounts that the request rests on, if they were looked up.
pub fn decide_request(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    people: Option<&People>,
) -> Result<Outcome, Refusal> {
    // Decide first: only users who may use a command learn about its arguments.
    let (grants, subject) = (&cx.approvals.grants, &requester.subject);
    let decided = cx.policies.decide(grants, subject, &call)?;
    may_start(&cx.job, subject, call.effect())?;
    match decided {
        Decided::Granted(grant) => granted::start_granted(cx, requester, call, grant),
        Decided::Lifted(lifted) => run_lifted(cx, requester, call, lifted, people),
        Decided::Asks(pending) => {
            let (uid, terms) = (Some(requester.subject.uid()), pending.terms());
            let (bound, new) = granted::bind(cx, JobSlot::Later, &call, terms, uid)?;
            let draft = Box::new(Draft::new(call, bound, requester, new));
            flow::ask_a_person(cx, draft, *pending)
        }
    }
}

/// Fails if the user is paused for this effect, or a command that changes require has not ended well.
pub fn may_start(cx: &JobCx<'_>, subject: &Subject, effect: Effect) -> Result<(), Refusal> {
    cx.reports.breakers.check(subject.uid(), effect)?;
    match effect {
        Effect::Change => cx.jobs.required.check(timers::since_boot()),
        Effect::Read => Ok(()),
    }
}

/// Takes a use and runs the request. Looks the giver up first, if that was not done yet.
fn run_lifted(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    lifted: Lifted,
    people: Option<&People>,
) -> Result<Outcome, Refusal> {
    let found = people.and_then(|people| cx.approvals.grants.giver_found(lifted.grant(), people));
    match found {
        Some(Ok(())) => granted::start_lifted(cx, requester, call, lifted),
        Some(Err(why)) => Err(Refusal::new(Code::NotStarted, why).next("ask again")),
        None => look_up_use(cx, requester, call, lifted.grant()),
    }
}

fn look_up_use(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
    grant: u64,
) -> Result<Outcome, Refusal> {
    let mut question = Question::of([&requester.subject]);
    cx.approvals.grants.ask_about_one(grant, &mut question);
    let then = LookUpPurpose::GrantUse(Box::new(GrantUse { requester, call }));
    cx.lookups.look_up(cx.job.reactor, &question, then)?;
    Ok(Outcome::Parked)
}

/// Starts the next command that follows a commit or an undo, and reports those that are over.
pub fn go_on(cx: &mut RequestCx<'_>) {
    let jobs = &cx.job.jobs;
    cx.job.acts.on_lost(|job| jobs.is_known(job));
    while let Some((chain, at)) = cx.job.acts.due(cx.life.ends_jobs()) {
        let started = start(cx, chain, at);
        let Some(chain) = cx.job.acts.0.get_mut(chain) else {
            return;
        };
        match started {
            Ok(job) => {
                // Its end may come at once.
                chain.on_started(at, job);
                queue::start_first(cx, job);
            }
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
        basis,
        ..
    } = chain;
    let note = unconfirmed::on_acts_over(cx, commit, &then);
    let is_undo = basis == Basis::Unconfirmed;
    cx.jobs.set_follow_ups(commit, &then, is_undo);
    let Some((mut message, mut meta)) = report else {
        return;
    };
    meta.then = then;
    if let Some(ending) = &mut meta.ending {
        let failed = acts::failure(&meta.then);
        let undone = note.or_else(|| ending.next.take());
        let all: Vec<String> = failed.into_iter().chain(undone).collect();
        ending.next = (!all.is_empty()).then(|| all.join("; "));
        let note = ending.next.clone();
        _ = cx.jobs.set_note(commit, |_| note);
    }
    cx.ledger.end(commit, &meta, None);
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
    if let Some(lost) = &chain.lost {
        return Err(lost.clone().next("ask for it by itself"));
    }
    let (effect, purpose) = (act.command.effect, chain.purpose(act.command.effect));
    let is_undo = chain.is_undo();
    if !is_undo {
        cx.life.check_open()?;
        may_start(&cx.job, &requester.subject, effect)?;
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
    let call = Call::following(&act, purpose, Some(chain.commit))?;
    if is_undo {
        // Never queued: a lock would end it. It may be parked, and then it can be lost.
        return granted::start_own(cx, requester, call, grant);
    }
    let (commit, approved) = (chain.commit, chain.approved.clone());
    cx.job.confirmations.on_act(commit, act.text())?;
    granted::queue_own(cx, requester, call, grant, approved)
}
