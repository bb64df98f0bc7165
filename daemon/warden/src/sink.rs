//! Where the warden's ends of strangers' sockets are closed: a process of its own, which may hang.
//!
//! A client can leave a descriptor in its socket whose close waits (see [`remit_link::foreign`]). The warden has one
//! thread, so it gives each such socket away, closes its own copy, and only then says that the other one may be closed:
//! so the warden's close is never the last. It is started when it is first needed, which on kernels since 6.16 is never,
//! but for who connected before the daemon's first start.

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
use remit_confine::{floor, spawn_service};
use remit_link::{ForeignSocket, closer};

use crate::accounts::Ids;
use crate::broker::environment;

/// It finds its socket here.
const SOCKET_FD: i32 = 3;
/// Processes that were killed and have not ended. With so many, sockets are kept open instead.
const ENDING: usize = 8;

/// The process, and what waits for it.
#[derive(Debug)]
pub struct Sink {
    program: CString,
    ids: Ids,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    process: Option<Process>,
    /// Killed, and not reaped.
    ending: Vec<(i32, OwnedFd)>,
    /// What could not be given away: open until it can.
    kept: VecDeque<OwnedFd>,
}

#[derive(Debug)]
struct Process {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
}

impl Sink {
    /// One that is started when it is needed.
    pub fn new(program: CString, ids: Ids) -> Rc<Self> {
        let inner = RefCell::default();
        Rc::new(Self {
            program,
            ids,
            inner,
        })
    }

    /// A socket of a stranger's that is closed here.
    pub fn guard(self: &Rc<Self>, fd: OwnedFd) -> ForeignSocket {
        ForeignSocket::new(fd, self.closing())
    }

    /// Closes one such socket.
    pub fn closing(self: &Rc<Self>) -> impl FnOnce(OwnedFd) + use<> {
        let sink = Rc::clone(self);
        move |fd| sink.close(fd)
    }

    /// Has a socket closed. Never waits.
    fn close(&self, fd: OwnedFd) {
        let mut inner = self.inner.borrow_mut();
        inner.kept.push_back(fd);
        inner.reap();
        // Twice: the first that is there may take no more, or have ended.
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
        if inner.ending.len() >= ENDING {
            say_error!("sockets are kept open: processes that were to close others do not end");
            return false;
        }
        match self.spawn() {
            Ok(process) => inner.process = Some(process),
            Err(error) => say_error!("sockets are kept open: no process closes them: {error}"),
        }
        inner.process.is_some()
    }

    fn spawn(&self) -> io::Result<Process> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let argv = [self.program.clone(), CString::from(closer::ARGUMENT)];
        let environment = environment().map_err(io::Error::other)?;
        let Ids { uid, gid } = self.ids;
        let fds = [(theirs.as_fd(), SOCKET_FD)];
        let (pid, pidfd) = spawn_service(&self.program, &argv, &environment, uid, gid, &[], &fds)
            .map_err(io::Error::other)?;
        Ok(Process {
            pid,
            pidfd,
            socket: ours,
        })
    }
}

impl Inner {
    /// Gives away all that is kept.
    fn give_all(&mut self) -> Result<(), Errno> {
        let Some(process) = &self.process else {
            return Err(Errno::ESRCH);
        };
        while let Some(fd) = self.kept.front() {
            process.send(closer::HOLD, Some(fd))?;
            // There is another copy, and it is not closed yet.
            self.kept.pop_front();
            process.send(closer::CLOSE, None)?;
        }
        Ok(())
    }

    /// Kills it: what hangs in it ends with it. Its socket is closed by the next one, as any other.
    fn end(&mut self) {
        if let Some(Process { pid, pidfd, socket }) = self.process.take() {
            let _ = floor::pidfd_send_signal(&pidfd, libc::SIGKILL);
            self.ending.push((pid, pidfd));
            self.kept.push_back(socket);
        }
    }

    fn reap(&mut self) {
        self.ending.retain(|(pid, pidfd)| {
            floor::reap(*pid).is_none() && floor::pidfd_alive(pidfd.as_fd()).unwrap_or(false)
        });
    }
}

impl Process {
    fn send(&self, what: u8, fd: Option<&OwnedFd>) -> Result<(), Errno> {
        let raw: Vec<_> = fd.map(AsRawFd::as_raw_fd).into_iter().collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        let byte = [what];
        let slices = [IoSlice::new(&byte)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.socket.as_raw_fd(), &slices, control, flags, None).map(drop)
    }
}
