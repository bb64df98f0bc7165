//! Connected clients: numbers, identities, and how many there may be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};

use crate::peer::Subject;
use crate::people::People;

/// A client as the warden knows it. Its socket is the broker's.
#[derive(Debug)]
pub struct Session {
    /// Who it is.
    pub subject: Subject,
    pidfd: OwnedFd,
}

impl Session {
    /// Readable when the client's process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// All sessions. Numbers are never used twice, also not by the next broker.
#[derive(Debug, Default)]
pub struct Sessions {
    next: u64,
    live: BTreeMap<u64, Session>,
    /// Those that have ended and whose sockets may not be closed yet, and whose they are: a close may hang.
    ending: BTreeMap<u64, u32>,
    /// Those that ended last: what the broker still has to tell of them gets a name in the trail.
    left: VecDeque<(u64, Subject)>,
}

impl Sessions {
    /// Lets a client in; and the session that ends for it, if one must. The first one of a user is let in whatever
    /// others have: nobody keeps others out.
    ///
    /// # Errors
    /// A refusal for the client when it, or everyone together, has too many connections.
    pub fn open(
        &mut self,
        subject: Subject,
        pidfd: OwnedFd,
    ) -> Result<(u64, Option<u64>), Refusal> {
        let instead = self.room(&subject)?;
        self.next += 1;
        self.live.insert(self.next, Session { subject, pidfd });
        Ok((self.next, instead))
    }

    fn room(&self, subject: &Subject) -> Result<Option<u64>, Refusal> {
        let live = self.live.values().map(|session| session.subject.uid());
        let all: Vec<u32> = live.chain(self.ending.values().copied()).collect();
        let own = all.iter().filter(|uid| **uid == subject.uid()).count();
        let users = all.iter().collect::<BTreeSet<_>>().len();
        let over = if own >= caps::SESSIONS_PER_UID {
            (caps::SESSIONS_PER_UID, "of one user")
        } else if own == 0 && users >= caps::SESSION_USERS {
            // A user with a range of subordinate uids can be many; an account has a name.
            let nameless = |session: &Session| session.subject.user().starts_with('#');
            let mut nameless = self.live.iter().filter(|(_, session)| nameless(session));
            match nameless.next() {
                Some((oldest, _)) if !subject.user().starts_with('#') => return Ok(Some(*oldest)),
                _ => (caps::SESSION_USERS, "of as many users"),
            }
        } else if own > 0 && all.len().saturating_sub(users) >= caps::SESSIONS {
            (caps::SESSIONS, "beside the first of each user")
        } else {
            return Ok(None);
        };
        let (cap, whose) = over;
        let text = format!("there are {cap} connections {whose} already, more are not allowed");
        Err(Refusal::new(Code::Busy, text).next("close a connection and try again"))
    }

    /// One of them.
    pub fn get(&self, session: u64) -> Option<&Session> {
        self.live.get(&session)
    }

    /// Who a session is or was, for records. Nothing may be done for it by this.
    pub fn name(&self, session: u64) -> Option<&Subject> {
        let left = || self.left.iter().find(|(number, _)| *number == session);
        match self.live.get(&session) {
            Some(live) => Some(&live.subject),
            None => left().map(|(_, subject)| subject),
        }
    }

    /// Ends one. It counts until it is closed. `None` when it has ended already.
    pub fn end(&mut self, session: u64) -> Option<Session> {
        let ended = self.close(session)?;
        self.ending.insert(session, ended.subject.uid());
        Some(ended)
    }

    /// Closes one. `None` when it is gone already.
    pub fn close(&mut self, session: u64) -> Option<Session> {
        self.ending.remove(&session);
        let closed = self.live.remove(&session)?;
        if self.left.len() >= caps::SESSIONS {
            self.left.pop_front();
        }
        self.left.push_back((session, closed.subject.clone()));
        Some(closed)
    }

    /// Who is connected.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.live.values().map(|session| &session.subject)
    }

    /// Sessions of those who are not who connected any more, or are without a group of those in `named`.
    ///
    /// Who connected after `people` were looked up is not among them.
    pub fn of_lost(&self, named: &BTreeSet<u32>, people: &People) -> Vec<u64> {
        let live = self.live.iter();
        live.filter(|(_, s)| people.has_lost(&s.subject, named).is_some())
            .map(|(number, _)| *number)
            .collect()
    }

    /// Forgets all: their broker is gone, and their sockets with it.
    pub fn close_all(&mut self) -> Vec<Session> {
        self.ending.clear();
        std::mem::take(&mut self.live).into_values().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }
}
