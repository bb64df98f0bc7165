//! Takes over the jobs of the previous daemon at start-up: ended ones, and ones that were cut off. Nothing is run
//! again. A job without an end gets one here, with a record and a state for its owner.

use std::collections::BTreeSet;
use std::path::Path;

use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_trail::RecordVerdict;

use crate::approval::{ask_again, with_approver};
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::job::context::JobCx;
use crate::job::unconfirmed::note_restored;
use crate::request::args;
use crate::service::log::{self, Weight};
use crate::startup::error::Fatal;
use crate::state_dir::ledger::{Damage, Ended, FoundJob, Past};
use crate::state_dir::leftover_processes::{self, InUse};

/// Reads the ledger back, so jobs can be queried. Fails without ledger, /proc or audit log: fates are not guessed.
/// `went_down`: so did the machine, and the ledger may be older than the audit log.
pub fn take_over(cx: &mut JobCx<'_>, went_down: bool) -> Result<(), Fatal> {
    let read = cx.ledger.read_back();
    let (jobs, damage) = read.map_err(Fatal::call("cannot read the ledger of jobs"))?;
    if let Some(damage) = damage {
        tell_damage(cx, &damage)?;
    }
    let uids = jobs.iter().filter(|job| may_live(&job.past));
    let uids: BTreeSet<u32> = uids.map(|job| job.job_uid).collect();
    let unknown = Fatal::call("cannot determine which processes of jobs are alive");
    let left = leftover_processes::end(&uids, cx.sandbox.uids.range()).map_err(unknown)?;
    for uid in left.others {
        say_error!(
            "processes of uid {uid} are left: it was a job's uid when remitd died, and is outside of jobs.uid_first and \
             jobs.uid_count in remit.toml; end them by hand if they are of a job"
        );
    }
    avoid_uids_in_use(cx)?;
    for job in jobs {
        take_over_job(cx, &job, &left.stuck, went_down)?;
    }
    note_restored(cx);
    Ok(())
}

fn take_over_job(
    cx: &mut JobCx<'_>,
    job: &FoundJob,
    stuck: &[InUse],
    went_down: bool,
) -> Result<(), Fatal> {
    let ended = match &job.past {
        Past::Ended(ended) | Past::Ending(ended) => ended.as_ref().clone(),
        Past::Queued
        | Past::Asked
        | Past::Approved
        | Past::Running(_)
        | Past::Lost
        | Past::Unknown => {
            let left = stuck.iter().find(|one| one.uid == job.job_uid);
            let left = left.map(|one| one.process());
            let left = left.or_else(|| left_in_cgroup(cx, job));
            let ended = cut_off(job, left.as_deref(), went_down);
            cx.ledger.note_end(job.entry.job, &ended);
            ended
        }
    };
    let record = match &job.past {
        Past::Ended(_) | Past::Lost => None,
        Past::Ending(_) => Some(again(job, &ended)),
        Past::Queued | Past::Asked | Past::Approved | Past::Running(_) | Past::Unknown => {
            Some(interrupted(job, &ended, went_down))
        }
    };
    if let Some(record) = record {
        cx.reports
            .audit
            .write_patiently(record)
            .map_err(|why| Fatal::Unavailable(why.to_string()))?;
        cx.ledger.recorded(job.entry.job);
    }
    let request = job.entry.request.clone();
    if let Some(forgotten) = cx.jobs.remember(job.meta(ended), request) {
        cx.ledger.forget(forgotten);
    }
    Ok(())
}

fn left_in_cgroup(cx: &JobCx<'_>, job: &FoundJob) -> Option<String> {
    let own = cx.sandbox.manager.cgroup();
    let own = own.filter(|_| may_live(&job.past))?;
    // Earlier daemons left their cgroups next to this daemon's.
    let base = Path::new(&own).parent()?;
    let left = leftover_processes::in_cgroup(base, job.entry.job);
    left.then(|| format!("in its cgroup in '{}'", base.display()))
}

/// Excludes every uid that some process has: it would not belong to one job only.
fn avoid_uids_in_use(cx: &mut JobCx<'_>) -> Result<(), Fatal> {
    let (first, count) = cx.sandbox.uids.range();
    let unknown = Fatal::call("cannot determine which uids are in use");
    for one in leftover_processes::in_use(first, count).map_err(unknown)? {
        let (uid, process) = (one.uid, one.process());
        say!("uid {uid} is not used until remitd is restarted: a process ({process}) still has it");
        cx.sandbox.uids.avoid(uid);
    }
    Ok(())
}

