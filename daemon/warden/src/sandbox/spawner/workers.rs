//! Asks workers for pre-forked children, on the sockets that the spawner hands out. Starts no worker and ends none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use remit_spawn::{Answer, Fork, Forker, Request, socket};
use remit_sys::{Doing, Error, Result};

use super::{ASKING, ENDED, Process};

/// The spawner has as many workers at most.
const MOST: usize = 4;
/// Children after which the spawner is asked again: one that is stopped is noticed.
const USES: u32 = 64;

/// Sockets of the workers that were asked for last, by the numbers of their sandboxes.
#[derive(Debug, Default)]
pub(super) struct WorkerSockets(RefCell<VecDeque<WorkerSocket>>);

#[derive(Debug)]
struct WorkerSocket {
    sandbox: u64,
    socket: Rc<OwnedFd>,
    left: u32,
}

impl Process {
    /// Asks a worker for a pre-forked child. A worker that has ended may have a successor.
    fn prefork(&self, sandbox: u64, fork: &Fork, fds: &[BorrowedFd<'_>]) -> Result<()> {
        // A spawner that errs may err about a worker, too.
        if self.over.borrow().is_some() {
            return Err(Error::refused(ASKING, ENDED));
        }
        let known = self.worker(sandbox)?;
        let sent = socket::send_now(known.as_fd(), fork, fds);
        let sent = match sent {
            Err(error) if has_ended(&error) => {
                self.forget_worker(sandbox);
                let next = self.worker(sandbox)?;
                socket::send_now(next.as_fd(), fork, fds)
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.forget_worker(sandbox);
                Err(error)
            }
            sent => sent,
        };
        sent.doing(|| "cannot ask a worker for a child".to_owned())
    }

    fn worker(&self, sandbox: u64) -> Result<Rc<OwnedFd>> {
        if let Some(socket) = self.workers.known(sandbox) {
            return Ok(socket);
        }
        let (Answer::Worker, [socket]) = self.ask(&Request::Worker { sandbox }, &[])? else {
            return Err(self.nonsense());
        };
        // The answer of a spawner that is lost meanwhile counts no more.
        if self.over.borrow().is_some() {
            return Err(Error::refused(ASKING, ENDED));
        }
        let socket = Rc::new(socket);
        let mut workers = self.workers.0.borrow_mut();
        workers.push_back(WorkerSocket {
            sandbox,
            socket: Rc::clone(&socket),
            left: USES,
        });
        if workers.len() > MOST {
            workers.pop_front();
        }
        Ok(socket)
    }

    /// Without its sockets a worker ends.
    pub(super) fn forget_workers(&self) {
        self.workers.0.borrow_mut().clear();
    }

    pub(super) fn forget_worker(&self, sandbox: u64) {
        let mut workers = self.workers.0.borrow_mut();
        workers.retain(|one| one.sandbox != sandbox);
    }
}

impl WorkerSockets {
    /// Returns the socket of a worker, unless it was used so often that the spawner is to be asked again.
    fn known(&self, sandbox: u64) -> Option<Rc<OwnedFd>> {
        let mut all = self.0.borrow_mut();
        let at = all.iter().position(|one| one.sandbox == sandbox)?;
        let one = all.get_mut(at)?;
        one.left = one.left.saturating_sub(1);
        if one.left == 0 {
            all.remove(at);
            return None;
        }
        Some(Rc::clone(&one.socket))
    }
}

impl Forker for Process {
    fn fork(&self, sandbox: u64, fork: Fork, fds: &[BorrowedFd<'_>]) -> Result<()> {
        match fork.size {
            Some(_) => self.done(&Request::Fork { sandbox, fork }, fds),
            None => self.prefork(sandbox, &fork, fds),
        }
    }

    fn end_worker(&self, sandbox: u64) {
        self.forget_worker(sandbox);
        // If this fails, the spawner has ended. Its workers do once their sockets are dropped.
        if self.done(&Request::EndWorker { sandbox }, &[]).is_ok() {
            let why = "it did not fork a child".to_owned();
            self.lost.borrow_mut().get_or_insert(why);
        }
    }

    fn leave(&self, pid: i32) {
        self.reap(vec![pid]);
    }
}

/// Returns true if nobody has the other end of a socket any more.
pub(super) fn has_ended(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
