//! Reads refusals to jobs from the kernel audit, if remit.toml enables it (`audit.kernel`). The warden binds the
//! socket, which needs a capability. A job can choose parts of a record, so the parser ([`record`]) is total and the
//! accounts ([`heard`]) are bounded. A path is reported as written: the job has walked there under its own uid. Nothing
//! is reported for jobs whose uid other processes use too.

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

use crate::hints::Seen;
use crate::runtime::async_fd::watch;
use heard::RefusalTable;

/// Longest record of the kernel: `MAX_AUDIT_MESSAGE_LENGTH` and a header.
const LONGEST: usize = 8970 + 16;
/// Records read between pauses, so that a flood uses only a small part of a CPU. The kernel drops records that the
/// socket cannot hold. Nothing waits: the remaining records are read when a job ends.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(20);
/// Maximum time between the end of a job and the query of its refusals.
const SLACK: Duration = Duration::from_secs(5);
/// Records read at the end of a job: more than the socket can hold.
const LAST: usize = 4096;

#[derive(Debug, Default)]
pub struct KernelAudit {
    listening: RefCell<Option<Listening>>,
}

#[derive(Debug)]
struct Listening {
    socket: Arc<OwnedFd>,
    heard: RefusalTable,
}

impl KernelAudit {
    pub async fn listen(&self, socket: OwnedFd, uids: std::ops::Range<u32>) {
        let socket = Arc::new(socket);
        let watched = match watch(Arc::clone(&socket), Interest::READABLE) {
            Ok(watched) => watched,
            Err(error) => return tracing::error!("cannot listen to the kernel's audit: {error}"),
        };
        let heard = RefusalTable::new(uids);
        self.listening.replace(Some(Listening { socket, heard }));
        loop {
            let Ok(mut ready) = watched.readable().await else {
                break;
            };
            match self.read(BATCH) {
                ReadOutcome::End => ready.clear_ready(),
                ReadOutcome::Bound => {}
                ReadOutcome::Failure => break,
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.listening.replace(None);
    }

    /// Takes the refusals of an ended job with this uid and runtime, as far as the kernel has sent them. Never blocks.
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

    fn read(&self, most: usize) -> ReadOutcome {
        let mut listening = self.listening.borrow_mut();
        let Some(Listening { socket, heard }) = listening.as_mut() else {
            return ReadOutcome::Failure;
        };
        let mut buffer = [0; LONGEST];
        let now = Instant::now();
        for _ in 0..most {
            match recvfrom::<NetlinkAddr>(socket.as_fd().as_raw_fd(), &mut buffer) {
                // A process with CAP_NET_ADMIN can send to any such socket. The kernel's port id is 0.
                Ok((_, Some(sender))) if sender.pid() != 0 => {}
                Ok((0, _)) => return ReadOutcome::Failure,
                Ok((length, _)) => {
                    let record = buffer.get(..length).and_then(record::read);
                    record
                        .into_iter()
                        .for_each(|record| heard.take(record, now));
                }
                Err(Errno::EAGAIN) => return ReadOutcome::End,
                // ENOBUFS: the kernel dropped records; the next ones are readable.
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!("the kernel's audit can no longer be read: {error}");
                    return ReadOutcome::Failure;
                }
            }
        }
        ReadOutcome::Bound
    }
}

enum ReadOutcome {
    End,
    Bound,
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

    fn with_listener(socket: impl Into<OwnedFd>, then: impl AsyncFnOnce(Rc<KernelAudit>)) {
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
    fn refusals_before_end_are_returned_once() {
        let (kernel, socket) = UnixDatagram::pair().unwrap();
        with_listener(socket, async |audit| {
            kernel.send(&seccomp(1001)).unwrap();
            kernel.send(b"no record").unwrap();
            kernel.send(&seccomp(1002)).unwrap();
            // The listener task has not run since: `of_ended` reads the socket itself.
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

    /// Uses a netlink family to which every process may send.
    #[test]
    fn record_from_other_process_is_ignored() {
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
        with_listener(listener, async |audit| {
            let message = seccomp(1001);
            sendto(forger.as_raw_fd(), &message, &port, MsgFlags::empty()).unwrap();
            assert!(audit.of_ended(1001, Duration::ZERO).is_empty());
            assert!(audit.listening.borrow().is_some());
        });
    }

    #[test]
    fn the_listener_empties_the_socket_by_itself() {
        let (kernel, socket) = UnixDatagram::pair().unwrap();
        with_listener(socket, async |audit| {
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
    fn ended_socket_is_dropped_and_nothing_returned() {
        let (kernel, socket) = UnixDatagram::pair().unwrap();
        with_listener(socket, async |audit| {
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
