//! Starts what the daemon itself does about commits of files, as jobs: recovery, and the undo of unconfirmed ones.
//! **Invariant:** this process reads and writes none of the files; it only starts `remit-commit`.

use std::time::Duration;

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Purpose;
use remit_plan::Phase;
use remit_policy::Grant;
use remit_trail::RecordVerdict;

use crate::audit::Event;
use crate::event_loop::lifecycle::AdmissionState;
use crate::event_loop::timers::{self, Timer};
use crate::job::confirmation::store::Confirmations;
use crate::job::confirmation::{ConfirmStage, Unconfirmed, UndoStage};
use crate::job::context::RequestCx;
use crate::job::granted;
use crate::job::unconfirmed::{forget, phase, record, report_failure};
use crate::request::{Call, PARTLY, Requester};
use crate::service::log::{self, Weight};

/// The clock of a sleeping machine does not advance for timers, so the time is looked at again.
const LOOK: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why an undo does not start. It names no job: the next recovery that fails is no other reason.
const UNRECOVERED: &str = "it was interrupted, and its recovery has not worked; the output of the last job of plan.recover \
                           says why";

/// Words of remit-commit that only the daemon says.
const FORGET: &str = "--forget";
const KEEP: &str = "--keep";

/// Starts it if it is due and nothing of remit-commit runs. Also while remit is locked: it is the end of what was
/// interrupted.
pub fn recover_if_due(cx: &mut RequestCx<'_>) {
    if !cx.job.reactor.timers.has(Timer::Commits) {
        cx.job.reactor.timers.add(DAY, Timer::Commits);
    }
    note_lost_recovery(cx);
    if !cx.job.commits.is_due() || !can_start(cx) || cx.job.jobs.has_commit() {
        return;
    }
    let Some(directory) = cx.job.commits.take_due() else {
        return;
    };
    look(cx, &directory);
    let grant = cx.policies.live.policy.recovery(&directory);
    let started = grant
        .map_err(|why| Refusal::new(Code::NotStarted, why))
        .and_then(|grant| start(cx, grant))
        .map_err(|refusal| format!("cannot recover commits: {}", refusal.message));
    if let Err(why) = &started {
        say_error!("{why}");
    }
    cx.job.commits.on_start(started);
}

/// A recovery that waited for its record without effect has no end.
fn note_lost_recovery(cx: &mut RequestCx<'_>) {
    let running = cx.job.commits.running();
    if running.is_some_and(|job| !cx.job.jobs.is_known(job)) {
        let why = "the recovery of commits did not start".to_owned();
        cx.job.commits.on_start(Err(why));
    }
}

/// Notes what can still be undone: what a recovery removes after this was not undone.
fn look(cx: &mut RequestCx<'_>, directory: &str) {
    let mut is_new = false;
    for one in &mut cx.job.confirmations.all {
        let before = one.undo;
        if let Ok(phase) = phase(directory, &one.commit) {
            is_new |= one.saw(phase) != before;
        }
    }
    if is_new {
        cx.job.confirmations.save_or_say();
    }
}

/// Returns true if the daemon can start jobs of its own. A lock does not matter, nor that no broker may start for now: a
/// later one reads their output.
fn can_start(cx: &RequestCx<'_>) -> bool {
    let broker = &cx.job.reports.broker;
    let has_reader = broker.is_ready() || broker.is_held_up();
    has_reader && !cx.job.sandbox.manager.are_untried() && cx.life.gate != AdmissionState::Stopping
}

fn start(cx: &mut RequestCx<'_>, grant: Grant) -> Result<JobId, Refusal> {
    let name = grant.command().map(|command| command.name.clone());
    let purpose = Purpose::Change {
        reason: cx.job.commits.reason().to_owned(),
    };
    let keep = cx.job.confirmations.ids();
    let keep = keep.into_iter().flat_map(|id| [KEEP.to_owned(), id]);
    let words = [FORGET.to_owned()].into_iter().chain(keep).collect();
    let call = Call::own(name.unwrap_or_default(), Vec::new(), purpose, None)?;
    granted::start_own(cx, Requester::daemon(), call.with_words(words), grant)
}

