//! Whether a job may still go on. What it rests on can change while it waits, so each stage of its life asks again:
//! one table has what holds where. A condition that is met at one stage says nothing about the next.

mod difference;
mod in_the_way;
mod looked;
#[cfg(test)]
mod tests;

use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_policy::{Approval, Basis, Policy};

use crate::approval::accepted::SignaturesNow;
use crate::approval::approver::{lost_approver, may_still_approve};
use crate::approval::file_hash::{MeasuredFiles, Measurement};
use crate::approval::signature::check_signed;
use crate::approval::{AsFound, Request};
use crate::config::policy_reload::Decided;
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::job::context::RequestCx;
use crate::job::copy_bounds::check_copy;
use crate::job::granted::may_commit;
use crate::request::file_change;
use crate::request::{Approved, ApprovedBy, Draft, Plan, PolicyContext};

pub const LATE: &str = "no slot was free before the approval expired";

/// A job at the stage at which it is checked again, with what a child found out about its files and people.
pub enum Check<'a> {
    /// Before an approver is asked.
    Examined(&'a Draft, &'a Measurement),
    /// The audit log takes records again.
    Parked(&'a Plan),
    Approving(&'a Request, &'a Subject, &'a Measurement),
    /// A slot is free. The policy in force may bind it again.
    Turn(&'a mut Plan),
    /// A slot is free, and it was approved.
    Rehashed(&'a Plan, &'a Approved, &'a Measurement),
    /// A slot is free, and it follows a commit that these have approved.
    Follows(&'a Plan, &'a ApprovedBy, &'a Measurement),
    /// A slot is free, and a temporary grant allows it.
    LookedUp(&'a Plan, &'a Measurement),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Examined,
    Parked,
    Approving,
    Turn,
    Rehashed,
    Follows,
    LookedUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// remit is neither locked nor stopping. What the daemon itself does about commits may go on.
    Open,
    Session,
    Unpaused,
    /// The commands that a change requires have ended well, in time.
    Required,
    /// The layers of its sandbox passed the self-test.
    Sandbox,
    Grant,
    /// The approval has not expired.
    Deadline,
    /// The policy in force is the one it was bound to.
    SamePolicy,
    Allowed,
    /// The approver could still approve it.
    Approver,
    /// The child could look at everything: what it has not seen has perhaps not changed.
    Looked,
    /// Those who approved it before could still approve it.
    EarlierApprovers,
    /// The signatures of those who approved it would be accepted now.
    EarlierSignatures,
    /// The approver has signed it as its rules ask.
    Signature,
    /// The child could look at its files.
    Hashed,
    /// The requester's account has not changed or lost a group.
    Requester,
    Files,
    /// No name is new whose content is not bound.
    Loose,
    Effects,
    /// Its plan changes nothing that is protected now. The child judges an undo, by what was protected when it was asked for,
    /// so that must be the same now.
    Unprotected,
    /// No interrupted commit has to be recovered first, and no commit undone that nobody confirmed. The last approval is not
    /// used up either while another one runs.
    Recovered,
    /// A copy of the machine is free, if it runs on one. At other stages it has its copy, as its slot.
    Copies,
}

/// The table. The first condition that is not met is the answer.
const fn conditions(at: At) -> &'static [Condition] {
    use Condition::{
        Allowed, Approver, Copies, Deadline, EarlierApprovers, EarlierSignatures, Effects, Files,
        Grant, Hashed, Looked, Loose, Open, Recovered, Requester, Required, SamePolicy, Sandbox,
        Session, Signature, Unpaused, Unprotected,
    };
    match at {
        At::Examined => &[
            Open, Session, Unpaused, Required, SamePolicy, Hashed, Requester,
        ],
        At::Parked => &[
            Open, Sandbox, Session, Grant, Unpaused, Required, SamePolicy, Recovered,
        ],
        At::Approving => &[
            Looked,
            Approver,
            EarlierApprovers,
            EarlierSignatures,
            SamePolicy,
            Hashed,
            Signature,
            Requester,
            Files,
            Loose,
            Effects,
            Unprotected,
            Unpaused,
            Required,
            Open,
            Recovered,
        ],
        At::Turn => &[
            Grant,
            Deadline,
            Allowed,
            Unpaused,
            Required,
            Unprotected,
            Recovered,
            Sandbox,
            Copies,
        ],
        At::Rehashed => &[
            Open,
            Unpaused,
            Required,
            Approver,
            EarlierSignatures,
            SamePolicy,
            Hashed,
            Requester,
            Files,
            Loose,
            Effects,
            Unprotected,
            Recovered,
        ],
        At::Follows => &[Open, Approver, EarlierSignatures, Hashed, Requester],
        At::LookedUp => &[Open, Grant, Looked, Requester],
    }
}

#[derive(Debug)]
pub struct Unmet {
    pub condition: Condition,
    pub refusal: Refusal,
}

impl Unmet {
    /// Returns how a job ends that waited for a slot.
    pub fn end(&self) -> (State, String) {
        let state = match self.condition {
            Condition::Open
            | Condition::Sandbox
            | Condition::Unpaused
            | Condition::Required
            | Condition::Recovered
            | Condition::Looked
            | Condition::Copies => State::NotStarted,
            Condition::Deadline => State::Expired,
            _ => State::Denied,
        };
        let changed = match self.condition {
            Condition::Allowed => "the policy has changed: ",
            _ => "",
        };
        let message = &self.refusal.message;
        (state, format!("{changed}{message}; it never ran"))
    }

    /// Returns whether the request that is being approved is not what the approver saw. Otherwise it still waits.
    pub const fn is_change(&self) -> bool {
        !matches!(
            self.condition,
            Condition::Approver
                | Condition::Looked
                | Condition::Signature
                | Condition::Open
                | Condition::Unpaused
                | Condition::Required
                | Condition::Recovered
        )
    }
}

/// Fails with the first condition of the job's stage that is not met.
pub fn recheck(cx: &RequestCx<'_>, mut job: Check<'_>) -> Result<(), Unmet> {
    first_unmet(job.at(), |condition| meets(cx, condition, &mut job))
}

fn first_unmet(
    at: At,
    mut meets: impl FnMut(Condition) -> Result<(), Refusal>,
) -> Result<(), Unmet> {
    conditions(at).iter().try_for_each(|condition| {
        meets(*condition).map_err(|refusal| Unmet {
            condition: *condition,
            refusal,
        })
    })
}

impl Check<'_> {
    const fn at(&self) -> At {
        match self {
            Self::Examined(..) => At::Examined,
            Self::Parked(_) => At::Parked,
            Self::Approving(..) => At::Approving,
            Self::Turn(_) => At::Turn,
            Self::Rehashed(..) => At::Rehashed,
            Self::Follows(..) => At::Follows,
            Self::LookedUp(..) => At::LookedUp,
        }
    }

    fn draft(&self) -> &Draft {
        match self {
            Self::Examined(draft, _) => draft,
            Self::Approving(request, ..) => &request.draft,
            Self::Parked(plan)
            | Self::Rehashed(plan, ..)
            | Self::Follows(plan, ..)
            | Self::LookedUp(plan, _) => plan,
            Self::Turn(plan) => plan,
        }
    }

    fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Examined(..) | Self::Approving(..) => None,
            Self::Parked(plan)
            | Self::Rehashed(plan, ..)
            | Self::Follows(plan, ..)
            | Self::LookedUp(plan, _) => Some(plan),
            Self::Turn(plan) => Some(plan),
        }
    }

    fn found(&self) -> Option<&Measurement> {
        match self {
            Self::Examined(_, found)
            | Self::Approving(_, _, found)
            | Self::Rehashed(_, _, found)
            | Self::Follows(_, _, found)
            | Self::LookedUp(_, found) => Some(found),
            Self::Parked(_) | Self::Turn(_) => None,
        }
    }

    fn has_bad_signature(&self) -> bool {
        let found = self.found().and_then(|found| found.as_ref().ok());
        found.is_some_and(|found| matches!(found.signature, Some(Err(_))))
    }

    /// Returns the files when an approver was asked, and now.
    fn both(&self) -> Option<(&AsFound, &AsFound)> {
        let before = match self {
            Self::Approving(request, ..) => &request.found,
            Self::Rehashed(_, approved, _) => &approved.found,
            Self::Examined(..)
            | Self::Parked(_)
            | Self::Turn(_)
            | Self::Follows(..)
            | Self::LookedUp(..) => return None,
        };
        Some((before, &self.found()?.as_ref().ok()?.found))
    }
}

