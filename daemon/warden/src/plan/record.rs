//! The record of an intent, made before anything runs. Pure.

use remit_policy::Basis;

use super::{Plan, Requester};
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::peer::Subject;

impl Plan {
    /// The record of the intent.
    pub fn record(&self) -> Record {
        let Requester {
            subject, session, ..
        } = &self.requester;
        let (does, verdict) = match &self.basis {
            Basis::Rule(_) => ("runs", "allow".to_owned()),
            basis @ Basis::TryByRoot => ("tries", basis.to_string()),
        };
        let message = format!(
            "{} {does} in {}: {}",
            subject.user(),
            self.profile,
            self.command
        );
        who(Record::new(Event::Intent, message), subject, Some(*session))
            .field("JOB", self.job.to_string())
            .maybe("COMMAND", self.named)
            .field("ARGV", self.argv_line())
            .field("CWD", self.cwd.as_bytes())
            .field("RULE", self.basis.to_string())
            .field("POLICY", &self.policy)
            .field("PROFILE", self.profile)
            .field("VERDICT", verdict)
            .number("JOB_UID", self.uid.get())
            .number("RUNTIME_MAX", self.runtime_s)
            .maybe("SCRIPT", self.script_text.as_ref())
            .maybe("SCRIPT_SHA256", self.script_sha256.map(|hash| hex(&hash)))
            .maybe("STDIN_SHA256", self.stdin_sha256.map(|hash| hex(&hash)))
            .maybe("REQUEST_ID", self.request.as_ref().map(|(id, _)| id))
            .field("CLIENT", &self.client)
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
