//! The relay: a process between a job's network and the host's.
//!
//! It is forked before the job, listens in the job's network, then goes back to the host's and gives up everything but
//! TCP connections: own uid, no capability, no file, a filter of some twenty calls, Landlock's rule for the ports that
//! it may connect to. The job never sees it. It never waits for one peer, and holds at most 64 connections; more wait
//! in the kernel's queue. No allocation, because tests also fork it from programs with threads.

use super::pair::{self, CHUNK, Pair, Wish};
use super::{MOST, Net, Target};
use crate::sys::{self, ForkCall};
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, accept4, bind,
        connect, getsockopt, listen, socket, sockopt,
    },
};
use remit_sys::rights::drop_all_rights;
use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 64;
/// Two for a connection, one for a listener, and some for the set-up.
const DESCRIPTORS: u64 = 256;
const BACKLOG: i32 = 128;
/// Time for which what a job has sent is still forwarded after its end.
const PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_TCP: u64 = 1 << 1;

const OWN: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// A running relay. It dies with the process that started it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Relay {
    pub(super) pid: i32,
}

impl Relay {
    /// Ends the relay once nothing of the job lives. What the job has sent is forwarded for at most one second; then
    /// the relay ends, and this returns. For the process that started it, with a right to signal it.
    pub(crate) fn finish(self) -> io::Result<()> {
        sys::kill(self.pid, libc::SIGTERM)?;
        loop {
            match sys::wait(self.pid, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                ended => return ended.map(drop),
            }
        }
    }
}

pub(super) fn start(
    net: &Net,
    host: OwnedFd,
    call: ForkCall,
    uid: u32,
    gid: u32,
) -> io::Result<Relay> {
    let (ready, report) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let parent = std::process::id();
    let (pid, _pidfd) = sys::fork(call, None, || {
        if renumber(&report, &host).is_err() {
            return 1;
        }
        match set_up_station(net, parent, uid, gid) {
            Ok(station) => station.work(),
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(libc::EPERM);
                let _ = sys::write(sys::borrowed(REPORT), &errno.to_ne_bytes());
                1
            }
        }
    })?;
    drop(report);
    drop(host);
    let mut answer = [0; 4];
    let read = sys::read(ready.as_fd(), &mut answer);
    let error = match (read, i32::from_ne_bytes(answer)) {
        (Ok(4), 0) => return Ok(Relay { pid }),
        (Ok(4), errno) => io::Error::from_raw_os_error(errno),
        (Ok(_), _) => io::ErrorKind::BrokenPipe.into(),
        (Err(e), _) => e,
    };
    let _ = sys::kill(pid, libc::SIGKILL);
    let _ = sys::wait(pid, 0);
    Err(error)
}

const REPORT: RawFd = 0;
const HOST: RawFd = 1;

fn renumber(report: &OwnedFd, host: &OwnedFd) -> io::Result<()> {
    let report = sys::copy_above(report.as_fd(), 2)?;
    let host = sys::copy_above(host.as_fd(), 2)?;
    sys::renumber(report, REPORT)?;
    sys::renumber(host, HOST)?;
    sys::close_from(2)
}

fn set_up_station(net: &Net, parent: u32, uid: u32, gid: u32) -> io::Result<Station<'_>> {
    // Never above the present hard limit; if that is lower, fewer connections fit.
    let (_, hard) = sys::limit(libc::RLIMIT_NOFILE)?;
    let most = DESCRIPTORS.min(hard);
    sys::set_limit(libc::RLIMIT_NOFILE, most, most)?;
    // A stop signal for the job is not for the relay.
    sys::new_session()?;
    sys::default_signals()?;
    sys::set_name(c"remit-relay")?;
    SigSet::all().thread_block()?;
    let end = SignalFd::with_flags(
        &SigSet::from(Signal::SIGTERM),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?;
    let mut listeners = [const { None }; MOST];
    for (listener, target) in listeners.iter_mut().zip(&net.targets) {
        *listener = Some(listener_on(target)?);
    }
    sys::set_namespace(sys::borrowed(HOST), libc::CLONE_NEWNET)?;
    sys::close_one(HOST);
    sys::change_dir(c"/")?;
    drop_all_rights(uid, gid, &[])?;
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    for resource in [libc::RLIMIT_FSIZE, libc::RLIMIT_MEMLOCK, libc::RLIMIT_CORE] {
        sys::set_limit(resource, 0, 0)?;
    }
    sys::no_new_privs()?;
    fence(net)?;
    sys::install_filter(net.filter.instructions())?;
    sys::write(sys::borrowed(REPORT), &0i32.to_ne_bytes())?;
    sys::close_one(REPORT);
    Ok(Station {
        targets: &net.targets,
        end,
        listeners,
        slots: [const { None }; CONNECTIONS],
    })
}

