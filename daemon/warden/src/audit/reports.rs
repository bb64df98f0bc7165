//! What leaves the daemon: records to the log, messages to the broker. The broker gets entries of the history first.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use remit_common::admin::AdminReply;
use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, ToBroker};

use crate::audit::rate_limit::Floods;
use crate::audit::refusals::{DecidedRequest, RefusalSource, Refusals};
use crate::audit::{Audit, Event, Record};
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::identity::sessions::Sessions;
use crate::job::breaker::{Breakers, Pause};
use crate::request::{RequestSummary, Requester, with_subject};
use crate::service::broker_process::Broker;

pub enum Outcome {
    /// A job was started or queued. The broker has it, with this ticket.
    Started,
    /// Answered later: the audit log cannot be written for now, or the request's files are being hashed.
    Parked,
    Answered(Answer),
}

#[derive(Debug)]
pub struct Reports {
    pub audit: Audit,
    pub broker: Broker,
    pub policy: String,
    pub refusals: Floods,
    pub broker_refusals: Floods,
    /// A refusal was only counted, and no timer is set for its report.
    pub has_left_out: bool,
    pub recent: Refusals,
    pub breakers: Breakers,
}

impl Reports {
    pub fn new(audit: Audit, broker: Broker, policy: String, breakers: Breakers) -> Self {
        Self {
            audit,
            broker,
            policy,
            refusals: Floods::default(),
            broker_refusals: Floods::default(),
            has_left_out: false,
            recent: Refusals::default(),
            breakers,
        }
    }

    pub fn tell(&mut self, message: &ToBroker) {
        self.tell_with(message, &[]);
    }

    /// Sends a message with descriptors, after the entries of the history so far. The last of them travels with it.
    pub fn tell_with(&mut self, message: &ToBroker, fds: &[BorrowedFd<'_>]) {
        while let Some((entry, is_last)) = self.audit.history.next() {
            if is_last {
                return self.broker.send_after(entry, message, fds);
            }
            self.broker.store(entry);
        }
        self.broker.send(message, fds);
    }

    pub fn send_history(&mut self) {
        while let Some((entry, _)) = self.audit.history.next() {
            self.broker.store(entry);
        }
    }

    /// Has the loop report when the audit log can be written again.
    pub fn watch_audit(&self, reactor: &Reactor) {
        if let Some(fd) = self.audit.fd() {
            // The descriptor may be watched already, or be another socket by now.
            let again = reactor.set(fd, Token::Audit, Interest::WriteOnce);
            if again.is_err() {
                let _ = reactor.add(fd, Token::Audit, Interest::WriteOnce);
            }
        }
    }

    /// Reports the result of a request, unless the broker already knows it.
    pub fn reply(
        &mut self,
        sessions: &Sessions,
        (session, ticket): (u64, u64),
        asked: Option<&RequestSummary>,
        reply: Result<Outcome, Refusal>,
    ) {
        let answer = match reply {
            Ok(Outcome::Started | Outcome::Parked) => return,
            Ok(Outcome::Answered(answer)) => Ok(answer),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &answer {
            self.record_refusal(sessions.name(session), Some(session), refusal, asked);
        }
        self.tell(&ToBroker::Answer { ticket, answer });
    }

    /// Counts how a change ended that ran.
    pub fn on_change_ended(&mut self, change: (&Subject, &str), is_well: bool) {
        let at = timers::unix_ms();
        let pause = self.breakers.on_change_ended(change, is_well, at);
        self.record_pause(change.0, pause, RefusalSource::Warden);
    }

    pub(super) fn count_refusals(
        &mut self,
        by: &Subject,
        refused: (Code, u32),
        source: RefusalSource,
    ) {
        let now = (Instant::now(), timers::unix_ms());
        let pause = self.breakers.on_refusals(by, refused, now);
        self.record_pause(by, pause, source);
    }

    /// Saves and records a new pause. It is in force even if neither can be done.
    fn record_pause(&mut self, by: &Subject, pause: Option<Pause>, source: RefusalSource) {
        let Some(Pause {
            user, scope, why, ..
        }) = pause
        else {
            return;
        };
        if let Err(error) = self.breakers.save() {
            say_error!("{user} is paused, but not after a restart: {error}");
        }
        let message = format!("{user} is paused ({}): {why}", scope.name());
        let record = with_subject(Record::new(Event::Paused, message), by, None)
            .field("PAUSED", scope.name())
            .field("CAUSE", &why)
            .field("POLICY", &self.policy);
        self.audit.note(source.marked(record));
    }

    pub fn refuse(&mut self, subject: &Subject, refusal: Refusal) -> AdminReply {
        self.record_refusal(Some(subject), None, &refusal, None);
        AdminReply::Refused(refusal)
    }

    /// As [`Self::refuse`], of a decision about this request.
    pub fn refuse_decision(
        &mut self,
        subject: &Subject,
        decided: DecidedRequest,
        refusal: Refusal,
    ) -> AdminReply {
        self.record_refused_decision(subject, decided, &refusal);
        AdminReply::Refused(refusal)
    }

    /// Records that a request came to nothing, because the broker that could answer it has died.
    pub fn drop_request(&mut self, requester: &Requester, asked: &RequestSummary, text: &str) {
        let refusal = Refusal::new(Code::DaemonUnavailable, text);
        let (subject, session) = (&requester.subject, requester.session);
        self.record_refusal(Some(subject), Some(session), &refusal, Some(asked));
    }
}
