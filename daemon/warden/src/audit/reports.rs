//! What leaves the daemon: records to the audit log, messages to the broker. Whatever the broker learns, it has the
//! new entries of the history first.

use remit_common::admin::AdminReply;
use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, ToBroker};

use crate::audit::Audit;
use crate::audit::rate_limit::Floods;
use crate::audit::refusals::Refusals;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::peer::Subject;
use crate::identity::sessions::Sessions;
use crate::request::{RequestSummary, Requester};
use crate::service::broker_process::Broker;

/// What a request comes to.
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
    /// Digest of the policy in force, for records.
    pub policy: String,
    /// Limits records of refusals.
    pub refusals: Floods,
    /// The same for refusals that the broker reports.
    pub broker_refusals: Floods,
    /// A refusal was only counted, and no timer is set for its report.
    pub has_left_out: bool,
    pub recent: Refusals,
}

impl Reports {
    pub fn new(audit: Audit, broker: Broker, policy: String) -> Self {
        Self {
            audit,
            broker,
            policy,
            refusals: Floods::default(),
            broker_refusals: Floods::default(),
            has_left_out: false,
            recent: Refusals::default(),
        }
    }

    pub fn tell(&mut self, message: &ToBroker) {
        self.send_history();
        self.broker.send(message, &[]);
    }

    /// Sends new entries of the history.
    pub fn send_history(&mut self) {
        while let Some(message) = self.audit.history.next() {
            self.broker.send(&message, &[]);
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

    /// Records a refusal of an administrator's request. Returns its answer.
    pub fn refuse(&mut self, subject: &Subject, refusal: Refusal) -> AdminReply {
        self.record_refusal(Some(subject), None, &refusal, None);
        AdminReply::Refused(refusal)
    }

    /// Records that a request came to nothing, because the broker that could answer it has died.
    pub fn drop_request(&mut self, requester: &Requester, asked: &RequestSummary, text: &str) {
        let refusal = Refusal::new(Code::DaemonUnavailable, text);
        let (subject, session) = (&requester.subject, requester.session);
        self.record_refusal(Some(subject), Some(session), &refusal, Some(asked));
    }
}
