//! What a start takes over from the daemon before it: its jobs, as they ended or were cut off.
//!
//! Nothing is run again. A job without an end gets one here: its record, and what its owner is told.

use std::collections::BTreeSet;
use std::path::Path;

use remit_common::outcome::State;
use remit_common::refusal::Code;

use crate::approval::ASK_AGAIN;
use crate::audit::{Event, Record};
use crate::error::Fatal;
use crate::ledger::{Damage, Ended, Found, Past};
use crate::plan::args;
use crate::say::{self, Weight};
use crate::survivors;
use crate::warden::Warden;

impl Warden {
    /// Reads the ledger back: every job in it can be asked for as before.
    ///
    /// # Errors
    /// The ledger or /proc cannot be read, the trail takes no record: what became of jobs must
    /// not be guessed.
    pub fn take_over(&mut self) -> Result<(), Fatal> {
        let (jobs, damage) = self
            .ledger
            .read_back()
            .map_err(Fatal::call("cannot read the ledger of jobs"))?;
        if let Some(damage) = damage {
            self.tell_damage(&damage)?;
        }
        let uids = jobs.iter().filter(|job| may_live(&job.past));
        let uids: BTreeSet<u32> = uids.map(|job| job.job_uid).collect();
        let unknown = Fatal::call("cannot tell which processes of jobs live");
        let stuck = survivors::end(&uids).map_err(unknown)?;
        self.avoid_uids_in_use()?;
        for job in jobs {
            self.take_over_job(&job, &stuck)?;
        }
        Ok(())
    }

    fn take_over_job(&mut self, job: &Found, stuck: &[(i32, u32)]) -> Result<(), Fatal> {
        let ended = match &job.past {
            Past::Ended(ended) | Past::Ending(ended) => ended.as_ref().clone(),
            Past::Queued | Past::Asked | Past::Running(_) | Past::Lost | Past::Unknown => {
                let pid = stuck.iter().find(|(_, uid)| *uid == job.job_uid);
                let left = pid.map(|(pid, _)| format!("pid {pid}"));
                let left = left.or_else(|| self.left_in_cgroup(job));
                let ended = cut_off(job, left.as_deref());
                self.ledger.note_end(job.entry.job, &ended);
                ended
            }
        };
        let record = match &job.past {
            Past::Ended(_) | Past::Lost => None,
            Past::Ending(_) => Some(again(job, &ended)),
            Past::Queued | Past::Asked | Past::Running(_) | Past::Unknown => {
                Some(interrupted(job, &ended))
            }
        };
        if let Some(record) = record {
            self.audit
                .write_at_start(record)
                .map_err(|why| Fatal::Unavailable(why.to_string()))?;
            self.ledger.recorded(job.entry.job);
        }
        let request = job.entry.request.clone();
        if let Some(forgotten) = self.jobs.remember(job.meta(ended), request) {
            self.ledger.forget(forgotten);
        }
        Ok(())
    }

    fn left_in_cgroup(&self, job: &Found) -> Option<String> {
        let own = self.walls.cgroup().filter(|_| may_live(&job.past))?;
        // Beside ours is what the daemons before this one left.
        let base = Path::new(&own).parent()?;
        let left = survivors::in_cgroup(base, job.entry.job);
        left.then(|| format!("in its cgroup in '{}'", base.display()))
    }

    /// A uid that some process has, whyever, is no job's own.
    fn avoid_uids_in_use(&mut self) -> Result<(), Fatal> {
        let (first, count) = self.uids.range();
        let unknown = Fatal::call("cannot tell which uids are in use");
        for (pid, uid) in survivors::in_use(first, count).map_err(unknown)? {
            say!("no job gets uid {uid} until remitd is started again: process {pid} has it");
            self.uids.avoid(uid);
        }
        Ok(())
    }

    fn tell_damage(&mut self, damage: &Damage) -> Result<(), Fatal> {
        let message = format!("the ledger of jobs is damaged: {}", damage.told());
        say::beside(&self.audit, Weight::Warning, format_args!("{message}"));
        let record = Record::new(Event::Ledger, message).field("CAUSE", &damage.what);
        self.audit
            .write_at_start(record)
            .map_err(|why| Fatal::Unavailable(why.to_string()))
    }
}

