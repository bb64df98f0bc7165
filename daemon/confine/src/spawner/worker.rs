//! The worker's own life, and that of its children until their exec.

use super::protocol::{self, Report, Request, Setup};
use super::{Family, NAME, SOCKET};
use crate::Sandbox;
use crate::spec::compiled::Base;
use crate::steps::child_env::{vet, with_child_env};
use crate::steps::exec;
use crate::steps::lists::{enter, walk};
use crate::steps::prepare::{Preparing, PrivateSize};
use crate::steps::private_root::{self, Seen};
use crate::steps::report::{Failure, StepLog};
use crate::steps::setup::SettingUp;
use crate::supervise::watchdog;
use crate::sys::{self, ForkCall, Propagation};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_spawn::Order;
use remit_sys::{Doing, Error, Result};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt,
};

/// Milliseconds in which the warden must end once its socket is closed.
const ENDING_MS: u32 = 1000;
/// Milliseconds for which a namespace is kept for its job to end in. It does not follow the host's unmounts.
const KEPT_MS: u16 = 20;
const NOT_STARTED: i32 = 127;
/// Bytes of most orders, decoded.
const USUAL: usize = 16 << 10;

pub fn is_worker() -> bool {
    std::env::args_os().eq([std::ffi::OsStr::from_bytes(NAME.to_bytes())])
}

pub fn serve() -> u8 {
    let Err(error) = try_serve() else {
        return 0;
    };
    let source = std::error::Error::source(&error);
    let source = source.map_or(String::new(), |source| format!(": {source}"));
    let text = format!("remit-zygote: {error}{source}\n");
    let _ = sys::write(sys::borrowed(2), text.as_bytes());
    1
}

fn try_serve() -> Result<()> {
    let refused = |why: &str| Error::refused("cannot be a worker", why.to_owned());
    // If somebody else has executed this program, the number is nobody's.
    if !protocol::is_socket(sys::borrowed(SOCKET)) {
        return Err(refused("it has no socket: only remit-spawner starts it"));
    }
    let socket = sys::owned(SOCKET);
    let first = protocol::receive::<Setup>(socket.as_fd());
    let Ok(Some((setup, fds))) = first else {
        return Err(refused("it has no profile: only remit-spawner starts it"));
    };
    let Ok([warden, switch]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(refused("it has no descriptor of the kill switch"));
    };
    let doing = || "a worker cannot set itself up".to_owned();
    sys::close_on_exec(socket.as_fd()).doing(doing)?;
    sys::set_name(NAME).doing(doing)?;
    let sandbox = Sandbox::of(setup.origin)?;
    let mut log = StepLog::default();
    let mut own = SettingUp {
        sandbox: &sandbox,
        listener: None,
    };
    walk(sandbox.base.lists().setup, &mut log, |take| take(&mut own))
        .map_err(|Failure { fault, .. }| fault.into_error())
        .doing(doing)?;
    // The only copy goes: who holds one can answer for the jobs.
    let ready = Report::Ready.say(socket.as_fd(), own.listener.take().as_ref());
    ready.doing(doing)?;
    let worker = Worker {
        socket,
        sandbox: &sandbox,
        log,
        family: Family::of_parent(warden),
        switch,
        kept: None,
    };
    worker.run()
}

struct Worker<'a> {
    socket: OwnedFd,
    sandbox: &'a Sandbox,
    /// What its children have done already.
    log: StepLog,
    family: Family,
    switch: OwnedFd,
    /// The mount namespace of the last job, so that this does not wait for the namespace's end.
    kept: Option<OwnedFd>,
}