fn meets(cx: &RequestCx<'_>, condition: Condition, job: &mut Check<'_>) -> Result<(), Refusal> {
    let is_of_now = matches!(
        condition,
        Condition::Open | Condition::Unpaused | Condition::Required
    );
    if matches!(job, Check::Rehashed(..)) && !is_of_now && !counts() {
        return Ok(());
    }
    let void =
        |why: Option<String>| why.map_or(Ok(()), |why| Err(Refusal::new(Code::ApprovalVoid, why)));
    match condition {
        Condition::Open if job.plan().is_some_and(Plan::is_automatic_undo) => cx.life.check_own(),
        Condition::Open => cx.life.check_open(),
        Condition::Session | Condition::Unpaused | Condition::Required
            if job.plan().map(Plan::basis).is_some_and(Basis::is_of_daemon) =>
        {
            Ok(())
        }
        Condition::Session => cx.sessions.subject(job.draft().requester.session).map(drop),
        Condition::Unpaused => {
            let (draft, breakers) = (job.draft(), &cx.job.reports.breakers);
            breakers.check(draft.requester.subject.uid(), draft.bound.effect)
        }
        Condition::Required => match job.draft().bound.effect {
            Effect::Change => cx.job.jobs.required.check(timers::since_boot()),
            Effect::Read => Ok(()),
        },
        Condition::Sandbox => {
            let base = job.draft().bound.compiled.base();
            cx.job.sandbox.manager.check_usable(base)
        }
        Condition::Grant => job.plan().map_or(Ok(()), |plan| {
            cx.approvals.grants.recheck_grant(plan.basis())
        }),
        Condition::Deadline => match job.plan() {
            Some(plan) if plan.is_late(timers::since_boot()) => {
                Err(Refusal::new(Code::ApprovalExpired, LATE))
            }
            _ => Ok(()),
        },
        Condition::SamePolicy => same_policy(cx, job),
        Condition::Allowed => match job {
            Check::Turn(plan) => is_allowed(cx, plan),
            _ => Ok(()),
        },
        Condition::Approver => is_approver(cx, job),
        Condition::EarlierApprovers => are_earlier_approvers(cx, job),
        // `Signature` refuses it, perhaps because the file of keys cannot be used now: the request still waits.
        Condition::EarlierSignatures if job.has_bad_signature() => Ok(()),
        Condition::EarlierSignatures => {
            let found = job.found().and_then(|found| found.as_ref().ok());
            void(found.and_then(|found| match &found.signatures {
                SignaturesNow::Accepted => None,
                SignaturesNow::Lost(why) | SignaturesNow::Unread(why) => Some(why.clone()),
            }))
        }
        Condition::Signature => match job {
            Check::Approving(request, _, Ok(found)) => check_signed(request, found),
            // Without an answer of the child, `Hashed` is not met.
            _ => Ok(()),
        },
        Condition::Looked => looked::check_looked(&cx.approvals.grants, job),
        Condition::Hashed => match job.found() {
            Some(Err(unmeasured)) => Err(unmeasured.refusal()),
            _ => Ok(()),
        },
        Condition::Requester => {
            let people = job.found().and_then(|found| found.as_ref().ok());
            let mut named = cx.policies.live.policy.groups_named().clone();
            if let Check::LookedUp(..) = job {
                named.extend(cx.approvals.grants.groups());
            }
            let subject = &job.draft().requester.subject;
            let lost = people.and_then(|found| found.people.has_lost(subject, &named));
            lost.map_or(Ok(()), |why| Err(Refusal::new(Code::DeniedRule, why)))
        }
        Condition::Files => void(
            job.both()
                .and_then(|(before, now)| difference::of_files(&before.files, &now.files)),
        ),
        Condition::Loose => void(
            job.both()
                .and_then(|(before, now)| difference::of_loose(&before.loose, &now.loose)),
        ),
        Condition::Effects => void(
            job.both()
                .and_then(|(before, now)| difference::of_effects(&before.does, &now.does)),
        ),
        Condition::Unprotected => is_unprotected(cx, job),
        Condition::Recovered => match job {
            Check::Approving(request, ..) => in_the_way::may_start_once_approved(cx, request),
            _ => job.plan().map_or(Ok(()), |plan| may_commit(cx, plan)),
        },
        Condition::Copies => check_copy(cx.job.jobs, job.draft()),
    }
}

