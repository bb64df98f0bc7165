//! Tests all sandbox layers for `remit doctor`, without blocking. One self-test runs at a time, and later requests
//! share its result. A layer that fails refuses its base until a restart: a later success proves nothing.

use std::time::Duration;

use remit_common::admin::{AdminReply, Checkup, ProfileCheck};
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_spawn::Finding;
use remit_trail::RecordVerdict;

use crate::admin::Wants;
use crate::audit::{Event, Record};
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::identity::peer::Subject;
use crate::job::allocation::JobUid;
use crate::job::context::JobCx;
use crate::job::termination;
use crate::request::with_requester;
use crate::sandbox::host_support::NotForked;
use crate::sandbox::self_test::test_run::{
    AfterCleanup, SelfTestPhase, SelfTestRun, TestSandbox, TestTour,
};
use crate::sandbox::{ConfinedBase, PreforkedJob, TestedAt, broken};
use crate::service::log::{self, Weight};
use crate::startup::error::chain;

/// Timeout for the test of one base. That of base `plan` looks through directories.
const TRY: Duration = Duration::from_secs(10);
const TRY_PLAN: Duration = Duration::from_secs(60);
const CLEAR: Duration = Duration::from_secs(5);
/// Pause before untested layers are tested again.
const AGAIN: Duration = Duration::from_secs(1);

/// Tests all layers. `asked`: the administrator; `None`: the daemon. `Ok`: the answer follows. Errors: The answer now.
pub fn start_self_test(cx: &mut JobCx<'_>, asked: Option<&Subject>) -> Result<Wants, AdminReply> {
    match cx.sandbox.self_test.as_ref().map(|run| &run.phase) {
        Some(
            SelfTestPhase::Trying(..)
            | SelfTestPhase::Clearing(_, AfterCleanup::GoOn | AfterCleanup::Tell(Some(_))),
        ) => Ok(Wants::Checkup),
        Some(SelfTestPhase::Stuck(..) | SelfTestPhase::Clearing(_, AfterCleanup::Tell(None))) => {
            Err(untried("an earlier self-test has not ended"))
        }
        None => {
            let tour = TestTour {
                asked: asked.cloned(),
                is_void: false,
                left: cx.sandbox.manager.bases().collect(),
                held: Vec::new(),
                done: Vec::new(),
            };
            match continue_tour(cx, tour) {
                None => Ok(Wants::Checkup),
                Some(reply) => {
                    retry_if_untried(cx);
                    Err(reply)
                }
            }
        }
    }
}

/// Tests all layers again. Results of a running test are void, because it was killed with the jobs.
pub fn restart_self_test(cx: &mut JobCx<'_>) {
    if let Some(self_test) = &mut cx.sandbox.self_test {
        self_test.tour.held.clear();
        self_test.tour.is_void = true;
    }
    if let Err(AdminReply::Refused(refusal)) = start_self_test(cx, None) {
        say!("{refusal}");
    }
}

/// Tests base `plan` if it was not needed before.
pub fn test_plan_if_new(cx: &mut JobCx<'_>) {
    if !cx.sandbox.manager.need_plan() {
        return;
    }
    match &mut cx.sandbox.self_test {
        Some(run) => run.tour.left.push(ConfinedBase::Plan),
        None => restart_self_test(cx),
    }
}

fn retry_if_untried(cx: &mut JobCx<'_>) {
    if cx.sandbox.self_test.is_none() && cx.sandbox.manager.has_untried() {
        cx.reactor.timers.add(AGAIN, Timer::SelfTestRun);
    }
}

fn continue_tour(cx: &mut JobCx<'_>, mut tour: TestTour) -> Option<AdminReply> {
    while let Some(confined) = tour.left.first().copied() {
        if cx.sandbox.manager.is_built(confined) {
            let asked = tour.asked.clone();
            return match start_self_test_of(cx, confined, tour) {
                Ok(()) => None,
                Err(why) => Some(record_untried(cx, &why, asked.as_ref())),
            };
        }
        tour.done.push(cx.sandbox.manager.checked(confined, &[]));
        tour.left.remove(0);
    }
    for confined in tour.held {
        cx.sandbox.manager.prove(confined);
    }
    // What was said of a base before it was proved.
    for done in &mut tour.done {
        done.refused = cx.sandbox.manager.refused_by_name(&done.name);
    }
    let report = checkup(cx, tour.done, tour.asked.as_ref());
    Some(AdminReply::Doctor(Box::new(report)))
}

