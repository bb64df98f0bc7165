//! Writes refusals to the audit log: one by one up to a limit per user, and only their number beyond it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use remit_common::admin::RecentRefusal;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};

use crate::audit::chain::hex;
use crate::audit::rate_limit::{Floods, LeftOut};
use crate::audit::reports::Reports;
use crate::audit::{Event, Record};
use crate::event_loop::epoll::Reactor;
use crate::event_loop::timers::{self, Timer, Timers};
use crate::identity::peer::Subject;
use crate::identity::sessions::Sessions;
use crate::request::{RequestSummary, with_groups, with_subject};

/// Maximum delay until omitted refusals are recorded, one record per user.
const TELL: Duration = Duration::from_secs(5);
/// Such records per turn of the loop, and the delay until the next ones.
const AT_ONCE: usize = 16;
const SOON: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalSource {
    Warden,
    Broker,
}

/// What a request asked for that was refused.
#[derive(Clone, Copy, Debug)]
enum RefusedRequest<'a> {
    /// Nothing that is described.
    Other,
    Asked(&'a RequestSummary),
    /// A decision about a request.
    Decides(DecidedRequest),
}

/// A request that somebody approves or denies, and the digest of an approval.
pub type DecidedRequest = (JobId, Option<[u8; 32]>);

impl RefusalSource {
    pub(super) fn marked(self, record: Record) -> Record {
        match self {
            Self::Warden => record,
            Self::Broker => record.field("SOURCE", "broker"),
        }
    }
}

impl Reports {
    pub fn record_refusal(
        &mut self,
        subject: Option<&Subject>,
        session: Option<u64>,
        refusal: &Refusal,
        asked: Option<&RequestSummary>,
    ) {
        let source = RefusalSource::Warden;
        if let (Some(subject), Some(_)) = (subject, session) {
            self.count_refusals(subject, (refusal.code, 1), source);
        }
        let request = asked.map_or(RefusedRequest::Other, RefusedRequest::Asked);
        self.record_from(source, (subject, subject), session, refusal, request);
    }

    pub(super) fn record_refused_decision(
        &mut self,
        subject: &Subject,
        decided: DecidedRequest,
        refusal: &Refusal,
    ) {
        let subject = Some(subject);
        let request = RefusedRequest::Decides(decided);
        self.record_from(
            RefusalSource::Warden,
            (subject, subject),
            None,
            refusal,
            request,
        );
    }

    /// Records the refusal of a connection. All `strangers` share one budget: a user can have thousands of uids without an
    /// account.
    pub fn record_refused_arrival(
        &mut self,
        subject: Option<&Subject>,
        is_stranger: bool,
        refusal: &Refusal,
    ) {
        let (source, payer) = (RefusalSource::Warden, subject.filter(|_| !is_stranger));
        let request = RefusedRequest::Other;
        self.record_from(source, (subject, payer), None, refusal, request);
    }

    /// Records a refusal by the broker, marked as such. It has its own limit, beside that of the warden's refusals, and counts
    /// for nobody who has left: a broker speaks for its clients alone.
    pub fn record_broker_refusal(&mut self, sessions: &Sessions, session: u64, refusal: &Refusal) {
        let (source, subject) = (RefusalSource::Broker, sessions.name(session));
        if let Ok(client) = sessions.subject(session) {
            self.count_refusals(client, (refusal.code, 1), source);
        }
        let request = RefusedRequest::Other;
        self.record_from(source, (subject, subject), Some(session), refusal, request);
    }

    /// Counts refusals by the broker that it does not report one by one, as if each had been omitted here.
    pub fn count_broker_refusals(
        &mut self,
        sessions: &Sessions,
        session: u64,
        (code, count): (Code, u32),
    ) {
        let source = RefusalSource::Broker;
        if let Ok(client) = sessions.subject(session) {
            self.count_refusals(client, (code, count), source);
        }
        self.recent.count(code, count);
        let (now, unix_ms) = (Instant::now(), timers::unix_ms());
        let floods = self.floods(source);
        floods.leave_out(sessions.name(session), (code, count), now, unix_ms);
        self.has_left_out = true;
    }

