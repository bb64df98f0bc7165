//! The records of a plan that waits and of one that runs, made before anything does. Pure.

use remit_common::wire::Effect;
use remit_policy::Basis;

use super::{Draft, Plan, Requester};
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::peer::Subject;

impl Plan {
    /// The record that it waits for a place.
    pub fn queued(&self) -> Record {
        let record = self.about(Event::Queued, "waits for a place", self.basis());
        self.with_digest(record)
    }

    /// The record of the intent.
    pub fn record(&self) -> Record {
        let (does, verdict) = match (self.basis(), self.bound.effect) {
            (Basis::Rule(_) | Basis::Approved { .. } | Basis::Given { .. }, Effect::Read) => {
                ("runs", "allow".to_owned())
            }
            (Basis::Rule(_) | Basis::Approved { .. } | Basis::Given { .. }, Effect::Change) => {
                ("changes the host", "allow".to_owned())
            }
            (Basis::Notification, _) => ("tells people of a change", "allow".to_owned()),
            (basis @ Basis::TryByRoot, _) => ("tries", basis.to_string()),
        };
        let record = self
            .about(Event::Intent, does, self.basis())
            .field("VERDICT", verdict)
            .number(
                "JOB_UID",
                self.bound.compiled.fixed_uid().unwrap_or(self.uid.get()),
            )
            .number("RUNTIME_MAX", self.bound.runtime.seconds)
            .maybe("WAITED_MS", self.waited_ms().map(|ms| ms.to_string()));
        self.marked(self.with_digest(record))
    }

    /// Adds what was approved: one value in every record about it.
    pub fn with_digest(&self, record: Record) -> Record {
        let digest = self.approved.as_ref().map(|approved| hex(&approved.digest));
        record.maybe("DIGEST", digest)
    }
}

impl Draft {
    /// Marks a record of a change as one: it may have to be on the disk before anything is done.
    pub fn marked(&self, record: Record) -> Record {
        match self.bound.effect {
            Effect::Read => record,
            Effect::Change => record.of_change(),
        }
    }

    /// What both tell: who does what, what was asked, and by which rule.
    pub fn about(&self, event: Event, does: &str, rule: impl ToString) -> Record {
        let Requester {
            subject, session, ..
        } = &self.requester;
        // The command stands last: it is the caller's text, and may look like any of ours.
        let message = format!(
            "{} {does} in {} [{}]: {}",
            subject.user(),
            self.bound.compiled.name(),
            self.job.short(),
            self.command()
        );
        let record = who(Record::new(event, message), subject, Some(*session))
            .field("JOB", self.job.to_string());
        self.asked()
            .whole(record)
            .field("RULE", rule.to_string())
            .field("POLICY", self.policy())
    }
}

/// Adds who asked to a record.
pub fn who(record: Record, subject: &Subject, session: Option<u64>) -> Record {
    record
        .number("UID", subject.uid())
        .field("USER", subject.user())
        .maybe("LOGINUID", subject.loginuid().map(|uid| uid.to_string()))
        .maybe("SESSION", session.map(|number| number.to_string()))
        .field("PEER", subject.peer())
}
