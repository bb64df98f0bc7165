//! Reads records into what the page shows: exact totals, and lists of the newest. In bounded memory. Pure.

use std::rc::Rc;

use remit_trail::Event;

use super::super::record::AuditRecord;
use super::super::verify::RecordReader;
use super::cited::{self, Cited, Newest};
use super::counts::{AgentName, AgentTotals, ByName, Days, Deed, DeedCounts, is_lost_notification};
use super::signature::CitedSignature;
use super::stories::Stories;

pub const DAY_MS: u64 = 86_400_000;

#[derive(Debug, Default)]
pub struct Contents {
    read: u64,
    pub totals: DeedCounts,
    pub days: Days,
    /// Requesters.
    pub agents: ByName<AgentTotals>,
    pub approvers: ByName<DeedCounts>,
    pub changes: Stories,
    pub looks: Stories,
    pub decisions: Newest,
    /// Administrators were shown the contents of files.
    pub shown: Newest,
    pub refusals: Newest,
    pub undos: Newest,
    pub grants: Newest,
    pub policies: Newest,
    pub locks: Newest,
    pub files: Newest,
    pub daemon: Newest,
    pub unreadable: u64,
    /// Approvals with a signature.
    pub signed: u64,
    pub host: RecordHost,
}

/// The machine that records of a journal name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RecordHost {
    #[default]
    Unknown,
    One(String),
    Several,
}

impl RecordReader for Contents {
    fn take(&mut self, record: &AuditRecord) {
        self.read += 1;
        if record.why.is_some() {
            self.unreadable += 1;
            return;
        }
        self.see_host(record.origin.host.as_deref());
        self.count(record);
        let cited = Rc::new(Cited::new(record, self.read));
        let signature = cited.signature.as_ref();
        self.signed += u64::from(signature.is_some_and(CitedSignature::is_there));
        self.list(record, &cited);
        self.tell(record, &cited);
    }
}

impl Contents {
    fn see_host(&mut self, host: Option<&str>) {
        let Some(host) = host else {
            return;
        };
        match &self.host {
            RecordHost::Unknown => self.host = RecordHost::One(host.to_owned()),
            RecordHost::One(known) if known == host => {}
            RecordHost::One(_) | RecordHost::Several => self.host = RecordHost::Several,
        }
    }

    fn count(&mut self, record: &AuditRecord) {
        let ms = record.time_ms();
        let day = ms.map(|ms| ms / DAY_MS);
        let of_agent = is_request(record) && record.own("UID").is_some();
        let job = record.job();
        let progress = job.and_then(|job| {
            let change = self.changes.progress(job);
            change.or_else(|| self.looks.progress(job))
        });
        for (deed, count) in Deed::from_record(record, progress) {
            self.totals.add(deed, count);
            self.days.add(day, deed, count);
            if of_agent {
                let agent = self.agents.entry(cited::user(record));
                agent.counts.add(deed, count);
                agent.days.add(day, deed, count);
                agent.saw(ms);
            }
            if let Some(person) = person(deed, record) {
                self.approvers.entry(person).add(deed, count);
            }
        }
    }

    fn list(&mut self, record: &AuditRecord, cited: &Rc<Cited>) {
        let is_undo = record.own("COMMAND") == Some("plan.undo");
        let of_grant = record.own("GRANT").is_some();
        match record.own("EVENT").and_then(Event::of_name) {
            _ if self.is_remark(record) => {}
            // The request itself goes on.
            Some(Event::Refusal) if is_lost_notification(record) => self.daemon.add(cited),
            Some(Event::Refusal) => self.refusals.add(cited),
            Some(Event::Granted | Event::Revoked) => self.grants.add(cited),
            Some(Event::Expired) if of_grant => self.grants.add(cited),
            Some(Event::Approved | Event::Denied | Event::Expired | Event::Void) => {
                self.decisions.add(cited)
            }
            Some(Event::Shown) => self.shown.add(cited),
            Some(Event::Intent | Event::End) if is_undo => self.undos.add(cited),
            Some(Event::Confirmed | Event::Unconfirmed) => self.undos.add(cited),
            Some(Event::Policy | Event::SelfTest) => self.policies.add(cited),
            Some(Event::Lock | Event::Unlock | Event::Paused | Event::Resumed) => {
                self.locks.add(cited)
            }
            Some(Event::Upload | Event::Drop) => self.files.add(cited),
            // They are in the stories of jobs.
            Some(
                Event::Asked | Event::Queued | Event::Intent | Event::End | Event::Interrupted,
            ) => {}
            _ => self.daemon.add(cited),
        }
    }