/// Undoes what nobody has confirmed in time, also while remit is locked. Forgets what was undone by somebody else.
/// An undo that cannot have the lock of the journals now is put off: the end of what runs is an event of the loop.
pub fn undo_if_due(cx: &mut RequestCx<'_>) {
    if cx.job.confirmations.all.is_empty() {
        return;
    }
    if cx.life.is_waiting_for_changes() {
        return follow_ended_undos(cx);
    }
    if !can_start(cx) {
        return;
    }
    note_lost_undos(cx);
    let now = timers::since_boot();
    let is_settled = std::mem::take(&mut cx.job.confirmations.is_settled);
    for at in (0..cx.job.confirmations.all.len()).rev() {
        go_on(cx, at, is_settled, now);
    }
    let due = cx.job.confirmations.all.iter();
    let next = due.filter_map(Unconfirmed::due_at).min();
    if let Some(next) = next {
        let left = match next.saturating_sub(timers::since_boot()) {
            Duration::ZERO => LOOK,
            left => left.min(LOOK),
        };
        cx.job.reactor.timers.add(left, Timer::Unconfirmed);
    }
}

/// Returns whether commands follow an undo that has just ended, or whose job runs.
pub fn has_followed_undo(confirmations: &Confirmations, runs: impl Fn(JobId) -> bool) -> bool {
    let mut undos = confirmations.all.iter().filter_map(followed_undo);
    undos.any(|job| confirmations.is_settled || runs(job))
}

/// Returns the undo of this commit that runs or has just ended, if commands follow it.
fn followed_undo(one: &Unconfirmed) -> Option<JobId> {
    let undo = match one.stage {
        ConfirmStage::Undoing { job, .. } => Some(job),
        ConfirmStage::Waiting(_) if one.is_undone() => one.undone_by,
        _ => None,
    };
    undo.filter(|_| !one.then.is_empty())
}

/// Returns whether the undo that somebody asked for is not recorded yet, or the commands that it carries are not over.
fn is_unfinished(cx: &RequestCx<'_>, one: &Unconfirmed) -> bool {
    one.undone_by
        .is_some_and(|undo| cx.job.jobs.serial(undo).is_some() || cx.job.acts.is_followed(undo))
}

/// A stop that lets changes finish starts no undo, but what follows one that has ended: the files are the old ones.
fn follow_ended_undos(cx: &mut RequestCx<'_>) {
    if !std::mem::take(&mut cx.job.confirmations.is_settled) {
        return;
    }
    let directory = cx.job.confirmations.directory.clone();
    for at in 0..cx.job.confirmations.all.len() {
        let one = cx.job.confirmations.all.get(at);
        if one.is_none_or(|one| followed_undo(one).is_none() || is_unfinished(cx, one)) {
            continue;
        }
        let Some(one) = cx.job.confirmations.all.get_mut(at) else {
            continue;
        };
        // Whatever else is due, or cannot be read, is left to the next start.
        let undo = phase(&directory, &one.commit).map(|phase| one.saw(phase));
        if let Ok(UndoStage::Done | UndoStage::Parted) = undo {
            let known = one.clone();
            follow(cx, at, &known);
        }
    }
}

fn go_on(cx: &mut RequestCx<'_>, at: usize, is_settled: bool, now: Duration) {
    let one = cx.job.confirmations.all.get(at);
    if one.is_none_or(|one| one.is_left() || is_unfinished(cx, one)) {
        return;
    }
    let Some(one) = cx.job.confirmations.all.get_mut(at) else {
        return;
    };
    if is_settled {
        one.retry(now);
    }
    let is_due = one.due_at().is_some_and(|at| at <= now);
    let can_undo = is_due && has_lock(cx);
    let directory = &cx.job.confirmations.directory;
    let Some(one) = cx.job.confirmations.all.get_mut(at) else {
        return;
    };
    let is_running = matches!(
        one.stage,
        ConfirmStage::Committing { .. } | ConfirmStage::Following { .. }
    );
    let is_looked_at = is_settled && !is_running || is_due && one.undo == UndoStage::Done;
    if !can_undo && !is_looked_at {
        return;
    }
    let phase = match phase(directory, &one.commit) {
        Ok(phase) => phase,
        Err(error) if can_undo || matches!(one.stage, ConfirmStage::Undoing { .. }) => {
            return failed(cx, at, &format!("cannot read its journal: {error}"));
        }
        Err(_) => return,
    };
    let due = due_step(one, phase, can_undo, cx.job.commits.has_failed());
    let known = one.clone();
    match due {
        Some(DueStep::Follow) => follow(cx, at, &known),
        Some(DueStep::Report) => {
            cx.job.confirmations.save_or_say();
            report_failure(&mut cx.job, &known);
        }
        Some(DueStep::Forget) => forget(&mut cx.job, &known),
        Some(DueStep::Recover) => {
            one.put_off(now);
            cx.job.commits.set_due();
        }
        Some(DueStep::RecoverLater) => {
            cx.job.commits.retry_for_undo();
            not_started(cx, at, UNRECOVERED);
        }
        Some(DueStep::Undo) => undo(cx, at, &known),
        None => {}
    }
}

