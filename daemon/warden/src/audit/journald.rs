//! journald's native protocol: one datagram a record, fields as `NAME=value` lines.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. Values are one line each by
//! [`Record`], so the form with a length is never needed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{MsgFlags, send};

use super::chain::Linked;
use super::record::Record;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection to journald.
#[derive(Debug)]
pub struct Journald {
    socket: UnixDatagram,
}

impl Journald {
    /// Connects.
    ///
    /// # Errors
    /// There is no journald.
    pub fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        Ok(Self { socket })
    }

    /// Sends a record; never waits.
    ///
    /// # Errors
    /// `WouldBlock` while journald does not read; else nobody listens any more.
    pub fn write(&mut self, record: &Record, linked: &Linked) -> io::Result<()> {
        let datagram = encode(record, linked);
        match self.send(&datagram) {
            // journald was restarted with a new socket.
            Err(error) if gone(&error) => {
                *self = Self::open()?;
                self.send(&datagram)
            }
            other => other,
        }
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.socket.as_raw_fd(), datagram, flags)?;
        Ok(())
    }
}

impl AsFd for Journald {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::ConnectionReset
    )
}

fn encode(record: &Record, linked: &Linked) -> Vec<u8> {
    let head = [
        ("MESSAGE", record.message.as_str()),
        ("MESSAGE_ID", record.event.message_id()),
        ("PRIORITY", record.priority),
        ("SYSLOG_IDENTIFIER", "remitd"),
    ];
    let mut text = String::with_capacity(1024);
    let mut line = |prefix: &str, name: &str, value: &str| {
        text += prefix;
        text += name;
        text.push('=');
        text += value;
        text.push('\n');
    };
    head.into_iter()
        .for_each(|(name, value)| line("", name, value));
    linked
        .fields
        .iter()
        .for_each(|(name, value)| line("REMIT_", name, value));
    text.into_bytes()
}
