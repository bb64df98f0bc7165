//! Questions about the history: a forked child reads the files, and the event loop forwards the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::admin::AdminReply;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::HistoryQuery;
use remit_confine::in_child;
use remit_link::Answer;

use super::page::{FoundPage, HistoryScope};
use crate::admin::Wants;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::identity::peer::Subject;
use crate::startup::error::chain;
use crate::state::Warden;

/// Questions at a time, per user and in total. Each is a process for a few milliseconds.
const PER_USER: usize = 4;
const IN_ALL: usize = 16;
/// Time limit of the child. After it, the child is ended.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HistoryAsker {
    Session { session: u64, ticket: u64 },
    Admin,
}

impl HistoryAsker {
    /// The reason names paths and disks: only administrators and the log get it.
    fn unread(self, why: &str) -> Refusal {
        let text = match self {
            Self::Session { .. } => "the history cannot be read".to_owned(),
            Self::Admin => format!("the history cannot be read: {why}"),
        };
        Refusal::new(Code::NotStarted, text)
            .lift("the daemon's log has the reason; the audit log is complete")
    }
}

#[derive(Debug)]
struct HistoryQuestion {
    asker: HistoryAsker,
    uid: u32,
    answer: remit_confine::Answer,
}

#[derive(Debug, Default)]
pub struct Questions {
    next: u64,
    live: BTreeMap<u64, HistoryQuestion>,
    /// A damaged file was logged already.
    reported_damage: bool,
    /// The last failure was logged already.
    reported_unread: bool,
}

impl Questions {
    fn check_capacity(&self, uid: u32) -> Result<(), Refusal> {
        let own = self.live.values().filter(|question| question.uid == uid);
        let own = own.count();
        let text = if own >= PER_USER {
            format!("{own} of your history requests are in progress")
        } else if self.live.len() >= IN_ALL {
            "too many history requests are in progress".to_owned()
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::Busy, text).next("ask again in a second"))
    }
}

impl Warden {
    pub fn history(&mut self, session: u64, ticket: u64, query: &HistoryQuery) {
        let started = self.subject(session).and_then(|subject| {
            let scope = HistoryScope::Own(subject.owner());
            let asker = HistoryAsker::Session { session, ticket };
            self.begin_history(asker, subject.uid(), &scope, query)
        });
        if let Err(refusal) = started {
            self.answer(session, ticket, Err(refusal));
        }
    }

    /// Fails if the query is invalid, or if too many are being answered.
    pub fn history_of(
        &mut self,
        admin: &Subject,
        user: Option<String>,
        query: &HistoryQuery,
    ) -> Result<Wants, Refusal> {
        let scope = user.map_or(HistoryScope::All, HistoryScope::Named);
        let serial = self.begin_history(HistoryAsker::Admin, admin.uid(), &scope, query)?;
        Ok(Wants::History(serial))
    }

    fn begin_history(
        &mut self,
        asker: HistoryAsker,
        uid: u32,
        scope: &HistoryScope,
        query: &HistoryQuery,
    ) -> Result<u64, Refusal> {
        if !(1..=caps::HISTORY_PAGE).contains(&query.limit) {
            let text = format!(
                "limit is {}, but must be 1 to {}",
                query.limit,
                caps::HISTORY_PAGE
            );
            return Err(Refusal::new(Code::InvalidArgs, text).object("limit"));
        }
        let questions = &self.questions;
        questions.check_capacity(uid)?;
        let unread = |why: &str| asker.unread(why);
        self.audit.history.keep();
        let store = &self.audit.history.store;
        let store = store.as_ref().map_err(|why| unread(why))?;
        let answer = in_child(|| {
            let found = store.page(scope, query);
            postcard::to_extend(&found, Vec::new()).unwrap_or_default()
        });
        let answer = answer.map_err(|error| unread(&chain(&error)))?;
        let serial = questions.next.wrapping_add(1);
        self.reactor
            .add(answer.fd(), Token::History(serial), Interest::Read)
            .map_err(|error| unread(&error.to_string()))?;
        self.timers.add(PATIENCE, Timer::History(serial));
        self.questions.next = serial;
        let question = HistoryQuestion { asker, uid, answer };
        self.questions.live.insert(serial, question);
        Ok(serial)
    }

    pub fn on_history_readable(&mut self, serial: u64) {
        let Some(question) = self.questions.live.get_mut(&serial) else {
            return;
        };
        let found = match question.answer.read() {
            Ok(None) => return,
            Ok(Some(bytes)) => postcard::from_bytes::<Result<FoundPage, String>>(&bytes)
                .unwrap_or_else(|_| Err("the child that reads it died".to_owned())),
            Err(error) => Err(chain(&error)),
        };
        self.answer_history(serial, found);
    }

    pub fn on_history_timeout(&mut self, serial: u64) {
        let seconds = PATIENCE.as_secs();
        let why = format!("it was not read within {seconds} s: a disk does not respond");
        self.answer_history(serial, Err(why));
    }

    fn answer_history(&mut self, serial: u64, found: Result<FoundPage, String>) {
        let Some(question) = self.questions.live.remove(&serial) else {
            return;
        };
        self.timers.cancel(Timer::History(serial));
        self.reactor.remove(question.answer.fd());
        let is_damaged = found.as_ref().is_ok_and(|found| found.is_damaged);
        if is_damaged && !self.questions.reported_damage {
            self.questions.reported_damage = true;
            say!("part of the history is damaged and cannot be read; the next start moves it away");
        }
        if let Err(why) = &found
            && !self.questions.reported_unread
        {
            say!("the history cannot be read: {why}");
        }
        self.questions.reported_unread = found.is_err();
        let asker = question.asker;
        let page = found
            .map(|found| found.page)
            .map_err(|why| asker.unread(&why));
        match asker {
            // A session that is gone may belong to another broker, and so does its ticket.
            HistoryAsker::Session { session, .. } if self.sessions.get(session).is_none() => {}
            HistoryAsker::Session { session, ticket } => {
                let answer = page.map(|page| Answer::History(Box::new(page)));
                self.answer(session, ticket, answer);
            }
            HistoryAsker::Admin => {
                let reply = page.map_or_else(AdminReply::Refused, AdminReply::History);
                self.tell_waiting(Wants::History(serial), || reply);
            }
        }
    }
}
