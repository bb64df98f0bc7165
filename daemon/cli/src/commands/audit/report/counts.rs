//! DeedCounts what records say happened: in all, by day, by user, by approver. Totals are exact, in bounded memory. Pure.

use std::collections::BTreeMap;

use remit_policy::Basis;
use remit_trail::Event;

use super::super::record::AuditRecord;

/// What a record says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Asked,
    /// A job was started that changes nothing, by the definition of its command.
    Looked,
    /// A job was started that changes the host. A recovery of commits is none: it ends commits that were counted.
    Changed,
    /// A change that puts back what a commit had changed.
    Undone,
    /// A job did not end with exit status 0.
    Failed,
    Refused,
    Approved,
    Denied,
    /// It never ran: it was not approved in time, was withdrawn, or was not what was asked for any more.
    Lapsed,
    Granted,
    Revoked,
}

impl Deed {
    pub const COUNT: usize = 11;

    /// Returns what a record says happened, and how often. `progress`: what earlier records say of its job.
    pub fn from_record(
        record: &AuditRecord,
        progress: Option<JobProgress>,
    ) -> impl Iterator<Item = (Self, u64)> {
        let own = |name| record.own(name);
        let is_change = own("EFFECT") == Some("change");
        let is_undo = is_change && own("COMMAND") == Some("plan.undo");
        let of_grant = own("GRANT").is_some();
        let suppressed = || own("SUPPRESSED").and_then(|count| count.parse().ok());
        let is_second = own("AGAIN").is_some() && progress.is_some_and(|job| job.has_ended);
        let (first, second) = match own("EVENT").and_then(Event::of_name) {
            _ if is_second => (None, None),
            Some(Event::Asked) => (Some((Self::Asked, 1)), None),
            Some(Event::Intent) if is_change && is_recovery(record) => (None, None),
            Some(Event::Intent) if is_undo => (Some((Self::Changed, 1)), Some((Self::Undone, 1))),
            Some(Event::Intent) if is_change => (Some((Self::Changed, 1)), None),
            Some(Event::Intent) => (Some((Self::Looked, 1)), None),
            Some(event @ (Event::End | Event::Interrupted)) => {
                let deed = Self::from_end(record, event, progress);
                (deed.map(|deed| (deed, 1)), None)
            }
            Some(Event::Refusal) if is_lost_notification(record) => (None, None),
            Some(Event::Refusal) => (Some((Self::Refused, suppressed().unwrap_or(1))), None),
            Some(Event::Approved) => (Some((Self::Approved, 1)), None),
            Some(Event::Denied) => (Some((Self::Denied, 1)), None),
            Some(Event::Expired) if of_grant => (None, None),
            Some(Event::Expired | Event::Void) => (Some((Self::Lapsed, 1)), None),
            Some(Event::Granted) => (Some((Self::Granted, 1)), None),
            Some(Event::Revoked) => (Some((Self::Revoked, 1)), None),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    fn from_end(record: &AuditRecord, event: Event, progress: Option<JobProgress>) -> Option<Self> {
        let own = |name| record.own(name);
        if own("STATE") == Some("exited") && own("EXIT") == Some("0") {
            return None;
        }
        // Of a job that an earlier daemon had, no record says how long it ran.
        let is_of_past = own("AGAIN").is_some() || event == Event::Interrupted;
        let is_unknown =
            progress.is_none() && is_of_past && own("VERDICT") != Some("needs_approval");
        let has_started = progress.is_some_and(|job| job.has_started);
        match has_started || own("RUNTIME_MS").is_some() || is_unknown {
            true => Some(Self::Failed),
            false => Some(Self::Lapsed),
        }
    }
}

/// Returns true if remitd itself looks for interrupted commits: at each start, each day and after one.
fn is_recovery(record: &AuditRecord) -> bool {
    record.own("RULE") == Some(Basis::Recovery.to_string().as_str())
}

/// Returns true if a refusal says that approvers could not be notified of a request. It has the request's job and its user,
/// and no process: nobody was refused. One of a decision about a request has the process of the administrator.
pub fn is_lost_notification(record: &AuditRecord) -> bool {
    record.own("JOB").is_some() && record.own("PEER").is_none()
}

/// What the records of a job say of it, up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    pub has_started: bool,
    pub has_ended: bool,
}

impl JobProgress {
    pub fn saw(&mut self, event: &str) {
        self.has_started |= Event::of_name(event) == Some(Event::Intent);
        self.has_ended |= is_end(event);
    }
}

/// Returns true if a request or job has no records after this event.
fn is_end(event: &str) -> bool {
    use Event::{Denied, End, Expired, Interrupted, Void};
    let event = Event::of_name(event);
    matches!(event, Some(End | Interrupted | Denied | Expired | Void))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeedCounts([u64; Deed::COUNT]);

impl DeedCounts {
    pub fn get(&self, deed: Deed) -> u64 {
        self.0.get(deed as usize).copied().unwrap_or(0)
    }

    pub fn add(&mut self, deed: Deed, count: u64) {
        if let Some(sum) = self.0.get_mut(deed as usize) {
            *sum = sum.saturating_add(count);
        }
    }

    pub fn add_all(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(count);
        }
    }
}

/// DeedCounts of each day, in days since 1970; those of the oldest days together if there are too many.
#[derive(Clone, Debug, Default)]
pub struct Days {
    pub days: BTreeMap<u64, DeedCounts>,
    pub before: DeedCounts,
    /// Of records without a time.
    pub untimed: DeedCounts,
}

impl Days {
    const MOST: usize = 1500;