fn tell_damage(cx: &mut JobCx<'_>, damage: &Damage) -> Result<(), Fatal> {
    let message = format!("the ledger of jobs is damaged: {}", damage.describe());
    log::beside(
        &cx.reports.audit,
        Weight::Warning,
        format_args!("{message}"),
    );
    let record = Record::new(Event::Ledger, message).field("CAUSE", &damage.what);
    cx.reports
        .audit
        .write_patiently(record)
        .map_err(|why| Fatal::Unavailable(why.to_string()))
}

const fn may_live(past: &Past) -> bool {
    match past {
        Past::Running(_) | Past::Lost | Past::Unknown => true,
        Past::Queued | Past::Asked | Past::Approved | Past::Ending(_) | Past::Ended(_) => false,
    }
}

/// Returns the ending of a job that has none, from what is known now. `stuck` is a process that could not be ended.
fn cut_off(job: &FoundJob, stuck: Option<&str>, went_down: bool) -> Ended {
    let started_ms = match job.past {
        Past::Running(started_ms) => started_ms,
        Past::Queued
        | Past::Asked
        | Past::Approved
        | Past::Unknown
        | Past::Lost
        | Past::Ending(_)
        | Past::Ended(_) => job.entry.entered_ms,
    };
    let what = match (&job.past, went_down) {
        (Past::Queued, false) => "remitd ended before the job got a slot; it never ran",
        (Past::Asked, false) => {
            "remitd ended before the job was approved, or before it got a slot; it never ran and is void"
        }
        (Past::Approved, false) => {
            "remitd ended after the job was approved and before it got a slot; it never ran and is void"
        }
        (Past::Queued | Past::Asked | Past::Approved, true) => {
            "the machine went down, and the ledger of jobs may be older than that: in it the job has not started, and \
             it may have run; look at the machine before it is asked for again"
        }
        (Past::Running(_), false) => "remitd died while it ran",
        (Past::Running(_), true) => {
            "the machine went down, and the ledger of jobs may be older than that: in it the job runs, and it may have \
             ended before"
        }
        (Past::Unknown, _) => "remitd died, and the ledger's entry about its progress is damaged",
        (Past::Lost | Past::Ending(_) | Past::Ended(_), _) => {
            "its end is only in the journal, because the ledger's entry about it is damaged"
        }
    };
    let cause = match (may_live(&job.past), stuck) {
        (false, _) => what.to_owned(),
        (true, None) => format!("{what}; all its processes are gone"),
        (true, Some(it)) => {
            format!("{what}; one of its processes is stuck in the kernel ({it})")
        }
    };
    let ended = Ended::interrupted(started_ms, cause, stuck.is_none());
    let is_void = matches!(job.past, Past::Asked | Past::Approved) && !went_down;
    match is_void {
        true => Ended {
            ending: ended
                .ending
                .refused(Code::ApprovalVoid, ask_again(job.entry.request.as_ref())),
            ..ended
        },
        false => ended,
    }
}

/// Builds the record of an end in the ledger of the previous daemon. It may be in the audit log already.
fn again(job: &FoundJob, ended: &Ended) -> Record {
    let (entry, ending) = (&job.entry, &ended.ending);
    // The command comes last, because it is the caller's text.
    let message = format!(
        "{}'s job [{}] ended before remitd was started, {}: {}; this may be recorded twice: {}",
        entry.owner.user,
        entry.job.short(),
        ending.state.as_str(),
        ending.cause,
        entry.command
    );
    let verified = if ending.kill_verified { "yes" } else { "no" };
    let decision = ended.decision.as_ref();
    let record = with_job(Record::new(event_of_end(job, ending), message), job)
        .maybe("DIGEST", decision.map(|decision| hex(&decision.digest)))
        .field("STATE", ending.state.as_str())
        .field("CAUSE", &ending.cause)
        .maybe("EXIT", ending.exit.map(|code| code.to_string()))
        .maybe("SIGNAL", ending.signal.map(|number| number.to_string()))
        .field("KILL_VERIFIED", verified)
        .field("AGAIN", "maybe");
    match decision.and_then(|decision| decision.by.as_ref()) {
        Some(by) => with_approver(record, by),
        None => record,
    }
}

