//! What the kernel's audit says was refused to jobs, where remit.toml asks for it (`audit.kernel`).
//!
//! The warden binds the socket, which takes a capability; to read it takes none. The kernel alone is
//! believed. What stands in a record may be a job's choice, so the parser ([`record`]) is total and the
//! account ([`heard`]) bounded.
//!
//! A path is told as the kernel wrote it. That is no more than the job knew: under a uid of its own it
//! has walked there itself, by names that it had or by links that it could read. Of jobs with a uid that
//! others have too nothing is told at all.

mod calls;
mod heard;
mod record;

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{NetlinkAddr, recvfrom};
use tokio::io::Interest;

use crate::explain::Seen;
use crate::watch::watch;
use heard::Heard;

/// Longest record: the kernel makes none of more than `MAX_AUDIT_MESSAGE_LENGTH`.
const LONGEST: usize = 8970 + 16;
/// Records that are read at once, and then a pause: so a flood of them takes a small part of a
/// processor, and what the socket has no room for the kernel drops. Nobody waits for that: what lies
/// there when a job ends is read then.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(20);
/// Between the end of a job and the question what was refused to it, at most.
const SLACK: Duration = Duration::from_secs(5);
/// Records that are read when a job has ended: more than the socket holds.
const LAST: usize = 4096;

/// The listener; without a socket it costs nothing.
#[derive(Debug, Default)]
pub struct KernelAudit {
    listening: RefCell<Option<Listening>>,
}

#[derive(Debug)]
struct Listening {
    socket: Arc<OwnedFd>,
    heard: Heard,
}

impl KernelAudit {
    /// Listens on `socket`, for jobs with these uids, until it fails. Once.
    pub async fn listen(&self, socket: OwnedFd, uids: std::ops::Range<u32>) {
        let socket = Arc::new(socket);
        let watched = match watch(Arc::clone(&socket), Interest::READABLE) {
            Ok(watched) => watched,
            Err(error) => return tracing::error!(%error, "cannot listen to the kernel's audit"),
        };
        let heard = Heard::new(uids);
        self.listening.replace(Some(Listening { socket, heard }));
        loop {
            let Ok(mut ready) = watched.readable().await else {
                break;
            };
            match self.read(BATCH) {
                Reached::End => ready.clear_ready(),
                Reached::Bound => {}
                Reached::Failure => break,
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.listening.replace(None);
    }

    /// What was refused to the job that had this uid and ran so long, as far as the kernel has said so
    /// by now. To be asked once it has ended; then it is forgotten. Never waits.
    pub fn of_ended(&self, uid: u32, ran: Duration) -> Vec<Seen> {
        let _ = self.read(LAST);
        let mut listening = self.listening.borrow_mut();
        let Some(listening) = listening.as_mut() else {
            return Vec::new();
        };
        let now = Instant::now();
        let since = now.checked_sub(ran.saturating_add(SLACK)).unwrap_or(now);
        listening.heard.remove(uid, since)
    }

    /// Reads so many records.
    fn read(&self, most: usize) -> Reached {
        let mut listening = self.listening.borrow_mut();
        let Some(Listening { socket, heard }) = listening.as_mut() else {
            return Reached::Failure;
        };
        let mut buffer = [0; LONGEST];
        let now = Instant::now();
        for _ in 0..most {
            match recvfrom::<NetlinkAddr>(socket.as_fd().as_raw_fd(), &mut buffer) {
                // Who administers a network can send to any such socket; the kernel has no port.
                Ok((_, Some(sender))) if sender.pid() != 0 => {}
                Ok((0, _)) => return Reached::Failure,
                Ok((length, _)) => {
                    let record = buffer.get(..length).and_then(record::read);
                    record
                        .into_iter()
                        .for_each(|record| heard.take(record, now));
                }
                Err(Errno::EAGAIN) => return Reached::End,
                // ENOBUFS: some were dropped, and the next ones are there.
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the kernel's audit is no longer heard");
                    return Reached::Failure;
                }
            }
        }
        Reached::Bound
    }
}

/// How far a reading came.
enum Reached {
    /// There is no more just now.
    End,
    /// There may be more.
    Bound,
    /// The socket is of no use any more.
    Failure,
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, getsockname, recv, sendto,
        socket,
    };
    use std::os::unix::net::UnixDatagram;
    use std::rc::Rc;