    pub fn add(&mut self, day: Option<u64>, deed: Deed, count: u64) {
        let Some(day) = day else {
            self.untimed.add(deed, count);
            return;
        };
        self.days.entry(day).or_default().add(deed, count);
        if self.days.len() > Self::MOST
            && let Some((_, counts)) = self.days.pop_first()
        {
            self.before.add_all(&counts);
        }
    }
}

/// A user's name and uid, as in the record.
pub type AgentName = (String, String);

/// A value for each name; one for all names that are more than the page lists.
#[derive(Clone, Debug)]
pub struct ByName<T> {
    pub named: BTreeMap<AgentName, T>,
    pub others: Option<T>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            others: None,
        }
    }
}

impl<T: Default> ByName<T> {
    pub const MOST: usize = 100;

    pub fn entry(&mut self, name: AgentName) -> &mut T {
        match self.named.len() < Self::MOST || self.named.contains_key(&name) {
            true => self.named.entry(name).or_default(),
            false => self.others.get_or_insert_default(),
        }
    }
}

/// What one user did.
#[derive(Clone, Debug, Default)]
pub struct AgentTotals {
    pub counts: DeedCounts,
    pub days: Days,
    /// Times of the first and last record, in milliseconds since 1970.
    pub times: Option<(u64, u64)>,
}

