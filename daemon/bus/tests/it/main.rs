//! The proxy, confined, against a fake bus and a real dbus-daemon. connect(2) of jobs goes through a real listener.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block
)]

mod client {
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
}
mod fake {

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

    pub fn reply(call: &Reply) -> Vec<u8> {
        let serial = u32::from_le_bytes(call.bytes[8..12].try_into().unwrap());
        let mut bytes = Vec::new();
        match call.text().contains("\x05\0\0\0Hello\0") {
            true => header::text(&mut bytes, 1, serial, ":1.1"),
            false => header::reply(&mut bytes, 1, serial),
        }
        bytes
    }

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
}
mod flow;
mod headers;
mod orders;
mod real;
mod sandbox;
mod slow;
mod stage;
