//! A broker that does nothing itself: it hands its end of the link to a test, which speaks for it.
//!
//! The warden starts it as it starts the real one. It finds the test at the socket `control`,
//! two directories above the spool, and ends when the test closes that connection. As `--sink` it is the real thing.

// It is for tests: a surprise ends it, and the warden tells of it.
#![allow(clippy::expect_used)]

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use remit_link::socket::Packed;
use remit_link::{Link, closer};

fn main() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == "--sink")
    {
        let socket = closer::sink_socket().expect("the warden hands over a socket");
        return closer::sink(&socket).expect("the warden speaks");
    }
    let spool: PathBuf = std::env::args_os().nth(2).expect("--spool DIR").into();
    let place = spool
        .ancestors()
        .nth(2)
        .expect("the spool lies in the state directory");
    let link = Link::inherited().expect("the warden hands over a link");
    let control = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket");
    let address = UnixAddr::new(&place.join("control")).expect("a short path");
    connect(control.as_raw_fd(), &address).expect("the test listens");
    let control = Link::from(control);
    let hello = Packed::new(&std::process::id()).expect("a number");
    control
        .send(&hello, &[link.as_fd()])
        .expect("the test reads");
    // From now on the test has the only copy: it decides when the link is closed.
    drop(link);
    let mut end = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut end, PollTimeout::NONE);
}
