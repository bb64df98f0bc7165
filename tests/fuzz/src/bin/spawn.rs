//! Datagrams between warden, spawner and a job's child, in all directions, through a real socket pair, and long ones in a sealed memory
//! file. Any bytes are one message or an error, and a message survives a second round unchanged.
#![no_main]

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::MsgFlags;
use remit_spawn::{Answer, Fork, Order, Reply, Report, Request, socket};
use remit_sys::{Error, sys};
use serde::{Serialize, de::DeserializeOwned};

/// The datagram of a message that is in a memory file.
const IS_LONG: u8 = 0xff;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = read::<Request>(bytes);
    let _ = read::<Fork>(bytes);
    if let Some((order, fds)) = read::<Order>(bytes)
        && let Some(with_fds) = order.with(&fds)
    {
        let job = with_fds.job(None);
        assert_eq!(job.arguments.len(), order.arguments.len());
        let _ = job.vet(true);
        assert!(job.vet(false).is_err() || job.uid != 0);
    }
    if bytes.len() < 1024 {
        let (local, remote) = socket::pair(1).expect("two descriptors are to be had");
        socket::send_bytes(remote.as_fd(), bytes, &[]).expect("an empty socket takes it");
        let _ = Report::hear(local.as_fd(), MsgFlags::MSG_DONTWAIT);
    }
    if let Some((reply, _)) = read::<Reply>(bytes) {
        assert!(reply.gone.iter().all(|pid| *pid > 1));
        match reply.answer {
            Ok(Answer::Watching { pid }) => assert!(pid > 1),
            Ok(_) => {}
            Err(failure) => assert!(!format!("{:?}", Error::from(failure)).is_empty()),
        }
    }
});

/// Reads a message as its receiver does. A first byte that begins no message says: the rest, in a memory file.
fn read<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8]) -> Option<(T, Vec<OwnedFd>)> {
    let (local, remote) = socket::pair(1).expect("two descriptors are to be had");
    match bytes {
        [] => return None,
        [IS_LONG, rest @ ..] => {
            let file = sys::sealed_memfd(c"message", rest).expect("memory is to be had");
            // The last one is a descriptor of the message itself.
            let fds = [file.as_raw_fd(), remote.as_raw_fd()];
            socket::send_bytes(remote.as_fd(), &[IS_LONG], &fds)
        }
        bytes => socket::send_bytes(remote.as_fd(), bytes, &[]),
    }
    .expect("a datagram fits in an empty socket");
    let (message, fds) = match socket::receive::<T>(local.as_fd()) {
        Ok(heard) => heard.expect("no message is empty"),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            return None;
        }
    };
    socket::send(local.as_fd(), &message, &[]).expect("an empty socket takes it");
    let again = socket::receive::<T>(remote.as_fd()).expect("what was written can be read");
    let (again, _) = again.expect("it was not empty");
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
    Some((message, fds))
}
