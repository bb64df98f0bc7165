//! Tracks connected clients: numbers, identities and limits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};

use crate::identity::accounts::People;
use crate::identity::peer::Subject;

#[derive(Debug)]
pub struct Session {
    pub subject: Subject,
    pidfd: OwnedFd,
}

impl Session {
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// All sessions. Numbers are never reused, not even with the next broker.
#[derive(Debug, Default)]
pub struct Sessions {
    next: u64,
    live: BTreeMap<u64, Session>,
    /// Uids of ended sessions whose sockets may still be open, because a close may hang.
    ending: BTreeMap<u64, u32>,
    /// Sessions that ended last: later reports of the broker about them get a name in the audit log.
    left: VecDeque<(u64, Subject)>,
}

impl Sessions {
    /// Admits a client. Returns its number, and the session that must end for it, if any. A user's first session is
    /// admitted whatever others have, up to [`caps::SESSION_USERS`] users, so nobody keeps others out.
    pub fn open(
        &mut self,
        subject: Subject,
        pidfd: OwnedFd,
    ) -> Result<(u64, Option<u64>), Refusal> {
        let instead = self.session_to_replace(&subject)?;
        self.next += 1;
        self.live.insert(self.next, Session { subject, pidfd });
        Ok((self.next, instead))
    }

    fn session_to_replace(&self, subject: &Subject) -> Result<Option<u64>, Refusal> {
        let live = self.live.values().map(|session| session.subject.uid());
        let all: Vec<u32> = live.chain(self.ending.values().copied()).collect();
        let own = all.iter().filter(|uid| **uid == subject.uid()).count();
        let users = all.iter().collect::<BTreeSet<_>>().len();
        let over = if own >= caps::SESSIONS_PER_UID {
            (caps::SESSIONS_PER_UID, "of one user")
        } else if own == 0 && users >= caps::SESSION_USERS {
            // A user with a range of subordinate uids can appear as many users. An account has a name.
            let nameless = |session: &Session| session.subject.user().starts_with('#');
            let mut nameless = self.live.iter().filter(|(_, session)| nameless(session));
            match nameless.next() {
                Some((oldest, _)) if !subject.user().starts_with('#') => return Ok(Some(*oldest)),
                _ => (caps::SESSION_USERS, "of as many users"),
            }
        } else if own > 0 && all.len().saturating_sub(users) >= caps::SESSIONS {
            (caps::SESSIONS, "not counting the first of each user")
        } else {
            return Ok(None);
        };
        let (cap, scope) = over;
        let text = format!("there are already {cap} connections {scope}, the maximum");
        Err(Refusal::new(Code::Busy, text).next("close a connection and try again"))
    }

    pub fn get(&self, session: u64) -> Option<&Session> {
        self.live.get(&session)
    }

    /// Fails if the session has ended.
    pub fn subject(&self, session: u64) -> Result<&Subject, Refusal> {
        match self.live.get(&session) {
            Some(session) => Ok(&session.subject),
            None => Err(Refusal::new(
                Code::DaemonUnavailable,
                "the session has ended",
            )),
        }
    }

    /// Returns the subject of a live or ended session. Only for records: it must not authorize anything.
    pub fn name(&self, session: u64) -> Option<&Subject> {
        let left = || self.left.iter().find(|(number, _)| *number == session);
        match self.live.get(&session) {
            Some(live) => Some(&live.subject),
            None => left().map(|(_, subject)| subject),
        }
    }

    /// Ends a session. It counts until it is closed. `None` if it has already ended.
    pub fn end(&mut self, session: u64) -> Option<Session> {
        let ended = self.close(session)?;
        self.ending.insert(session, ended.subject.uid());
        Some(ended)
    }

    pub fn close(&mut self, session: u64) -> Option<Session> {
        self.ending.remove(&session);
        let closed = self.live.remove(&session)?;
        if self.left.len() >= caps::SESSIONS {
            self.left.pop_front();
        }
        self.left.push_back((session, closed.subject.clone()));
        Some(closed)
    }

    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.live.values().map(|session| &session.subject)
    }

    /// Returns sessions of users whose account changed or lost a group of `named`; later users are not included.
    pub fn of_lost(&self, named: &BTreeSet<u32>, people: &People) -> Vec<u64> {
        let live = self.live.iter();
        live.filter(|(_, s)| people.has_lost(&s.subject, named).is_some())
            .map(|(number, _)| *number)
            .collect()
    }

    /// Forgets all sessions: their broker has died, and their sockets with it.
    pub fn close_all(&mut self) -> Vec<Session> {
        self.ending.clear();
        std::mem::take(&mut self.live).into_values().collect()
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }
}