    fn record_from(
        &mut self,
        source: RefusalSource,
        (subject, payer): (Option<&Subject>, Option<&Subject>),
        session: Option<u64>,
        refusal: &Refusal,
        request: RefusedRequest<'_>,
    ) {
        self.recent.add(subject.map(Subject::user), refusal);
        if self.may_be_recorded(source, payer, refusal) {
            let record = refusal_record(&self.policy, subject, session, refusal, request);
            self.write_refusal(source, payer, refusal, source.marked(record));
        }
    }

    /// Writes the record. If the audit log cannot be written now, the refusal is counted with the omitted ones.
    fn write_refusal(
        &mut self,
        source: RefusalSource,
        payer: Option<&Subject>,
        refusal: &Refusal,
        record: Record,
    ) {
        let (weight, now) = (record.weight(), Instant::now());
        let written = self.audit.write(record);
        let floods = self.floods(source);
        match written {
            Ok(()) => floods.take(payer, weight, now),
            Err(_) => {
                floods.leave_out(payer, (refusal.code, 1), now, timers::unix_ms());
                self.has_left_out = true;
            }
        }
    }

    fn floods(&mut self, source: RefusalSource) -> &mut Floods {
        match source {
            RefusalSource::Warden => &mut self.refusals,
            RefusalSource::Broker => &mut self.broker_refusals,
        }
    }

    fn may_be_recorded(
        &mut self,
        source: RefusalSource,
        payer: Option<&Subject>,
        refusal: &Refusal,
    ) -> bool {
        let now = Instant::now();
        let floods = self.floods(source);
        let has_capacity = floods.has_capacity(payer, refusal.code, now, timers::unix_ms());
        self.has_left_out |= !has_capacity;
        has_capacity
    }

    /// Sets the time of the next try if the audit log has not all that it has to have, and has the loop report when it takes
    /// records again.
    pub fn delay_left_out(&mut self, reactor: &mut Reactor) {
        let has_undelivered = self.audit.has_undelivered();
        let is_due = std::mem::take(&mut self.has_left_out) || has_undelivered;
        if is_due && !reactor.timers.has(Timer::LeftOut) {
            reactor.timers.add(TELL, Timer::LeftOut);
            if has_undelivered {
                self.watch_audit(reactor);
            }
        }
    }

    /// Records what the audit log did not take, and how many refusals were omitted, a few users at a time.
    pub fn tell_left_out(&mut self, timers: &mut Timers) {
        if !self.records_left_out(AT_ONCE) {
            // The audit log cannot be written now. The counts are kept, and the end of this turn sets the next try.
            self.has_left_out = true;
        } else if self
            .refusals
            .left_out()
            .or(self.broker_refusals.left_out())
            .is_some()
        {
            timers.add(SOON, Timer::LeftOut);
        }
    }

    pub fn tell_all_left_out(&mut self) {
        let _ = self.records_left_out(usize::MAX);
    }

    fn records_left_out(&mut self, most: usize) -> bool {
        if !self.audit.deliver() {
            return false;
        }
        let sources = [RefusalSource::Warden, RefusalSource::Broker];
        for _ in 0..most {
            let next = sources.into_iter().find_map(|source| {
                let left_out = self.floods(source).left_out()?.clone();
                Some((source, left_out))
            });
            let Some((source, left_out)) = next else {
                break;
            };
            let record = left_out_record(&left_out, &self.policy);
            if self.audit.write(source.marked(record)).is_err() {
                return false;
            }
            self.floods(source).forget_left_out();
        }
        true
    }
}