impl AgentTotals {
    pub fn saw(&mut self, ms: Option<u64>) {
        if let Some(ms) = ms {
            let (first, last) = self.times.unwrap_or((ms, ms));
            self.times = Some((first.min(ms), last.max(ms)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, &str)]) -> AuditRecord {
        let fields = fields
            .iter()
            .map(|(name, value)| (format!("REMIT_{name}"), serde_json::json!(value)));
        let object = serde_json::Value::Object(fields.collect());
        AuditRecord::of_line(object.to_string().as_bytes(), 1)
    }

    #[test]
    fn each_event_has_its_deeds() {
        use Deed::*;
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [(Deed, u64)]);
        let cases: [Case<'_>; 23] = [
            (&[("EVENT", "asked"), ("EFFECT", "change")], &[(Asked, 1)]),
            (&[("EVENT", "intent"), ("EFFECT", "read")], &[(Looked, 1)]),
            (&[("EVENT", "intent")], &[(Looked, 1)]),
            (
                &[("EVENT", "intent"), ("EFFECT", "change")],
                &[(Changed, 1)],
            ),
            (
                &[
                    ("EVENT", "intent"),
                    ("EFFECT", "change"),
                    ("COMMAND", "plan.undo"),
                ],
                &[(Changed, 1), (Undone, 1)],
            ),
            (
                &[
                    ("EVENT", "intent"),
                    ("EFFECT", "change"),
                    ("COMMAND", "plan.recover"),
                    ("RULE", "recovery of commits"),
                ],
                &[],
            ),
            // A person's.
            (
                &[
                    ("EVENT", "intent"),
                    ("EFFECT", "change"),
                    ("COMMAND", "plan.recover"),
                    ("RULE", "recovery of commits (a.toml:1)"),
                ],
                &[(Changed, 1)],
            ),
            (&[("EVENT", "end"), ("STATE", "exited"), ("EXIT", "0")], &[]),
            (
                &[
                    ("EVENT", "end"),
                    ("STATE", "exited"),
                    ("EXIT", "1"),
                    ("RUNTIME_MS", "0"),
                ],
                &[(Failed, 1)],
            ),
            (
                &[
                    ("EVENT", "end"),
                    ("STATE", "cancelled"),
                    ("VERDICT", "needs_approval"),
                ],
                &[(Lapsed, 1)],
            ),
            (
                &[("EVENT", "interrupted"), ("VERDICT", "needs_approval")],
                &[(Lapsed, 1)],
            ),
            (
                &[("EVENT", "interrupted"), ("STATE", "interrupted")],
                &[(Failed, 1)],
            ),
            (&[("EVENT", "refusal")], &[(Refused, 1)]),
            (&[("EVENT", "refusal"), ("JOB", "7f")], &[]),
            (
                &[("EVENT", "refusal"), ("JOB", "7f"), ("PEER", "pid 7")],
                &[(Refused, 1)],
            ),
            (
                &[("EVENT", "refusal"), ("SUPPRESSED", "70")],
                &[(Refused, 70)],
            ),
            (
                &[("EVENT", "refusal"), ("SUPPRESSED", "-1")],
                &[(Refused, 1)],
            ),
            (
                &[("EVENT", "approved"), ("APPROVALS", "1 of 2")],
                &[(Approved, 1)],
            ),
            (&[("EVENT", "expired")], &[(Lapsed, 1)]),
            (&[("EVENT", "expired"), ("GRANT", "1")], &[]),
            (&[("EVENT", "void")], &[(Lapsed, 1)]),
            (&[("EVENT", "policy")], &[]),
            (&[("EVENT", "<b>")], &[]),
        ];
        for (fields, expect) in cases {
            let found: Vec<_> = Deed::from_record(&record(fields), None).collect();
            assert_eq!(found, expect, "{fields:?}");
        }
    }

    #[test]
    fn totals_are_exact_and_memory_is_bounded() {
        let mut days = Days::default();
        let mut names = ByName::<DeedCounts>::default();
        for number in 0..5000 {
            days.add(Some(number), Deed::Asked, 1);
            names
                .entry((format!("u{number:04}"), String::new()))
                .add(Deed::Asked, 1);
        }
        assert_eq!(days.days.len(), Days::MOST);
        assert_eq!(days.days.first_key_value().map(|(day, _)| *day), Some(3500));
        assert_eq!(days.before.get(Deed::Asked), 3500);
        assert_eq!(names.named.len(), 100);
        assert_eq!(
            names.others.map(|counts| counts.get(Deed::Asked)),
            Some(4900)
        );
        let mut most = DeedCounts::default();
        most.add(Deed::Refused, u64::MAX);
        most.add(Deed::Refused, 2);
        assert_eq!(most.get(Deed::Refused), u64::MAX);
    }
}
