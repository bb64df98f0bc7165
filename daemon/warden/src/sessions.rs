//! Connected clients: numbers, identities, and how many there may be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};

use crate::peer::Subject;

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

/// Whether somebody has lost a group, of those in `named`, since they connected.
pub fn has_shrunk(subject: &Subject, named: &BTreeSet<u32>, members: &[(u32, Vec<u32>)]) -> bool {
    let now = members.iter().find(|(uid, _)| *uid == subject.uid());
    now.is_some_and(|(_, now)| {
        let had = subject.gids().iter().filter(|gid| named.contains(gid));
        had.into_iter().any(|gid| !now.contains(gid))
    })
}

/// All sessions. Numbers are never used twice, also not by the next broker.
#[derive(Debug, Default)]
pub struct Sessions {
    next: u64,
    live: BTreeMap<u64, Session>,
    /// Those that ended last: what the broker still has to tell of them gets a name in the trail.
    left: VecDeque<(u64, Subject)>,
}

impl Sessions {
    /// Lets a client in.
    ///
    /// # Errors
    /// A refusal for the client when it, or everyone together, has too many connections.
    pub fn open(&mut self, subject: Subject, pidfd: OwnedFd) -> Result<u64, Refusal> {
        let own = self
            .live
            .values()
            .filter(|session| session.subject.uid() == subject.uid())
            .count();
        let over = if own >= caps::SESSIONS_PER_UID {
            Some((caps::SESSIONS_PER_UID, "of one user"))
        } else if self.live.len() >= caps::SESSIONS {
            Some((caps::SESSIONS, "in all"))
        } else {
            None
        };
        if let Some((cap, whose)) = over {
            let text = format!("there are {cap} connections {whose} already, more are not allowed");
            return Err(Refusal::new(Code::Busy, text).next("close a connection and try again"));
        }
        self.next += 1;
        self.live.insert(self.next, Session { subject, pidfd });
        Ok(self.next)
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

    /// Ends one. `None` when it is gone already.
    pub fn close(&mut self, session: u64) -> Option<Session> {
        let closed = self.live.remove(&session)?;
        if self.left.len() >= caps::SESSIONS {
            self.left.pop_front();
        }
        self.left.push_back((session, closed.subject.clone()));
        Some(closed)
    }

    /// The users who are connected, each once.
    pub fn users(&self) -> Vec<u32> {
        let uids: BTreeSet<u32> = self.live.values().map(|s| s.subject.uid()).collect();
        uids.into_iter().collect()
    }

    /// Sessions whose user has lost a group, of those in `named`, since they connected.
    ///
    /// A user whom `members` does not tell of connected after it was asked.
    pub fn shrunk(&self, named: &BTreeSet<u32>, members: &[(u32, Vec<u32>)]) -> Vec<u64> {
        let live = self.live.iter();
        live.filter(|(_, s)| has_shrunk(&s.subject, named, members))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Forgets all: their broker is gone, and their sockets with it.
    pub fn close_all(&mut self) -> Vec<Session> {
        std::mem::take(&mut self.live).into_values().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }
}
