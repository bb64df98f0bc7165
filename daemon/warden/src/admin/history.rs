//! Passes administrators' questions about the history to the broker, which keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::admin::AdminReply;
use remit_common::caps;
use remit_common::frame;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{HistoryPage, HistoryQuery};
use remit_link::{HistoryMark, ToBroker};

use super::Wants;
use crate::event_loop::timers::Timer;
use crate::state::Warden;

/// Time limit of the broker, and of the next one if it dies meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Questions without an answer, by number. The connections that ask bound them.
#[derive(Debug, Default)]
pub struct HistoryQuestions {
    last: u64,
    live: BTreeMap<u64, ToBroker>,
}

impl Warden {
    /// Fails if the query is invalid.
    pub fn ask_history(
        &mut self,
        user: Option<String>,
        query: HistoryQuery,
    ) -> Result<Wants, Refusal> {
        query.check()?;
        // Without those whose connections are gone: each new connection could leave some.
        let waiting = &self.admins.waiting;
        let is_waited_for = |question: &u64| {
            let mut wants = waiting.iter().map(|(_, wants)| wants);
            wants.any(|wants| *wants == Wants::History(*question))
        };
        self.questions
            .live
            .retain(|question, _| is_waited_for(question));
        let question = self.questions.last.wrapping_add(1);
        self.questions.last = question;
        let message = ToBroker::HistoryQuestion {
            question,
            user,
            query,
        };
        if self.audit.history.is_open() {
            self.tell(&message);
        }
        self.questions.live.insert(question, message);
        self.timers.add(PATIENCE, Timer::History(question));
        Ok(Wants::History(question))
    }

    /// Sends the new broker what it does not have, and questions that the last one did not answer.
    pub fn on_history_opened(&mut self, newest: Option<HistoryMark>) {
        if self.audit.history.is_open() {
            let why = "it broke the protocol: it opened the history twice";
            return self.broker.kill(why);
        }
        self.audit.history.open(newest);
        self.send_history();
        for message in self.questions.live.values() {
            self.broker.send(message, &[]);
        }
    }

    /// Sends new entries of the history. Whatever the broker learns next, it has them first.
    pub fn send_history(&mut self) {
        while let Some(message) = self.audit.history.next() {
            self.broker.send(&message, &[]);
        }
    }

    pub fn on_history_answer(&mut self, question: u64, page: Result<HistoryPage, Refusal>) {
        if self.questions.live.remove(&question).is_none() {
            return;
        }
        self.timers.cancel(Timer::History(question));
        // Administrators type what a refusal says. So its words are never the broker's.
        let reply = match page {
            Ok(page) => AdminReply::History(page),
            Err(_) => AdminReply::Refused(unread("the broker cannot read its files")),
        };
        // A page that the broker made too long would leave the administrator without an answer.
        let reply = match frame::encode(&reply, caps::ADMIN_FRAME) {
            Ok(_) => reply,
            Err(_) => AdminReply::Refused(unread("the broker's answer is too long")),
        };
        self.tell_waiting(Wants::History(question), || reply);
    }

    pub fn on_history_timeout(&mut self, question: u64) {
        let seconds = PATIENCE.as_secs();
        let why = format!("the broker did not answer within {seconds} s");
        if self.questions.live.remove(&question).is_some() {
            self.tell_waiting(Wants::History(question), || {
                AdminReply::Refused(unread(&why))
            });
        }
    }
}

fn unread(why: &str) -> Refusal {
    Refusal::new(
        Code::NotStarted,
        format!("the history cannot be read: {why}"),
    )
    .lift("the daemon's log has the reason; the audit log is complete")
}