fn refusal_record(
    policy: &str,
    subject: Option<&Subject>,
    session: Option<u64>,
    refusal: &Refusal,
    request: RefusedRequest<'_>,
) -> Record {
    let (asked, decided) = match request {
        RefusedRequest::Other => (None, None),
        RefusedRequest::Asked(asked) => (Some(asked), None),
        RefusedRequest::Decides(decided) => (None, Some(decided)),
    };
    let job = decided.map(|(job, _)| job);
    let digest = decided.and_then(|(_, digest)| digest);
    let name = subject.map_or("somebody", Subject::user);
    // Only the cause: the fix is for the caller.
    let about = job.map_or_else(String::new, |job| format!(" about [{}]", job.short()));
    let (code, cause) = (refusal.code, &refusal.message);
    let mut message = format!("{name} was refused ({code}){about}: {cause}");
    if let Some(asked) = asked {
        message += &format!(": {}", asked.command());
    }
    let record = Record::new(Event::Refusal, message);
    let record = match subject {
        Some(subject) => {
            let command = asked.map(RequestSummary::command);
            with_subject(record, subject, session).for_history(subject.owner(), None, command)
        }
        None => record,
    };
    let record = match (asked, subject) {
        (Some(asked), Some(subject)) => with_groups(asked.whole(record), subject),
        (Some(asked), None) => asked.whole(record),
        (None, _) => record,
    };
    record
        .field("VERDICT", refusal.code.as_str())
        .field("CAUSE", &refusal.message)
        .maybe("RULE", refusal.by.as_ref())
        .field("POLICY", policy)
        .maybe("JOB", job.map(|job| job.to_string()))
        .maybe("DIGEST", digest.map(|digest| hex(&digest)))
}

fn left_out_record(left_out: &LeftOut, policy: &str) -> Record {
    let (user, codes) = (&left_out.user, left_out.codes());
    let name = user.as_ref().map_or("somebody", |(_, name)| name);
    let since = remit_common::calendar::utc(left_out.since_ms);
    let list = |between: &str, words: fn(&(&str, u64)) -> String| {
        let words: Vec<_> = codes.iter().map(words).collect();
        words.join(between)
    };
    let cause = list(", ", |(code, count)| format!("{count} {code}"));
    let message = format!(
        "{name} was refused {} more times since {since}, which was not recorded one by one: {cause}",
        left_out.count()
    );
    let record = Record::new(Event::Refusal, message)
        .maybe("UID", user.as_ref().map(|(uid, _)| uid.to_string()))
        .maybe("USER", user.as_ref().map(|(_, name)| name));
    let common = codes.first().map(|(code, _)| *code);
    record
        .maybe("VERDICT", common)
        .field(
            "CAUSE",
            "too many refusals in a short time, or an audit log that could not be written",
        )
        .number("SUPPRESSED", left_out.count())
        .field(
            "VERDICTS",
            list(" ", |(code, count)| format!("{code}={count}")),
        )
        .number("SINCE", left_out.since_ms)
        .field("POLICY", policy)
}

const SENTENCE: usize = 300;

/// The newest refusals, and the number of all, for `remit status`. In a flood the audit log has only numbers.
#[derive(Debug, Default)]
pub struct Refusals {
    newest: VecDeque<RecentRefusal>,
    /// By the code's place in [`Code::ALL`].
    counts: [u64; Code::ALL.len()],
}

impl Refusals {
    pub fn add(&mut self, user: Option<&str>, refusal: &Refusal) {
        self.count(refusal.code, 1);
        self.newest
            .truncate(caps::RECENT_REFUSALS.saturating_sub(1));
        self.newest.push_front(RecentRefusal {
            at_ms: timers::unix_ms(),
            user: user.map(str::to_owned),
            code: refusal.code,
            message: text::line(refusal.message.as_bytes(), SENTENCE),
        });
    }

    pub fn count(&mut self, refused: Code, more: u32) {
        let mut counts = self.counts.iter_mut().zip(Code::ALL);
        if let Some((count, _)) = counts.find(|(_, code)| *code == refused) {
            *count = count.saturating_add(more.into());
        }
    }