/// Whether a process of such a job may live.
const fn may_live(past: &Past) -> bool {
    match past {
        Past::Running(_) | Past::Lost | Past::Unknown => true,
        Past::Queued | Past::Asked | Past::Ending(_) | Past::Ended(_) => false,
    }
}

/// The ending of a job that had none, from what is known now; `stuck` is a process of it that
/// could not be ended.
fn cut_off(job: &Found, stuck: Option<&str>) -> Ended {
    let begun_ms = job.entry.begun_ms;
    let (started_ms, what) = match job.past {
        Past::Queued => (begun_ms, "remitd ended before it got a place; it never ran"),
        Past::Asked => (
            begun_ms,
            "remitd ended before it was approved or, approved, got a place; it never ran and is void",
        ),
        Past::Running(started_ms) => (started_ms, "remitd died while it ran"),
        Past::Unknown => (
            begun_ms,
            "remitd died, and the ledger's note of how far it had come is damaged",
        ),
        Past::Lost | Past::Ending(_) | Past::Ended(_) => (
            begun_ms,
            "how it ended is in the journal only: the ledger's note of that is damaged",
        ),
    };
    let cause = match (may_live(&job.past), stuck) {
        (false, _) => what.to_owned(),
        (true, None) => format!("{what}; all its processes are gone"),
        (true, Some(it)) => {
            format!("{what}; a process of it is stuck in the kernel ({it})")
        }
    };
    let ended = Ended::interrupted(started_ms, cause, stuck.is_none());
    match job.past {
        Past::Asked => Ended {
            ending: ended.ending.refused(Code::ApprovalVoid, ASK_AGAIN),
            ..ended
        },
        Past::Queued
        | Past::Running(_)
        | Past::Unknown
        | Past::Lost
        | Past::Ending(_)
        | Past::Ended(_) => ended,
    }
}

/// The record of an end that the daemon before this one noted, and maybe recorded, before it was
/// killed.
fn again(job: &Found, ended: &Ended) -> Record {
    let (entry, ending) = (&job.entry, &ended.ending);
    // The command stands last: it is the caller's text.
    let message = format!(
        "{}'s job [{}] had ended when remitd died, {}: {}; maybe this is recorded twice: {}",
        entry.owner.user,
        entry.job.short(),
        ending.state.as_str(),
        ending.cause,
        entry.command
    );
    let verified = if ending.kill_verified { "yes" } else { "no" };
    begun(Record::new(Event::End, message), job)
        .field("STATE", ending.state.as_str())
        .field("CAUSE", &ending.cause)
        .maybe("EXIT", ending.exit.map(|code| code.to_string()))
        .maybe("SIGNAL", ending.signal.map(|number| number.to_string()))
        .field("KILL_VERIFIED", verified)
        .field("AGAIN", "maybe")
}

/// Adds what every record of a job tells, as far as the ledger has it.
fn begun(record: Record, job: &Found) -> Record {
    let entry = &job.entry;
    let (owner, facts) = (&entry.owner, &entry.facts);
    let verdict = match job.past {
        Past::Asked => Code::NeedsApproval.as_str(),
        _ => "allow",
    };
    record
        .told(owner.clone(), Some(entry.job), Some(&entry.command))
        .number("UID", owner.uid)
        .field("USER", &owner.user)
        .maybe("LOGINUID", facts.loginuid.map(|uid| uid.to_string()))
        .number("SESSION", facts.session)
        .field("PEER", &facts.peer)
        .field("JOB", entry.job.to_string())
        .field("VERDICT", verdict)
        .field("POLICY", &facts.policy)
        .maybe("COMMAND", facts.named.as_ref())
        .maybe("ARGS", args(facts.named.as_deref(), &entry.command))
        .field("ARGV", &entry.command)
        .field("PROFILE", &facts.profile)
        .field("EFFECT", facts.effect.name())
        .field("CLIENT", &facts.client)
        .maybe("TRACEPARENT", entry.traceparent.as_ref())
}