/// What has to be done about an unconfirmed commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DueStep {
    Follow,
    Report,
    Forget,
    /// Its journal has no end: an undo would be refused, and the recovery may still take the commit back or finish its undo.
    Recover,
    /// The same, and the last recovery has not worked.
    RecoverLater,
    Undo,
}

fn due_step(
    one: &mut Unconfirmed,
    phase: Option<Phase>,
    can_undo: bool,
    has_failed: bool,
) -> Option<DueStep> {
    match one.saw(phase) {
        UndoStage::Done | UndoStage::Parted if one.has_to_follow() => Some(DueStep::Follow),
        UndoStage::Lost | UndoStage::Parted => one.on_final().then_some(DueStep::Report),
        UndoStage::Done => Some(DueStep::Forget),
        UndoStage::Started | UndoStage::Kept if !can_undo => None,
        UndoStage::Started | UndoStage::Kept => match phase.is_some_and(Phase::needs_recovery) {
            true if has_failed => Some(DueStep::RecoverLater),
            true => Some(DueStep::Recover),
            false => Some(DueStep::Undo),
        },
    }
}

/// Returns whether the lock of the journals is free, as far as the daemon knows, and no recovery is due. One that has failed
/// about another commit holds nothing back: what it could not repair has none of these paths.
fn has_lock(cx: &RequestCx<'_>) -> bool {
    !cx.job.commits.is_in_the_way() && !cx.job.jobs.has_commit()
}

/// A job that waited for its record without effect has no end.
fn note_lost_undos(cx: &mut RequestCx<'_>) {
    let undoing = cx.job.confirmations.all.iter().enumerate();
    let undoing: Vec<(usize, JobId)> = undoing
        .filter_map(|(at, one)| match one.stage {
            ConfirmStage::Undoing { job, .. } => Some((at, job)),
            _ => None,
        })
        .collect();
    for (at, job) in undoing {
        if !cx.job.jobs.is_known(job) {
            not_started(cx, at, "its job did not start");
        }
    }
}

fn undo(cx: &mut RequestCx<'_>, at: usize, one: &Unconfirmed) {
    match start_undo(cx, one) {
        Ok(job) => {
            let message = format!(
                "nobody confirmed commit {} of {} [{}] in time: job {} undoes it",
                one.commit,
                one.user,
                one.job.short(),
                job.short()
            );
            log::beside(
                &cx.job.reports.audit,
                Weight::Warning,
                format_args!("{message}"),
            );
            let record = record(&cx.job, Event::Unconfirmed, message, one)
                .field("VERDICT", RecordVerdict::Undoes.name());
            cx.job
                .reports
                .audit
                .note(record.field("UNDO_JOB", job.to_string()));
            if let Some(one) = cx.job.confirmations.all.get_mut(at) {
                one.on_undo_started(job);
            }
            cx.job.confirmations.save_or_say();
        }
        Err(refusal) if refusal.code == Code::Busy => {
            if let Some(one) = cx.job.confirmations.all.get_mut(at) {
                one.put_off(timers::since_boot());
            }
        }
        Err(refusal) => not_started(cx, at, &refusal.message),
    }
}

fn start_undo(cx: &mut RequestCx<'_>, one: &Unconfirmed) -> Result<JobId, Refusal> {
    let grant = cx
        .policies
        .live
        .policy
        .unconfirmed(&cx.job.confirmations.directory);
    let grant = grant.map_err(|why| Refusal::new(Code::NotStarted, why))?;
    let command = grant
        .command()
        .ok_or_else(|| Refusal::new(Code::NotStarted, "no command"))?;
    let id = command.undone();
    let args = id.map(|id| (id.name.clone(), one.commit.clone()));
    let purpose = Purpose::Change {
        reason: format!(
            "nobody confirmed job {} within {} s",
            one.job.short(),
            one.window_s
        ),
    };
    let call = Call::own(
        command.name.clone(),
        args.into_iter().collect(),
        purpose,
        None,
    )?;
    let words = one.is_undone_partly().then(|| PARTLY.to_owned());
    let call = call.with_words(words.into_iter().collect());
    granted::start_own(cx, Requester::daemon(), call, grant)
}

