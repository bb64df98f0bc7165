//! The reading side of a client's socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, ReadBuf};

use crate::watch::Socket;

/// Reads bytes and nothing else: for descriptors there is no room, so the kernel drops them.
pub struct Reader(pub Rc<Socket>);

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.events().poll_read_ready(context))?;
            let fd = self.0.as_fd().as_raw_fd();
            let room = into.initialize_unfilled();
            match recv(fd, room, MsgFlags::MSG_DONTWAIT) {
                Ok(read) => {
                    // A stream that gives less than there is room for is empty.
                    if (1..room.len()).contains(&read) {
                        ready.clear_ready();
                    }
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }
}
