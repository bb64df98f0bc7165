//! The relay: a process of its own between a job's network and the host's.
//!
//! It is forked before the job, listens in the job's network, then goes back to the host's and gives
//! up everything but TCP connections: own uid, no capability, no file, a filter of some twenty calls,
//! Landlock's rule for the ports it may connect to. The job never sees it. It never waits for one
//! peer, and holds 64 connections at most; who comes then waits in the kernel's queue.
//!
//! No allocation: it is also forked from programs with threads, in tests.

use super::pair::{self, CHUNK, Pair, Wish};
use super::{MOST, Net, Target};
use crate::floor::{self, ForkCall};
use crate::keeper::become_nobody;
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, accept4, bind, connect,
        getsockopt, listen, socket, sockopt,
    },
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Descriptors: two a connection, one a listener, and some on the way there.
const DESCRIPTORS: u64 = 256;
/// Connections that may wait for their turn at each listener.
const BACKLOG: i32 = 128;
/// How long what a job has said is still carried after its end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Landlock's right to connect.
const CONNECT_TCP: u64 = 1 << 1;

const OWN: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// A relay at work; it dies with the process that started it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Relay {
    pub(super) pid: i32,
}

impl Relay {
    /// Once nothing of the job lives: what the job has said is carried for a second more at most,
    /// then the relay ends, and this returns. By the process that started it, with a right to signal
    /// it.
    pub(crate) fn finish(self) -> io::Result<()> {
        floor::kill(self.pid, libc::SIGTERM)?;
        loop {
            match floor::wait(self.pid, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                ended => return ended.map(drop),
            }
        }
    }
}

/// Forks it and waits until it is ready. The error is that of the step which it could not take.
pub(super) fn start(
    net: &Net,
    host: OwnedFd,
    call: ForkCall,
    uid: u32,
    gid: u32,
) -> io::Result<Relay> {
    let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let parent = std::process::id();
    let (pid, _pidfd) = floor::fork(call, None, || {
        if place(&told, &host).is_err() {
            return 1;
        }
        match settle(net, parent, uid, gid) {
            Ok(station) => station.work(),
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(libc::EPERM);
                let _ = floor::write(floor::placed(TOLD), &errno.to_ne_bytes());
                1
            }
        }
    })?;
    drop(told);
    drop(host);
    let mut answer = [0; 4];
    let read = floor::read(ready.as_fd(), &mut answer);
    let error = match (read, i32::from_ne_bytes(answer)) {
        (Ok(4), 0) => return Ok(Relay { pid }),
        (Ok(4), errno) => io::Error::from_raw_os_error(errno),
        (Ok(_), _) => io::ErrorKind::BrokenPipe.into(),
        (Err(e), _) => e,
    };
    let _ = floor::kill(pid, libc::SIGKILL);
    let _ = floor::wait(pid, 0);
    Err(error)
}

/// Where the relay has its answer's pipe, and the host's network, while it settles.
const TOLD: RawFd = 0;
const HOST: RawFd = 1;

/// Keeps these two descriptors and no other.
fn place(told: &OwnedFd, host: &OwnedFd) -> io::Result<()> {
    let told = floor::copy_above(told.as_fd(), 2)?;
    let host = floor::copy_above(host.as_fd(), 2)?;
    floor::place(told, TOLD)?;
    floor::place(host, HOST)?;
    floor::close_from(2)
}