fn start_self_test_of(
    cx: &mut JobCx<'_>,
    confined: ConfinedBase,
    tour: TestTour,
) -> Result<(), String> {
    let uid = cx.sandbox.uids.take();
    let uid = uid.ok_or("no uid of the jobs' range is free")?;
    let started = cx
        .sandbox
        .manager
        .self_test(confined, &uid)
        .map_err(|NotForked { why, left }| (chain(&why), left))
        .and_then(|(self_test, cgroup)| {
            match cx
                .reactor
                .add(self_test.fd(), Token::SelfTestRun, Interest::Read)
            {
                Ok(()) => Ok((self_test, cgroup)),
                Err(error) => {
                    drop(self_test);
                    let left = Some(PreforkedJob::of(cgroup));
                    Err((format!("it cannot be watched: {error}"), left))
                }
            }
        });
    match started {
        Ok((self_test, cgroup)) => {
            cx.reactor
                .timers
                .add(patience(confined), Timer::SelfTestRun);
            let phase = SelfTestPhase::Trying(self_test, TestSandbox { cgroup, uid });
            cx.sandbox.self_test = Some(SelfTestRun { phase, tour });
            Ok(())
        }
        Err((why, left)) => {
            cx.sandbox.release_prepared(left, uid);
            Err(why)
        }
    }
}

pub fn on_self_test_event(cx: &mut JobCx<'_>) {
    let Some(SelfTestRun { phase, mut tour }) = cx.sandbox.self_test.take() else {
        return;
    };
    match phase {
        SelfTestPhase::Trying(self_test, own) => match self_test.read() {
            Ok(None) => {
                let phase = SelfTestPhase::Trying(self_test, own);
                cx.sandbox.self_test = Some(SelfTestRun { phase, tour });
            }
            Ok(Some(findings)) => {
                cx.reactor.remove(self_test.fd());
                cx.reactor.timers.cancel(Timer::SelfTestRun);
                if !tour.left.is_empty() {
                    let confined = tour.left.remove(0);
                    found(cx, confined, &findings, &mut tour);
                }
                clear(cx, own, AfterCleanup::GoOn, tour);
            }
            Err(error) => {
                cx.reactor.remove(self_test.fd());
                let why = chain(&error);
                let then = match refuse_plan(cx, &why, &mut tour) {
                    true => AfterCleanup::GoOn,
                    false => {
                        AfterCleanup::Tell(Some(record_untried(cx, &why, tour.asked.as_ref())))
                    }
                };
                clear(cx, own, then, tour);
            }
        },
        SelfTestPhase::Stuck(self_test, own) => {
            cx.reactor.remove(self_test.fd());
            clear(cx, own, AfterCleanup::Tell(None), tour);
        }
        SelfTestPhase::Clearing(own, then) => check_cleaned_up(cx, own, then, tour),
    }
}

pub fn on_self_test_timeout(cx: &mut JobCx<'_>) {
    // It may have ended since the events of this turn were collected.
    let run = cx.sandbox.self_test.as_ref();
    if run.is_some_and(SelfTestRun::has_ended) {
        return on_self_test_event(cx);
    }
    let Some(SelfTestRun { phase, mut tour }) = cx.sandbox.self_test.take() else {
        if cx.sandbox.manager.has_untried() {
            restart_self_test(cx);
        }
        return;
    };
    match phase {
        SelfTestPhase::Trying(self_test, own) | SelfTestPhase::Stuck(self_test, own) => {
            let _ = own.cgroup.kill();
            let confined = tour.left.first().copied().unwrap_or(ConfinedBase::Read);
            let why = format!(
                "the self-test did not end within {} s",
                patience(confined).as_secs()
            );
            if refuse_plan(cx, &why, &mut tour) {
                // The others were tested, and do not wait for it.
                for held in std::mem::take(&mut tour.held) {
                    cx.sandbox.manager.prove(held);
                }
            }
            let reply = record_untried(cx, &why, tour.asked.as_ref());
            let phase = SelfTestPhase::Stuck(self_test, own);
            cx.sandbox.self_test = Some(SelfTestRun { phase, tour });
            reply_checkup(cx, Some(&reply));
        }
        SelfTestPhase::Clearing(own, then) => {
            cx.reactor.remove(own.cgroup.events());
            warn_uid_lost(&own.uid);
            finish_cleanup(cx, then, tour);
        }
    }
}

/// Kills leftover processes of a self-test before a job may get its uid.
fn clear(cx: &mut JobCx<'_>, own: TestSandbox, then: AfterCleanup, tour: TestTour) {
    let killed = own.cgroup.kill().map_err(|error| chain(&error));
    let watched = killed.and_then(|()| {
        let events = own.cgroup.events();
        let watched = cx.reactor.add(events, Token::SelfTestRun, Interest::Change);
        watched.map_err(|error| error.to_string())
    });
    if let Err(why) = watched {
        say!("leftover processes of a self-test cannot be killed: {why}");
        warn_uid_lost(&own.uid);
        return finish_cleanup(cx, then, tour);
    }
    cx.reactor.timers.add(CLEAR, Timer::SelfTestRun);
    // The cgroup may have become empty before it was watched.
    check_cleaned_up(cx, own, then, tour);
}

fn check_cleaned_up(cx: &mut JobCx<'_>, own: TestSandbox, then: AfterCleanup, tour: TestTour) {
    if !matches!(own.cgroup.populated(), Ok(false)) {
        let phase = SelfTestPhase::Clearing(own, then);
        cx.sandbox.self_test = Some(SelfTestRun { phase, tour });
        return;
    }
    cx.reactor.timers.cancel(Timer::SelfTestRun);
    cx.reactor.remove(own.cgroup.events());
    if let Err(left) = own.cgroup.remove() {
        say!("{}", chain(&left));
    }
    cx.sandbox.uids.give_back(own.uid);
    finish_cleanup(cx, then, tour);
}