/// Has the commands follow the undo that followed the commit: so sshd reads the old file again.
fn follow(cx: &mut RequestCx<'_>, at: usize, known: &Unconfirmed) {
    match cx.policies.live.policy.following(&known.then) {
        Ok(acts) => {
            if let Some(one) = cx.job.confirmations.all.get_mut(at) {
                let job = one.on_follow();
                cx.job.acts.follow_undo(job, known.why_followed(), acts);
                cx.job.reactor.timers.add(Duration::ZERO, Timer::Begin);
            }
            cx.job.confirmations.save_or_say();
        }
        Err(why) => failed(
            cx,
            at,
            &format!("it is undone, but what has to follow cannot: {why}"),
        ),
    }
}

fn not_started(cx: &mut RequestCx<'_>, at: usize, why: &str) {
    let Some(one) = cx.job.confirmations.all.get_mut(at) else {
        return;
    };
    if one.on_undo_not_started(why, timers::since_boot()) {
        let one = one.clone();
        cx.job.confirmations.save_or_say();
        report_failure(&mut cx.job, &one);
    }
}

fn failed(cx: &mut RequestCx<'_>, at: usize, why: &str) {
    let Some(one) = cx.job.confirmations.all.get_mut(at) else {
        return;
    };
    one.on_undo_failed(why, timers::since_boot());
    let one = one.clone();
    cx.job.confirmations.save_or_say();
    report_failure(&mut cx.job, &one);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Unconfirmed {
        Unconfirmed {
            commit: "0123456789abcdef".repeat(2),
            job: JobId([7; 16]),
            user: "bot".to_owned(),
            uid: 1000,
            login: None,
            approval: None,
            signed: None,
            window_s: 120,
            then: Vec::new(),
            ended: Duration::ZERO,
            is_extended: false,
            stage: ConfirmStage::Waiting(Duration::from_secs(1)),
            undo: UndoStage::Started,
            undone_by: None,
            extent: remit_plan::Extent::default(),
        }
    }

    #[test]
    fn interrupted_commit_is_recovered_before_its_undo() {
        let of = |phase, can_undo| due_step(&mut waiting(), phase, can_undo, false);
        let failed = |phase| due_step(&mut waiting(), phase, true, true);
        for phase in [
            Phase::Staging,
            Phase::Applying,
            Phase::Done,
            Phase::Back,
            Phase::Undoing,
            Phase::Undone,
        ] {
            assert_eq!(of(Some(phase), true), Some(DueStep::Recover), "{phase:?}");
            assert_eq!(of(Some(phase), false), None, "{phase:?}");
            assert_eq!(failed(Some(phase)), Some(DueStep::RecoverLater));
        }
        assert_eq!(of(Some(Phase::Kept), true), Some(DueStep::Undo));
        assert_eq!(failed(Some(Phase::Kept)), Some(DueStep::Undo));
        assert_eq!(of(Some(Phase::Kept), false), None);
        assert_eq!(of(None, true), Some(DueStep::Forget));
        assert_eq!(of(Some(Phase::Gone), true), Some(DueStep::Forget));
        assert_eq!(of(Some(Phase::Left), true), Some(DueStep::Report));
    }

    #[test]
    fn undo_by_request_is_followed_before_its_commit_is_forgotten() {
        for phase in [None, Some(Phase::Gone), Some(Phase::Parted)] {
            let mut one = waiting();
            one.then = vec!["service.reload sshd".to_owned()];
            one.undo = UndoStage::Done;
            assert_eq!(
                due_step(&mut one, phase, false, false),
                Some(DueStep::Follow),
                "{phase:?}"
            );
            one.then.clear();
            assert_eq!(
                due_step(&mut one, phase, false, false),
                Some(DueStep::Forget),
                "{phase:?}"
            );
        }
    }

    #[test]
    fn commands_follow_an_undo_that_runs_or_has_just_ended() {
        let undo = JobId([9; 16]);
        let undoing = || {
            let mut one = waiting();
            one.then = vec!["service.reload sshd".to_owned()];
            one.on_undo_started(undo);
            one
        };
        let (mut failed, mut following, mut alone) = (undoing(), undoing(), undoing());
        failed.on_undo_failed("x", Duration::ZERO);
        following.on_follow();
        alone.then.clear();
        let mut by_request = waiting();
        by_request.then.clone_from(&failed.then);
        (by_request.undo, by_request.undone_by) = (UndoStage::Done, Some(undo));
        for (one, expect) in [
            (waiting(), None),
            (by_request, Some(undo)),
            (undoing(), Some(undo)),
            (alone, None),
            (failed, None),
            (following, None),
        ] {
            assert_eq!(followed_undo(&one), expect, "{:?}", one.stage);
        }
    }
}