fn listener_on(target: &Target) -> io::Result<OwnedFd> {
    let listener = tcp(target)?;
    let at = listener.as_raw_fd();
    // With its own length: the worker's filter knows addresses of the internet by that.
    match target.address {
        SocketAddr::V4(address) => bind(at, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => bind(at, &SockaddrIn6::from(address)),
    }?;
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

/// Forbids writing to any file and binding, and lets connections go only to the profile's ports.
fn fence(net: &Net) -> io::Result<()> {
    let Some(handled) = net.handled else {
        return Ok(());
    };
    let ruleset = sys::landlock_ruleset(&handled)?;
    if handled.net & CONNECT_TCP != 0 {
        for target in &net.targets {
            sys::landlock_grant_port(ruleset.as_fd(), target.address.port(), CONNECT_TCP)?;
        }
    }
    sys::landlock_restrict(ruleset.as_fd(), 0)
}

enum Slot {
    Calling {
        near: OwnedFd,
        far: OwnedFd,
        asked: usize,
        tried: usize,
    },
    Open(Pair),
}

struct Station<'a> {
    targets: &'a [Target],
    end: SignalFd,
    listeners: [Option<OwnedFd>; MOST],
    slots: [Option<Slot>; CONNECTIONS],
}

const ENTRIES: usize = 1 + MOST + 2 * CONNECTIONS;

impl Station<'_> {
    fn work(mut self) -> i32 {
        let mut buffer = [0; CHUNK];
        let mut until: Option<Instant> = None;
        loop {
            let mut polled = self.polled(until.is_some());
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return 0;
            }
            match sys::poll(&mut polled, left) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return 1,
            }
            let (first, rest) = polled.split_at(1);
            let (doors, pairs) = rest.split_at(MOST);
            for (slot, seen) in self.slots.iter_mut().zip(pairs.as_chunks::<2>().0) {
                let seen = [seen[0].revents, seen[1].revents];
                let taken = slot.take();
                *slot = taken.and_then(|s| s.carry(self.targets, seen, &mut buffer));
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

    fn receive(&mut self, at: usize) {
        let Some(Some(listener)) = self.listeners.get(at) else {
            return;
        };
        for slot in self.slots.iter_mut().filter(|slot| slot.is_none()) {
            match accept4(listener.as_raw_fd(), OWN) {
                Ok(near) => *slot = Slot::call(self.targets, sys::owned(near), at, at),
                Err(nix::Error::EAGAIN) => return,
                Err(nix::Error::ECONNABORTED | nix::Error::EINTR) => {}
                // The machine lacks descriptors or memory, probably not for ever.
                Err(_) => return sys::rest(),
            }
        }
    }
}

impl Slot {
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

    fn carry(self, targets: &[Target], seen: [i16; 2], buffer: &mut [u8; CHUNK]) -> Option<Self> {
        match self {
            slot if seen == [0, 0] => Some(slot),
            Slot::Open(pair) => pair.carry(seen, buffer).map(Slot::Open),
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

fn begin(target: &Target) -> io::Result<OwnedFd> {
    let far = tcp(target)?;
    let from = far.as_raw_fd();
    let connected = match target.address {
        SocketAddr::V4(address) => connect(from, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => connect(from, &SockaddrIn6::from(address)),
    };
    match connected {
        Ok(()) | Err(nix::Error::EINPROGRESS) => Ok(far),
        Err(e) => Err(e.into()),
    }
}

/// Returns the target after `at`, if `asked` was tried first: each of its destination once.
fn after(target: &Target, asked: usize, at: usize) -> Option<usize> {
    let next = if at + 1 < target.kin.end {
        at + 1
    } else {
        target.kin.start
    };
    (next != asked && target.kin.contains(&next)).then_some(next)
}
