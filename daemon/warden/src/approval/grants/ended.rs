//! Ends grants and the jobs that wait by them: time is over, or an account changed. Each use looks the accounts up first,
//! which also updates the groups of a giver.

use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::admin::Grantee;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Basis, Glob, NotGivable, Policy, PreApproval, Principal};
use remit_sys::in_child;

use super::bounds::Moment;
use super::describe::ended;
use super::{Grants, Opened, TemporaryGrant, described, in_words, table};
use crate::approval::still_administers;
use crate::audit::reports::Outcome;
use crate::audit::{Event, Record};
use crate::event_loop::timers::Timer;
use crate::identity::accounts::{AccountState, People, Question};
use crate::identity::lookups::{GrantUse, PATIENCE};
use crate::job::context::{JobCx, RequestCx};
use crate::job::ended;
use crate::job::pipeline;
use crate::job::state::Parked;
use crate::job::table::Jobs;
use crate::service::log::{self, Weight};
use crate::startup::error::Fatal;

pub fn end_grants(cx: &mut JobCx<'_>, grants: &mut Grants) {
    let now = Moment::now();
    let mut table = grants.table.clone();
    let over = table.sweep(now, |number| is_awaited_by_job(cx.jobs, number));
    if table != grants.table {
        grants.table = table;
        // A grant that is over by the wall clock stays over if that clock is set back.
        if let Err(error) = grants.save(now) {
            say!("cannot save the end of a grant: {error}");
        }
    }
    for granted in over {
        cx.reports.audit.note(ended(&granted, "its time is over"));
        void_jobs_of_grant(cx, granted.number, "its time is over");
    }
    let timers = &mut cx.reactor.timers;
    match grants.table.next_end(now) {
        Some(ms) => timers.add(Duration::from_millis(ms.saturating_add(1)), Timer::Grants),
        None => timers.cancel(Timer::Grants),
    }
}

fn is_awaited_by_job(jobs: &Jobs, number: u64) -> bool {
    let queued = jobs.waiting().map(|waiting| &waiting.plan);
    let parked = jobs.all::<Parked>();
    let mut plans = queued.chain(parked.map(|(_, parked)| &parked.plan));
    plans.any(|plan| is_by(plan.basis(), number))
}

/// Ends jobs that wait for a slot. [`Grants::recheck_grant`] later refuses jobs that wait for their record.
pub fn void_jobs_of_grant(cx: &mut JobCx<'_>, number: u64, why: &str) {
    let waiting = cx.jobs.waiting().map(|waiting| &waiting.plan);
    let waiting = waiting.filter(|plan| is_by(plan.basis(), number));
    let jobs: Vec<_> = waiting.map(|plan| plan.job).collect();
    for job in jobs {
        let cause = format!("grant {number}, by which it was to run, has ended: {why}");
        ended::end_if_waiting(cx, job, State::Denied, &cause);
    }
}

/// Records what happened to the grants of an earlier daemon. Once, at start.
pub fn take_over_grants(
    cx: &mut JobCx<'_>,
    grants: &mut Grants,
    policy: &Policy,
) -> Result<(), Fatal> {
    let Opened {
        damage,
        ended: gone,
    } = std::mem::take(&mut grants.opened);
    let audit = &mut cx.reports.audit;
    let mut records = Vec::new();
    if let Some(damage) = damage {
        let message = format!(
            "all temporary grants are lost, because their file is damaged: {}",
            damage.describe()
        );
        log::beside(audit, Weight::Error, format_args!("{message}"));
        records.push(
            Record::new(Event::Revoked, message)
                .with_error_priority()
                .field("CAUSE", &damage.what),
        );
    }
    records.extend(gone.iter().map(|(granted, why)| ended(granted, why)));
    for record in records {
        let written = audit.write_patiently(record);
        written.map_err(|why| Fatal::Unavailable(why.to_string()))?;
    }
    // From here on this boot's clocks count. A wall clock that is set back later returns no lost time.
    if (!gone.is_empty() || !grants.table.grants.is_empty())
        && let Err(error) = grants.save(Moment::now())
    {
        say!("cannot save the temporary grants: {error}");
    }
    grants.bind(policy);
    judge_grants_at_start(cx, grants, policy);
    end_grants(cx, grants);
    Ok(())
}

/// Ends grants whose giver or recipient is not what it was.
pub fn judge_grants(cx: &mut JobCx<'_>, grants: &mut Grants, policy: &Policy, people: &People) {
    let group = cx.admins.group();
    let mut table = grants.table.clone();
    let ended = table.judge(|granted| granted.ends(people, group, policy));
    if table == grants.table {
        return;
    }
    grants.table = table;
    if !ended.is_empty()
        && let Err(error) = grants
            .save(Moment::now())
            .or_else(|_| grants.store.remove())
    {
        say!("cannot save the end of a grant: {error}");
    }
    for (granted, why) in ended {
        let message = format!(
            "grant {} ends: {}: {why}",
            granted.number,
            in_words(&granted.new)
        );
        let record = described(Record::new(Event::Revoked, message), &granted);
        cx.reports.audit.note(record.field("CAUSE", &why));
        void_jobs_of_grant(cx, granted.number, &why);
    }
    end_grants(cx, grants);
}

