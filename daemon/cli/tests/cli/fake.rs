//! A fake daemon for one test: both sockets, real frames, answers from a closure.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use remit_common::admin::{AdminCall, AdminReply, AdminRequest};
use remit_common::names::{JobId, Runtime};
use remit_common::refusal::Refusal;
use remit_common::{caps, frame};
use remit_wire::outcome::{
    Captured, Ending, Enforced, Followed, JobReport, OutputPart, Page, QueuePosition, State, Stream,
};
use remit_wire::{Bytes, FromClient, PROTOCOL, PartQuery, Progress, Reply, Request, ToClient};

pub enum Answer {
    Reply(Reply),
    Refuse(Refusal),
    HangUp,
    /// The connection breaks in the middle of this reply.
    Torn(Reply),
    /// A progress message with the queue position comes first.
    Waiting(QueuePosition, Box<Answer>),
}

pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        Self(nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-cli-XXXXXX")).unwrap())
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

pub struct Fake {
    dir: Directory,
    heard: Mutex<Receiver<Request>>,
}

impl Fake {
    pub fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let dir = Directory::new();
        let (tell, heard) = mpsc::channel();
        let fake = Self {
            dir,
            heard: Mutex::new(heard),
        };
        listen(fake.dir(), Arc::new(answer), tell);
        fake
    }

    pub fn again(&self, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        let (tell, heard) = mpsc::channel();
        *self.heard.lock().unwrap() = heard;
        listen(self.dir(), Arc::new(answer), tell);
    }

    pub fn job(report: JobReport) -> Self {
        Self::new(move |_| reply(report.clone()))
    }

    /// Serves admin.sock with one constant reply, and hangs up on remit.sock.
    pub fn admin(reply: AdminReply) -> (Self, Receiver<AdminRequest>) {
        let fake = Self::new(|_| Answer::HangUp);
        let heard = fake.answer_administrators(reply);
        (fake, heard)
    }

    pub fn answer_administrators(&self, reply: AdminReply) -> Receiver<AdminRequest> {
        self.answer_each_administrator(move |_| reply.clone())
    }

    pub fn answer_each_administrator(
        &self,
        answer: impl Fn(&AdminRequest) -> AdminReply + Send + 'static,
    ) -> Receiver<AdminRequest> {
        let listener = UnixListener::bind(Runtime::new(self.dir()).admin_socket()).unwrap();
        let (tell, heard) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let call: AdminCall = frame::read(&mut stream, caps::ADMIN_FRAME).unwrap();
                let reply = answer(&call.request);
                tell.send(call.request).unwrap();
                frame::write(&mut stream, &reply, caps::ADMIN_FRAME).unwrap();
            }
        });
        heard
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn heard(&self) -> Request {
        let heard = self.heard.lock().unwrap();
        heard
            .recv_timeout(std::time::Duration::from_secs(30))
            .unwrap()
    }

    pub fn heard_as_sent(&self) -> Vec<Request> {
        self.heard.lock().unwrap().try_iter().collect()
    }

    /// As [`Self::heard_as_sent`], without generated request ids.
    pub fn all_heard(&self) -> Vec<Request> {
        let mut all = self.heard_as_sent();
        for request in &mut all {
            if let Request::Run(run) = request {
                run.request_id.take_if(|name| name.parse::<JobId>().is_ok());
            }
        }
        all
    }

    pub fn remit(&self, args: &[&str]) -> Command {
        remit(self.dir(), args)
    }

    pub fn output(&self, args: &[&str]) -> Said {
        Said::from(self.remit(args).output().unwrap())
    }

    /// Runs `remit` as a user without groups. The caller sets the socket permissions.
    pub fn output_unprivileged(&self, args: &[&str]) -> Said {
        std::fs::set_permissions(self.dir(), PermissionsExt::from_mode(0o755)).unwrap();
        // The build directory may be closed to other users.
        let copy = self.dir().join("remit");
        // cp writes the file: another test's fork could keep our descriptor open (ETXTBSY, execve(2)).
        let mut cp = Command::new("cp");
        let copied = cp.arg(env!("CARGO_BIN_EXE_remit")).arg(&copy).status();
        assert!(copied.unwrap().success());
        let overflow_id = 65534;
        let mut command = Command::new(&copy);
        command.arg("--runtime").arg(self.dir()).args(args);
        command.current_dir("/").uid(overflow_id).gid(overflow_id);
        Said::from(command.stdin(Stdio::null()).output().unwrap())
    }
}

