//! The reading side of a client's socket.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use remit_link::ForeignSocket;
use remit_link::foreign::Unread;
use tokio::io::{AsyncRead, ReadBuf};

use crate::watch::Socket;

/// Reads bytes and nothing else. Descriptors end the session, and are released where the socket is closed.
pub struct Reader(pub Rc<Socket<ForeignSocket>>);

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.events().poll_read_ready(context))?;
            let room = into.initialize_unfilled();
            match self.0.events().get_ref().recv(room) {
                Ok(piece) => {
                    let read = piece.length;
                    // A stream that gives less than there is room for is empty.
                    if (1..room.len()).contains(&read) {
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