    use remit_common::denial::Layer;

    fn seccomp(uid: u32) -> Vec<u8> {
        let text = format!(
            "audit(1.2:3): auid=0 uid={uid} sig=0 arch={:x} syscall={} code=0x50000",
            calls::ARCH,
            libc::SYS_unshare
        );
        [
            &[0; 4],
            &1326_u16.to_ne_bytes()[..],
            &[0; 10],
            text.as_bytes(),
        ]
        .concat()
    }

    /// Runs on one thread, as the broker does, beside a listener on the socket given.
    fn beside(socket: impl Into<OwnedFd>, then: impl AsyncFnOnce(Rc<KernelAudit>)) {
        let socket = socket.into();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .unwrap();
        let audit = Rc::new(KernelAudit::default());
        nix::fcntl::fcntl(
            &socket,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = Rc::clone(&audit);
            let listening =
                tokio::task::spawn_local(async move { listener.listen(socket, 1000..2000).await });
            tokio::task::yield_now().await;
            then(audit).await;
            listening.abort();
        });
    }

    #[test]
    fn what_came_before_the_end_is_told_at_the_end_once() {
        let (kernel, socket) = UnixDatagram::pair().unwrap();
        beside(socket, async |audit| {
            kernel.send(&seccomp(1001)).unwrap();
            kernel.send(b"no record").unwrap();
            kernel.send(&seccomp(1002)).unwrap();
            // Nothing has let the listener run since: what lies in the socket is read now.
            let seen = audit.of_ended(1001, Duration::ZERO);
            let unshare = Seen {
                layer: Layer::Seccomp,
                operation: "unshare".to_owned(),
                object: None,
            };
            assert_eq!(seen, [unshare]);
            assert!(audit.of_ended(1001, Duration::ZERO).is_empty());
            assert_eq!(audit.of_ended(1002, Duration::ZERO).len(), 1);
        });
    }

    /// Another family of netlink, to which everybody may send.
    #[test]
    fn what_the_kernel_did_not_send_is_no_record() {
        let netlink = || {
            let family = AddressFamily::Netlink;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkUserSock);
            let socket = socket.unwrap();
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
            socket
        };
        let (forger, listener) = (netlink(), netlink());
        let port: NetlinkAddr = getsockname(listener.as_raw_fd()).unwrap();
        beside(listener, async |audit| {
            let message = seccomp(1001);
            sendto(forger.as_raw_fd(), &message, &port, MsgFlags::empty()).unwrap();
            assert!(audit.of_ended(1001, Duration::ZERO).is_empty());
            assert!(audit.listening.borrow().is_some());
        });
    }

    #[test]
    fn the_listener_empties_the_socket_by_itself() {
        let (kernel, socket) = UnixDatagram::pair().unwrap();
        beside(socket, async |audit| {
            // As much as the socket holds: where that is all of it, more than one batch.
            kernel.set_nonblocking(true).unwrap();
            let sent = (0..600).take_while(|_| kernel.send(&seccomp(1001)).is_ok());
            assert!(sent.count() > 5);
            let is_empty = || {
                let listening = audit.listening.borrow();
                let socket = listening.as_ref().unwrap().socket.as_raw_fd();
                let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
                recv(socket, &mut [0], peek) == Err(Errno::EAGAIN)
            };
            assert!(!is_empty());
            while !is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(audit.of_ended(1001, Duration::ZERO).len(), 1);
        });
    }

    #[test]
    fn a_socket_that_ends_is_let_go_and_without_one_there_is_nothing() {
        let (kernel, socket) = UnixDatagram::pair().unwrap();
        beside(socket, async |audit| {
            kernel.send(&[]).unwrap();
            while audit.listening.borrow().is_some() {
                tokio::task::yield_now().await;
            }
            assert!(audit.of_ended(1001, Duration::ZERO).is_empty());
        });
        assert!(
            KernelAudit::default()
                .of_ended(1001, Duration::ZERO)
                .is_empty()
        );
    }
}
