use super::*;
use std::cell::Cell;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;

use nix::libc::linger;
use nix::sys::socket::{ControlMessage, sendmsg};

/// A TCP socket whose close blocks: unsent data, a peer that does not read, and SO_LINGER.
fn lingering() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stuck = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let linger = linger {
        l_onoff: 1,
        l_linger: 20,
    };
    setsockopt(&stuck, sockopt::Linger, &linger).unwrap();
    stuck.set_nonblocking(true).unwrap();
    while (&stuck).write(&[0; 65_536]).is_ok() {}
    (listener, stuck)
}

fn send_rights(to: &UnixStream, fd: impl AsRawFd, also: MsgFlags) {
    let raw = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let slices = [io::IoSlice::new(b"x")];
    sendmsg::<()>(to.as_raw_fd(), &slices, &rights, also, None).unwrap();
}

/// A pair whose near end accepts descriptors, as all sockets do before Linux 6.16.
fn pair() -> (ForeignSocket, UnixStream, Rc<Cell<Option<OwnedFd>>>) {
    let (near, far) = UnixStream::pair().unwrap();
    let closed = Rc::new(Cell::new(None));
    let keep = Rc::clone(&closed);
    let near = ForeignSocket::new(near.into(), move |fd| keep.set(Some(fd)));
    assert!(!near.is_clean);
    (near, far, closed)
}

#[test]
fn w01_descriptors_are_seen_and_neither_received_nor_released() {
    for flags in [MsgFlags::empty(), MsgFlags::MSG_OOB] {
        let (near, mut far, closed) = pair();
        far.write_all(b"before").unwrap();
        let (_listener, stuck) = lingering();
        send_rights(&far, stuck, flags);
        far.write_all(b"behind").unwrap();
        let start = Instant::now();
        let mut bytes = [0; 100];
        let read = near.recv(&mut bytes);
        // The earlier bytes may arrive or be refused together with the descriptors. Later bytes never arrive.
        if let Ok(piece) = read {
            assert_eq!(&bytes[..piece.length], b"before");
            assert_eq!(near.recv(&mut bytes), Err(Unread::Rights));
        } else {
            assert_eq!(read, Err(Unread::Rights));
        }
        assert_eq!(near.recv(&mut bytes), Err(Unread::Rights));
        drop(near);
        // The socket was passed to `close` with the descriptor in it. Its linger time is 20 s.
        let fd = closed.take().unwrap();
        assert!(start.elapsed().as_secs() < 15);
        std::thread::spawn(|| drop(fd));
    }
}

#[test]
fn w01_bytes_alone_are_read_as_ever() {
    let (near, mut far, closed) = pair();
    let mut bytes = [0; 4];
    assert_eq!(near.recv(&mut bytes), Err(Unread::Errno(Errno::EAGAIN)));
    far.write_all(b"abcdef").unwrap();
    let piece = |length| {
        Ok(Piece {
            length,
            is_cut: false,
        })
    };
    assert_eq!(near.recv(&mut bytes), piece(4));
    assert_eq!(&bytes, b"abcd");
    assert_eq!(near.recv(&mut bytes), piece(2));
    assert_eq!(&bytes[..2], b"ef");
    drop(far);
    assert_eq!(near.recv(&mut bytes), piece(0));
    drop(near);
    assert!(closed.take().is_some());
}

#[test]
fn w01_refusing_socket_is_closed_at_once() {
    let (near, far) = UnixStream::pair().unwrap();
    if refuse_rights(&near).is_err() {
        eprintln!("this kernel has no SO_PASSRIGHTS");
        return;
    }
    let near = ForeignSocket::new(near.into(), |_| panic!("nothing lies in it"));
    let (_reader, writer) = io::pipe().unwrap();
    let raw = [writer.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let slices = [io::IoSlice::new(b"x")];
    let sent = sendmsg::<()>(far.as_raw_fd(), &slices, &rights, MsgFlags::empty(), None);
    assert_eq!(sent, Err(Errno::EPERM));
    drop(near);
}
