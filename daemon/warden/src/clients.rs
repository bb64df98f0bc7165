//! Clients come and go: identified here, served by the broker.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, send};
use remit_common::refusal::Refusal;
use remit_common::wire::ToClient;
use remit_common::{caps, frame};
use remit_link::{ForeignSocket, ToBroker};

use crate::arrivals::Door;
use crate::peer::{self, Subject};
use crate::reactor::{Interest, Token};
use crate::warden::Warden;

/// Connections taken in one turn: whoever connects without end does not keep others waiting.
const ACCEPTS: usize = 64;

impl Warden {
    /// Takes those who wait, while there is a broker to serve them.
    pub fn accept_clients(&mut self) {
        for _ in 0..ACCEPTS {
            if !self.broker.is_ready() {
                return;
            }
            let Some(stream) = self.listeners.client() else {
                return;
            };
            self.names.renew();
            let peer = peer::identify(&stream);
            self.arrive(Door::Client, stream, peer);
        }
    }

    /// Opens a session, which the broker serves.
    pub fn let_client_in(&mut self, stream: ForeignSocket, subject: Subject, pidfd: OwnedFd) {
        if !self.broker.is_ready() {
            // It ended while the account was looked up: whoever connects again is served by the next one.
            return;
        }
        let owner = subject.owner();
        match self.sessions.open(subject.clone(), pidfd) {
            Ok((session, instead)) => {
                if let Some(other) = instead {
                    self.end_session(other);
                }
                let opened = self.sessions.get(session);
                let watched = opened.is_some_and(|opened| {
                    let token = Token::Peer(session);
                    self.reactor
                        .add(opened.pidfd(), token, Interest::Read)
                        .is_ok()
                });
                if !watched {
                    // It would outlive its process: the socket may be somebody else's by then.
                    self.close_session(session);
                    return;
                }
                let message = ToBroker::Session { session, owner };
                self.broker.send(&message, &[stream.as_fd()]);
            }
            Err(refusal) => {
                self.record_refusal(Some(&subject), None, &refusal, None);
                say_goodbye(&stream, refusal);
            }
        }
    }

    /// Ends a session: nothing more is done for it. It counts until the broker says that its socket is closed.
    pub fn end_session(&mut self, session: u64) {
        if let Some(ended) = self.sessions.end(session) {
            self.reactor.remove(ended.pidfd());
        }
        self.tell(&ToBroker::SessionGone { session });
    }

    /// Forgets a session, whose socket is closed. Jobs of it go on.
    pub fn close_session(&mut self, session: u64) {
        if let Some(closed) = self.sessions.close(session) {
            self.reactor.remove(closed.pidfd());
        }
    }

    /// Takes clients, or lets them wait in the backlog.
    pub fn accept_more(&mut self, more: bool) {
        if more == self.accepting {
            return;
        }
        self.accepting = more;
        if more {
            let _ = self
                .reactor
                .add(&self.listeners.clients, Token::Clients, Interest::Read);
        } else {
            self.reactor.remove(&self.listeners.clients);
        }
    }
}

/// Says why a connection is refused before it has asked anything. A fresh socket has room for one frame; if it has none,
/// the connection is closed without.
pub fn say_goodbye(stream: &ForeignSocket, refusal: Refusal) {
    if let Ok(bytes) = frame::encode(&ToClient::Goodbye(refusal), caps::ADMIN_FRAME) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(stream.as_raw_fd(), &bytes, flags);
    }
}
