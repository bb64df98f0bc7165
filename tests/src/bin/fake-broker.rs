//! A broker that passes its end of the link to a test, which speaks for it. The warden starts it like the real one. It
//! connects to the test's socket `control`, two directories above the spool, and ends when the test closes the
//! connection. With `--sink` it behaves as the real broker.

// Only for tests: an unexpected error ends it, and the warden reports that.
#![allow(clippy::expect_used)]

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use remit_closer::{inherited, sink};
use remit_link::Link;
use remit_link::socket::Packed;

fn main() {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == "--sink")
    {
        let socket = inherited::socket().expect("the warden hands over a socket");
        return sink(&socket).expect("the warden speaks");
    }
    let spool: PathBuf = std::env::args_os().nth(2).expect("--spool DIR").into();
    let base_dir = spool
        .ancestors()
        .nth(2)
        .expect("the spool lies in the state directory");
    let link = inherited::link().expect("the warden hands over a link");
    let control = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket");
    let address = UnixAddr::new(&base_dir.join("control")).expect("a short path");
    connect(control.as_raw_fd(), &address).expect("the test listens");
    let control = Link::from(control);
    let hello = Packed::new(&std::process::id()).expect("a number");
    control
        .send(&hello, &[link.as_fd()])
        .expect("the test reads");
    // The test now has the only copy and decides when the link is closed.
    drop(link);
    let mut end = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut end, PollTimeout::NONE);
}
