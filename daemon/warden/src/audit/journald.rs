//! Native protocol of journald (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): a datagram per record. Fields are
//! `NAME=value`. [`super::Record`] makes values one line each, so the form with a length is not needed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{MsgFlags, send};

use super::chain::{KEPT, Linked};

const SOCKET: &str = "/run/systemd/journal/socket";

#[derive(Debug)]
pub struct Journald {
    socket: UnixDatagram,
    /// The last datagram; its buffer is reused.
    datagram: String,
}

impl Journald {
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: connected()?,
            datagram: String::new(),
        })
    }

    #[cfg(test)]
    pub fn with_socket(socket: UnixDatagram) -> Self {
        Self {
            socket,
            datagram: String::new(),
        }
    }

    /// Sends a record; never blocks. Fails with `WouldBlock` while journald does not read, otherwise if it is gone.
    pub fn write(&mut self, linked: &Linked) -> io::Result<()> {
        encode(linked, &mut self.datagram);
        match self.send() {
            // journald was restarted with a new socket.
            Err(error) if gone(&error) => {
                self.socket = connected()?;
                self.send()
            }
            other => other,
        }
    }

    fn send(&self) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.socket.as_raw_fd(), self.datagram.as_bytes(), flags)?;
        Ok(())
    }
}

impl AsFd for Journald {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connected() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::ConnectionReset
    )
}

fn encode(linked: &Linked, text: &mut String) {
    text.clear();
    text.shrink_to(KEPT);
    let record = &linked.record;
    let head = [
        ("MESSAGE", record.message.as_str()),
        ("MESSAGE_ID", record.event.message_id()),
        ("PRIORITY", record.priority),
        ("SYSLOG_IDENTIFIER", "remitd"),
    ];
    let mut line = |prefix: &str, name: &str, value: &str| {
        text.push_str(prefix);
        text.push_str(name);
        text.push('=');
        text.push_str(value);
        text.push('\n');
    };
    head.into_iter()
        .for_each(|(name, value)| line("", name, value));
    linked
        .fields()
        .for_each(|(name, value)| line("REMIT_", name, value));
}
