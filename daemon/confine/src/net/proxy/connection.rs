//! One connection of the proxy: the job's request, the server's address, the server's answer. Each stage has its time, on a
//! clock that nobody sets, and what arrives in the meantime does not extend it, but bytes of an answer.

use super::super::pair::{self, CHUNK, FlowState, Wish};
use super::super::tcp::{CALL, connect_to, far_socket};
use super::far::{FarNetwork, NEW_A_SECOND, words};
use nix::sys::socket::{
    MsgFlags, Shutdown, SockaddrStorage, getpeername, getsockname, getsockopt, recv, send,
    shutdown, sockopt,
};
use remit_proxy::request::{self, HttpRefusal, HttpRequest, LONGEST};
use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

const HEAD: Duration = Duration::from_secs(10);
/// For a lookup, and for a connection's turn.
const TURN: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
const CLOSE: Duration = Duration::from_secs(2);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;

pub(super) struct ProxyConnection {
    near: OwnedFd,
    until: Instant,
    stage: ExchangePhase,
}

enum ExchangePhase {
    Head(Vec<u8>),
    Asking(HttpRequest),
    /// Waits for its turn.
    Next(ServerCall, Instant),
    Calling(ServerCall, OwnedFd),
    Answering(OwnedFd, FlowState),
    /// Bytes of the job that nobody has read would make the close a reset, which loses the answer.
    Closing,
}

struct ServerCall {
    request: HttpRequest,
    /// Checked; the next is the last.
    left: Vec<SocketAddr>,
    why: String,
}

impl ProxyConnection {
    pub(super) fn new(near: OwnedFd, now: Instant) -> Self {
        ProxyConnection {
            near,
            until: now + HEAD,
            stage: ExchangePhase::Head(Vec::new()),
        }
    }

    /// Returns when there is something to do even if no socket reports anything.
    pub(super) fn until(&self) -> Instant {
        match &self.stage {
            ExchangePhase::Next(_, turn) => self.until.min(*turn),
            _ => self.until,
        }
    }

    /// A socket is watched only if its events lead to something: poll(2) reports an end again and again.
    pub(super) fn wishes(&self) -> [Wish; 2] {
        let near = self.near.as_raw_fd();
        match &self.stage {
            ExchangePhase::Head(_) | ExchangePhase::Closing => [(near, libc::POLLIN), (-1, 0)],
            ExchangePhase::Asking(_) | ExchangePhase::Next(..) => [(near, 0), (-1, 0)],
            ExchangePhase::Calling(_, far) => [(near, 0), (far.as_raw_fd(), libc::POLLOUT)],
            ExchangePhase::Answering(_, FlowState::Writing) => [(near, libc::POLLOUT), (-1, 0)],
            ExchangePhase::Answering(far, _) => [(near, 0), (far.as_raw_fd(), libc::POLLIN)],
        }
    }

    pub(super) fn step(
        self,
        seen: [i16; 2],
        now: Instant,
        list: &[(String, u16)],
        outside: &mut FarNetwork,
        buffer: &mut [u8; CHUNK],
    ) -> Option<ProxyConnection> {
        if seen[0] & (libc::POLLERR | libc::POLLHUP) != 0 {
            return None;
        }
        if now >= self.until {
            return self.late(now, list, outside);
        }
        let ProxyConnection { near, until, stage } = self;
        match stage {
            ExchangePhase::Head(_) if seen[0] == 0 => Some(ProxyConnection { near, until, stage }),
            ExchangePhase::Head(bytes) => head(near, bytes, until, now, list, outside),
            ExchangePhase::Asking(request) => ask(near, request, until, now, list, outside),
            ExchangePhase::Next(call, _) => next(near, call, until, now, list, outside),
            ExchangePhase::Calling(_, _) if seen[1] == 0 => {
                Some(ProxyConnection { near, until, stage })
            }
            ExchangePhase::Calling(mut call, far) => match called(&far, &call.request) {
                Ok(()) => Some(ProxyConnection {
                    near,
                    until: now + IDLE,
                    stage: ExchangePhase::Answering(far, FlowState::Reading),
                }),
                Err(why) => {
                    call.why = why;
                    next(near, call, now + TURN, now, list, outside)
                }
            },
            ExchangePhase::Answering(far, flow) if seen == [0, 0] => Some(ProxyConnection {
                near,
                until,
                stage: ExchangePhase::Answering(far, flow),
            }),
            ExchangePhase::Answering(far, _) => match pair::pump(&far, &near, buffer) {
                Ok(FlowState::Ended) => {
                    // If this fails, the server sees a reset after its end.
                    let _ = pair::set_reset(&far, false);
                    Some(closing(near, now))
                }
                Ok(flow) => Some(ProxyConnection {
                    near,
                    until: now + IDLE,
                    stage: ExchangePhase::Answering(far, flow),
                }),
                Err(_) => {
                    pair::reset(&near);
                    None
                }
            },
            ExchangePhase::Closing => match discard(&near, buffer) {
                true => Some(ProxyConnection { near, until, stage }),
                false => None,
            },
        }
    }

