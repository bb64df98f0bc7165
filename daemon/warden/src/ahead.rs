//! What the next job needs and can be made before anybody asks for it: while the daemon has nothing else to do.

use std::io::{self, Read};

use remit_common::names::JobId;

use crate::waiting::Room;
use crate::warden::{Gate, Warden};

impl Warden {
    /// Makes the next job's place in the ledger, its id, and its cgroup by that name. False where they were there, or
    /// cannot be made.
    pub fn make_ahead(&mut self) -> bool {
        if self.ahead.is_some() || self.gate != Gate::Open || !self.broker.is_ready() {
            return false;
        }
        // Whoever asks next makes them, where this fails.
        self.ledger.make_ready();
        if let Ok(job) = self.new_id()
            && self.walls.make_ready(job)
        {
            self.ahead = Some(job);
        }
        self.ahead.is_some()
    }

    /// An id for a job that runs now, or later. What is ready is for those that run at once.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn next_id(&mut self, room: Room) -> io::Result<JobId> {
        match self.ahead.take_if(|_| room == Room::Now) {
            Some(job) => Ok(job),
            None => self.new_id(),
        }
    }

    fn new_id(&mut self) -> io::Result<JobId> {
        let mut id = [0; 16];
        self.random.read_exact(&mut id)?;
        Ok(JobId(id))
    }
}
