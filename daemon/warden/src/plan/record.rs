//! The record of an intent, made before anything runs. Pure.

use remit_policy::Basis;

use super::{Plan, Requester};
use crate::audit::{Event, Record};
use crate::peer::Subject;

impl Plan {
    /// The record that it waits for a place.
    pub fn queued(&self) -> Record {
        let Requester {
            subject, session, ..
        } = &self.requester;
        // The command stands last: it is the caller's text, and may look like any of ours.
        let message = format!(
            "{} waits for a place in {} [{}]: {}",
            subject.user(),
            self.profile,
            self.job.short(),
            self.command()
        );
        let record = who(Record::new(Event::Queued, message), subject, Some(*session))
            .field("JOB", self.job.to_string());
        self.asked
            .whole(record)
            .field("RULE", self.basis.to_string())
            .field("POLICY", &self.policy)
    }

    /// The record of the intent.
    pub fn record(&self) -> Record {
        let Requester {
            subject, session, ..
        } = &self.requester;
        let (does, verdict) = match &self.basis {
            Basis::Rule(_) => ("runs", "allow".to_owned()),
            basis @ Basis::TryByRoot => ("tries", basis.to_string()),
        };
        // The command stands last: it is the caller's text, and may look like any of ours.
        let message = format!(
            "{} {does} in {} [{}]: {}",
            subject.user(),
            self.profile,
            self.job.short(),
            self.command()
        );
        let record = who(Record::new(Event::Intent, message), subject, Some(*session))
            .field("JOB", self.job.to_string());
        self.asked
            .whole(record)
            .field("RULE", self.basis.to_string())
            .field("POLICY", &self.policy)
            .field("VERDICT", verdict)
            .number("JOB_UID", self.uid.get())
            .number("RUNTIME_MAX", self.runtime_s)
            .maybe("WAITED_MS", self.waited_ms().map(|ms| ms.to_string()))
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
