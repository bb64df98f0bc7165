//! A daemon of one test: both sockets, real frames, answers from a closure.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use remit_common::admin::{AdminCall, AdminReply, AdminRequest};
use remit_common::names::{JobId, Runtime};
use remit_common::outcome::{Captured, Ending, Enforced, JobReport, Page, Part, State};
use remit_common::refusal::Refusal;
use remit_common::wire::{Bytes, FromClient, PROTOCOL, PartQuery, Reply, Request, ToClient};
use remit_common::{caps, frame};

/// What the fake does about a request.
pub enum Answer {
    Reply(Reply),
    Refuse(Refusal),
    HangUp,
}

/// A directory that goes with its value.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("remit-cli-{}-{next}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The daemon. Its threads end with the test process.
pub struct Fake {
    dir: Directory,
    heard: Mutex<Receiver<Request>>,
}

impl Fake {
    /// Answers requests on remit.sock.
    pub fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let dir = Directory::new();
        let listener = UnixListener::bind(Runtime::new(dir.path()).socket()).unwrap();
        let (tell, heard) = mpsc::channel();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, tell) = (Arc::clone(&answer), tell.clone());
                thread::spawn(move || serve(stream.unwrap(), &*answer, &tell));
            }
        });
        Self {
            dir,
            heard: Mutex::new(heard),
        }
    }

    /// One that gives every request the same report of a job.
    pub fn job(report: JobReport) -> Self {
        Self::new(move |_| reply(report.clone()))
    }

    /// Answers one request after the other on admin.sock, each with the same.
    pub fn admin(reply: AdminReply) -> (Self, Receiver<AdminRequest>) {
        let fake = Self::new(|_| Answer::HangUp);
        let listener = UnixListener::bind(Runtime::new(fake.dir.path()).admin_socket()).unwrap();
        let (tell, heard) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let call: AdminCall = frame::read(&mut stream, caps::ADMIN_FRAME).unwrap();
                tell.send(call.request).unwrap();
                frame::write(&mut stream, &reply, caps::ADMIN_FRAME).unwrap();
            }
        });
        (fake, heard)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The next request that was heard; waits for it.
    pub fn heard(&self) -> Request {
        let heard = self.heard.lock().unwrap();
        heard
            .recv_timeout(std::time::Duration::from_secs(30))
            .unwrap()
    }

    /// All requests heard by now and not yet looked at.
    pub fn all_heard(&self) -> Vec<Request> {
        self.heard.lock().unwrap().try_iter().collect()
    }

    /// `remit` with these arguments, talking to this daemon, without input.
    pub fn remit(&self, args: &[&str]) -> Command {
        remit(self.dir(), args)
    }

    pub fn output(&self, args: &[&str]) -> Said {
        Said::from(self.remit(args).output().unwrap())
    }
}

fn serve(
    mut stream: UnixStream,
    answer: &dyn Fn(&Request) -> Answer,
    tell: &mpsc::Sender<Request>,
) {
    let Ok(FromClient::Hello(hello)) = frame::read(&mut stream, caps::FRAME) else {
        return;
    };
    assert_eq!(hello.protocol, PROTOCOL);
    assert!(hello.client.starts_with("remit "), "{}", hello.client);
    let welcome = ToClient::Welcome {
        protocol: PROTOCOL,
        release: "9.9".into(),
    };
    frame::write(&mut stream, &welcome, caps::FRAME).unwrap();
    while let Ok(FromClient::Call { id, request }) = frame::read(&mut stream, caps::FRAME) {
        // The test may be over.
        let _ = tell.send(request.clone());
        let reply = match answer(&request) {
            Answer::Reply(reply) => Ok(reply),
            Answer::Refuse(refusal) => Err(refusal),
            Answer::HangUp => return,
        };
        if frame::write(&mut stream, &ToClient::Reply { id, reply }, caps::FRAME).is_err() {
            return;
        }
    }
}

/// `remit` with its sockets in `dir`, without input.
pub fn remit(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remit"));
    command
        .arg("--runtime")
        .arg(dir)
        .args(args)
        .stdin(Stdio::null());
    command
}

/// What a run of `remit` left.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Said {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.text().lines().count(), 1, "one object: {self:?}");
        serde_json::from_str(self.text()).unwrap()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub const JOB: JobId = JobId([0xab; 16]);

pub fn job() -> String {
    JOB.to_string()
}

pub fn reply(report: JobReport) -> Answer {
    Answer::Reply(Reply::Job {
        report: Box::new(report),
        part: None,
    })
}

pub fn running() -> JobReport {
    JobReport {
        job: JOB,
        command: "sleep 9".into(),
        state: State::Running,
        ending: None,
        started_ms: 1_795_163_148_000,
        waited_ms: 0,
        place: None,
        enforced: Some(Enforced {
            profile: "read".into(),
            uid: 1_879_048_200,
            walls: vec!["uid".into(), "mounts".into()],
            landlock: 6,
            limits: vec!["memory 536870912 (cgroup)".into()],
        }),
        stdout: Captured::default(),
        stderr: Captured::default(),
        notes: Vec::new(),
    }
}

pub fn ended(state: State, exit: Option<i32>, signal: Option<i32>, cause: &str) -> JobReport {
    JobReport {
        state,
        ending: Some(Ending {
            state,
            exit,
            signal,
            cause: cause.into(),
            kill_verified: true,
            cpu_usec: 1500,
            memory_peak: 3 << 20,
            runtime_ms: 2450,
        }),
        ..running()
    }
}

/// A job that exited by itself after it wrote this, all of it inline.
pub fn exited(exit: i32, stdout: &[u8], stderr: &[u8]) -> JobReport {
    let all = |bytes: &[u8]| Captured {
        total: bytes.len() as u64,
        lines: 0,
        head: Bytes::from(bytes.to_vec()),
        tail: Bytes::new(),
    };
    JobReport {
        stdout: all(stdout),
        stderr: all(stderr),
        ..ended(State::Exited, Some(exit), None, "")
    }
}

/// A job that wrote `bytes` to stdout, of which only head and tail are inline.
pub fn long(bytes: &[u8], head: usize, tail: usize) -> JobReport {
    JobReport {
        stdout: Captured {
            total: bytes.len() as u64,
            lines: 0,
            head: Bytes::from(bytes[..head].to_vec()),
            tail: Bytes::from(bytes[bytes.len() - tail..].to_vec()),
        },
        ..exited(0, b"", b"")
    }
}

/// Answers with `report`, and with the page of `bytes` that was asked for.
pub fn paged(report: &JobReport, bytes: &[u8], request: &Request) -> Answer {
    let Request::Job(query) = request else {
        return reply(report.clone());
    };
    let part = query.part.as_ref().map(|asked| {
        let PartQuery::Page(asked) = asked else {
            panic!("no page: {asked:?}");
        };
        assert!(asked.limit as usize <= caps::PAGE, "{asked:?}");
        let from = bytes.len().min(asked.offset as usize);
        let to = bytes.len().min(from + asked.limit as usize);
        Part::Page(Page {
            stream: asked.stream,
            offset: from as u64,
            bytes: Bytes::from(bytes[from..to].to_vec()),
            total: bytes.len() as u64,
            eof: to == bytes.len(),
        })
    });
    Answer::Reply(Reply::Job {
        report: Box::new(report.clone()),
        part,
    })
}