    fn tell(&mut self, record: &AuditRecord, cited: &Rc<Cited>) {
        let is_remark = self.is_remark(record);
        let is_of_story = is_remark || is_request(record);
        let Some(job) = record.job().filter(|_| is_of_story) else {
            return;
        };
        let is_change = record.own("EFFECT") == Some("change") || self.changes.has(job);
        match record.own("EVENT") {
            // Of a decision: it changes nothing for the request.
            Some("refusal") if !is_remark => {}
            _ if is_change => self.changes.add(job, cited),
            _ => self.looks.add(job, cited),
        }
    }

    /// Returns true if a record says what a job whose story is listed did on the bus, or that no approver was notified of it.
    /// There are as many as jobs, so that in another list they would take the entries of incidents.
    fn is_remark(&self, record: &AuditRecord) -> bool {
        let event = record.own("EVENT").and_then(Event::of_name);
        let is_one = event == Some(Event::Bus)
            || event == Some(Event::Refusal) && is_lost_notification(record);
        let is_listed = |job| self.changes.lists(job) || self.looks.lists(job);
        is_one && record.job().is_some_and(is_listed)
    }
}

/// Returns true for records of requests and jobs.
fn is_request(record: &AuditRecord) -> bool {
    use Event::{
        Approved, Asked, Denied, End, Expired, Intent, Interrupted, Queued, Refusal, Void,
    };
    matches!(
        record.own("EVENT").and_then(Event::of_name),
        Some(
            Asked
                | Approved
                | Denied
                | Expired
                | Void
                | Queued
                | Intent
                | End
                | Interrupted
                | Refusal
        )
    ) && record.own("GRANT").is_none()
}

