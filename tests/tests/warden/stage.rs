//! The real warden with a broker that the test speaks for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, listen, send,
    socket,
};
use nix::unistd::Pid;
use remit_common::admin::{ADMIN_PROTOCOL, AdminCall, AdminReply, AdminRequest, Status};
use remit_common::names::{JobId, Runtime};
use remit_common::outcome::Ending;
use remit_common::refusal::Refusal;
use remit_common::wire::{Bytes, Purpose};
use remit_common::{caps, frame};
use remit_link::socket::Packed;
use remit_link::{Answer, Link, LinkError, Spec, SpecWhat, ToBroker, ToWarden, Totals};
use remit_tests::place::{Place, built, unique};
use remit_tests::process::{Identity, descendants, ends_within};
use serde_json::Value;

/// Two users with a grant.
pub const ALICE: u32 = 64_001;
pub const BOB: u32 = 64_002;
const SOCKET_GROUP: u32 = 64_000;
pub const ADMIN_GROUP: u32 = 64_200;
const BROKER: u32 = 64_100;
/// Whatever the warden must do "soon": ends of jobs, restarts. Generous, for busy machines.
pub const SOON: u16 = 20_000;

/// A warden and where it lies.
pub struct Stage {
    pub place: Place,
    control: OwnedFd,
    child: Option<Child>,
    idle: usize,
}

/// How a warden is started.
pub struct Way {
    /// Audit sink.
    pub sink: &'static str,
    /// A shell that prepares the ground and then executes `"$@"`.
    pub shell: Option<String>,
    /// Lines of `[jobs]`.
    pub jobs: String,
    /// Another remitd than the usual one.
    pub program: PathBuf,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            sink: "file",
            shell: None,
            jobs: String::new(),
            program: built().join("remitd"),
            env: Vec::new(),
        }
    }
}