impl Worker<'_> {
    fn run(mut self) -> Result<()> {
        let ran = self.serve();
        // When the warden dies, the spawner's socket may close before the warden's pidfd reports it.
        if sys::wait_readable(self.family.pidfd(), Some(ENDING_MS)) {
            watchdog::pull(self.switch.as_fd());
            return Ok(());
        }
        ran.doing(|| "a worker cannot continue".into())
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            if !self.wait()? {
                continue;
            }
            let received = protocol::receive(self.socket.as_fd())?;
            let Some((request, mut fds)) = received else {
                return Ok(());
            };
            match request {
                Request::Keep => self.kept = fds.pop(),
                Request::Fork {
                    cgroup,
                    own,
                    size,
                    is_waiting,
                } => {
                    let malformed = || io::Error::from_raw_os_error(libc::EBADMSG);
                    let cgroup = if cgroup {
                        Some(fds.pop().ok_or_else(malformed)?)
                    } else {
                        None
                    };
                    let socket = fds.pop().ok_or_else(malformed)?;
                    let cgroup = cgroup.as_ref().map(AsFd::as_fd);
                    if let Err(error) = self.fork(socket.as_fd(), cgroup, own, size, is_waiting) {
                        let errno = error.raw_os_error().unwrap_or(libc::EIO);
                        let _ = Report::Failed(errno).say(socket.as_fd(), None);
                    }
                }
            }
        }
    }

    /// Waits for something to do. Returns true if there is a message.
    fn wait(&mut self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.family.pidfd(), PollFlags::POLLIN),
        ];
        let patience = match self.kept {
            Some(_) => PollTimeout::from(KEPT_MS),
            None => PollTimeout::NONE,
        };
        let ready = match poll(&mut fds, patience) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let [message, orphaned] = fds.map(|fd| fd.any() == Some(true));
        if orphaned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if ready == 0 {
            self.kept = None;
        }
        Ok(message)
    }

    fn fork(
        &self,
        socket: BorrowedFd<'_>,
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
        size: PrivateSize,
        is_waiting: bool,
    ) -> io::Result<()> {
        let mut prepared = Preparing::new(self.sandbox, own, size, cgroup, self.family.pid())
            .map_err(io::Error::other)?;
        let mut shown = None;
        if is_waiting {
            prepared.propagation = Propagation::Slave;
            if let Base::Strict(strict) = &self.sandbox.base {
                let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
                if !private_root::may_wait(&strict.root, host.as_fd())? {
                    return Err(io::Error::from_raw_os_error(libc::EBUSY));
                }
                shown = Some(Seen::new(&strict.root, host.as_fd())?);
            }
        }
        let ready = is_waiting.then_some(Report::Prepared(shown));
        let call = self.sandbox.kernel.fork;
        let into = cgroup.filter(|_| call == ForkCall::Clone3);
        let child = || {
            // First, so that the spawner knows which process to leave to the warden, whatever becomes of it.
            if Report::Forked.say(socket, None).is_err() {
                return NOT_STARTED;
            }
            // Through these the child would keep others' things, or the worker's socket, open while it waits.
            let always = [
                self.socket.as_fd(),
                self.family.pidfd(),
                self.switch.as_fd(),
            ];
            for fd in always
                .into_iter()
                .chain(self.kept.as_ref().map(AsFd::as_fd))
            {
                sys::close_one(fd.as_raw_fd());
            }
            become_job(prepared, self.log, socket, ready)
        };
        self.family.fork(call, into, child).map(drop)
    }
}

/// The rest of a child's life; `ready` is what one that waits reports. Once it has its job, no destructor may run for
/// descriptors that were closed by number.
fn become_job(
    mut child: Preparing<'_>,
    mut log: StepLog,
    socket: BorrowedFd<'_>,
    ready: Option<Report>,
) -> i32 {
    let lists = child.sandbox.base.lists();
    let prepared = walk(lists.prepare, &mut log, |take| take(&mut child));
    if let Some(ready) = ready {
        let report = match prepared {
            Ok(()) => ready,
            Err(_) => Report::Unprepared,
        };
        if report.say(socket, child.mount_ns.as_ref()).is_err() {
            return NOT_STARTED;
        }
    }
    drop(child.mount_ns.take());
    if let Some(cgroup) = child.cgroup.take() {
        sys::close_one(cgroup.as_raw_fd());
    }
    // Touches the memory for the job's description in advance, so that it is this process's own.
    drop(std::hint::black_box(vec![1u8; USUAL]));
    let Some(ends) = protocol::receive_ends(socket) else {
        return NOT_STARTED;
    };
    let Ok(Some((order, fds))) = protocol::receive::<Order>(socket) else {
        return NOT_STARTED;
    };
    if let Err(failure) = prepared {
        let [_, _, steps] = &ends;
        let _ = log.send(steps.as_fd(), Some(failure));
        return NOT_STARTED;
    }
    let Some(with_fds) = order.with(&fds) else {
        return NOT_STARTED;
    };
    let (job, sandbox) = (with_fds.job(), child.sandbox);
    // The spawner has closed its copies of the pipes by then.
    if vet(sandbox, &job).is_err() || !protocol::may_begin(socket) {
        return NOT_STARTED;
    }
    let entered = with_child_env(sandbox, &job, &ends, |env| {
        enter(env, child, log, |steps| {
            let failure = exec::execute(env);
            let _ = StepLog::default().send(steps, Some(failure));
            NOT_STARTED
        })
    });
    sys::exit(entered.unwrap_or(NOT_STARTED))
}