    fn late(
        self,
        now: Instant,
        list: &[(String, u16)],
        outside: &mut FarNetwork,
    ) -> Option<ProxyConnection> {
        let ProxyConnection { near, stage, .. } = self;
        match stage {
            ExchangePhase::Head(_) => refuse(near, now, 408, "the request did not end within 10 s"),
            ExchangePhase::Asking(_) => {
                refuse(near, now, 502, "the name was not looked up in time")
            }
            ExchangePhase::Next(..) => {
                let why = format!("over {NEW_A_SECOND} new connections a second");
                refuse(near, now, 503, &why)
            }
            ExchangePhase::Calling(mut call, _) => {
                call.why = "no answer to the connection".into();
                next(near, call, now + TURN, now, list, outside)
            }
            ExchangePhase::Answering(..) => {
                pair::reset(&near);
                None
            }
            ExchangePhase::Closing => None,
        }
    }
}

fn head(
    near: OwnedFd,
    mut bytes: Vec<u8>,
    until: Instant,
    now: Instant,
    list: &[(String, u16)],
    outside: &mut FarNetwork,
) -> Option<ProxyConnection> {
    let mut part = [0; 4 << 10];
    let space = part.len().min(LONGEST - bytes.len());
    let space = part.get_mut(..space).unwrap_or_default();
    match recv(near.as_raw_fd(), space, MsgFlags::MSG_DONTWAIT) {
        Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
        Ok(0) | Err(_) => return None,
        Ok(read) => bytes.extend(space.get(..read).unwrap_or_default()),
    }
    match request::parse(&bytes, list) {
        None => Some(ProxyConnection {
            near,
            until,
            stage: ExchangePhase::Head(bytes),
        }),
        Some(Err(refusal)) => answer(near, now, &refusal),
        Some(Ok(request)) => ask(near, request, now + TURN, now, list, outside),
    }
}

/// Waits for the addresses of the name, and checks each. The one that was checked is the one that is connected to.
fn ask(
    near: OwnedFd,
    request: HttpRequest,
    until: Instant,
    now: Instant,
    list: &[(String, u16)],
    outside: &mut FarNetwork,
) -> Option<ProxyConnection> {
    let (name, port) = list.get(request.listed)?;
    let addresses = match outside.lookups.get(name, now) {
        None => {
            return Some(ProxyConnection {
                near,
                until,
                stage: ExchangePhase::Asking(request),
            });
        }
        Some(Err(why)) => return refuse(near, now, 502, &why),
        Some(Ok(addresses)) => addresses,
    };
    let mut why = String::new();
    let mut left = Vec::new();
    for ip in addresses {
        let to = SocketAddr::new(ip.to_canonical(), *port);
        match outside.refused(to) {
            None => left.push(to),
            Some(reason) => why = reason,
        }
    }
    left.truncate(ADDRESSES);
    left.reverse();
    let call = ServerCall { request, left, why };
    next(near, call, until, now, list, outside)
}