/// Everything up to the first connection.
fn settle(net: &Net, parent: u32, uid: u32, gid: u32) -> io::Result<Station<'_>> {
    // Never more than it may already have: where that is fewer, fewer connections fit.
    let (_, hard) = floor::limit(libc::RLIMIT_NOFILE)?;
    let most = DESCRIPTORS.min(hard);
    floor::set_limit(libc::RLIMIT_NOFILE, most, most)?;
    // A stop of the job is not for the relay.
    floor::new_session()?;
    floor::default_signals()?;
    floor::set_name(c"remit-relay")?;
    SigSet::all().thread_block()?;
    let end = SignalFd::with_flags(
        &SigSet::from(Signal::SIGTERM),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?;
    let mut listeners = [const { None }; MOST];
    for (listener, target) in listeners.iter_mut().zip(&net.targets) {
        *listener = Some(listener_on(target)?);
    }
    floor::set_namespace(floor::placed(HOST), libc::CLONE_NEWNET)?;
    floor::close_one(HOST);
    floor::change_dir(c"/")?;
    become_nobody(uid, gid, &[])?;
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    for resource in [libc::RLIMIT_FSIZE, libc::RLIMIT_MEMLOCK, libc::RLIMIT_CORE] {
        floor::set_limit(resource, 0, 0)?;
    }
    floor::no_new_privs()?;
    fence(net)?;
    floor::install_filter(net.filter.instructions())?;
    floor::write(floor::placed(TOLD), &0i32.to_ne_bytes())?;
    floor::close_one(TOLD);
    Ok(Station {
        targets: &net.targets,
        end,
        listeners,
        slots: [const { None }; CONNECTIONS],
    })
}

fn listener_on(target: &Target) -> io::Result<OwnedFd> {
    let listener = tcp(target)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(target.address))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}

fn tcp(target: &Target) -> io::Result<OwnedFd> {
    let family = if target.address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    Ok(socket(family, SockType::Stream, OWN, None)?)
}

/// Nothing is written to any file, nothing bound, and connections go to the profile's ports alone.
fn fence(net: &Net) -> io::Result<()> {
    let Some(handled) = net.handled else {
        return Ok(());
    };
    let ruleset = floor::landlock_ruleset(&handled)?;
    if handled.net & CONNECT_TCP != 0 {
        for target in &net.targets {
            floor::landlock_grant_port(ruleset.as_fd(), target.address.port(), CONNECT_TCP)?;
        }
    }
    floor::landlock_restrict(ruleset.as_fd(), 0)
}

/// A connection in one of its two ages.
enum Slot {
    /// The job's end is there, the host's not yet.
    Calling {
        near: OwnedFd,
        far: OwnedFd,
        /// Where the job connected to, and where the relay tries to.
        asked: usize,
        tried: usize,
    },
    Open(Pair),
}

/// The relay's loop and all it has.
struct Station<'a> {
    targets: &'a [Target],
    end: SignalFd,
    listeners: [Option<OwnedFd>; MOST],
    slots: [Option<Slot>; CONNECTIONS],
}

/// Entries of poll(2): the end, the listeners, two a connection.
const ENTRIES: usize = 1 + MOST + 2 * CONNECTIONS;

impl Station<'_> {
    /// Its exit status.
    fn work(mut self) -> i32 {
        let mut room = [0; CHUNK];
        let mut until: Option<Instant> = None;
        loop {
            let mut polled = self.polled(until.is_some());
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return 0;
            }
            match floor::poll(&mut polled, left) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return 1,
            }
            let (first, rest) = polled.split_at(1);
            let (doors, pairs) = rest.split_at(MOST);
            for (slot, seen) in self.slots.iter_mut().zip(pairs.as_chunks::<2>().0) {
                let seen = [seen[0].revents, seen[1].revents];
                let taken = slot.take();
                *slot = taken.and_then(|s| s.carry(self.targets, seen, &mut room));
            }
            let ends = first.iter().any(|end| end.revents != 0);
            for (at, door) in doors.iter().enumerate() {
                if door.revents != 0 || ends {
                    self.receive(at);
                }
            }
            if ends {
                until.get_or_insert_with(|| Instant::now() + PATIENCE);
                self.slots.iter_mut().flatten().for_each(Slot::forsake);
            }
            if until.is_some() && self.slots.iter().all(Option::is_none) {
                return 0;
            }
        }
    }

    fn polled(&self, ending: bool) -> [libc::pollfd; ENTRIES] {
        let mut polled = [libc::pollfd {
            fd: -1,
            events: 0,
            revents: 0,
        }; ENTRIES];
        let (first, rest) = polled.split_at_mut(1);
        let (doors, pairs) = rest.split_at_mut(MOST);
        let set = |entry: &mut libc::pollfd, (fd, events): Wish| {
            entry.fd = fd;
            entry.events = events;
        };
        if !ending {
            for entry in first {
                set(entry, (self.end.as_raw_fd(), libc::POLLIN));
            }
            if self.slots.iter().any(Option::is_none) {
                for (entry, listener) in doors.iter_mut().zip(self.listeners.iter().flatten()) {
                    set(entry, (listener.as_raw_fd(), libc::POLLIN));
                }
            }
        }
        for (entries, slot) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(&self.slots) {
            let wishes = slot.as_ref().map(Slot::wishes).into_iter().flatten();
            for (entry, wish) in entries.iter_mut().zip(wishes) {
                set(entry, wish);
            }
        }
        polled
    }

    /// Accepts who waits at listener `at`, as long as there is room.
    fn receive(&mut self, at: usize) {
        let Some(Some(listener)) = self.listeners.get(at) else {
            return;
        };
        for slot in self.slots.iter_mut().filter(|slot| slot.is_none()) {
            match accept4(listener.as_raw_fd(), OWN) {
                Ok(near) => *slot = Slot::call(self.targets, floor::owned(near), at, at),
                Err(nix::Error::EAGAIN) => return,
                Err(nix::Error::ECONNABORTED | nix::Error::EINTR) => {}
                // Descriptors or memory of the whole machine: not for ever, it is hoped.
                Err(_) => return floor::rest(),
            }
        }
    }
}