/// The record of it.
fn interrupted(job: &Found, ended: &Ended) -> Record {
    let entry = &job.entry;
    let (user, id) = (&entry.owner.user, entry.job.short());
    let and = match ended.ending.kill_verified {
        true => "and died too",
        false => "and hangs in the kernel still",
    };
    // The command stands last: it is the caller's text.
    let message = match job.past {
        Past::Queued => format!(
            "{user}'s job [{id}] was waiting for a place when remitd ended, and never ran: {}",
            entry.command
        ),
        Past::Asked => format!(
            "{user}'s job [{id}] was waiting for an approval when remitd ended, and never ran: {}",
            entry.command
        ),
        Past::Unknown => format!(
            "{user}'s job [{id}] had not ended for sure when remitd died, {and}: {}",
            entry.command
        ),
        Past::Running(_) | Past::Lost | Past::Ending(_) | Past::Ended(_) => format!(
            "{user}'s job [{id}] was running when remitd died, {and}: {}",
            entry.command
        ),
    };
    let ending = &ended.ending;
    let verified = if ending.kill_verified { "yes" } else { "no" };
    begun(Record::new(Event::Interrupted, message), job)
        .field("STATE", State::Interrupted.as_str())
        .field("CAUSE", &ending.cause)
        .field("KILL_VERIFIED", verified)
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;
    use remit_link::Owner;

    use super::*;
    use crate::ledger::{Entry, Waits};

    fn found(past: Past) -> Found {
        Found {
            entry: Entry {
                job: JobId([1; 16]),
                number: 7,
                owner: Owner {
                    uid: 1000,
                    user: "alice".into(),
                },
                command: "df -h".into(),
                job_uid: 5000,
                begun_ms: 10,
                waits: Waits::Nothing,
                request: None,
                has_secrets: false,
                traceparent: None,
                facts: crate::ledger::facts(),
            },
            job_uid: 5000,
            past,
        }
    }

    #[test]
    fn what_was_cut_off_is_told_as_it_is_known() {
        let check = |past: Past, stuck, started_ms, verified, cause: &str| {
            let ended = cut_off(&found(past), stuck);
            let ending = &ended.ending;
            assert_eq!(ending.state, State::Interrupted);
            let told = (ended.started_ms, ending.kill_verified);
            assert_eq!(
                (told, ending.cause.as_str()),
                ((started_ms, verified), cause)
            );
            assert_eq!((ending.runtime_ms, ending.cpu_usec), (0, 0));
        };
        check(
            Past::Queued,
            None,
            10,
            true,
            "remitd ended before it got a place; it never ran",
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
            "remitd died while it ran; a process of it is stuck in the kernel (pid 99)",
        );
        let noted = found(Past::Ending(Box::new(Ended::interrupted(
            9,
            "x".into(),
            true,
        ))));
        let Past::Ending(ended) = &noted.past else {
            unreachable!()
        };
        let record = again(&noted, ended);
        assert!(record.fields.contains(&("AGAIN", "maybe".to_owned())));
        check(
            Past::Unknown,
            None,
            10,
            true,
            "remitd died, and the ledger's note of how far it had come is damaged; all its \
             processes are gone",
        );
        check(
            Past::Lost,
            None,
            10,
            true,
            "how it ended is in the journal only: the ledger's note of that is damaged; all its \
             processes are gone",
        );
    }

    #[test]
    fn a_job_that_never_ran_is_not_recorded_as_one_that_did() {
        for (past, says) in [
            (
                Past::Queued,
                "was waiting for a place when remitd ended, and never ran: df -h",
            ),
            (
                Past::Asked,
                "was waiting for an approval when remitd ended, and never ran: df -h",
            ),
            (
                Past::Running(1),
                "was running when remitd died, and died too: df -h",
            ),
        ] {
            let job = found(past);
            let record = interrupted(&job, &cut_off(&job, None));
            assert_eq!(record.message, format!("alice's job [01010101] {says}"));
            assert!(record.fields.contains(&("KILL_VERIFIED", "yes".to_owned())));
        }
    }

    #[test]
    fn an_end_that_may_be_recorded_already_is_recorded_as_that() {
        let ended = Ended::interrupted(5, "remitd was stopped".into(), true);
        let job = found(Past::Ending(Box::new(ended.clone())));
        let record = again(&job, &ended);
        assert_eq!(record.event, Event::End);
        let expect = "alice's job [01010101] had ended when remitd died, interrupted: remitd was \
                      stopped; maybe this is recorded twice: df -h";
        assert_eq!(record.message, expect);
        assert!(record.fields.contains(&("AGAIN", "maybe".to_owned())));
    }
}
