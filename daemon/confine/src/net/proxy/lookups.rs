//! Looks names up: one lookup for each name at a time, which all connections share for some seconds.

use super::super::pair::Wish;
use super::super::tcp::{OWN, connect_to};
use nix::sys::socket::{AddressFamily, MsgFlags, SockType, recv, send, socket};
use remit_core::hosts_file;
use remit_proxy::lookup::{self, IpFamily, LONGEST, NameAnswer};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

const KNOWN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(3);
/// Questions to one server before the name cannot be looked up.
const ROUNDS: usize = 2;
/// Datagrams that are read at once.
const TURN: usize = 16;

pub(super) type LookupResult = Result<Vec<IpAddr>, String>;

pub(super) struct Lookups {
    hosts: Result<String, String>,
    servers: Result<Vec<SocketAddr>, String>,
    numbers: Numbers,
    names: BTreeMap<String, LookupState>,
}

enum LookupState {
    Asking(PendingLookup),
    Known { found: LookupResult, until: Instant },
}

struct PendingLookup {
    /// Connected to the server: the kernel drops what others send, and chooses the port.
    socket: Option<OwnedFd>,
    ids: [u16; 2],
    found: [Option<LookupResult>; 2],
    tried: usize,
    until: Instant,
}

/// Numbers that nobody guesses: SipHash with a random key, taken before the filter is in force.
struct Numbers(RandomState, u64);

impl Numbers {
    fn next(&mut self) -> u16 {
        self.1 += 1;
        self.0.hash_one(self.1) as u16
    }
}

impl Lookups {
    /// From the texts of `/etc/hosts` and `/etc/resolv.conf`, or why there is none.
    pub(super) fn new(hosts: Result<String, String>, resolv: Result<String, String>) -> Self {
        Lookups {
            hosts,
            servers: resolv.and_then(|text| lookup::servers(&text)),
            numbers: Numbers(RandomState::new(), 0),
            names: BTreeMap::new(),
        }
    }

    /// Returns what is known of a name of the list. `None`: it is being looked up.
    pub(super) fn get(&mut self, name: &str, now: Instant) -> Option<LookupResult> {
        match self.names.get(name) {
            Some(LookupState::Known { found, until }) if *until > now => {
                return Some(found.clone());
            }
            Some(LookupState::Asking(_)) => return None,
            Some(LookupState::Known { .. }) | None => {}
        }
        let listed = self
            .hosts
            .as_ref()
            .map(|text| hosts_file::addresses(text, name));
        let servers = match (listed, &self.servers) {
            (Ok(listed), _) if !listed.is_empty() => return Some(Ok(listed)),
            (Ok(_), Ok(servers)) => servers,
            (Err(why), _) | (Ok(_), Err(why)) => return Some(Err(failed(name, why))),
        };
        let asking = PendingLookup::begin(0, servers, &mut self.numbers, name, now);
        self.names
            .insert(name.to_owned(), LookupState::Asking(asking));
        None
    }

    pub(super) fn wishes(&self) -> impl Iterator<Item = Wish> {
        let sockets = self.asking().filter_map(|one| one.socket.as_ref());
        sockets.map(|socket| (socket.as_raw_fd(), libc::POLLIN))
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.asking().map(|one| one.until).min()
    }

    fn asking(&self) -> impl Iterator<Item = &PendingLookup> {
        self.names.values().filter_map(|state| match state {
            LookupState::Asking(asking) => Some(asking),
            LookupState::Known { .. } => None,
        })
    }

    pub(super) fn step(&mut self, now: Instant) {
        let servers = self.servers.as_deref().unwrap_or_default();
        for (name, state) in &mut self.names {
            let LookupState::Asking(asking) = state else {
                continue;
            };
            let is_over = asking.listen(name) || now >= asking.until;
            if !is_over {
                continue;
            }
            let found = asking.found();
            let tried = asking.tried + 1;
            *state = match found {
                Err(_) if !asking.is_certain() && tried < ROUNDS * servers.len() => {
                    LookupState::Asking(PendingLookup::begin(
                        tried,
                        servers,
                        &mut self.numbers,
                        name,
                        now,
                    ))
                }
                found => LookupState::Known {
                    found: found.map_err(|why| failed(name, &why)),
                    until: now + KNOWN,
                },
            };
        }
    }
}

fn failed(name: &str, why: &str) -> String {
    format!("'{name}' cannot be looked up: {why}")
}

impl PendingLookup {
    fn begin(
        tried: usize,
        servers: &[SocketAddr],
        numbers: &mut Numbers,
        name: &str,
        now: Instant,
    ) -> Self {
        let ids = [numbers.next(), numbers.next()];
        let ask = || -> nix::Result<OwnedFd> {
            let server = servers.get(tried % servers.len().max(1));
            let server = *server.ok_or(nix::Error::EDESTADDRREQ)?;
            let family = match server {
                SocketAddr::V4(_) => AddressFamily::Inet,
                SocketAddr::V6(_) => AddressFamily::Inet6,
            };
            let socket = socket(family, SockType::Datagram, OWN, None)?;
            connect_to(&socket, server)?;
            for (family, id) in IpFamily::ALL.into_iter().zip(ids) {
                let question = lookup::question(id, name, family);
                send(socket.as_raw_fd(), &question, MsgFlags::MSG_DONTWAIT)?;
            }
            Ok(socket)
        };
        let socket = ask().ok();
        PendingLookup {
            until: if socket.is_some() {
                now + PATIENCE
            } else {
                now
            },
            socket,
            ids,
            found: [None, None],
            tried,
        }
    }

    /// Reads what the server says. Returns true if no more can come.
    fn listen(&mut self, name: &str) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        let mut buffer = [0; LONGEST];
        for _ in 0..TURN {
            let length = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return false,
                // Nobody listens there.
                Err(_) => return true,
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            for ((family, id), found) in
                IpFamily::ALL.into_iter().zip(self.ids).zip(&mut self.found)
            {
                *found = Some(match lookup::answer(bytes, id, name, family) {
                    NameAnswer::Other => continue,
                    NameAnswer::Addresses(addresses) => Ok(addresses),
                    NameAnswer::NoSuchName | NameAnswer::NoAddress { .. } => Ok(Vec::new()),
                    NameAnswer::Failed(code) => {
                        Err(format!("the name server answers with code {code}"))
                    }
                    NameAnswer::Truncated => {
                        Err("the name server's answer is too long for a datagram".into())
                    }
                });
            }
            if self.found.iter().all(Option::is_some) {
                return true;
            }
        }
        false
    }

    fn is_certain(&self) -> bool {
        self.found.iter().all(|found| matches!(found, Some(Ok(_))))
    }

    /// IPv4 first: where the machine has no route for it, that is known at once.
    fn found(&self) -> LookupResult {
        let answers = || self.found.iter().flatten();
        let all: Vec<IpAddr> = answers().flatten().flatten().copied().collect();
        match (all.is_empty(), answers().find_map(|one| one.as_ref().err())) {
            (false, _) => Ok(all),
            (true, _) if self.is_certain() => Err("it has no address".into()),
            (true, Some(why)) => Err(why.clone()),
            (true, None) => Err("no name server answers".into()),
        }
    }
}
