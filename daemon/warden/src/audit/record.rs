//! An audit record: an event, a sentence for people, and fields for machines.

use remit_common::admin::Totals;
use remit_common::names::JobId;
use remit_common::text;
use remit_link::Owner;

pub use remit_trail::Event;

const fn priority(event: Event) -> &'static str {
    match event {
        Event::Start
        | Event::Stop
        | Event::Queued
        | Event::Intent
        | Event::End
        | Event::Bus
        | Event::Upload
        | Event::Drop
        | Event::Shown => "6",
        Event::Refusal
        | Event::Lock
        | Event::Unlock
        | Event::Policy
        | Event::SelfTest
        | Event::Asked
        | Event::Approved
        | Event::Denied
        | Event::Expired
        | Event::Void
        | Event::Granted
        | Event::Revoked
        | Event::Resumed
        | Event::Confirmed => "5",
        Event::Paused
        | Event::Interrupted
        | Event::Broker
        | Event::Ledger
        | Event::AuditLog
        | Event::Unconfirmed => "4",
    }
}

const fn is_change(event: Event) -> bool {
    match event {
        Event::Lock
        | Event::Unlock
        // What is saved as in force, on the disk, is what the audit log says.
        | Event::Policy
        | Event::Asked
        | Event::Approved
        | Event::Denied
        | Event::Granted
        | Event::Revoked
        | Event::Paused
        | Event::Resumed
        | Event::Confirmed
        | Event::Unconfirmed => true,
        Event::Start
        | Event::Stop
        | Event::Queued
        | Event::Intent
        | Event::End
        | Event::Interrupted
        | Event::Refusal
        | Event::Broker
        | Event::Ledger
        | Event::SelfTest
        | Event::Expired
        | Event::Void
        | Event::AuditLog
        | Event::Bus
        | Event::Upload
        | Event::Drop
        | Event::Shown => false,
    }
}

/// Bytes of one field's value. A record stays far below a datagram's limit.
pub const FIELD: usize = 8 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub event: Event,
    pub message: String,
    /// syslog(3) priority, one digit.
    pub priority: &'static str,
    /// Names without the `REMIT_` prefix, and values.
    pub fields: Vec<(&'static str, String)>,
    /// With `audit.sync = "changes"`, such a record waits for the disk.
    pub is_change: bool,
    /// The user whose history shows it.
    pub history: Option<Box<HistoryFields>>,
}

/// Whose record it is, and what it is about in their words. The rest is in the record's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFields {
    pub owner: Owner,
    pub job: Option<JobId>,
    /// Secrets are redacted.
    pub command: Option<String>,
}

impl Record {
    /// Escapes control characters in the sentence.
    pub fn new(event: Event, message: impl AsRef<[u8]>) -> Self {
        Self {
            event,
            message: text::line(message.as_ref(), FIELD),
            priority: priority(event),
            fields: Vec::with_capacity(24),
            is_change: is_change(event),
            history: None,
        }
    }

    /// Returns the approximate bytes in the audit log, without what the shadow policy says: it takes nothing of what a
    /// user may cause.
    pub fn weight(&self) -> usize {
        const FRAME: usize = 800;
        let fields = self.fields.iter();
        let fields = fields.filter(|(name, _)| !name.starts_with("SHADOW"));
        fields.fold(FRAME + self.message.len(), |all, (name, value)| {
            all + name.len() + value.len()
        })
    }

    pub fn count(&self, totals: &mut Totals) {
        totals.records += 1;
        match self.event {
            Event::Intent => totals.started += 1,
            Event::Asked => totals.asked += 1,
            Event::Approved => totals.approved += 1,
            Event::Denied => totals.denied += 1,
            // The end of a temporary grant is the same event, and no state of a job.
            Event::Expired if self.fields.iter().any(|(name, _)| *name == "STATE") => {
                totals.expired += 1;
            }
            Event::Void => totals.void += 1,
            _ => {}
        }
    }

    pub fn of_change(self) -> Self {
        let is_change = true;
        Self { is_change, ..self }
    }

    /// Adds the record to its requester's history. `command` is in their words, with secrets redacted.
    pub fn for_history(self, owner: Owner, job: Option<JobId>, command: Option<&str>) -> Self {
        let command = command.map(str::to_owned);
        let history = Some(Box::new(HistoryFields {
            owner,
            job,
            command,
        }));
        Self { history, ..self }
    }

    pub fn with_error_priority(self) -> Self {
        let priority = "3";
        Self { priority, ..self }
    }

    pub fn with_warning_priority(self) -> Self {
        let priority = "4";
        Self { priority, ..self }
    }

    /// Adds a field as one escaped line, cut with a mark at 8 KiB.
    pub fn field(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name, text::line(value.as_ref(), FIELD)));
        self
    }

    pub fn number(mut self, name: &'static str, value: impl Into<u64>) -> Self {
        let value: u64 = value.into();
        self.fields.push((name, value.to_string()));
        self
    }

    pub fn maybe(self, name: &'static str, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }
}

pub(crate) mod json {
    //! Writes the little JSON that the root process produces. The root process parses no JSON.

    /// Appends a JSON string. Callers have already removed control characters; they are escaped anyway.
    pub fn string(text: &mut String, value: &str) {
        let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        text.push('"');
        // No early exit, so many bytes can be checked at once.
        if value.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            text.push_str(value);
        } else {
            value.chars().for_each(|c| escaped(text, c));
        }
        text.push('"');
    }

    fn escaped(text: &mut String, c: char) {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn strings_are_json() {
            let mut text = String::new();
            string(&mut text, "a\"b\\c\n\u{9b}ü");
            assert_eq!(text, r#""a\"b\\c\u000a\u009bü""#);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_and_grants_are_not() {
        let mut totals = Totals::default();
        let of_grant = Record::new(Event::Expired, "x").field("CAUSE", "x");
        let of_request = Record::new(Event::Expired, "x").field("STATE", "expired");
        of_grant.count(&mut totals);
        of_request.count(&mut totals);
        for event in Event::ALL {
            Record::new(event, "x").count(&mut totals);
        }
        let expect = Totals {
            started: 1,
            asked: 1,
            approved: 1,
            denied: 1,
            expired: 1,
            void: 1,
            refused: Vec::new(),
            records: 2 + Event::ALL.len() as u64,
            lost_records: 0,
        };
        assert_eq!(totals, expect);
    }

    #[test]
    fn policy_is_on_the_disk_before_it_is_saved_as_in_force() {
        assert!(Record::new(Event::Policy, "x").is_change);
        assert!(!Record::new(Event::Start, "x").is_change);
    }

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
