//! The relay: a process between a job's network and the host's. It is forked before the job, listens in the job's
//! network, then goes back to the host's and gives up everything but TCP connections: own uid, no capability, no file,
//! a filter of some twenty calls, Landlock's rule for the ports that it may connect to. The job never sees it. It never
//! waits for one peer, and holds at most 64 connections; more wait in the kernel's queue, and so do those beyond the rate. No
//! allocation.

use super::pair::{CHUNK, Wish};
use super::proxy::{FarNetwork, Proxy};
use super::slot::{FarSide, OwnAddresses, Slot};
use super::tcp::{OWN, bind_to, tcp};
use super::{Duty, MOST, Net, Target, netlink::Routes};
use crate::steps::landlock::{NET_BIND_TCP, NET_BIND_UDP, NET_CONNECT_SEND_UDP, NET_CONNECT_TCP};
use crate::sys::{self, ForkCall};
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
    socket::{Backlog, accept4, listen},
};
use remit_core::token_bucket::TokenBucket;
use remit_sys::rights::drop_all_rights;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 64;
/// New connections of a job each second, after a burst. Each can keep a local port of the host for a minute after its end
/// (TIME_WAIT), of 28,232 (`net.ipv4.ip_local_port_range`).
const NEW_A_SECOND: u32 = 20;
const BURST: u32 = 500;
/// Two for a connection, one for a listener, and some for the set-up.
const DESCRIPTORS: u64 = 256;
const BACKLOG: i32 = 128;
/// Time for which what a job has sent is still forwarded after its end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between looks for an abandoned connection while all are taken.
const LOOK: Duration = Duration::from_millis(200);
/// Port of name servers, which a proxy asks.
const NAMES: u16 = 53;

/// A running relay. It dies with the process that started it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Relay {
    pub(super) pid: i32,
}

impl Relay {
    /// Ends the relay when nothing of the job lives, at most 1 s later: what it has sent is forwarded. For its parent.
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
        match set_up(net, parent, uid, gid) {
            Ok(Serving::Relay(station)) => station.work(),
            Ok(Serving::Proxy(proxy)) => proxy.work(),
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

#[expect(
    clippy::large_enum_variant,
    reason = "the relay allocates nothing after its fork"
)]
enum Serving<'a> {
    Relay(Station<'a>),
    Proxy(Proxy<'a>),
}

fn set_up(net: &Net, parent: u32, uid: u32, gid: u32) -> io::Result<Serving<'_>> {
    // Never above the present hard limit; if that is lower, fewer connections fit.
    let (_, hard) = sys::limit(libc::RLIMIT_NOFILE)?;
    let most = DESCRIPTORS.min(hard);
    sys::set_limit(libc::RLIMIT_NOFILE, most, most)?;
    // A stop signal for the job is not for the relay.
    sys::new_session()?;
    sys::default_signals()?;
    let name = match net.duty {
        Duty::Listed | Duty::ThisHost => c"remit-relay",
        Duty::Names(_) => c"remit-proxy",
    };
    sys::set_name(name)?;
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
    let now = Instant::now();
    let serving = match &net.duty {
        Duty::Listed => {
            let far_side = FarSide::Listed(&net.targets, Routes::new()?);
            Serving::Relay(Station::new(far_side, end, listeners, now))
        }
        Duty::ThisHost => {
            let far_side = FarSide::Own(OwnAddresses::of_this_network());
            Serving::Relay(Station::new(far_side, end, listeners, now))
        }
        Duty::Names(list) => {
            let [first, ..] = listeners;
            Serving::Proxy(Proxy {
                list,
                listener: first.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?,
                end,
                outside: FarNetwork::new(Routes::new()?),
            })
        }
    };
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
    Ok(serving)
}

fn listener_on(target: &Target) -> io::Result<OwnedFd> {
    let listener = tcp(target.address)?;
    bind_to(&listener, target.address)?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}

/// Forbids writing to any file and binding to a port, and lets connections go only to the profile's ports. Connections
/// to the host's own addresses go to any port, from a port that the kernel chooses; so does what a proxy asks name servers.
fn fence(net: &Net) -> io::Result<()> {
    let Some(mut handled) = net.handled else {
        return Ok(());
    };
    let asks = net.duty == Duty::ThisHost;
    if asks {
        handled.net &= !NET_CONNECT_TCP;
    }
    let ruleset = sys::landlock_ruleset(&handled)?;
    let grant = |port, right| match handled.net & right {
        0 => Ok(()),
        _ => sys::landlock_grant_port(ruleset.as_fd(), port, right),
    };
    match &net.duty {
        Duty::Names(list) => {
            for (_, port) in list {
                grant(*port, NET_CONNECT_TCP)?;
            }
            grant(NAMES, NET_CONNECT_SEND_UDP)?;
            grant(0, NET_BIND_UDP)?;
        }
        Duty::Listed => {
            for target in &net.targets {
                grant(target.address.port(), NET_CONNECT_TCP)?;
            }
        }
        Duty::ThisHost => grant(0, NET_BIND_TCP)?,
    }
    sys::landlock_restrict(ruleset.as_fd(), 0)
}

