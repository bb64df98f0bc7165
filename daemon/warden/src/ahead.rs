//! What the next job needs and can be made before anybody asks for it: while the daemon has nothing else to do.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use remit_common::names::JobId;

use crate::reactor::{Interest, Token};
use crate::uids::JobUid;
use crate::waiting::Room;
use crate::warden::{Gate, Warden};

/// The names of a job that is still to come.
#[derive(Debug)]
pub struct Ahead {
    job: JobId,
    uid: JobUid,
}

impl Warden {
    /// Makes the next job's place in the ledger, its id and uid, and its cgroup by that name. False where they were
    /// there, or cannot be made. Where nothing may run, nothing waits to: what was made goes.
    pub fn make_ahead(&mut self) -> bool {
        if self.gate != Gate::Open {
            self.drop_ahead();
            return false;
        }
        if self.ahead.is_some() || !self.broker.is_ready() {
            return false;
        }
        // The last one is not for a job that may never come: the walls are tried under it, or it is asked for.
        if self.uids.free() < 2 {
            return false;
        }
        // Whoever asks next makes them, where this fails.
        self.ledger.make_ready();
        let Ok(job) = self.new_id() else { return false };
        let Some(uid) = self.uids.take() else {
            return false;
        };
        match self.walls.make_ready(job, uid.get()) {
            true => {
                self.ahead = Some(Ahead { job, uid });
                // Where it is not watched, its end is known when the job comes.
                let end = |fd: BorrowedFd<'_>| {
                    let _ = self.reactor.add(fd, Token::Ahead, Interest::End);
                };
                self.walls.with_ready(end);
            }
            false => self.uids.give_back(uid),
        }
        self.ahead.is_some()
    }

    fn drop_ahead(&mut self) {
        if let Some(Ahead { uid, .. }) = self.ahead.take() {
            self.walls.drop_ready();
            self.uids.give_back(uid);
        }
    }

    /// An id and, where one is free, a uid for a job that runs now, or later. What is ready is for those that
    /// run at once, unless its uid is the last one.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn next_names(&mut self, room: Room) -> io::Result<(JobId, Option<JobUid>)> {
        let last = self.uids.free() == 0;
        match self.ahead.take_if(|_| room == Room::Now || last) {
            Some(Ahead { job, uid }) => Ok((job, Some(uid))),
            None => Ok((self.new_id()?, self.uids.take())),
        }
    }

    /// How many uids are free for jobs.
    pub fn free_uids(&self) -> usize {
        self.uids.free() + usize::from(self.ahead.is_some())
    }

    fn new_id(&mut self) -> io::Result<JobId> {
        let mut id = [0; 16];
        self.random.read_exact(&mut id)?;
        Ok(JobId(id))
    }
}