/// A request that is not approved ends by an event of its own, unless it was withdrawn.
fn event_of_end(job: &FoundJob, ending: &Ending) -> Event {
    match (ending.state, ending.code) {
        _ if !job.is_unapproved => Event::End,
        (State::Denied, Some(Code::ApprovalDenied)) => Event::Denied,
        (State::Denied, Some(Code::ApprovalVoid)) => Event::Void,
        (State::Expired, Some(Code::ApprovalExpired)) => Event::Expired,
        _ => Event::End,
    }
}

fn with_job(record: Record, job: &FoundJob) -> Record {
    let entry = &job.entry;
    let (owner, facts) = (&entry.owner, &entry.facts);
    let under = (!job.is_under_unknown).then_some(&facts.under);
    // As in its last record.
    let verdict = match record.event {
        Event::Denied => Code::ApprovalDenied.as_str(),
        Event::Void => Code::ApprovalVoid.as_str(),
        Event::Expired => Code::ApprovalExpired.as_str(),
        _ if job.is_unapproved => Code::NeedsApproval.as_str(),
        _ if facts.is_try => RecordVerdict::TryByRoot.name(),
        _ => RecordVerdict::Allow.name(),
    };
    record
        .for_history(owner.clone(), Some(entry.job), Some(&entry.command))
        .number("UID", owner.uid)
        .field("USER", &owner.user)
        .maybe("LOGINUID", facts.loginuid.map(|uid| uid.to_string()))
        .number("SESSION", facts.session)
        .field("PEER", &facts.peer)
        .field("JOB", entry.job.to_string())
        .field("VERDICT", verdict)
        .maybe("POLICY", under.map(|under| &under.policy))
        .maybe("COMMAND", facts.named.as_ref())
        .maybe("ARGS", args(facts.named.as_deref(), &entry.command))
        .field("ARGV", &entry.command)
        .maybe("PROFILE", under.map(|under| &under.profile))
        .field("EFFECT", facts.under.effect.name())
        .field("CLIENT", &facts.client)
        .maybe("FOLLOWS", facts.follows.map(|job| job.to_string()))
        .maybe("TRACEPARENT", entry.traceparent.as_ref())
}

