//! The reading side of a client's socket.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use remit_link::ForeignSocket;
use remit_link::foreign::Unread;
use tokio::io::{AsyncRead, ReadBuf};

use crate::util::async_fd::Socket;

/// Reads only bytes. File descriptors end the session; the close of the socket releases them.
pub struct Reader(pub Rc<Socket<ForeignSocket>>);

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.events().poll_read_ready(context))?;
            let unfilled = into.initialize_unfilled();
            match self.0.events().get_ref().recv(unfilled) {
                Ok(piece) => {
                    let read = piece.length;
                    // A short read means that the socket is empty.
                    if (1..unfilled.len()).contains(&read) {
                        ready.clear_ready();
                    }
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(Unread::Errno(Errno::EAGAIN)) => ready.clear_ready(),
                Err(Unread::Errno(Errno::EINTR)) => {}
                Err(unread) => return Poll::Ready(Err(unread.into())),
            }
        }
    }
}
