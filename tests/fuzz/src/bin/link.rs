//! Datagrams between warden and broker, both directions, through a real socket pair. Any bytes are one message or
//! an error, and a message survives a second round unchanged.
#![no_main]

use std::fmt::Debug;
use std::io::Write;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use remit_link::socket::Packed;
use remit_link::{Delivery, Link, ToWarden};
use serde::{Serialize, de::DeserializeOwned};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if !bytes.is_empty() {
        read::<ToWarden>(bytes);
        read::<Delivery>(bytes);
    }
});

fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (local, remote) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
        .expect("two descriptors are to be had");
    let (local, mut remote) = (Link::from(local), UnixStream::from(remote));
    remote
        .write_all(bytes)
        .expect("a datagram fits in an empty socket");
    let Ok((message, fds)) = local.recv::<T>() else {
        return;
    };
    assert!(fds.is_empty(), "none was sent");
    let packed = Packed::new(&message).expect("what was read can be written");
    local.send(&packed, &[]).expect("an empty socket takes it");
    let (again, _) = Link::from(std::os::fd::OwnedFd::from(remote))
        .recv::<T>()
        .expect("what was written can be read");
    assert_eq!(message, again);
}
