//! Takes one request to run something through all steps, in order, each in its own file. A refusal at any step ends
//! the request with a record and an answer, and nothing has run.

use std::os::fd::OwnedFd;

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_link::{Answer, Spec};
use remit_policy::Lifted;

use crate::approval::flow;
use crate::audit::reports::Outcome;
use crate::config::policy_reload::Decided;
use crate::event_loop::timers;
use crate::identity::accounts::{People, Question};
use crate::identity::lookups::{GrantUse, LookUpPurpose};
use crate::identity::peer::Subject;
use crate::job::admission::JobSlot;
use crate::job::context::{JobCx, RequestCx};
use crate::job::{backpressure, granted};
use crate::request::{Call, Draft, Requester};

/// Runs a request of a session, and reports the result. After a refusal, nothing ran.
pub fn run(cx: &mut RequestCx<'_>, session: u64, ticket: u64, spec: Spec, fds: Vec<OwnedFd>) {
    let mut asked = None;
    let reply = cx.sessions.subject(session).and_then(|subject| {
        let mut call = Call::new(spec, fds)?;
        call.complete(&cx.policies.live.policy);
        asked = Some(cx.policies.summary_of(&call));
        let subject = subject.clone();
        let requester = Requester {
            subject,
            session,
            ticket,
        };
        start_request(cx, requester, call)
    });
    let (reports, to) = (&mut cx.job.reports, (session, ticket));
    reports.reply(cx.sessions, to, asked.as_ref(), reply);
}

fn start_request(
    cx: &mut RequestCx<'_>,
    requester: Requester,
    call: Call,
) -> Result<Outcome, Refusal> {
    let subject: &Subject = &requester.subject;
    if let Some(job) = cx.job.jobs.same_request(subject.owner(), call.request())? {
        return Ok(Outcome::Answered(Answer::Known(job)));
    }
    backpressure::check_not_parked(cx, subject.uid(), call.request())?;
    cx.life.check_open()?;
    cx.job.reports.breakers.check(subject.uid(), Effect::Read)?;
    cx.job.reports.audit.may_write(subject.uid())?;
    decide_request(cx, requester, call, None)
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
    if call.effect() == Effect::Change {
        may_change(&cx.job, subject)?;
    }
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

/// Fails if the user is paused, or a command that changes require has not ended well.
pub fn may_change(cx: &JobCx<'_>, subject: &Subject) -> Result<(), Refusal> {
    cx.reports.breakers.check(subject.uid(), Effect::Change)?;
    cx.jobs.required.check(timers::since_boot())
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