/// Calls the next address, if it is this connection's turn.
fn next(
    near: OwnedFd,
    mut call: ServerCall,
    until: Instant,
    now: Instant,
    list: &[(String, u16)],
    outside: &mut FarNetwork,
) -> Option<ProxyConnection> {
    while let Some(to) = call.left.last().copied() {
        if let Err(turn) = outside.may_connect(now) {
            return Some(ProxyConnection {
                near,
                until,
                stage: ExchangePhase::Next(call, turn),
            });
        }
        call.left.pop();
        match connect(to) {
            Ok(far) => {
                return Some(ProxyConnection {
                    near,
                    until: now + CALL,
                    stage: ExchangePhase::Calling(call, far),
                });
            }
            Err(e) => call.why = format!("{}: {}", to.ip(), words(&e.into())),
        }
    }
    let name = list.get(call.request.listed).map_or("", |(name, _)| name);
    let why = format!("no address of '{name}' can be reached: {}", call.why);
    refuse(near, now, 502, &why)
}

/// Whatever ends the call before the server's end resets it, the end of this process too: the kernel then keeps nothing of
/// it, and no server holds it open.
fn connect(to: SocketAddr) -> nix::Result<OwnedFd> {
    let far = far_socket(to)?;
    pair::set_reset(&far, true)?;
    connect_to(&far, to)?;
    Ok(far)
}

/// Sends the request, for which a new connection has space. Errors: why this is no server.
fn called(far: &OwnedFd, request: &HttpRequest) -> Result<(), String> {
    let at = far.as_raw_fd();
    let failed = |error: nix::Error| words(&error.into());
    let errno = getsockopt(far, sockopt::SocketError).map_err(failed)?;
    if errno != 0 {
        return Err(failed(nix::Error::from_raw(errno)));
    }
    let own: SockaddrStorage = getsockname(at).map_err(failed)?;
    let peer: SockaddrStorage = getpeername(at).map_err(failed)?;
    if is_same_host(&own, &peer) {
        return Err("it is an address of this machine".into());
    }
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    match send(at, &request.bytes, flags) {
        Ok(sent) if sent == request.bytes.len() => Ok(()),
        Ok(_) => Err("it takes no request".into()),
        Err(e) => Err(failed(e)),
    }
}

/// A connection from an address to itself is to this machine, or, by the same port too, to its own socket (tcp(7)).
pub(super) fn is_same_host(own: &SockaddrStorage, peer: &SockaddrStorage) -> bool {
    match (own.as_sockaddr_in(), peer.as_sockaddr_in()) {
        (Some(own), Some(peer)) => own.ip() == peer.ip(),
        _ => match (own.as_sockaddr_in6(), peer.as_sockaddr_in6()) {
            (Some(own), Some(peer)) => own.ip() == peer.ip(),
            _ => true,
        },
    }
}

fn refuse(near: OwnedFd, now: Instant, status: u16, why: &str) -> Option<ProxyConnection> {
    answer(near, now, &HttpRefusal::new(status, why))
}

fn answer(near: OwnedFd, now: Instant, refusal: &HttpRefusal) -> Option<ProxyConnection> {
    let response = refusal.response();
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    // A new connection has space for it; otherwise nobody waits for it.
    let sent = send(near.as_raw_fd(), &response, flags);
    let ended = sent.and_then(|_| shutdown(near.as_raw_fd(), Shutdown::Write));
    ended.is_ok().then(|| closing(near, now))
}

fn closing(near: OwnedFd, now: Instant) -> ProxyConnection {
    ProxyConnection {
        near,
        until: now + CLOSE,
        stage: ExchangePhase::Closing,
    }
}

/// Reads on, so that the job reads the answer. False: the job has closed, too.
fn discard(near: &OwnedFd, buffer: &mut [u8; CHUNK]) -> bool {
    match recv(near.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => false,
        Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => true,
        Err(_) => false,
    }
}
