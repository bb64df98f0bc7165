//! One record: an event, a sentence for people, and fields for machines.

use remit_common::names::JobId;
use remit_common::text;
use remit_link::Owner;

use crate::history::Told;
pub use remit_trail::Event;

/// syslog(3) priority of most of its records: what wants an auditor's eye stands out.
const fn priority(event: Event) -> &'static str {
    match event {
        Event::Start | Event::Stop | Event::Queued | Event::Intent | Event::End => "6",
        Event::Refusal
        | Event::Lock
        | Event::Unlock
        | Event::Policy
        | Event::Walls
        | Event::Asked
        | Event::Approved
        | Event::Denied
        | Event::Expired
        | Event::Void
        | Event::Given
        | Event::Revoked => "5",
        Event::Interrupted | Event::Broker | Event::Ledger | Event::Trail => "4",
    }
}

/// Whether it always is about a change.
const fn is_change(event: Event) -> bool {
    match event {
        Event::Lock
        | Event::Unlock
        | Event::Asked
        | Event::Approved
        | Event::Denied
        | Event::Given
        | Event::Revoked => true,
        Event::Start
        | Event::Stop
        | Event::Queued
        | Event::Intent
        | Event::End
        | Event::Interrupted
        | Event::Refusal
        | Event::Policy
        | Event::Broker
        | Event::Ledger
        | Event::Walls
        | Event::Expired
        | Event::Void
        | Event::Trail => false,
    }
}

/// One field's value, at most. A record stays far below a datagram's limit.
const FIELD: usize = 8 << 10;

/// A record being made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// The sentence, one line.
    pub message: String,
    /// syslog(3) priority, a digit.
    pub priority: &'static str,
    /// Names without the `REMIT_` prefix, with their values.
    pub fields: Vec<(&'static str, String)>,
    /// It is about a change: `audit.sync = "changes"` waits for the disk.
    pub is_change: bool,
    /// Whose history it stands in.
    pub told: Option<Box<Told>>,
}

impl Record {
    /// A record with its sentence. Control characters in it become escapes.
    pub fn new(event: Event, message: impl AsRef<[u8]>) -> Self {
        Self {
            event,
            message: text::line(message.as_ref(), FIELD),
            priority: priority(event),
            fields: Vec::with_capacity(24),
            is_change: is_change(event),
            told: None,
        }
    }

    /// Bytes that it takes in the trail, more or less.
    pub fn weight(&self) -> usize {
        /// Beside its sentence and fields: names, hashes, marks.
        const FRAME: usize = 800;
        let fields = self.fields.iter();
        fields.fold(FRAME + self.message.len(), |all, (name, value)| {
            all + name.len() + value.len()
        })
    }

    /// Marks it as being about a change of the host.
    pub fn of_change(self) -> Self {
        let is_change = true;
        Self { is_change, ..self }
    }

    /// Lets it stand in the history of who asked: about this job, and what they asked for in their words,
    /// with secrets hidden.
    pub fn told(self, owner: Owner, job: Option<JobId>, command: Option<&str>) -> Self {
        let command = command.map(str::to_owned);
        let told = Some(Box::new(Told {
            owner,
            job,
            command,
        }));
        Self { told, ..self }
    }

    /// Marks it as an error: something does not work until somebody mends it.
    pub fn grave(self) -> Self {
        let priority = "3";
        Self { priority, ..self }
    }

    /// Marks it as a warning: somebody should look.
    pub fn doubtful(self) -> Self {
        let priority = "4";
        Self { priority, ..self }
    }

    /// Adds a field: one line, escapes for what is not plain, cut with a mark at 8 KiB.
    pub fn field(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name, text::line(value.as_ref(), FIELD)));
        self
    }

    /// Adds a number.
    pub fn number(mut self, name: &'static str, value: impl Into<u64>) -> Self {
        let value: u64 = value.into();
        self.fields.push((name, value.to_string()));
        self
    }

    /// Adds a field where there is a value.
    pub fn maybe(self, name: &'static str, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_forge_a_line() {
        let record = Record::new(Event::Refusal, "a\nPRIORITY=0")
            .field("ARGV", b"x\x1b[2J\nREMIT_UID=0\xff")
            .field("LONG", "x".repeat(FIELD + 1));
        assert_eq!(record.message, "a\\nPRIORITY=0");
        assert_eq!(record.fields[0].1, "x\\x1b[2J\\nREMIT_UID=0\\xff");
        assert!(record.fields[1].1.len() < FIELD + 4);
    }
}