fn is_unprotected(cx: &RequestCx<'_>, job: &Check<'_>) -> Result<(), Refusal> {
    let (draft, protected) = (job.draft(), &cx.policies.live.protected);
    if let Some(Ok(bundle)) = draft.call().file_change() {
        return file_change::recheck(bundle, protected);
    }
    let is_own = job.plan().map(Plan::basis).is_some_and(Basis::is_of_daemon);
    let undo = draft.bound.undo.as_ref().filter(|_| !is_own);
    undo.map_or(Ok(()), |undo| undo.check_protected(protected))
}

fn same_policy(cx: &RequestCx<'_>, job: &Check<'_>) -> Result<(), Refusal> {
    if job.draft().policy() == cx.policies.live.digest {
        return Ok(());
    }
    let (code, text) = match job.at() {
        At::Examined => (
            Code::NotStarted,
            "the policy changed while the request was examined",
        ),
        At::Parked => (
            Code::NotStarted,
            "the policy has changed while the request waited for its record",
        ),
        At::Approving | At::Turn | At::Rehashed | At::Follows | At::LookedUp => {
            (Code::ApprovalVoid, "the policy has changed")
        }
    };
    Err(Refusal::new(code, text).next("ask again"))
}

/// Asks the policy in force about a plan of an earlier policy, and binds it to the command as defined now.
fn is_allowed(cx: &RequestCx<'_>, plan: &mut Plan) -> Result<(), Refusal> {
    if plan.policy() == cx.policies.live.digest {
        return Ok(());
    }
    let void = |text: String| Err(Refusal::new(Code::ApprovalVoid, text));
    match plan.basis() {
        Basis::TemporaryGrant { grant, .. } => {
            return void(format!("grant {grant} was given under the earlier policy"));
        }
        Basis::Approved { by, .. } => {
            return void(format!("{by} approved it under the earlier policy"));
        }
        Basis::Rule(_)
        | Basis::TryByRoot
        | Basis::Notification
        | Basis::Recovery
        | Basis::Unconfirmed => {}
    }
    let setting = cx.policies.setting(&cx.settings.limits);
    if *plan.basis() == Basis::Notification {
        return rebind_notification(&cx.policies.live.policy, plan, &setting);
    }
    let (grants, subject) = (&cx.approvals.grants, &plan.requester.subject);
    match cx.policies.decide(grants, subject, plan.call())? {
        Decided::Granted(grant) => plan.rebind(grant, &setting),
        Decided::Lifted(lifted) => void(format!(
            "it needs an approval now; if asked again, it runs by grant {}",
            lifted.grant()
        )),
        Decided::Asks(pending) => Err((*pending).into()),
    }
}

