//! Questions about the past: a forked child reads the files, the loop passes its answer on.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::admin::AdminReply;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::HistoryQuery;
use remit_confine::in_child;
use remit_link::Answer;

use super::page::{Found, Whose};
use crate::admin::Wants;
use crate::clock::Timer;
use crate::error::chain;
use crate::peer::Subject;
use crate::reactor::{Interest, Token};
use crate::warden::Warden;

/// Questions under way, of one user and in all. Each is a process for a few milliseconds.
const PER_USER: usize = 4;
const IN_ALL: usize = 16;
/// For a child to read the files. Then it is dropped, which ends it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// A client.
    Session { session: u64, ticket: u64 },
    /// A connection of an administrator, by [`Wants::History`].
    Admin,
}

impl Asker {
    /// The reason tells of paths and disks: it is for administrators, and for the log.
    fn unread(self, why: &str) -> Refusal {
        let text = match self {
            Self::Session { .. } => "the history cannot be read".to_owned(),
            Self::Admin => format!("the history cannot be read: {why}"),
        };
        Refusal::new(Code::NotStarted, text)
            .lift("the daemon's log has the reason; nothing is missing in the audit trail for it")
    }
}

#[derive(Debug)]
struct Question {
    asker: Asker,
    uid: u32,
    answer: remit_confine::Answer,
}

/// Questions under way.
#[derive(Debug, Default)]
pub struct Questions {
    next: u64,
    live: BTreeMap<u64, Question>,
    /// That a file is damaged was said.
    told_damage: bool,
    /// The newest could not be answered, and that was said.
    told_unread: bool,
}

impl Questions {
    /// Whether one more may be asked.
    fn has_room(&self, uid: u32) -> Result<(), Refusal> {
        let own = self.live.values().filter(|question| question.uid == uid);
        let own = own.count();
        let text = if own >= PER_USER {
            format!("{own} of your questions about the history are being answered")
        } else if self.live.len() >= IN_ALL {
            "too many questions about the history are being answered".to_owned()
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::Busy, text).next("ask again in a second"))
    }
}

impl Warden {
    /// Begins to answer what a client asks about its own user; a refusal is answered at once.
    pub fn history(&mut self, session: u64, ticket: u64, query: &HistoryQuery) {
        let begun = self.subject(session).and_then(|subject| {
            let whose = Whose::Own(subject.owner());
            let asker = Asker::Session { session, ticket };
            self.begin_history(asker, subject.uid(), &whose, query)
        });
        if let Err(refusal) = begun {
            self.answer(session, ticket, Err(refusal));
        }
    }

    /// Begins to answer an administrator.
    ///
    /// # Errors
    /// The question is none, or too many are being answered.
    pub fn history_of(
        &mut self,
        admin: &Subject,
        user: Option<String>,
        query: &HistoryQuery,
    ) -> Result<Wants, Refusal> {
        let whose = user.map_or(Whose::All, Whose::Named);
        let serial = self.begin_history(Asker::Admin, admin.uid(), &whose, query)?;
        Ok(Wants::History(serial))
    }

    fn begin_history(
        &mut self,
        asker: Asker,
        uid: u32,
        whose: &Whose,
        query: &HistoryQuery,
    ) -> Result<u64, Refusal> {
        if !(1..=caps::HISTORY_PAGE).contains(&query.limit) {
            let text = format!(
                "limit is {}, it is 1 to {}",
                query.limit,
                caps::HISTORY_PAGE
            );
            return Err(Refusal::new(Code::InvalidArgs, text).object("limit"));
        }
        let questions = &self.questions;
        questions.has_room(uid)?;
        let unread = |why: &str| asker.unread(why);
        self.audit.history.keep();
        let store = &self.audit.history.store;
        let store = store.as_ref().map_err(|why| unread(why))?;
        let answer = in_child(|| {
            let found = store.page(whose, query);
            postcard::to_extend(&found, Vec::new()).unwrap_or_default()
        });
        let answer = answer.map_err(|error| unread(&chain(&error)))?;
        let serial = questions.next.wrapping_add(1);
        self.reactor
            .add(answer.fd(), Token::History(serial), Interest::Read)
            .map_err(|error| unread(&error.to_string()))?;
        self.timers.add(PATIENCE, Timer::History(serial));
        self.questions.next = serial;
        let question = Question { asker, uid, answer };
        self.questions.live.insert(serial, question);
        Ok(serial)
    }

    /// A child that reads the history got on.
    pub fn history_read(&mut self, serial: u64) {
        let Some(question) = self.questions.live.get_mut(&serial) else {
            return;
        };
        let found = match question.answer.read() {
            Ok(None) => return,
            Ok(Some(bytes)) => postcard::from_bytes::<Result<Found, String>>(&bytes)
                .unwrap_or_else(|_| Err("the child that reads it died".to_owned())),
            Err(error) => Err(chain(&error)),
        };
        self.answer_history(serial, found);
    }

    /// A child that reads the history has had its time.
    pub fn history_late(&mut self, serial: u64) {
        let seconds = PATIENCE.as_secs();
        let why = format!("it was not read in {seconds} s: a disk does not answer");
        self.answer_history(serial, Err(why));
    }

    fn answer_history(&mut self, serial: u64, found: Result<Found, String>) {
        let Some(question) = self.questions.live.remove(&serial) else {
            return;
        };
        self.timers.cancel(Timer::History(serial));
        self.reactor.remove(question.answer.fd());
        let is_damaged = found.as_ref().is_ok_and(|found| found.is_damaged);
        if is_damaged && !self.questions.told_damage {
            self.questions.told_damage = true;
            say!(
                "part of the history cannot be read back: it is damaged, the next start sets it aside"
            );
        }
        if let Err(why) = &found
            && !self.questions.told_unread
        {
            say!("the history cannot be read: {why}");
        }
        self.questions.told_unread = found.is_err();
        let asker = question.asker;
        let page = found
            .map(|found| found.page)
            .map_err(|why| asker.unread(&why));
        match asker {
            // One that has gone may have been another broker's, and so its ticket.
            Asker::Session { session, .. } if self.sessions.get(session).is_none() => {}
            Asker::Session { session, ticket } => {
                let answer = page.map(|page| Answer::History(Box::new(page)));
                self.answer(session, ticket, answer);
            }
            Asker::Admin => {
                let reply = page.map_or_else(AdminReply::Refused, AdminReply::History);
                self.tell_waiting(Wants::History(serial), || reply);
            }
        }
    }
}
