//! Opens and ends sessions, which the broker serves.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, send};
use remit_common::refusal::Refusal;
use remit_common::wire::Goodbye;
use remit_common::{caps, frame};
use remit_link::{ForeignSocket, ToBroker};

use crate::audit::reports::Reports;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::arrivals::Admitted;
use crate::identity::sessions::Sessions;

pub fn let_client_in(
    sessions: &mut Sessions,
    reports: &mut Reports,
    reactor: &Reactor,
    client: Admitted,
) {
    let Admitted {
        stream,
        caller: subject,
        pidfd,
        ..
    } = client;
    if !reports.broker.is_ready() {
        // The broker ended during the look-up. The next one serves whoever connects again.
        return;
    }
    let owner = subject.owner();
    match sessions.open(subject.clone(), pidfd) {
        Ok((session, instead)) => {
            if let Some(other) = instead {
                end_session(sessions, reports, reactor, other);
            }
            let opened = sessions.get(session);
            let watched = opened.is_some_and(|opened| {
                let token = Token::Peer(session);
                reactor.add(opened.pidfd(), token, Interest::Read).is_ok()
            });
            if !watched {
                // Unwatched, a session would outlive its process, and another process could hold the socket.
                close_session(sessions, reactor, session);
                return;
            }
            let message = ToBroker::Session { session, owner };
            reports.send_history();
            reports.broker.send(&message, &[stream.as_fd()]);
        }
        Err(refusal) => {
            reports.record_refusal(Some(&subject), None, &refusal, None);
            say_goodbye(&stream, refusal);
        }
    }
}

/// Ends a session. It counts until the broker reports that its socket is closed.
pub fn end_session(
    sessions: &mut Sessions,
    reports: &mut Reports,
    reactor: &Reactor,
    session: u64,
) {
    if let Some(ended) = sessions.end(session) {
        reactor.remove(ended.pidfd());
    }
    reports.tell(&ToBroker::SessionGone { session });
}

/// Removes a session whose socket is closed. Its jobs continue.
pub fn close_session(sessions: &mut Sessions, reactor: &Reactor, session: u64) {
    if let Some(closed) = sessions.close(session) {
        reactor.remove(closed.pidfd());
    }
}

/// Refuses a connection. The buffer of a new socket takes one frame. Otherwise it is closed without a message.
pub fn say_goodbye(stream: &ForeignSocket, refusal: Refusal) {
    if let Ok(bytes) = frame::encode(&Goodbye::new(refusal), caps::ADMIN_FRAME) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(stream.as_raw_fd(), &bytes, flags);
    }
}
