//! Closes sockets of untrusted clients and output of jobs in a separate process, which may hang. A client can leave a
//! descriptor in its socket whose close blocks (see [`remit_link::foreign`]). A process that keeps a pipe locked
//! blocks the last close of an end (see [`remit_sys::OutputEnd`]). The warden has one thread, so it must never do
//! the last close. It sends each such descriptor to this process and closes its own copy. Only then it permits the
//! process to close the other copy. The process starts on first use: when the first job has ended.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::CString;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use remit_link::{ForeignSocket, closer};
use remit_sys::{Closing, spawn_service, sys};

use crate::identity::user_names::Ids;
use crate::service::ending::EndingProcesses;
use crate::service::program::environment;

/// Number of the socket in that process.
const SOCKET_FD: i32 = 3;
/// Descriptors per message. SCM_MAX_FD is 253 (unix(7)).
const AT_ONCE: usize = 64;

#[derive(Debug)]
pub struct Sink {
    program: CString,
    ids: Ids,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    process: Option<CloserProcess>,
    /// While it is full, descriptors stay open.
    ending: EndingProcesses,
    /// Descriptors that could not be sent yet. They stay open until then.
    kept: VecDeque<OwnedFd>,
    /// Some of `kept` was not tried yet.
    is_due: bool,
}

#[derive(Debug)]
struct CloserProcess {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
}

impl Sink {
    pub fn new(program: CString, ids: Ids) -> Rc<Self> {
        let inner = RefCell::default();
        Rc::new(Self {
            program,
            ids,
            inner,
        })
    }

    pub fn guard(self: &Rc<Self>, fd: OwnedFd) -> ForeignSocket {
        ForeignSocket::new(fd, self.closing())
    }

    pub fn closing(self: &Rc<Self>) -> impl FnOnce(OwnedFd) + use<> {
        let sink = Rc::clone(self);
        move |fd| sink.close(fd)
    }

    /// Queues output of jobs for the next [`Self::give`], to send many at once: each message wakes that process.
    pub fn closing_output(self: &Rc<Self>) -> Closing {
        let sink = Rc::clone(self);
        Closing::by(move |fd| {
            let mut inner = sink.inner.borrow_mut();
            inner.kept.push_back(fd);
            inner.is_due = true;
        })
    }

    fn close(&self, fd: OwnedFd) {
        let mut inner = self.inner.borrow_mut();
        inner.kept.push_back(fd);
        inner.is_due = true;
        drop(inner);
        self.give();
    }

    pub fn due(&self) -> usize {
        let inner = self.inner.borrow();
        if inner.is_due { inner.kept.len() } else { 0 }
    }

    /// Sends the queued descriptors. Never blocks.
    pub fn give(&self) {
        let mut inner = self.inner.borrow_mut();
        if !std::mem::take(&mut inner.is_due) {
            return;
        }
        inner.ending.reap();
        // Two attempts: the first process may take no more, or may have ended.
        for _ in 0..2 {
            if inner.process.is_none() && !self.start(&mut inner) {
                return;
            }
            if inner.give_all().is_ok() {
                return;
            }
            inner.end();
        }
    }

    fn start(&self, inner: &mut Inner) -> bool {
        if inner.ending.is_full() {
            say_error!("cannot close descriptors: the processes that close them do not end");
            return false;
        }
        match self.spawn() {
            Ok(process) => inner.process = Some(process),
            Err(error) => say_error!("cannot close descriptors: no process for it: {error}"),
        }
        inner.process.is_some()
    }

    fn spawn(&self) -> io::Result<CloserProcess> {
        let (own_end, child_end) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let argv = [self.program.clone(), CString::from(closer::ARGUMENT)];
        let environment = environment().map_err(io::Error::other)?;
        let Ids { uid, gid } = self.ids;
        let fds = [(child_end.as_fd(), SOCKET_FD)];
        let (pid, pidfd) = spawn_service(&self.program, &argv, &environment, uid, gid, &[], &fds)
            .map_err(io::Error::other)?;
        Ok(CloserProcess {
            pid,
            pidfd,
            socket: own_end,
        })
    }
}

impl Inner {
    fn give_all(&mut self) -> Result<(), Errno> {
        let Some(process) = &self.process else {
            return Err(Errno::ESRCH);
        };
        while !self.kept.is_empty() {
            let count = self.kept.len().min(AT_ONCE);
            process.send(closer::HOLD, self.kept.iter().take(count))?;
            // The process holds copies, and has not closed them yet.
            drop(self.kept.drain(..count));
            process.send(closer::CLOSE, [].into_iter())?;
        }
        Ok(())
    }

    /// Kills the process and what hangs in it. The next process closes its socket.
    fn end(&mut self) {
        if let Some(CloserProcess { pid, pidfd, socket }) = self.process.take() {
            let _ = sys::pidfd_send_signal(&pidfd, libc::SIGKILL);
            self.ending.push(pid, pidfd);
            self.kept.push_back(socket);
        }
    }
}

impl Drop for Sink {
    /// Sends what is left. Descriptors that nobody takes stay open as long as this process.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        inner.is_due = !inner.kept.is_empty();
        self.give();
        std::mem::forget(std::mem::take(&mut self.inner.get_mut().kept));
    }
}

impl CloserProcess {
    fn send<'a>(&self, what: u8, fds: impl Iterator<Item = &'a OwnedFd>) -> Result<(), Errno> {
        let raw: Vec<_> = fds.map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        let byte = [what];
        let slices = [IoSlice::new(&byte)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.socket.as_raw_fd(), &slices, control, flags, None).map(drop)
    }
}
