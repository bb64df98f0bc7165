//! Identifies clients and opens sessions, which the broker serves.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, send};
use remit_common::refusal::Refusal;
use remit_common::wire::Goodbye;
use remit_common::{caps, frame};
use remit_link::{ForeignSocket, ToBroker};

use crate::event_loop::epoll::{Interest, Token};
use crate::identity::arrivals::Door;
use crate::identity::peer::{self, Subject};
use crate::state::Warden;

/// Connections accepted in one turn, so that one client cannot block the others.
const ACCEPTS: usize = 64;

impl Warden {
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

    pub fn let_client_in(&mut self, stream: ForeignSocket, subject: Subject, pidfd: OwnedFd) {
        if !self.broker.is_ready() {
            // The broker ended during the look-up. The next one serves whoever connects again.
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
                    // Unwatched, a session would outlive its process, and another process could hold the socket.
                    self.close_session(session);
                    return;
                }
                let message = ToBroker::Session { session, owner };
                self.send_history();
                self.broker.send(&message, &[stream.as_fd()]);
            }
            Err(refusal) => {
                self.record_refusal(Some(&subject), None, &refusal, None);
                say_goodbye(&stream, refusal);
            }
        }
    }

    /// Ends a session. It counts until the broker reports that its socket is closed.
    pub fn end_session(&mut self, session: u64) {
        if let Some(ended) = self.sessions.end(session) {
            self.reactor.remove(ended.pidfd());
        }
        self.tell(&ToBroker::SessionGone { session });
    }

    /// Removes a session whose socket is closed. Its jobs continue.
    pub fn close_session(&mut self, session: u64) {
        if let Some(closed) = self.sessions.close(session) {
            self.reactor.remove(closed.pidfd());
        }
    }

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

/// Refuses a connection. The buffer of a new socket takes one frame. Otherwise it is closed without a message.
pub fn say_goodbye(stream: &ForeignSocket, refusal: Refusal) {
    if let Ok(bytes) = frame::encode(&Goodbye::new(refusal), caps::ADMIN_FRAME) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(stream.as_raw_fd(), &bytes, flags);
    }
}