fn listen(
    dir: &Path,
    answer: Arc<impl Fn(&Request) -> Answer + Send + Sync + 'static>,
    tell: mpsc::Sender<Request>,
) {
    let listener = UnixListener::bind(Runtime::new(dir).socket()).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, tell) = (Arc::clone(&answer), tell.clone());
            thread::spawn(move || serve(stream.unwrap(), &*answer, &tell));
        }
    });
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
        let _ = tell.send(request.clone());
        let mut answer = answer(&request);
        while let Answer::Waiting(queue_position, then) = answer {
            let progress = Progress {
                elapsed_ms: 0,
                queue_position: Some(queue_position),
                output_bytes: 0,
                last_line: String::new(),
            };
            let sent = frame::write(
                &mut stream,
                &ToClient::Progress { id, progress },
                caps::FRAME,
            );
            if sent.is_err() {
                return;
            }
            answer = *then;
        }
        let reply = match answer {
            Answer::Reply(reply) => Ok(reply),
            Answer::Refuse(refusal) => Err(refusal),
            Answer::Torn(reply) => {
                let reply = ToClient::Reply {
                    id,
                    reply: Ok(reply),
                };
                let frame = frame::encode(&reply, caps::FRAME).unwrap();
                let _ = stream.write_all(&frame[..frame.len() / 2]);
                return;
            }
            Answer::HangUp | Answer::Waiting(..) => return,
        };
        if frame::write(&mut stream, &ToClient::Reply { id, reply }, caps::FRAME).is_err() {
            return;
        }
    }
}

pub fn remit(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remit"));
    command
        .arg("--runtime")
        .arg(dir)
        .args(args)
        .stdin(Stdio::null());
    command
}

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
        then: Vec::new(),
        denials: Vec::new(),
        job: JOB,
        command: "sleep 9".into(),
        state: State::Running,
        ending: None,
        started_ms: 1_795_163_148_000,
        waited_ms: 0,
        queue_position: None,
        enforced: Some(Enforced {
            profile: "read".into(),
            uid: 1_879_048_200,
            layers: vec!["uid".into(), "mounts".into()],
            landlock: 6,
            limits: vec!["memory 536870912 (cgroup)".into()],
        }),
        stdout: Captured::default(),
        stderr: Captured::default(),
        notes: Vec::new(),
        approval: None,
    }
}

pub fn ended(state: State, exit: Option<i32>, signal: Option<i32>, cause: &str) -> JobReport {
    JobReport {
        state,
        ending: Some(Ending {
            denials: Vec::new(),
            state,
            exit,
            signal,
            cause: cause.into(),
            kill_verified: true,
            cpu_usec: 1500,
            memory_peak: 3 << 20,
            runtime_ms: 2450,
            code: None,
            next: None,
        }),
        ..running()
    }
}

pub fn exited(exit: i32, stdout: &[u8], stderr: &[u8]) -> JobReport {
    let all = |bytes: &[u8]| Captured {
        total: bytes.len() as u64,
        lines: bytes.iter().filter(|byte| **byte == b'\n').count() as u64,
        head: Bytes::from(bytes.to_vec()),
        tail: Bytes::new(),
    };
    JobReport {
        stdout: all(stdout),
        stderr: all(stderr),
        ..ended(State::Exited, Some(exit), None, "")
    }
}

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

pub fn paged(report: &JobReport, bytes: &[u8], request: &Request) -> Answer {
    let Request::Job(query) = request else {
        return reply(report.clone());
    };
    let part = query.part.as_ref().map(|asked| {
        let PartQuery::Page(asked) = asked else {
            panic!("no page: {asked:?}");
        };
        assert!(asked.limit as usize <= caps::PAGE, "{asked:?}");
        let from = match asked.tail {
            true => bytes.len().saturating_sub(asked.limit as usize),
            false => bytes.len().min(asked.offset as usize),
        };
        let to = bytes.len().min(from + asked.limit as usize);
        OutputPart::Page(Page {
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

pub fn written(
    report: &JobReport,
    streams: [&[u8]; 2],
    at_once: usize,
    request: &Request,
) -> Reply {
    let Request::Follow(asked) = request else {
        panic!("no one follows: {request:?}");
    };
    let page = |stream, bytes: &[u8], known: u64| {
        let from = usize::try_from(known)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let to = bytes.len().min(from.saturating_add(at_once));
        Page {
            stream,
            offset: from as u64,
            bytes: Bytes::from(bytes[from..to].to_vec()),
            total: bytes.len() as u64,
            eof: report.ending.is_some() && to == bytes.len(),
        }
    };
    Reply::Followed(Box::new(Followed {
        state: report.state,
        queue_position: report.queue_position,
        stdout: page(Stream::Stdout, streams[0], asked.stdout),
        stderr: page(Stream::Stderr, streams[1], asked.stderr),
        report: report.ending.as_ref().map(|_| Box::new(report.clone())),
    }))
}

pub fn followed(report: &JobReport, streams: [&[u8]; 2], request: &Request) -> Answer {
    match request {
        Request::Follow(_) => Answer::Reply(written(report, streams, caps::PAGE, request)),
        _ => reply(report.clone()),
    }
}

pub fn squeezed(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}