/// No rule is asked: remit.toml names the command.
fn rebind_notification(
    policy: &Policy,
    plan: &mut Plan,
    setting: &PolicyContext<'_>,
) -> Result<(), Refusal> {
    let grant = policy.notification(plan.call().name_in_rules());
    let grant = grant.map_err(|why| Refusal::new(Code::NotStarted, why))?;
    plan.rebind(grant, setting)
}

fn is_approver(cx: &RequestCx<'_>, job: &Check<'_>) -> Result<(), Refusal> {
    let group = cx.job.admins.group();
    match job {
        Check::Approving(request, by, Ok(found)) => {
            may_still_approve(by, &found.people, group, request)
        }
        Check::Rehashed(_, Approved { by, .. }, Ok(found)) => {
            are_approvers(&by.people, &by.asked, found, group)
        }
        Check::Follows(_, by, Ok(found)) => are_approvers(&by.people, &by.asked, found, group),
        // Without an answer of the child, `Hashed` is not met.
        _ => Ok(()),
    }
}

fn are_earlier_approvers(cx: &RequestCx<'_>, job: &Check<'_>) -> Result<(), Refusal> {
    match job {
        Check::Approving(request, _, Ok(found)) => {
            let asked = request.pending.approval();
            are_approvers(request.approvers(), asked, found, cx.job.admins.group())
        }
        _ => Ok(()),
    }
}

fn are_approvers<'a>(
    by: impl IntoIterator<Item = &'a Subject>,
    asked: &Approval,
    found: &MeasuredFiles,
    admin_group: u32,
) -> Result<(), Refusal> {
    let lost = lost_approver(by, asked, &found.people, admin_group);
    lost.map_or(Ok(()), |why| Err(Refusal::new(Code::ApprovalVoid, why)))
}

#[cfg(not(feature = "mutate"))]
const fn counts() -> bool {
    true
}

/// Under test, `REMIT_MUTATE_TURN` skips this check, so that the job's own check is tested separately.
#[cfg(feature = "mutate")]
fn counts() -> bool {
    std::env::var_os("REMIT_MUTATE_TURN").is_none()
}
