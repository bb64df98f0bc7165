//! A worker is a small process that forks the jobs of one sandbox for the spawner. It is the spawner's own program, executed
//! again: so it holds none of the spawner's memory, and a fork has little to copy. It walks the list `setup` of its sandbox
//! (`steps::lists`) once, with the half of the filter that costs most. Each child walks `prepare` by itself, in advance or
//! when its job comes, and gets the job from the warden on a socket of its own. Children are the warden's (`CLONE_PARENT`):
//! only the warden reaps them. Of a child only what it has found on the machine returns to the worker. The worker is root, and reads only
//! messages of the spawner and the warden. When the warden dies, it ends all jobs, as the watchdog does, and then itself.

pub(crate) mod family;
mod host;
mod pool;
mod protocol {
    //! Messages between spawner and worker: one datagram each, with descriptors. A worker's children speak with the warden.

    use super::{AsFd, BorrowedFd, Origin, OwnedFd, io};
    use serde::{Deserialize, Serialize};

    pub(super) use remit_spawn::socket::{is_socket, pair, patient_pair, receive, send, send_now};

    /// The first message to a worker, with the warden's pidfd and the switch. Each later is a [`remit_spawn::Fork`].
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Setup {
        pub(super) origin: Origin,
    }

    /// What a child sends to its worker, with a memory file: what a walk has found that began after this number of reports.
    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct News(pub(super) u64);

    pub(super) fn tell(worker: BorrowedFd<'_>, reports: u64, news: &[u8]) {
        // Without the worker the next job has to look again.
        let file = crate::sys::sealed_memfd(c"news", news);
        let _ = file.and_then(|file| send_now(worker, &News(reports), &[file.as_fd()]));
    }

    pub(super) fn hear(socket: BorrowedFd<'_>) -> io::Result<Option<(News, OwnedFd)>> {
        let heard = receive::<News>(socket)?;
        Ok(heard.and_then(|(what, mut fds)| Some((what, fds.pop()?))))
    }
}
mod watch;
mod worker;

pub use crate::spawner::family::Family;
pub use crate::spawner::family::shutdown::gone;
pub use crate::spawner::worker::{is_worker, serve};
pub use pool::Workers;

use crate::Sandbox;
use crate::spawner::family::shutdown::end;
use crate::spawner::protocol::Setup;
use crate::spec::compiled::Origin;
use crate::spec::kernel::fork_call;
use crate::steps::private_root::Root;
use crate::sys::{self, Pointers};
use nix::sys::socket::MsgFlags;
use remit_spawn::Report;
use remit_sys::{Doing, Result};
use std::{
    cell::Cell,
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
};

/// Name of the process. By this first argument the program knows that it is a worker.
pub(crate) const NAME: &CStr = c"remit-zygote";
const SOCKET: RawFd = 3;
/// Timeout for the report of a worker that starts, in seconds.
const PATIENCE_S: i64 = 2;

#[derive(Debug)]
struct Process {
    origin: Origin,
    root: Option<Root>,
    bus: Option<Rc<OwnedFd>>,
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    ready: Cell<bool>,
    ended: Cell<bool>,
}

impl Process {
    fn start(
        program: BorrowedFd<'_>,
        family: &Family,
        switch: BorrowedFd<'_>,
        bus: Option<Rc<OwnedFd>>,
        sandbox: &Sandbox,
    ) -> Result<Process> {
        let doing = || "cannot start a worker".into();
        let (own_end, worker_end) = protocol::pair(PATIENCE_S).doing(doing)?;
        let warden = family.pidfd();
        let argv = [NAME.to_owned()];
        let (argv, env) = (Pointers::new(&argv), Pointers::new(&[]));
        let child = || {
            let error = match renumber(worker_end.as_fd(), program, warden) {
                Ok(program) => sys::execve_open(program, &argv, &env),
                Err(error) => error,
            };
            let text = format!("cannot execute a worker: {error}\n");
            let _ = sys::write(sys::borrowed(2), text.as_bytes());
            127
        };
        let (pid, pidfd) = family.fork(fork_call()?, None, child).doing(doing)?;
        let process = Process {
            origin: sandbox.origin.clone(),
            root: sandbox.root().cloned(),
            bus,
            pid,
            pidfd,
            socket: own_end,
            ready: Cell::new(false),
            ended: Cell::new(false),
        };
        let origin = sandbox.origin.clone();
        let fds = [warden, switch];
        protocol::send(process.socket.as_fd(), &Setup { origin }, &fds).doing(doing)?;
        Ok(process)
    }

    fn serves(&self, sandbox: &Sandbox) -> bool {
        sandbox.origin == self.origin && sandbox.root() == self.root.as_ref()
    }

    /// Returns true if it takes requests now; fails if it has ended. Does not wait.
    fn is_ready(&self) -> io::Result<bool> {
        match self.hear_ready(MsgFlags::MSG_DONTWAIT) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            heard => heard.map(|()| true),
        }
    }

    fn wait_ready(&self) -> io::Result<()> {
        self.hear_ready(MsgFlags::empty())
    }

    fn hear_ready(&self, flags: MsgFlags) -> io::Result<()> {
        if self.ended.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.ready.get() {
            match Report::hear(self.socket.as_fd(), flags)? {
                (Report::Ready, _, listener) => {
                    self.ready.set(true);
                    if let Some((bus, listener)) = self.bus.as_ref().zip(listener) {
                        give(bus, &listener);
                    }
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    fn end(&self) {
        if !self.ended.replace(true) {
            end(self.pid, self.pidfd.as_fd());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives the bus a listener. If that is not possible, the jobs have no bus: connect(2) answers ENOSYS.
fn give(bus: &OwnedFd, listener: &OwnedFd) {
    let message = remit_core::bus::Order::Listener;
    let _ = protocol::send_now(bus.as_fd(), &message, &[listener.as_fd()]);
}

/// Prepares the child for its exec. Only for a process of one thread, because it may allocate.
fn renumber<'a>(
    socket: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    warden: BorrowedFd<'_>,
) -> io::Result<BorrowedFd<'a>> {
    sys::new_session()?;
    sys::default_signals()?;
    let socket = sys::copy_above(socket, 16)?;
    let program = sys::copy_above(program, 16)?;
    let warden = sys::copy_above(warden, 16)?;
    // Its owner closes it, before all others are closed.
    {
        let null = sys::open(c"/dev/null", libc::O_RDWR)?;
        sys::renumber(sys::copy_above(null.as_fd(), 16)?, 0)?;
    }
    sys::renumber(sys::borrowed(0), 1)?;
    sys::renumber(socket, SOCKET)?;
    sys::renumber_cloexec(program, SOCKET + 1)?;
    sys::renumber_cloexec(warden, SOCKET + 2)?;
    sys::close_from(SOCKET + 3)?;
    if !sys::pidfd_alive(sys::borrowed(SOCKET + 2))? {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(sys::borrowed(SOCKET + 1))
}
