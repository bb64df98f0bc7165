//! A daemon for the tests. It reads frames and answers each call as the test decides.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_common::{caps, frame};
use remit_wire::outcome::{Captured, Ending, JobReport, Page, State};
use remit_wire::{Bytes, FromClient, PROTOCOL, Reply, Request, ToClient};

use crate::pipe::PATIENCE;

#[derive(Debug)]
// A test has only a few of them.
#[allow(clippy::large_enum_variant)]
pub enum Seen {
    Hello(String),
    Call(u32, Request),
    Forget(u32),
    Closed,
}

pub enum React {
    Answer(Box<Result<Reply, Refusal>>),
    /// The test answers later.
    Hold,
    Close,
    Goodbye(Refusal),
}

type Plan = dyn FnMut(&Request) -> React + Send;

pub struct Daemon {
    dir: PathBuf,
    events: Receiver<Seen>,
    shared: Arc<Shared>,
    greet: fn(&mut UnixStream) -> bool,
}

struct Shared {
    events: Mutex<Sender<Seen>>,
    plan: Mutex<Box<Plan>>,
    connections: Mutex<Vec<UnixStream>>,
}

impl Daemon {
    pub fn start(plan: impl FnMut(&Request) -> React + Send + 'static) -> Self {
        Self::greeting(plan, |stream| {
            let welcome = ToClient::Welcome {
                protocol: PROTOCOL,
                release: "test".to_owned(),
            };
            frame::write(stream, &welcome, caps::FRAME).is_ok()
        })
    }

    /// Starts a daemon whose `greet` answers a hello and returns whether to continue.
    pub fn greeting(
        plan: impl FnMut(&Request) -> React + Send + 'static,
        greet: fn(&mut UnixStream) -> bool,
    ) -> Self {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("mcp-shim-XXXXXX")).unwrap();
        let (sender, events) = mpsc::channel();
        let shared = Arc::new(Shared {
            events: Mutex::new(sender),
            plan: Mutex::new(Box::new(plan)),
            connections: Mutex::default(),
        });
        let daemon = Self {
            dir,
            events,
            shared,
            greet,
        };
        daemon.listen();
        daemon
    }

    pub fn listen(&self) {
        let listener = UnixListener::bind(self.dir.join("remit.sock")).unwrap();
        let (state, greet) = (Arc::clone(&self.shared), self.greet);
        // These threads end with their sockets, at the latest with the tests.
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let state = Arc::clone(&state);
                let _ = thread::spawn(move || state.serve(stream, greet));
            }
        });
    }

    pub fn silent() -> Self {
        Self::start(|_| React::Hold)
    }

    pub fn socket(&self) -> String {
        self.dir.join("remit.sock").display().to_string()
    }

    pub fn next(&self) -> Seen {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    pub fn next_within(&self, time: std::time::Duration) -> Option<Seen> {
        self.events.recv_timeout(time).ok()
    }

    pub fn next_call(&self) -> (u32, Request) {
        loop {
            match self.next() {
                Seen::Call(id, request) => return (id, request),
                Seen::Hello(_) | Seen::Closed => {}
                Seen::Forget(id) => panic!("{id} was forgotten"),
            }
        }
    }

    /// Returns true if nothing came but ends of connections, whose time is a matter of the machine's load.
    pub fn untouched(&self) -> bool {
        let mut events = self.events.try_iter();
        events.all(|seen| matches!(seen, Seen::Closed))
    }

    pub fn send(&self, message: &ToClient) {
        let mut connections = self.shared.connections.lock().unwrap();
        frame::write(connections.last_mut().unwrap(), message, caps::FRAME).unwrap();
    }

    pub fn answer(&self, id: u32, reply: Result<Reply, Refusal>) {
        self.send(&ToClient::Reply { id, reply });
    }

    pub fn break_connections(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    pub fn unlink(&self) {
        fs::remove_file(self.dir.join("remit.sock")).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Shared {
    fn serve(&self, mut stream: UnixStream, greet: fn(&mut UnixStream) -> bool) -> io::Result<()> {
        let Ok(FromClient::Hello(hello)) = frame::read(&mut stream, caps::FRAME) else {
            return Ok(());
        };
        self.tell(Seen::Hello(hello.client));
        self.connections.lock().unwrap().push(stream.try_clone()?);
        if !greet(&mut stream) {
            return stream.shutdown(std::net::Shutdown::Both);
        }
        while let Ok(message) = frame::read(&mut stream, caps::FRAME) {
            match message {
                FromClient::Call { id, request } => {
                    let react = self.plan.lock().unwrap()(&request);
                    self.tell(Seen::Call(id, request));
                    let message = match react {
                        React::Answer(reply) => ToClient::Reply { id, reply: *reply },
                        React::Hold => continue,
                        React::Close => return stream.shutdown(std::net::Shutdown::Both),
                        React::Goodbye(refusal) => ToClient::Goodbye(refusal),
                    };
                    let _lock = self.connections.lock().unwrap();
                    let _ = frame::write(&mut stream, &message, caps::FRAME);
                }
                FromClient::Forget { id } => self.tell(Seen::Forget(id)),
                FromClient::Hello(_) => break,
            }
        }
        self.tell(Seen::Closed);
        Ok(())
    }

    fn tell(&self, seen: Seen) {
        let _ = self.events.lock().unwrap().send(seen);
    }
}

pub fn ended(stdout: &[u8]) -> Result<Reply, Refusal> {
    Ok(Reply::Job {
        report: Box::new(report(stdout)),
        part: None,
    })
}

pub fn answer(reply: Result<Reply, Refusal>) -> React {
    React::Answer(Box::new(reply))
}

pub fn report(stdout: &[u8]) -> JobReport {
    JobReport {
        then: Vec::new(),
        denials: Vec::new(),
        job: JobId([0xab; 16]),
        command: "true".to_owned(),
        state: State::Exited,
        ending: Some(Ending {
            denials: Vec::new(),
            state: State::Exited,
            exit: Some(3),
            signal: None,
            cause: "exited".to_owned(),
            kill_verified: true,
            cpu_usec: 1,
            memory_peak: 2,
            runtime_ms: 3,
            code: None,
            next: None,
        }),
        started_ms: 4,
        waited_ms: 0,
        queue_position: None,
        enforced: None,
        stdout: Captured {
            total: stdout.len() as u64,
            lines: 0,
            head: Bytes::from(stdout.to_vec()),
            tail: Bytes::new(),
        },
        stderr: Captured::default(),
        notes: vec!["a note".to_owned()],
        approval: None,
    }
}

pub fn page(bytes: &[u8]) -> Page {
    Page {
        stream: remit_wire::outcome::Stream::Stdout,
        offset: 10,
        bytes: Bytes::from(bytes.to_vec()),
        total: 1000,
        eof: false,
    }
}