/// Returns the person that decided it. The giver of a grant is the user of its record; so is the person that revokes one.
fn person(deed: Deed, record: &AuditRecord) -> Option<AgentName> {
    match deed {
        Deed::Approved | Deed::Denied => record.own("APPROVER").map(|_| cited::approver(record)),
        Deed::Granted | Deed::Revoked => record.own("UID").map(|_| cited::user(record)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ran_has_ended_badly_and_once() {
        let job = |number: u8| format!("{number:032x}");
        let mut contents = Contents::default();
        let mut take = |number: u8, event: &str, fields: &str| {
            let job = job(number);
            let line = format!(r#"{{"REMIT_EVENT":"{event}","REMIT_JOB":"{job}"{fields}}}"#);
            contents.take(&AuditRecord::of_line(line.as_bytes(), 1));
            let deeds = [Deed::Failed, Deed::Lapsed];
            deeds.map(|deed| contents.totals.get(deed))
        };
        let failed = r#","REMIT_STATE":"exited","REMIT_EXIT":"1","REMIT_VERDICT":"allow""#;
        let ran = format!(r#"{failed},"REMIT_RUNTIME_MS":"7""#);
        let again = format!(r#"{failed},"REMIT_AGAIN":"maybe""#);
        let withdrawn = r#","REMIT_STATE":"cancelled","REMIT_VERDICT":"needs_approval""#;
        let cut_off = r#","REMIT_STATE":"interrupted","REMIT_VERDICT":"allow""#;
        take(1, "asked", "");
        assert_eq!(take(1, "end", withdrawn), [0, 1]);
        take(2, "queued", "");
        assert_eq!(take(2, "interrupted", cut_off), [0, 2]);
        take(3, "intent", "");
        assert_eq!(take(3, "interrupted", cut_off), [1, 2]);
        take(4, "intent", "");
        assert_eq!(take(4, "end", &ran), [2, 2]);
        assert_eq!(take(4, "end", &again), [2, 2], "it is there twice");
        take(5, "intent", "");
        assert_eq!(take(5, "end", &again), [3, 2]);
        take(6, "intent", "");
        let not_started = r#","REMIT_STATE":"not_started","REMIT_VERDICT":"allow""#;
        assert_eq!(take(6, "end", not_started), [4, 2]);
        assert_eq!(take(7, "interrupted", cut_off), [5, 2], "an older record");
        take(8, "asked", "");
        for event in ["void", "void", "expired"] {
            let again = r#","REMIT_AGAIN":"maybe""#;
            assert_eq!(take(8, event, again), [5, 3], "it is there twice");
        }
    }

    #[test]
    fn remarks_about_jobs_take_no_entry_of_an_incident() {
        let mut contents = Contents::default();
        let mut take = |event: &str, job: u32| {
            let line = format!(r#"{{"REMIT_EVENT":"{event}","REMIT_JOB":"{job:032x}"}}"#);
            contents.take(&AuditRecord::of_line(line.as_bytes(), 1));
        };
        for event in ["start", "trail"] {
            take(event, 0);
        }
        for job in 1..=301 {
            for event in ["intent", "bus", "refusal", "end", "bus"] {
                take(event, job);
            }
        }
        // The first story is not listed any more, and another is not in the log.
        for (event, job) in [("bus", 1), ("refusal", 1), ("bus", 302)] {
            take(event, job);
        }
        assert_eq!((contents.daemon.count, contents.refusals.count), (5, 0));
        for story in contents.looks.newest_first() {
            assert_eq!(story.steps.len(), 5);
            assert_eq!(story.last().map(|last| &*last.event), Some("end"));
        }
    }

    #[test]
    fn decision_counts_for_its_person() {
        let lines = [
            r#"{"REMIT_EVENT":"approved","REMIT_USER":"alice","REMIT_UID":"1","REMIT_APPROVER":"bob","REMIT_APPROVER_UID":"2"}"#,
            r#"{"REMIT_EVENT":"denied","REMIT_USER":"alice","REMIT_UID":"1","REMIT_APPROVER":"bob","REMIT_APPROVER_UID":"2"}"#,
            r#"{"REMIT_EVENT":"given","REMIT_USER":"bob","REMIT_UID":"2","REMIT_GRANT":"1"}"#,
            r#"{"REMIT_EVENT":"revoked","REMIT_USER":"ann","REMIT_UID":"3","REMIT_GRANT":"1","REMIT_APPROVER":"bob","REMIT_APPROVER_UID":"2"}"#,
            r#"{"REMIT_EVENT":"revoked","REMIT_GRANT":"2","REMIT_APPROVER":"bob","REMIT_APPROVER_UID":"2"}"#,
            r#"{"REMIT_EVENT":"expired","REMIT_GRANT":"3","REMIT_APPROVER":"bob","REMIT_APPROVER_UID":"2"}"#,
        ];
        let mut contents = Contents::default();
        for line in lines {
            contents.take(&AuditRecord::of_line(line.as_bytes(), 1));
        }
        let of = |name: &str, uid: &str| {
            let counts = contents
                .approvers
                .named
                .get(&(name.to_owned(), uid.to_owned()));
            let deeds = [Deed::Approved, Deed::Denied, Deed::Granted, Deed::Revoked];
            counts.map(|counts| deeds.map(|deed| counts.get(deed)))
        };
        assert_eq!(of("bob", "2"), Some([1, 1, 1, 0]));
        assert_eq!(of("ann", "3"), Some([0, 0, 0, 1]));
        assert_eq!(contents.approvers.named.len(), 2);
        assert_eq!(contents.totals.get(Deed::Revoked), 2);
        let agents: Vec<_> = contents.agents.named.keys().collect();
        assert_eq!(agents, [&("alice".to_owned(), "1".to_owned())]);
        assert_eq!((contents.grants.count, contents.decisions.count), (4, 2));
    }
}