fn finish_cleanup(cx: &mut JobCx<'_>, then: AfterCleanup, tour: TestTour) {
    let reply = match then {
        AfterCleanup::GoOn => match continue_tour(cx, tour) {
            None => return,
            reply => reply,
        },
        AfterCleanup::Tell(reply) => reply,
    };
    reply_checkup(cx, reply.as_ref());
    retry_if_untried(cx);
}

fn reply_checkup(cx: &mut JobCx<'_>, reply: Option<&AdminReply>) {
    if let Some(reply) = reply {
        cx.admins.tell(Wants::Checkup, || reply.clone());
    }
}

/// Handles the results of a base. If a layer failed, its jobs are ended and the base is refused.
fn found(cx: &mut JobCx<'_>, confined: ConfinedBase, findings: &[Finding], tour: &mut TestTour) {
    if let Some(why) = broken(findings, TestedAt::Later) {
        say_error!("nothing runs in {} any longer: {why}", confined.name());
        cx.sandbox.manager.refuse(confined, why);
        let cause = "a layer of its sandbox no longer holds";
        for serial in cx.jobs.behind(confined) {
            termination::end_job(cx, serial, State::Interrupted, cause);
        }
    } else {
        tour.held.push(confined);
    }
    tour.done
        .push(cx.sandbox.manager.checked(confined, findings));
}

const fn patience(confined: ConfinedBase) -> Duration {
    match confined {
        ConfinedBase::Plan => TRY_PLAN,
        ConfinedBase::Read | ConfinedBase::Strict => TRY,
    }
}

/// Refuses base `plan` if its test could not be done: a machine may lack what it needs, and the others need nothing of it.
fn refuse_plan(cx: &mut JobCx<'_>, why: &str, tour: &mut TestTour) -> bool {
    let is_plan = !tour.is_void && tour.left.first() == Some(&ConfinedBase::Plan);
    if is_plan {
        tour.left.remove(0);
        say_error!("nothing runs in plan: {why}");
        cx.sandbox
            .manager
            .refuse(ConfinedBase::Plan, why.to_owned());
        let checked = cx.sandbox.manager.checked(ConfinedBase::Plan, &[]);
        tour.done.push(checked);
    }
    is_plan
}

fn record_untried(cx: &mut JobCx<'_>, why: &str, asked: Option<&Subject>) -> AdminReply {
    cx.reactor.timers.cancel(Timer::SelfTestRun);
    let message = format!("the sandbox layers could not be tested: {why}");
    log::beside(
        &cx.reports.audit,
        Weight::Warning,
        format_args!("{message}"),
    );
    let record = Record::new(Event::SelfTest, message)
        .with_warning_priority()
        .field("VERDICT", RecordVerdict::Untried.name())
        .field("CAUSE", why);
    cx.reports.audit.note(with_requester(record, asked));
    untried(why)
}

/// Builds the report and records it. The report thereby also shows if the audit log takes records.
fn checkup(cx: &mut JobCx<'_>, profiles: Vec<ProfileCheck>, asked: Option<&Subject>) -> Checkup {
    let refused = cx.sandbox.manager.refused();
    let (message, verdict) = match &refused {
        None => {
            let by = asked.map_or(String::new(), |by| format!(", as {} asked", by.user()));
            let text = format!("each sandbox layer was tested{by}, and holds");
            (text, RecordVerdict::Held)
        }
        Some(why) => (format!("nothing runs in {why}"), RecordVerdict::Refused),
    };
    let mut record = Record::new(Event::SelfTest, message);
    if refused.is_some() {
        record = record.with_error_priority();
    }
    let record = record
        .field("VERDICT", verdict.name())
        .maybe("CAUSE", refused.as_ref());
    let recorded = cx.reports.audit.write(with_requester(record, asked));
    let (landlock, landlock_errata) = cx.sandbox.manager.landlock();
    let (controllers, missing_controllers) = cx.sandbox.manager.controllers();
    Checkup {
        kernel: cx.sandbox.manager.release().to_owned(),
        landlock,
        landlock_errata,
        cgroup: cx.sandbox.manager.cgroup(),
        controllers,
        missing_controllers,
        lowered_limits: cx.sandbox.manager.lowered(&cx.sandbox.limits),
        audit: cx.reports.audit.sink().to_owned(),
        audit_error: recorded.err().map(|why| why.to_string()),
        daemon: cx.sandbox.confined.clone(),
        profiles,
    }
}

fn untried(why: &str) -> AdminReply {
    let text = format!("the sandbox layers could not be tested: {why}");
    AdminReply::Refused(
        Refusal::new(Code::NotStarted, text).next("jobs keep running as before; try again"),
    )
}

/// As for jobs: a uid is not used again if its processes may still exist.
fn warn_uid_lost(uid: &JobUid) {
    say!(
        "leftover processes of a self-test could not be ended: no job gets uid {}",
        uid.get()
    );
}