impl Slot {
    /// Begins to connect `near` to target `at`, or to the next one of its kin that can be tried.
    fn call(targets: &[Target], near: OwnedFd, asked: usize, at: usize) -> Option<Self> {
        match begin(targets.get(at)?) {
            Ok(far) => Some(Slot::Calling {
                near,
                far,
                asked,
                tried: at,
            }),
            Err(_) => Self::call_next(targets, near, asked, at),
        }
    }

    fn wishes(&self) -> [Wish; 2] {
        match self {
            Slot::Calling { near, far, .. } => {
                [(near.as_raw_fd(), 0), (far.as_raw_fd(), libc::POLLOUT)]
            }
            Slot::Open(pair) => pair.wishes(),
        }
    }

    fn carry(self, targets: &[Target], seen: [i16; 2], room: &mut [u8; CHUNK]) -> Option<Self> {
        match self {
            slot if seen == [0, 0] => Some(slot),
            Slot::Open(pair) => pair.carry(seen, room).map(Slot::Open),
            // The job has given up.
            Slot::Calling { .. } if seen[0] != 0 => None,
            Slot::Calling {
                near,
                far,
                asked,
                tried,
            } => match getsockopt(&far, sockopt::SocketError) {
                Ok(0) => Pair::new(near, far).ok().map(Slot::Open),
                _ => Self::call_next(targets, near, asked, tried),
            },
        }
    }

    /// After a call of target `tried` has failed.
    fn call_next(targets: &[Target], near: OwnedFd, asked: usize, tried: usize) -> Option<Self> {
        match after(targets.get(tried)?, asked, tried) {
            Some(next) => Self::call(targets, near, asked, next),
            None => {
                pair::reset(&near);
                None
            }
        }
    }

    fn forsake(&mut self) {
        if let Slot::Open(pair) = self {
            pair.forsake();
        }
    }
}

/// A connection to `target`, begun.
fn begin(target: &Target) -> io::Result<OwnedFd> {
    let far = tcp(target)?;
    match connect(far.as_raw_fd(), &SockaddrStorage::from(target.address)) {
        Ok(()) | Err(nix::Error::EINPROGRESS) => Ok(far),
        Err(e) => Err(e.into()),
    }
}

/// What is tried after target `at`, where `asked` was tried first: each of its kin once.
fn after(target: &Target, asked: usize, at: usize) -> Option<usize> {
    let next = if at + 1 < target.kin.end {
        at + 1
    } else {
        target.kin.start
    };
    (next != asked && target.kin.contains(&next)).then_some(next)
}