fn interrupted(job: &FoundJob, ended: &Ended, went_down: bool) -> Record {
    let entry = &job.entry;
    let and = match ended.ending.kill_verified {
        true => "and was ended",
        false => "and is still stuck in the kernel",
    };
    let did = match job.past {
        Past::Queued => "was waiting for a slot",
        Past::Asked => "was waiting for an approval",
        Past::Approved => "was approved and was waiting for a slot",
        Past::Unknown => "had perhaps not ended",
        Past::Running(_) | Past::Lost | Past::Ending(_) | Past::Ended(_) => "was running",
    };
    let then = match (may_live(&job.past), went_down) {
        (false, false) => "when remitd ended, and never ran".to_owned(),
        (true, false) => format!("when remitd died, {and}"),
        (is_started, true) => format!(
            "by the ledger of jobs, which may be older than the crash of the machine; it may have {} since",
            if is_started { "ended" } else { "run" }
        ),
    };
    let message = format!(
        "{}'s job [{}] {did} {then}: {}",
        entry.owner.user,
        entry.job.short(),
        entry.command
    );
    let ending = &ended.ending;
    let verified = if ending.kill_verified { "yes" } else { "no" };
    with_job(Record::new(Event::Interrupted, message), job)
        .field("STATE", State::Interrupted.as_str())
        .field("CAUSE", &ending.cause)
        .field("KILL_VERIFIED", verified)
        // Its end may be in the audit log already.
        .maybe("AGAIN", went_down.then_some("maybe"))
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;
    use remit_link::Owner;

    use super::*;
    use crate::state_dir::ledger::{DecidedBy, EndDecision, Entry, QueuedFor};

    fn found(past: Past) -> FoundJob {
        FoundJob {
            entry: Entry {
                job: JobId([1; 16]),
                number: 7,
                owner: Owner {
                    uid: 1000,
                    user: "alice".into(),
                },
                command: "df -h".into(),
                job_uid: 5000,
                entered_ms: 10,
                waiting: QueuedFor::Nothing,
                request: None,
                has_secrets: false,
                traceparent: None,
                facts: crate::state_dir::ledger::facts(),
            },
            job_uid: 5000,
            is_under_unknown: false,
            is_unapproved: past == Past::Asked,
            past,
        }
    }

    #[test]
    fn interrupted_job_states_only_known_facts() {
        let check = |past: Past, stuck, started_ms, verified, cause: &str| {
            let ended = cut_off(&found(past), stuck, false);
            let ending = &ended.ending;
            assert_eq!(ending.state, State::Interrupted);
            let reported = (ended.started_ms, ending.kill_verified);
            assert_eq!(
                (reported, ending.cause.as_str()),
                ((started_ms, verified), cause)
            );
            assert_eq!((ending.runtime_ms, ending.cpu_usec), (0, 0));
        };
        check(
            Past::Queued,
            None,
            10,
            true,
            "remitd ended before the job got a slot; it never ran",
        );
        check(
            Past::Running(30),
            None,
            30,
            true,
            "remitd died while it ran; all its processes are gone",
        );
        check(
            Past::Running(30),
            Some("pid 99"),
            30,
            false,
            "remitd died while it ran; one of its processes is stuck in the kernel (pid 99)",
        );
        let saved = found(Past::Ending(Box::new(Ended::interrupted(
            9,
            "x".into(),
            true,
        ))));
        let Past::Ending(ended) = &saved.past else {
            unreachable!()
        };
        let record = again(&saved, ended);
        assert!(record.fields.contains(&("AGAIN", "maybe".to_owned())));
        check(
            Past::Unknown,
            None,
            10,
            true,
            "remitd died, and the ledger's entry about its progress is damaged; all its \
             processes are gone",
        );
        check(
            Past::Lost,
            None,
            10,
            true,
            "its end is only in the journal, because the ledger's entry about it is damaged; all its \
             processes are gone",
        );
    }

    #[test]
    fn unstarted_job_is_recorded_as_never_run() {
        for (past, says) in [
            (
                Past::Queued,
                "was waiting for a slot when remitd ended, and never ran: df -h",
            ),
            (
                Past::Asked,
                "was waiting for an approval when remitd ended, and never ran: df -h",
            ),
            (
                Past::Approved,
                "was approved and was waiting for a slot when remitd ended, and never ran: df -h",
            ),
            (
                Past::Running(1),
                "was running when remitd died, and was ended: df -h",
            ),
        ] {
            let job = found(past);
            let record = interrupted(&job, &cut_off(&job, None, false), false);
            assert_eq!(record.message, format!("alice's job [01010101] {says}"));
            assert!(record.fields.contains(&("KILL_VERIFIED", "yes".to_owned())));
        }
    }

    /// Its pages of the ledger were perhaps not written back: a job that waited in it can have run and ended.
    #[test]
    fn after_a_crash_of_the_machine_nothing_is_said_to_have_never_run() {
        let since =
            "by the ledger of jobs, which may be older than the crash of the machine; it may have";
        for (past, says) in [
            (
                Past::Queued,
                format!("was waiting for a slot {since} run since: df -h"),
            ),
            (
                Past::Asked,
                format!("was waiting for an approval {since} run since: df -h"),
            ),
            (
                Past::Approved,
                format!("was approved and was waiting for a slot {since} run since: df -h"),
            ),
            (
                Past::Running(1),
                format!("was running {since} ended since: df -h"),
            ),
            (
                Past::Unknown,
                format!("had perhaps not ended {since} ended since: df -h"),
            ),
        ] {
            let job = found(past);
            let ended = cut_off(&job, None, true);
            let record = interrupted(&job, &ended, true);
            assert_eq!(record.message, format!("alice's job [01010101] {says}"));
            assert!(record.fields.contains(&("AGAIN", "maybe".to_owned())));
            let ending = ended.ending;
            assert!(!ending.cause.contains("never ran"), "{}", ending.cause);
            assert_eq!((ending.code, ending.next), (None, None), "{job:?}");
        }
    }

    /// Those of the request are not said of what ran under others.
    #[test]
    fn record_has_no_policy_if_the_ledger_does_not_say_which() {
        for is_under_unknown in [false, true] {
            let job = FoundJob {
                is_under_unknown,
                ..found(Past::Running(1))
            };
            let ended = cut_off(&job, None, false);
            for record in [interrupted(&job, &ended, false), again(&job, &ended)] {
                for (name, value) in [("POLICY", "p"), ("PROFILE", "read")] {
                    let is_said = record.fields.contains(&(name, value.to_owned()));
                    assert_eq!(is_said, !is_under_unknown, "{name}: {record:?}");
                }
            }
        }
    }

    #[test]
    fn verdict_after_a_restart_is_that_of_the_last_record() {
        let failed = Ended::not_started(7, "no memory".into());
        for (past, is_try, expect) in [
            (Past::Running(1), false, "allow"),
            (Past::Running(1), true, "try by root"),
            (Past::Queued, true, "try by root"),
            (Past::Ending(Box::new(failed.clone())), true, "try by root"),
            (Past::Asked, false, "needs_approval"),
            (Past::Approved, false, "allow"),
        ] {
            let mut job = found(past);
            job.entry.facts.is_try = is_try;
            let ended = cut_off(&job, None, false);
            let record = interrupted(&job, &ended, false);
            let verdict = ("VERDICT", expect.to_owned());
            assert!(record.fields.contains(&verdict), "{job:?}: {record:?}");
        }
    }

    #[test]
    fn end_of_a_request_is_recorded_as_it_was() {
        let decision = |by| {
            let digest = [7; 32];
            Some(EndDecision { digest, by })
        };
        let ann = || DecidedBy {
            user: "ann".to_owned(),
            uid: 7,
            loginuid: Some(8),
            claimed: None,
            peer: "pid 9".to_owned(),
        };
        let (denied, expired) = (Code::ApprovalDenied, Code::ApprovalExpired);
        let void = Code::ApprovalVoid;
        for (is_unapproved, state, code, by, event, verdict) in [
            (
                true,
                State::Denied,
                Some(denied),
                Some(ann()),
                Event::Denied,
                "approval_denied",
            ),
            (
                true,
                State::Denied,
                Some(void),
                None,
                Event::Void,
                "approval_void",
            ),
            (
                true,
                State::Expired,
                Some(expired),
                None,
                Event::Expired,
                "approval_expired",
            ),
            (
                true,
                State::Cancelled,
                None,
                None,
                Event::End,
                "needs_approval",
            ),
            // The next start was killed, too.
            (
                true,
                State::Interrupted,
                Some(void),
                None,
                Event::End,
                "needs_approval",
            ),
            // Approved, and it got no slot in time, or its files were others at the exec.
            (
                false,
                State::Expired,
                Some(expired),
                None,
                Event::End,
                "allow",
            ),
            (
                false,
                State::NotStarted,
                Some(void),
                None,
                Event::End,
                "allow",
            ),
            (false, State::Exited, None, None, Event::End, "allow"),
        ] {
            let is_denied = by.is_some();
            let ended = Ended {
                ending: Ending {
                    code,
                    ..Ending::unmeasured(state, "why".to_owned(), true)
                },
                decision: decision(by),
                ..Ended::not_started(7, String::new())
            };
            let job = FoundJob {
                is_unapproved,
                ..found(Past::Ending(Box::new(ended.clone())))
            };
            let record = again(&job, &ended);
            assert_eq!(record.event, event, "{state:?} {code:?}");
            for (name, value) in [
                ("VERDICT", verdict.to_owned()),
                ("STATE", state.as_str().to_owned()),
                ("DIGEST", "07".repeat(32)),
                ("AGAIN", "maybe".to_owned()),
            ] {
                assert!(record.fields.contains(&(name, value)), "{name}: {record:?}");
            }
            for (name, value) in [
                ("APPROVER", "ann"),
                ("APPROVER_UID", "7"),
                ("APPROVER_LOGINUID", "8"),
                ("APPROVER_PEER", "pid 9"),
            ] {
                let is_named = record.fields.contains(&(name, value.to_owned()));
                assert_eq!(is_named, is_denied, "{name}: {record:?}");
            }
        }
    }

    #[test]
    fn failed_start_is_recorded_as_one() {
        let ended = Ended::not_started(7, "not started: no memory".into());
        let job = found(Past::Ending(Box::new(ended.clone())));
        let record = again(&job, &ended);
        for (name, value) in [
            ("STATE", "not_started"),
            ("CAUSE", "not started: no memory"),
            ("KILL_VERIFIED", "yes"),
        ] {
            assert!(record.fields.contains(&(name, value.to_owned())), "{name}");
        }
    }

    #[test]
    fn possibly_recorded_end_is_marked_again() {
        let ended = Ended::interrupted(5, "remitd was stopped".into(), true);
        let job = found(Past::Ending(Box::new(ended.clone())));
        let record = again(&job, &ended);
        assert_eq!(record.event, Event::End);
        let expect = "alice's job [01010101] ended before remitd was started, interrupted: remitd was \
                      stopped; this may be recorded twice: df -h";
        assert_eq!(record.message, expect);
        assert!(record.fields.contains(&("AGAIN", "maybe".to_owned())));
    }
}
