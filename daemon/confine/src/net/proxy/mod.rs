//! The proxy of a copy of the machine: the relay's process with another duty. A job asks it for an URL, and it asks the
//! server, if its name and port are in the profile's list and the address is none of this machine's. What is read and decided
//! is in `remit-proxy`. It waits for nobody, holds a fixed number of connections, and ends with the job.

mod connection;
mod far;
mod lookups;
#[cfg(test)]
mod tests;

use super::pair::{CHUNK, Wish};
use super::tcp::OWN;
use crate::sys;
use connection::ProxyConnection;
pub(super) use far::FarNetwork;
use nix::sys::{signalfd::SignalFd, socket::accept4};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// Where the proxy listens, at the loopback address of the job's network.
pub(super) const PORT: u16 = 3128;
const CONNECTIONS: usize = 64;

pub(super) struct Proxy<'a> {
    pub(super) list: &'a [(String, u16)],
    pub(super) listener: OwnedFd,
    pub(super) end: SignalFd,
    pub(super) outside: FarNetwork,
}

impl Proxy<'_> {
    pub(super) fn work(mut self) -> i32 {
        let mut buffer = [0; CHUNK];
        let mut connections: Vec<ProxyConnection> = Vec::with_capacity(CONNECTIONS);
        loop {
            let is_full = connections.len() >= CONNECTIONS;
            let listener = if is_full {
                -1
            } else {
                self.listener.as_raw_fd()
            };
            let fixed = [
                (self.end.as_raw_fd(), libc::POLLIN),
                (listener, libc::POLLIN),
            ];
            let wishes = fixed
                .into_iter()
                .chain(connections.iter().flat_map(ProxyConnection::wishes))
                .chain(self.outside.lookups.wishes());
            let mut polled: Vec<libc::pollfd> = wishes.map(pollfd).collect();
            let times = connections.iter().map(ProxyConnection::until);
            let next = times.chain(self.outside.lookups.until()).min();
            match sys::poll(&mut polled, next.map(until)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return 1,
            }
            let (fixed, rest) = polled.split_at(2);
            let [end, door] = [0, 1].map(|at| fixed.get(at).is_some_and(|one| one.revents != 0));
            // The job is over: nobody waits for an answer.
            if end {
                return 0;
            }
            let now = Instant::now();
            self.outside.lookups.step(now);
            let seen = rest.as_chunks::<2>().0.iter();
            connections = connections
                .into_iter()
                .zip(seen.map(|[near, far]| [near.revents, far.revents]))
                .filter_map(|(one, seen)| {
                    one.step(seen, now, self.list, &mut self.outside, &mut buffer)
                })
                .collect();
            if door {
                self.receive(&mut connections, now);
            }
        }
    }

    fn receive(&self, connections: &mut Vec<ProxyConnection>, now: Instant) {
        while connections.len() < CONNECTIONS {
            match accept4(self.listener.as_raw_fd(), OWN) {
                Ok(near) => connections.push(ProxyConnection::new(sys::owned(near), now)),
                Err(nix::Error::EAGAIN) => return,
                Err(nix::Error::ECONNABORTED | nix::Error::EINTR) => {}
                // The machine lacks descriptors or memory, probably not for ever.
                Err(_) => return sys::sleep(1),
            }
        }
    }
}

fn pollfd((fd, events): Wish) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// Rounded up: poll(2) counts milliseconds, and a wait that ends early would be repeated at once.
fn until(next: Instant) -> Duration {
    next.saturating_duration_since(Instant::now()) + Duration::from_millis(1)
}
