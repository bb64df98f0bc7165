//! The zygote's own life: it sets itself up, makes a room, forks a job into it, and makes the next one.

use super::apart::Apart;
use super::early::Early;
use super::order::{self, Answer, Order, Request, Setup};
use super::room::{Changes, House, Room};
use super::{Forker, NAME, SOCKET};
use crate::checklist;
use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall, Parent};
use crate::keeper;
use crate::notes::Fault;
use crate::spawn::{vet, with_way};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::ffi::OsStrExt,
};

/// How long the warden may take to end once its socket is closed, in milliseconds.
const ENDING_MS: u32 = 1000;
/// How long a room is kept for its job to end in, in milliseconds. It is cut off from the host's unmounts.
const KEPT_MS: u16 = 20;

/// Whether this process was executed by the warden, to be a zygote.
pub fn asked_for() -> bool {
    std::env::args_os().eq([std::ffi::OsStr::from_bytes(NAME.to_bytes())])
}

/// Serves the warden until it is gone. Returns an exit status.
pub fn serve() -> u8 {
    let Err(error) = served() else {
        return 0;
    };
    let source = std::error::Error::source(&error);
    let source = source.map_or(String::new(), |source| format!(": {source}"));
    // For the journal, where standard error leads.
    let text = format!("remit-zygote: {error}{source}\n");
    let _ = floor::write(floor::placed(2), text.as_bytes());
    1
}

fn served() -> Result<()> {
    let refused = |why: &str| Error::refused("cannot be a zygote", why.to_owned());
    // Nobody's, where somebody else has executed this.
    if !order::is_socket(floor::placed(SOCKET)) {
        return Err(refused("it has no socket: remitd alone starts it"));
    }
    let socket = floor::owned(SOCKET);
    let first = order::receive::<Setup>(socket.as_fd());
    let Ok(Some((setup, fds))) = first else {
        return Err(refused(
            "it was not told for what jobs: remitd alone starts it",
        ));
    };
    let Ok([warden, switch]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(refused("it has no switch to end all jobs by"));
    };
    let guard = Guard { warden, switch };
    let sandbox = setup.recipe.sandbox()?;
    let forker = Forker::of(&sandbox)?;
    let looking = || "cannot look at the host's mounts".into();
    let (moved, house) = (
        Changes::here().doing(looking)?,
        House::here().doing(looking)?,
    );
    if house.is_no_whole().doing(looking)? {
        return Err(refused("its root is not that of its mount namespace"));
    }
    let settled = || {
        floor::close_on_exec(socket.as_fd())?;
        floor::set_name(NAME)?;
        forker.settle()
    };
    settled().doing(|| "a zygote cannot settle".into())?;
    let zygote = Zygote {
        socket,
        forker,
        keeps: house.is_shared().unwrap_or(false),
        moved,
        house,
        guard: &guard,
        waiting: VecDeque::new(),
        left: Vec::new(),
    };
    let ran = zygote.run();
    // The warden's socket closes, and is written to in vain, before its pidfd tells of its end.
    if floor::wait_readable(guard.warden.as_fd(), Some(ENDING_MS)) {
        guard.pull();
        return Ok(());
    }
    ran.doing(|| "a zygote cannot go on".into())
}

/// What it ends all jobs by when the warden has died.
struct Guard {
    warden: OwnedFd,
    switch: OwnedFd,
}

impl Guard {
    fn pull(&self) {
        keeper::pull(self.switch.as_fd());
    }
}

struct Zygote<'a> {
    socket: OwnedFd,
    forker: Forker<'a>,
    house: House,
    /// Of the host's tree: for this loop alone, since whoever asks has the answer for himself.
    moved: Changes,
    /// Whether a room may wait, and one that was left be kept.
    keeps: bool,
    guard: &'a Guard,
    /// What keeps the rooms of children that wait, the oldest first.
    waiting: VecDeque<OwnedFd>,
    /// What keeps the rooms of the last jobs, so that these do not wait for their end.
    left: Vec<OwnedFd>,
}