struct Station<'a> {
    far_side: FarSide<'a>,
    end: SignalFd,
    listeners: [Option<OwnedFd>; MOST],
    slots: [Option<Slot>; CONNECTIONS],
    rate: TokenBucket,
}

const ENTRIES: usize = 1 + MOST + 2 * CONNECTIONS;

impl<'a> Station<'a> {
    fn new(
        far_side: FarSide<'a>,
        end: SignalFd,
        listeners: [Option<OwnedFd>; MOST],
        now: Instant,
    ) -> Self {
        Station {
            far_side,
            end,
            listeners,
            slots: [const { None }; CONNECTIONS],
            rate: TokenBucket::per_second(NEW_A_SECOND, BURST, now),
        }
    }

    fn work(mut self) -> i32 {
        let mut buffer = [0; CHUNK];
        let mut until: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let left = until.map(|until| until.saturating_duration_since(now));
            if left.is_some_and(|left| left.is_zero()) {
                return 0;
            }
            let (mut polled, left) = self.watched(left, now);
            match sys::poll(&mut polled, left) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return 1,
            }
            let now = Instant::now();
            let (first, rest) = polled.split_at(1);
            let (doors, pairs) = rest.split_at(MOST);
            for (slot, seen) in self.slots.iter_mut().zip(pairs.as_chunks::<2>().0) {
                let seen = [seen[0].revents, seen[1].revents];
                let taken = slot.take();
                *slot = taken.and_then(|s| s.carry(&mut self.far_side, seen, &mut buffer, now));
            }
            let ends = first.iter().any(|end| end.revents != 0);
            for (at, door) in doors.iter().enumerate() {
                if door.revents != 0 || ends {
                    self.receive(at, now);
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

    /// Returns what poll(2) shall watch, and for how long. `left`: the time until the end, once the job has ended.
    fn watched(
        &mut self,
        left: Option<Duration>,
        now: Instant,
    ) -> ([libc::pollfd; ENTRIES], Option<Duration>) {
        self.make_space();
        let is_ending = left.is_some();
        let turn = self.turn(is_ending, now);
        let left = left.or(turn.and_then(Result::err));
        let left = left.into_iter().chain(self.next_look(now)).min();
        (self.polled(is_ending, turn), left)
    }

    /// Resets a connection that its job has given up, if all are taken. Only then: a job that sends nothing may still read.
    fn make_space(&mut self) {
        if self.slots.iter().all(Option::is_some) {
            let mut slots = self.slots.iter_mut();
            let abandoned = slots.find(|slot| slot.as_ref().is_some_and(Slot::is_abandoned));
            if let Some(slot) = abandoned.and_then(Option::take) {
                slot.reset();
            }
        }
    }

    /// Returns the time until a far side is late, and if all connections are taken, until one may be abandoned.
    fn next_look(&self, now: Instant) -> Option<Duration> {
        let slots = self.slots.iter().flatten();
        let late = slots.filter_map(Slot::until).min()?;
        let left = late.saturating_duration_since(now);
        match self.slots.iter().all(Option::is_some) {
            true => Some(left.min(LOOK)),
            false => Some(left),
        }
    }

    /// Fails with the time until a connection may begin. `None`: not before another event.
    fn turn(&self, ending: bool, now: Instant) -> Option<Result<(), Duration>> {
        let has_slot = !ending && self.slots.iter().any(Option::is_none);
        has_slot.then(|| self.rate.check(1, now))
    }

    fn polled(&self, ending: bool, turn: Option<Result<(), Duration>>) -> [libc::pollfd; ENTRIES] {
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
            if turn == Some(Ok(())) {
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

    fn receive(&mut self, at: usize, now: Instant) {
        let Some(Some(listener)) = self.listeners.get(at) else {
            return;
        };
        for slot in self.slots.iter_mut().filter(|slot| slot.is_none()) {
            if self.rate.check(1, now).is_err() {
                return;
            }
            match accept4(listener.as_raw_fd(), OWN) {
                Ok(near) => {
                    self.rate.charge(1, now);
                    *slot = Slot::begin(&mut self.far_side, sys::owned(near), at, now);
                }
                Err(nix::Error::EAGAIN) => return,
                Err(nix::Error::ECONNABORTED | nix::Error::EINTR) => {}
                // The machine lacks descriptors or memory, probably not for ever.
                Err(_) => return sys::sleep(1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tcp::CALL;
    use super::super::tests::{deaf, echo, on_host, server};
    use super::*;
    use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};

    fn station<'a>(targets: &'a [Target], listener: OwnedFd, now: Instant) -> Station<'a> {
        let mut listeners = [const { None }; MOST];
        listeners[0] = Some(listener);
        let far_side = FarSide::Listed(targets, Routes::new().unwrap());
        let end = SignalFd::new(&SigSet::empty()).unwrap();
        Station::new(far_side, end, listeners, now)
    }

    fn open(station: &Station<'_>) -> usize {
        station.slots.iter().flatten().count()
    }

    fn polls_its_door(station: &mut Station<'_>, now: Instant) -> bool {
        station.watched(None, now).0[1].fd >= 0
    }

    fn watches_for(station: &mut Station<'_>, now: Instant) -> Option<Duration> {
        station.watched(None, now).1
    }

    #[test]
    fn abandoned_calls_make_space_when_all_are_taken() {
        on_host(|| {
            let target = |port| Target {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                may_be_own: true,
                kin: 0..1,
            };
            let ((_, port), _queued) = deaf(("127.0.0.1", 0));
            let listener = listener_on(&target(1)).unwrap();
            let targets = [target(port)];
            let now = Instant::now();
            let mut station = station(&targets, listener, now);
            assert_eq!(watches_for(&mut station, now), None);
            let mut jobs: Vec<TcpStream> = Vec::new();
            for _ in 0..CONNECTIONS {
                assert!(polls_its_door(&mut station, now));
                jobs.push(TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).unwrap());
                station.receive(0, now);
            }
            assert!(!polls_its_door(&mut station, now));
            assert_eq!(watches_for(&mut station, now), Some(LOOK));
            // What has been sent is still forwarded.
            let mut sends = jobs.pop().unwrap();
            io::Write::write_all(&mut sends, b"x").unwrap();
            drop(sends);
            assert!(!polls_its_door(&mut station, now));
            assert_eq!(open(&station), CONNECTIONS);
            let mut reads = jobs.pop().unwrap();
            reads.shutdown(Shutdown::Write).unwrap();
            assert!(polls_its_door(&mut station, now));
            assert_eq!(open(&station), CONNECTIONS - 1);
            assert_eq!(watches_for(&mut station, now), Some(CALL));
            // An end would say that the far side has answered nothing.
            let end = io::Read::read(&mut reads, &mut [0]).map_err(|e| e.kind());
            assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
            // There is space: a job that has only closed its direction may still read.
            drop(jobs.pop());
            assert!(polls_its_door(&mut station, now));
            assert_eq!(open(&station), CONNECTIONS - 1);
        });
    }

    /// With times of its own, so that no clock of a busy machine counts.
    #[test]
    fn new_connections_of_the_relay_have_a_rate() {
        on_host(|| {
            let local = |port| Target {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                may_be_own: true,
                kin: 0..1,
            };
            let listener = listener_on(&local(1)).unwrap();
            let targets = [local(server(echo))];
            let now = Instant::now();
            let mut station = station(&targets, listener, now);
            let mut began = 0;
            let mut begin = |station: &mut Station<'_>, now| {
                let job = TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).unwrap();
                let is_polled = polls_its_door(station, now);
                station.receive(0, now);
                assert_eq!(open(station), usize::from(is_polled));
                station.slots = [const { None }; CONNECTIONS];
                began += usize::from(is_polled);
                (is_polled, job)
            };
            // An ordinary program notices nothing: 500 at once.
            while let (true, _) = begin(&mut station, now) {}
            assert_eq!(
                station.turn(false, now),
                Some(Err(Duration::from_millis(50)))
            );
            assert_eq!(station.turn(true, now), None, "it begins none");
            // The one that was left in the queue is the next.
            let later = now + Duration::from_millis(50);
            assert!(polls_its_door(&mut station, later));
            station.receive(0, later);
            assert_eq!(open(&station), 1, "one, though more could come");
            assert!(!polls_its_door(&mut station, later));
            let second = later + Duration::from_secs(1);
            station.slots = [const { None }; CONNECTIONS];
            let after = (0..100)
                .take_while(|_| begin(&mut station, second).0)
                .count();
            assert_eq!(after, 20);
            assert_eq!(began, 520);
        });
    }
}