/// Blocks, because at start no client is served yet.
fn judge_grants_at_start(cx: &mut JobCx<'_>, grants: &mut Grants, policy: &Policy) {
    let mut question = Question::default();
    grants.ask_about(&mut question);
    if question == Question::default() {
        return;
    }
    match now(&question) {
        Some(people) => judge_grants(cx, grants, policy, &people),
        None => say!("the givers of temporary grants cannot be looked up: each use is"),
    }
}

fn is_by(basis: &Basis, number: u64) -> bool {
    matches!(basis, Basis::TemporaryGrant { grant, .. } if *grant == number)
}

fn now(question: &Question) -> Option<People> {
    let mut answer = in_child(|| {
        let people = People::look_up(question);
        postcard::to_extend(&people, Vec::new()).unwrap_or_default()
    })
    .ok()?;
    let end = Instant::now() + PATIENCE;
    loop {
        match answer.read() {
            Ok(Some(bytes)) => return postcard::from_bytes(&bytes).ok(),
            Ok(None) => {}
            Err(_) => return None,
        }
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if let Ok(0) = poll(&mut [PollFd::new(answer.fd(), PollFlags::POLLIN)], left) {
            return None;
        }
    }
}

/// Decides the request again, by the accounts that were found.
pub fn on_use_looked_up(cx: &mut RequestCx<'_>, used: GrantUse, people: Result<People, String>) {
    let to = (used.requester.session, used.requester.ticket);
    let asked = cx.policies.summary_of(&used.requester.subject, &used.call);
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
        let asked = cx.policies.summary_of(&used.requester.subject, &used.call);
        let text = "the broker died while the request was examined";
        cx.job.reports.drop_request(&used.requester, &asked, text);
    }
}

impl Grants {
    pub fn ask_about(&self, question: &mut Question) {
        for granted in &self.table.grants {
            granted.ask_about(question);
        }
    }

    pub fn ask_about_one(&self, number: u64, question: &mut Question) {
        if let Some(granted) = self.table.get(number) {
            granted.ask_about(question);
        }
    }

    /// Returns `None` if nobody looked the giver up. Fails if the user database did not answer.
    pub fn giver_found(&self, number: u64, people: &People) -> Option<Result<(), String>> {
        let giver = &self.table.get(number)?.giver;
        people.account(giver.uid, &giver.name)?;
        let unanswered = people.unanswered(giver.uid, &giver.name);
        Some(unanswered.map_or(Ok(()), Err))
    }
}

impl TemporaryGrant {
    fn ask_about(&self, question: &mut Question) {
        question.account(self.giver.uid, &self.giver.name);
        match &self.new.to {
            Grantee::User { name, uid } => question.account(*uid, name),
            Grantee::Group { gid, .. } => drop(question.gids.insert(*gid)),
        }
    }

    /// Updates the giver's groups. Without an answer from the user database the grant stays, but no use starts.
    pub(super) fn ends(
        &mut self,
        people: &People,
        admin_group: u32,
        policy: &Policy,
    ) -> Option<String> {
        if self.covered.as_ref().is_some_and(Vec::is_empty) {
            return Some("all commands that it covered have changed since".into());
        }
        if let Some(why) = self.recipient_is_other(people) {
            return Some(why);
        }
        let (uid, name) = (self.giver.uid, self.giver.name.clone());
        match people.account(uid, &name)? {
            AccountState::Unknown(_) => return None,
            AccountState::Is(_) | AccountState::NoAccount => {}
        }
        let why = |why: String| Some(format!("its giver can no longer approve: {why}"));
        match still_administers(uid, &name, people, admin_group) {
            Ok(gids) => self.giver.gids = gids.to_vec(),
            Err(lost) => return why(lost),
        }
        match self.check_still_grantable(policy) {
            Err(NotGivable::NotApprover(_)) => {
                why(format!("no rule lets {name} approve what it covers"))
            }
            Err(NotGivable::Signed) => {
                Some("a signature of each approval is asked for what it covers".to_owned())
            }
            Err(NotGivable::Several) => {
                Some("the approval of several people is asked for what it covers".to_owned())
            }
            Ok(())
            | Err(
                NotGivable::NoCommand
                | NotGivable::NoArgument(_)
                | NotGivable::Unconfined
                | NotGivable::NoCommit
                | NotGivable::OneOff
                | NotGivable::Unasked,
            ) => None,
        }
    }

    fn recipient_is_other(&self, people: &People) -> Option<String> {
        let unknown = |uid: u32, name: &str| {
            matches!(people.account(uid, name), Some(AccountState::Unknown(_)))
        };
        match &self.new.to {
            Grantee::User { name, uid } if unknown(*uid, name) => None,
            Grantee::User { name, uid } => people.is_other(*uid, name),
            Grantee::Group { name, gid } => match people.group_name(*gid) {
                Ok(_) => people.is_other_group(*gid, name),
                Err(_) => None,
            },
        }
    }

    fn check_still_grantable(&self, policy: &Policy) -> Result<(), NotGivable> {
        let what = Glob::parse(&self.new.what).ok_or(NotGivable::NoCommand)?;
        policy.may_give(&PreApproval {
            by: self.giver.caller_ids(),
            to: match self.new.to {
                Grantee::User { uid, .. } => Principal::User(uid),
                Grantee::Group { gid, .. } => Principal::Group(gid),
            },
            what: &what,
            args: &self.new.args,
            paths: &table::paths(&self.new),
        })
    }
}