impl Zygote<'_> {
    fn run(mut self) -> io::Result<()> {
        self.answer(Answer::Ready)?;
        loop {
            if !self.wait()? {
                continue;
            }
            let received = order::receive(self.socket.as_fd())?;
            let Some((request, fds)) = received else {
                return Ok(());
            };
            // The job before has ended, mostly. Not later: a child has copies of all descriptors for a
            // while, and whoever closes the last one of a namespace waits for its end.
            self.left.clear();
            match request {
                Request::Fork(order) => self.carry_out(&order, fds)?,
                Request::Prepare {
                    cgroup,
                    own,
                    others,
                } => {
                    self.keep(others);
                    self.prepare(cgroup, own, fds);
                }
                Request::Dismissed => self.keep(0),
            }
            // Whatever became of it.
            self.house.leave()?;
        }
    }

    /// Waits for something to do, and lets go what is not needed any more: nothing of the host's is held
    /// longer than must be. Whether there is a message.
    fn wait(&mut self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.moved.as_fd(), PollFlags::POLLPRI),
            PollFd::new(self.guard.warden.as_fd(), PollFlags::POLLIN),
        ];
        let patience = match self.left.is_empty() {
            false => PollTimeout::from(KEPT_MS),
            true => PollTimeout::NONE,
        };
        let ready = match poll(&mut fds, patience) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let [message, moved, orphaned] = fds.map(|fd| fd.any() == Some(true));
        if orphaned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if moved {
            self.keeps = self.house.is_shared().unwrap_or(false);
        }
        // Whoever waits is of no use any more, then, and a job's room does not follow the host.
        if moved {
            self.waiting.clear();
        }
        if moved || ready == 0 {
            self.left.clear();
        }
        Ok(message)
    }

    /// So many children wait, the youngest. The rooms of others are their jobs' by now, or nobody's.
    fn keep(&mut self, waiting: usize) {
        let taken = self.waiting.len().saturating_sub(waiting);
        self.left.extend(self.waiting.drain(..taken));
    }

    /// Forks a child that waits for its order. Where that cannot be, the next job is forked when it comes.
    fn prepare(&mut self, cgroup: bool, own: (u32, u32), fds: Vec<OwnedFd>) {
        if let Ok(room) = self.forked_ahead(cgroup, own, fds) {
            self.waiting.extend(room.map(Room::left));
        }
    }

    fn forked_ahead(
        &self,
        cgroup: bool,
        own: (u32, u32),
        fds: Vec<OwnedFd>,
    ) -> io::Result<Option<Room>> {
        let (socket, cgroup) = match (&fds[..], cgroup) {
            ([socket, cgroup], true) => (socket, Some(cgroup.as_fd())),
            ([socket], false) => (socket, None),
            _ => return Err(io::Error::from_raw_os_error(libc::EBADMSG)),
        };
        let busy = || Err(io::ErrorKind::ResourceBusy.into());
        if !self.keeps {
            return busy();
        }
        // A strict one asks by itself whether the host's tree has changed; of others the warden asks.
        let apart = self.forker.is_apart().then(House::here).transpose()?;
        let house = apart.as_ref().unwrap_or(&self.house);
        let always = [&self.socket, &self.guard.warden, &self.guard.switch];
        let ours = self.waiting.iter().chain(&self.left).chain(always);
        let foreign: Vec<_> = ours.map(AsFd::as_fd).chain(cgroup).collect();
        let early = Early {
            forker: &self.forker,
            house,
            socket: socket.as_fd(),
            foreign: &foreign,
        };
        let fork = |child: &dyn Fn() -> i32| {
            let (call, parent) = (ForkCall::Clone3, Parent::Callers);
            floor::fork_as(call, cgroup, parent, child)
        };
        if self.forker.is_apart() {
            let apart = Apart::of(&self.forker, house, own, None)?;
            if !apart.may_wait()? {
                return busy();
            }
            fork(&|| early.live_apart(&apart))?;
            return Ok(None);
        }
        let room = self.forker.room(house).map_err(Fault::into_error)?;
        fork(&|| early.live_in(&room))?;
        Ok(Some(room))
    }

    fn carry_out(&mut self, order: &Order, fds: Vec<OwnedFd>) -> io::Result<()> {
        let forked = match self.forker.room_of_now(&self.house) {
            Err(fault) => Err(fault.into_error()),
            Ok(room) => {
                let forked = self.fork(&room, order, fds);
                self.left.extend(self.keeps.then(|| room.left()));
                // From here on the child alone is in it.
                self.house.leave()?;
                forked
            }
        };
        match forked {
            // There is one answer to each order, whatever becomes of the child.
            Ok(pid) => self.answer(Answer::Forked(pid)),
            Err(error) => self.answer(Answer::Failed(error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    /// Forks a child, which goes on when the warden says so by the last of `fds`.
    fn fork(&self, room: &Room, order: &Order, mut fds: Vec<OwnedFd>) -> io::Result<i32> {
        let malformed = || io::Error::from_raw_os_error(libc::EBADMSG);
        let ready = fds.pop().ok_or_else(malformed)?;
        let (ends, rest) = order.parts(fds).ok_or_else(malformed)?;
        let job = order.job(&rest);
        let sandbox = self.forker.sandbox;
        vet(sandbox, &job).map_err(|_| malformed())?;
        let inherited = self
            .forker
            .inherited(&self.house, room.ruleset(), Some(ready.as_fd()));
        let forked = with_way(sandbox, &job, &ends, Some(inherited), |way| {
            let child = || checklist::run(way);
            floor::fork_as(ForkCall::Clone3, job.cgroup, Parent::Callers, child)
                .doing(|| "cannot fork a job".into())
        });
        let (pid, _pidfd) = forked
            .map_err(|error| io::Error::from_raw_os_error(error.errno().unwrap_or(libc::EINVAL)))?;
        Ok(pid)
    }

    fn answer(&self, answer: Answer) -> io::Result<()> {
        floor::write(self.socket.as_fd(), &answer.to_bytes()).map(drop)
    }
}