    pub fn list(&self) -> Vec<RecentRefusal> {
        self.newest.iter().cloned().collect()
    }

    pub fn totals(&self) -> Vec<(Code, u64)> {
        let counts = Code::ALL.into_iter().zip(self.counts);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_code_beyond_the_newest() {
        let mut refusals = Refusals::default();
        for _ in 0..=caps::RECENT_REFUSALS {
            refusals.add(None, &Refusal::new(Code::NotStarted, "x"));
        }
        refusals.add(Some("ann"), &Refusal::new(Code::DeniedRule, "y"));
        assert_eq!(refusals.list().len(), caps::RECENT_REFUSALS);
        let many = caps::RECENT_REFUSALS as u64 + 1;
        let expect = [(Code::DeniedRule, 1), (Code::NotStarted, many)];
        assert_eq!(refusals.totals(), expect);
    }

    #[test]
    fn refusal_about_a_request_names_it() {
        let ann = Subject::fake(1001, "ann", Some(1001));
        let refusal = Refusal::new(Code::DeniedRule, "you cannot approve your own change");
        let job = JobId([0xab; 16]);
        for (job, message) in [
            (
                Some(job),
                "ann was refused (denied_rule) about [abababab]: you cannot approve your own change",
            ),
            (
                None,
                "ann was refused (denied_rule): you cannot approve your own change",
            ),
        ] {
            let request = job.map_or(RefusedRequest::Other, |job| {
                RefusedRequest::Decides((job, None))
            });
            let record = refusal_record("p", Some(&ann), None, &refusal, request);
            assert_eq!(record.message, message);
            let value = |name| {
                let mut fields = record.fields.iter();
                let found = fields.find(|(other, _)| *other == name);
                found.map(|(_, value)| value.clone())
            };
            assert_eq!(value("JOB"), job.map(|job| job.to_string()));
            // By this a report knows it from a failed notification.
            assert!(value("PEER").is_some());
        }
    }

    #[test]
    fn left_out_refusals_are_recorded_by_count() {
        let (mut floods, now) = (Floods::default(), Instant::now());
        let alice = Subject::fake(1000, "alice", None);
        floods.take(Some(&alice), 1 << 20, now);
        for code in [Code::Busy, Code::DeniedRule, Code::DeniedRule] {
            assert!(!floods.has_capacity(Some(&alice), code, now, 1_795_162_271_042));
        }
        let record = left_out_record(floods.left_out().unwrap(), "p");
        assert_eq!(
            record.message,
            "alice was refused 3 more times since 2026-11-20 08:11:11 UTC, which was not recorded one by one: \
             2 denied_rule, 1 busy"
        );
        let value = |name| {
            let mut fields = record.fields.iter();
            fields
                .find(|(n, _)| *n == name)
                .map(|(_, value)| value.as_str())
        };
        for (name, expect) in [
            ("UID", Some("1000")),
            ("USER", Some("alice")),
            ("VERDICT", Some("denied_rule")),
            ("VERDICTS", Some("denied_rule=2 busy=1")),
            ("SUPPRESSED", Some("3")),
            ("SINCE", Some("1795162271042")),
            ("SOURCE", None),
        ] {
            assert_eq!(value(name), expect, "{name}");
        }
    }

    #[test]
    fn the_newest_are_kept_newest_first() {
        let mut refusals = Refusals::default();
        for number in 0..9 {
            let refusal = Refusal::new(Code::Busy, format!("{number}\n{}", "x".repeat(999)));
            refusals.add(Some("alice"), &refusal);
        }
        let list = refusals.list();
        let first: Vec<_> = list.iter().map(|r| &r.message[..3]).collect();
        assert_eq!(first, ["8\\n", "7\\n", "6\\n", "5\\n", "4\\n"]);
        assert!(list.iter().all(|r| r.message.len() < SENTENCE + 10));
    }
}
