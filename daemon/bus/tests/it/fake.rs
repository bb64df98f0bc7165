//! A bus that records what arrives.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use remit_bus::header;

use crate::client::{Reply, read};
use crate::stage::Dir;

pub const GUID: &str = "0123456789abcdef0123456789abcdef";

pub struct FakeBus {
    pub path: PathBuf,
    seen: Arc<Mutex<Vec<Reply>>>,
    _dir: Dir,
}

impl FakeBus {
    /// Answers each call with an empty reply.
    pub fn start() -> Self {
        Self::with(|stream, call| stream.write_all(&reply(call)))
    }

    /// `answer` ends the connection with an error.
    pub fn with(
        answer: impl Fn(&mut UnixStream, &Reply) -> std::io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let (path, dir) = Self::listen(move |stream| {
            let (record, answer) = (Arc::clone(&record), answer.clone());
            thread::spawn(move || serve(stream, &record, answer));
        });
        Self {
            path,
            seen,
            _dir: dir,
        }
    }

    /// Passes each connection on, unread.
    pub fn listen(on_connection: impl Fn(UnixStream) + Send + 'static) -> (PathBuf, Dir) {
        let dir = Dir::new();
        let path = dir.0.join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                on_connection(stream.unwrap());
            }
        });
        (path, dir)
    }

    pub fn seen(&self) -> Vec<Reply> {
        self.seen.lock().unwrap().clone()
    }
}

/// Returns an empty reply to the call, and to Hello one with a name.
pub fn reply(call: &Reply) -> Vec<u8> {
    let serial = u32::from_le_bytes(call.bytes[8..12].try_into().unwrap());
    let mut bytes = Vec::new();
    match call.text().contains("\x05\0\0\0Hello\0") {
        true => header::text(&mut bytes, 1, serial, ":1.1"),
        false => header::reply(&mut bytes, 1, serial),
    }
    bytes
}

/// Authenticates the proxy, which must say nothing else.
pub fn accept(stream: &mut UnixStream) -> Option<()> {
    let own: String = nix::unistd::geteuid().to_string();
    let hex: String = own.bytes().map(|byte| format!("{byte:02x}")).collect();
    // It sends nothing more before it is answered, so nothing is lost in the buffer.
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    assert_eq!(line, format!("\0AUTH EXTERNAL {hex}\r\n"));
    write!(stream, "OK {GUID}\r\n").ok()?;
    let mut begin = [0; 7];
    std::io::Read::read_exact(stream, &mut begin).ok()?;
    assert_eq!(&begin, b"BEGIN\r\n");
    Some(())
}

fn serve(
    mut stream: UnixStream,
    seen: &Mutex<Vec<Reply>>,
    answer: impl Fn(&mut UnixStream, &Reply) -> std::io::Result<()>,
) {
    if accept(&mut stream).is_none() {
        return;
    }
    while let Some(call) = read(&mut stream) {
        seen.lock().unwrap().push(call.clone());
        if answer(&mut stream, &call).is_err() {
            return;
        }
    }
}