impl Stage {
    /// Everything there but the daemon.
    pub fn set(way: &Way) -> Self {
        let place = Place::new();
        let _ = place.program(&way.program);
        let _ = place.program(&built().join("remit-look"));
        let fake = place.program(&built().join("fake-broker"));
        fs::rename(&fake, fake.with_file_name("remit-broker")).unwrap();
        for name in ["config/policy.d", "vendor/policy.d"] {
            let _ = place.directory(name);
        }
        let control = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        let path = place.path().join("control");
        bind(control.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        listen(&control, Backlog::new(16).unwrap()).unwrap();
        let stage = Self {
            place,
            control,
            child: None,
            idle: 0,
        };
        stage.write(
            "config/remit.toml",
            &format!(
                "[audit]\nsink = \"{}\"\n[accounts]\nbroker = {BROKER}\nsocket_group = {SOCKET_GROUP}\n\
                 admin_group = {ADMIN_GROUP}\n[jobs]\nuid_first = {}\nuid_count = 512\n{}\n",
                way.sink,
                1_500_000_000 + unique() % 500_000 * 512,
                way.jobs
            ),
        );
        stage.grant("to = [\"#64001\", \"#64002\"]");
        stage
    }

    /// Writes the one policy file.
    pub fn grant(&self, to: &str) {
        let text = format!(
            "[[grant]]\nname = \"test\"\n{to}\nallow = [\"run\"]\nprofile = \"read\"\napproval = \"none\"\n"
        );
        self.write("config/policy.d/10-test.toml", &text);
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.place.path().join(name);
        // Replaced whole: a daemon may be reading it.
        let new = self.place.path().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    /// The command that starts the daemon.
    pub fn command(&self, way: &Way) -> Command {
        let remitd = self.place.path().join("bin/remitd");
        let mut command = match &way.shell {
            None => Command::new(remitd),
            Some(script) => {
                let mut sh = Command::new("unshare");
                sh.args(["-m", "sh", "-c", script, "sh"]).arg(remitd);
                sh
            }
        };
        for name in ["config", "vendor", "runtime", "state"] {
            command
                .arg(format!("--{name}"))
                .arg(self.place.path().join(name));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env_remove("NOTIFY_SOCKET")
            .envs(way.env.iter().cloned());
        command
    }

    /// Starts the daemon; its broker has said nothing yet.
    pub fn raise(&mut self, way: &Way) -> Broker {
        self.raise_by(self.command(way))
    }

    /// The same by a command of the test's own.
    pub fn raise_by(&mut self, mut command: Command) -> Broker {
        self.child = Some(command.spawn().unwrap());
        self.broker()
    }

    /// A daemon whose broker is ready.
    pub fn start() -> (Self, Broker) {
        Self::start_as(&Way::default())
    }

    pub fn start_as(way: &Way) -> (Self, Broker) {
        let mut stage = Self::set(way);
        let broker = stage.raise(way);
        broker.adopted();
        broker.say(&ToWarden::Ready);
        stage.ready();
        (stage, broker)
    }

    /// Now it is as idle as it will be.
    pub fn ready(&mut self) {
        self.alive();
        self.idle = self.descriptors();
    }

    /// The next broker that the warden starts.
    pub fn broker(&self) -> Broker {
        assert!(
            readable(self.control.as_fd(), SOON),
            "no broker was started: {}",
            self.log()
        );
        let fd = accept4(self.control.as_raw_fd(), SockFlag::SOCK_CLOEXEC).unwrap();
        // SAFETY: accept4(2) made it for us alone.
        let control = Link::from(unsafe { OwnedFd::from_raw_fd(fd) });
        assert!(readable(control.as_fd(), SOON), "the broker does not speak");
        let (pid, mut fds) = control.recv::<u32>().unwrap();
        Broker {
            link: Link::from(fds.remove(0)),
            control: Some(control),
            exited: RefCell::default(),
            pid: i32::try_from(pid).unwrap(),
        }
    }

    /// The next broker, ready; it was told of all jobs first.
    pub fn next_broker(&self) -> (Broker, Vec<(ToBroker, Vec<OwnedFd>)>) {
        let broker = self.broker();
        let told = broker.adopted();
        broker.say(&ToWarden::Ready);
        (broker, told)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.place.path().join("runtime"))
    }

    fn log_path(&self) -> PathBuf {
        self.place.path().join("stderr")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A connection of an administrator that says nothing yet.
    pub fn admin(&self) -> UnixStream {
        let stream = UnixStream::connect(self.runtime().admin_socket()).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream
    }

    /// One request on admin.sock.
    pub fn ask(&self, request: AdminRequest) -> AdminReply {
        let mut stream = self.admin();
        stream.write_all(&admin_frame(request)).unwrap();
        frame::read(&mut stream, caps::ADMIN_FRAME).unwrap()
    }

    pub fn status(&self) -> Status {
        match self.ask(AdminRequest::Status) {
            AdminReply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// The warden answers within a second. The machine may be busy, so the best of three counts.
    pub fn alive(&self) {
        let took = |_| {
            let start = Instant::now();
            let _ = self.status();
            start.elapsed()
        };
        let times: Vec<_> = (0..3).map(took).collect();
        assert!(
            times.iter().any(|t| *t < Duration::from_secs(1)),
            "{times:?}: {}",
            self.log()
        );
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        assert_eq!(tasks.count(), 1, "the warden has more than one thread");
    }

    pub fn descriptors(&self) -> usize {
        // Each status is a turn of the loop: what was closed before it is closed. Zygotes stay for jobs to come: their
        // process, socket and namespace are not counted.
        let count = || {
            let _ = self.status();
            let zygotes = descendants(self.pid()).into_iter();
            // What they have forked is in the jobs' cgroups.
            let zygotes = zygotes
                .filter(|it| it.name == "remit-zygote" && it.parent == self.pid())
                .filter(|it| !it.is_of_jobs() && it.state != 'Z');
            let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
            open.count() - 3 * zygotes.count()
        };
        // The connection that asked may be open still.
        (0..3).map(|_| count()).min().unwrap()
    }

    /// The warden is alive and holds as many descriptors as at its start.
    pub fn idle(&self) {
        self.idle_but(0);
    }

    /// The same, with some that are still in use.
    pub fn idle_but(&self, used: usize) {
        self.alive();
        // Children that were just killed take a moment, on a busy machine a long one; each look is a
        // turn of the loop.
        let start = Instant::now();
        let soon = |_: &i32| start.elapsed() < Duration::from_millis(SOON.into());
        let now = (0..)
            .take_while(soon)
            .map(|_| self.descriptors())
            .find(|now| *now <= self.idle + used);
        if now.is_none() {
            let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", self.pid()))
                .unwrap()
                .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
                .collect();
            panic!(
                "{} descriptors at the start, now {open:?}: {}",
                self.idle,
                self.log()
            );
        }
    }

    /// A client connects as `uid`; the broker is told.
    pub fn connect(&self, uid: u32) -> UnixStream {
        let socket = self.runtime().socket();
        std::thread::spawn(move || {
            Identity::new(uid, &[SOCKET_GROUP]).adopt().unwrap();
            UnixStream::connect(socket).unwrap()
        })
        .join()
        .unwrap()
    }

    /// All records, of this event.
    pub fn records(&self, event: &str) -> Vec<Value> {
        let path = self.place.path().join("state/audit.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        let all = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|record| record["REMIT_EVENT"] == event)
            .collect()
    }

    /// Jobs in the ledger that have not ended: slots behind the header with an entry and no end.
    pub fn open_jobs(&self) -> usize {
        const SLOT: usize = 8 << 10;
        let ledger = fs::read(self.place.path().join("state/warden/open")).unwrap();
        let length = |slot: &[u8], at| slot.get(at..at + 4).is_some_and(|head| head != [0; 4]);
        let open = |slot: &&[u8]| length(slot, 3 << 10) && !length(slot, 64);
        ledger.chunks(SLOT).skip(1).filter(open).count()
    }

    /// Each intent has exactly one end, nothing is open, and the chain has no gap.
    pub fn records_are_whole(&self) {
        assert_eq!(self.open_jobs(), 0, "the ledger has open jobs");
        let text = fs::read_to_string(self.place.path().join("state/audit.jsonl")).unwrap();
        self.trail_is_whole(&text);
    }

    /// The same of a trail that lies elsewhere.
    pub fn trail_is_whole(&self, text: &str) {
        let jobs = |event: &str| {
            let mut jobs: Vec<String> = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap())
                .filter(|record| record["REMIT_EVENT"] == event)
                .map(|r| r["REMIT_JOB"].as_str().unwrap().to_owned())
                .collect();
            jobs.sort();
            jobs
        };
        let mut ends = jobs("end");
        ends.extend(jobs("interrupted"));
        ends.sort();
        assert_eq!(jobs("intent"), ends, "{}", self.log());
        let mut last = "0".repeat(64);
        for (at, line) in text.lines().enumerate() {
            let record: Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["REMIT_SEQ"], (at + 1).to_string(), "{line}");
            assert_eq!(record["REMIT_PREV"], last.as_str(), "{line}");
            record["REMIT_HASH"].as_str().unwrap().clone_into(&mut last);
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the daemon's end; its exit status, `None` when a signal ended it.
    pub fn ended(&mut self) -> Option<i32> {
        assert!(
            ends_within(self.pid(), SOON),
            "remitd does not end: {}",
            self.log()
        );
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// Stops in order.
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended(), Some(0), "{}", self.log());
    }

    /// Microseconds of CPU that the warden has used.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Looks at the warden for a second: it must sleep, not spin.
    pub fn sleeps(&self) {
        let before = self.cpu_ticks();
        let wait = poll(&mut [], 1000_u16);
        assert_eq!(wait, Ok(0));
        let used = self.cpu_ticks() - before;
        // A hundred ticks are a second.
        assert!(
            used < 30,
            "the warden used {used} ticks in a second: {}",
            self.log()
        );
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("remitd said: {}", self.log());
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The broker, as the test plays it.
pub struct Broker {
    pub link: Link,
    control: Option<Link>,
    pub pid: i32,
    /// Heard, also while something else was waited for.
    exited: RefCell<BTreeSet<JobId>>,
}

impl Broker {
    /// Says something; waits for room.
    pub fn say(&self, message: &ToWarden) {
        self.say_with(message, &[]).unwrap();
    }

    /// The same with the contents of these files beside it.
    pub fn say_with(&self, message: &ToWarden, files: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let contents: Vec<_> = files.iter().map(content).collect();
        let packed = Packed::with(message, &contents).unwrap();
        loop {
            match self.link.send(&packed, &[]) {
                Err(LinkError::Full) => {
                    let mut room = [PollFd::new(self.link.as_fd(), PollFlags::POLLOUT)];
                    assert_ne!(poll(&mut room, SOON), Ok(0), "the warden does not read");
                }
                done => return done,
            }
        }
    }

    /// Sends bytes that need not be a message.
    pub fn raw(&self, bytes: &[u8]) {
        let fd = self.link.as_fd().as_raw_fd();
        send(fd, bytes, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    /// Sends such bytes; false when the warden has closed the link.
    pub fn raw_goes_out(&self, bytes: &[u8]) -> bool {
        let fd = self.link.as_fd().as_raw_fd();
        loop {
            match send(fd, bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return true,
                Err(Errno::EAGAIN) => {
                    let mut room = [PollFd::new(self.link.as_fd(), PollFlags::POLLOUT)];
                    assert_ne!(poll(&mut room, SOON), Ok(0), "the warden does not read");
                }
                Err(_) => return false,
            }
        }
    }

    /// The next message.
    pub fn hear(&self) -> (ToBroker, Vec<OwnedFd>) {
        assert!(readable(self.link.as_fd(), SOON), "the warden says nothing");
        let heard = self.link.recv().unwrap();
        if let ToBroker::Exited { job } = &heard.0 {
            self.exited.borrow_mut().insert(*job);
        }
        heard
    }

    /// What comes until all jobs were handed over.
    pub fn adopted(&self) -> Vec<(ToBroker, Vec<OwnedFd>)> {
        let mut told = Vec::new();
        loop {
            match self.hear() {
                (ToBroker::Adopted, _) => return told,
                other => told.push(other),
            }
        }
    }

    /// Messages up to one that `pick` takes.
    pub fn until<T>(&self, pick: impl Fn(&ToBroker, Vec<OwnedFd>) -> Result<T, Vec<OwnedFd>>) -> T {
        loop {
            let (message, fds) = self.hear();
            if let Ok(found) = pick(&message, fds) {
                return found;
            }
        }
    }

    /// The session of the client that just connected.
    pub fn session(&self) -> u64 {
        self.session_of(|_| true)
    }

    /// The session of a client with such a uid.
    pub fn session_of(&self, wanted: impl Fn(u32) -> bool) -> u64 {
        self.until(|message, fds| match message {
            ToBroker::Session { session, owner } if wanted(owner.uid) => Ok(*session),
            _ => Err(fds),
        })
    }

    pub fn run(&self, session: u64, ticket: u64, spec: Spec, fds: &[BorrowedFd<'_>]) {
        let spec = Box::new(spec);
        let message = ToWarden::Run {
            session,
            ticket,
            spec,
        };
        self.say_with(&message, fds).unwrap();
    }

    /// The job that was started for a ticket, and its output.
    pub fn started(&self, wanted: u64) -> (JobId, Vec<OwnedFd>) {
        self.until(|message, fds| match message {
            ToBroker::Job { ticket, meta, .. } if *ticket == Some(wanted) => Ok((meta.job, fds)),
            ToBroker::Answer { ticket, answer } if *ticket == wanted => {
                panic!("not started: {answer:?}")
            }
            _ => Err(fds),
        })
    }

    pub fn answer(&self, wanted: u64) -> Result<Answer, Refusal> {
        self.until(|message, fds| match message {
            ToBroker::Answer { ticket, answer } if *ticket == wanted => Ok(answer.clone()),
            _ => Err(fds),
        })
    }

    pub fn exited(&self, wanted: JobId) {
        while !self.exited.borrow_mut().remove(&wanted) {
            let _ = self.hear();
        }
    }

    pub fn end(&self, wanted: JobId) -> Ending {
        self.until(|message, fds| match message {
            ToBroker::Ended { job, ending, .. } if *job == wanted => Ok((**ending).clone()),
            _ => Err(fds),
        })
    }

    pub fn drained(&self, job: JobId) {
        let totals = Totals::default();
        self.say(&ToWarden::Drained { job, totals });
    }

    /// Sees a job to its end as a good broker would.
    pub fn finish(&self, job: JobId) -> Ending {
        self.exited(job);
        self.drained(job);
        self.end(job)
    }

    /// Ends the process, link and all, and waits until it is gone.
    pub fn die(mut self) {
        drop(self.control.take());
        assert!(ends_within(self.pid, SOON));
    }

    /// The warden ends it.
    pub fn is_killed(&self) {
        assert!(ends_within(self.pid, SOON), "the broker lives on");
    }
}

pub fn readable(fd: BorrowedFd<'_>, ms: u16) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, ms).unwrap() > 0
}

pub fn argv(argv: &[&str]) -> Spec {
    let argv = argv.iter().map(|arg| Bytes::from(arg.as_bytes().to_vec()));
    Spec {
        traceparent: None,
        what: SpecWhat::Argv(argv.collect()),
        cwd: None,
        env: Vec::new(),
        stdin: false,
        profile: None,
        max_runtime_s: Some(60),
        request_id: None,
        purpose: Purpose::Use,
        client: "test".into(),
    }
}

pub fn script() -> Spec {
    Spec {
        what: SpecWhat::Script { interpreter: None },
        ..argv(&[])
    }
}

pub fn admin_frame(request: AdminRequest) -> Vec<u8> {
    let call = AdminCall {
        protocol: ADMIN_PROTOCOL,
        request,
    };
    frame::encode(&call, caps::ADMIN_FRAME).unwrap()
}

fn content(file: &BorrowedFd<'_>) -> Vec<u8> {
    fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}

pub fn sealed(bytes: &[u8]) -> OwnedFd {
    remit_link::memfd::seal(c"test", bytes).unwrap()
}

/// All that comes out of a pipe until it ends.
pub fn all_of(pipe: OwnedFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut pipe = File::from(pipe);
    let mut buffer = [0; 4096];
    loop {
        assert!(
            readable(pipe.as_fd(), SOON),
            "the pipe neither speaks nor ends"
        );
        match pipe.read(&mut buffer).unwrap() {
            0 => return all,
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
}
