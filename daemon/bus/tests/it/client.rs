//! A client of the bus, written down by hand: it can also say what no library says.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use remit_bus::header;
use remit_bus::message::Call;

use crate::stage;

pub const DRIVER: &str = "org.freedesktop.DBus";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";

pub fn call<'a>(serial: u32, interface: &'a str, member: &'a str) -> Call<'a> {
    Call {
        serial,
        wants_reply: true,
        path: "/org/freedesktop/systemd1",
        interface,
        member,
        destination: "org.freedesktop.systemd1",
        signature: "",
        body: b"",
    }
}

pub fn hello() -> Call<'static> {
    Call {
        path: "/org/freedesktop/DBus",
        destination: DRIVER,
        ..call(1, DRIVER, "Hello")
    }
}

pub fn bytes(call: &Call<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    header::forward(&mut bytes, call, true);
    bytes
}

/// A message as it was received.
#[derive(Clone, Debug)]
pub struct Reply {
    pub kind: u8,
    pub bytes: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The first header field of replies of the proxy and of the fake bus.
    pub fn answers(&self) -> u32 {
        assert_eq!(self.bytes[16..20], [5, 1, b'u', 0]);
        u32::from_le_bytes(self.bytes[20..24].try_into().unwrap())
    }
}

pub fn length(fixed: &[u8]) -> usize {
    let number = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().unwrap()) as usize;
    16 + number(12).next_multiple_of(8) + number(4)
}

/// Reads one message, `None` at the end.
pub fn read(stream: &mut UnixStream) -> Option<Reply> {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).ok()?;
    bytes.resize(length(&bytes), 0);
    stream.read_exact(&mut bytes[16..]).ok()?;
    let kind = bytes[1];
    Some(Reply { kind, bytes })
}

pub struct Client(pub UnixStream);

impl Client {
    /// Connects, and greets as sd-bus does: all in one write.
    pub fn new() -> Self {
        Self::greet(stage::connect().unwrap())
    }

    pub fn greet(mut stream: UnixStream) -> Self {
        let greeting = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        let all = [&greeting[..], &bytes(&hello())].concat();
        stream.write_all(&all).unwrap();
        let mut answers = String::new();
        while answers.matches("\r\n").count() < 3 {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answers.push(byte[0].into());
        }
        let (start, end) = ("DATA\r\nOK ", "\r\nERROR\r\n");
        assert!(
            answers.starts_with(start) && answers.ends_with(end),
            "{answers:?}"
        );
        let mut client = Self(stream);
        let reply = client.reply();
        assert_eq!(reply.kind, 2, "{}", reply.text());
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn call(&mut self, call: &Call<'_>) -> Reply {
        self.send(&bytes(call));
        self.reply()
    }

    pub fn reply(&mut self) -> Reply {
        read(&mut self.0).unwrap()
    }

    /// Returns true if the connection has ended, after dropping what comes before the end.
    pub fn is_ended(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
