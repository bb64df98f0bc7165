//! The real warden with a broker played by the test.

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
use remit_common::refusal::Refusal;
use remit_common::{caps, frame};
use remit_link::socket::Packed;
use remit_link::{Answer, Delivery, Link, LinkError, Spec, SpecWhat, ToBroker, ToWarden, Totals};
use remit_tests::daemon::of_sinks;
use remit_tests::process::{Identity, descendants, ends_within};
use remit_tests::test_dir::{TestDir, built, unique_uids};
use remit_wire::outcome::Ending;
use remit_wire::{Access, Bytes, Purpose};
use serde_json::Value;

pub const ALICE: u32 = 64_001;
pub const BOB: u32 = 64_002;
const SOCKET_GROUP: u32 = 64_000;
pub const ADMIN_GROUP: u32 = 64_200;
const BROKER: u32 = 64_100;
/// Milliseconds for anything that must happen "soon": ends of jobs, restarts. Generous, for busy machines.
pub const SOON: u16 = 20_000;

/// Uids of test users without accounts: those that tests name, and as many as can connect.
fn numbers() -> Vec<u32> {
    let some = (64_001..64_020).chain(64_301..64_304);
    some.chain(199_990..201_000).collect()
}

pub struct Stage {
    pub test_dir: TestDir,
    control: OwnedFd,
    child: Option<Child>,
    idle: usize,
    idle_files: Vec<PathBuf>,
}

pub struct Way {
    pub sink: &'static str,
    /// A shell script that prepares the environment and then executes `"$@"`.
    pub shell: Option<String>,
    pub jobs: String,
    pub program: PathBuf,
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
    pub fn set(way: &Way) -> Self {
        let test_dir = TestDir::new();
        let _ = test_dir.program(&way.program);
        let _ = test_dir.program(&way.program.with_file_name("remit-spawner"));
        let _ = test_dir.program(&built().join("remit-look"));
        for name in ["remit-compiler", "remit-prove"] {
            let _ = test_dir.program(&built().join(name));
        }
        let _ = test_dir.directory("machine");
        let fake = test_dir.program(&built().join("fake-broker"));
        fs::rename(&fake, fake.with_file_name("remit-broker")).unwrap();
        for name in ["config/policy.d", "vendor/policy.d"] {
            let _ = test_dir.directory(name);
        }
        let control = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        let path = test_dir.path().join("control");
        bind(control.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        listen(&control, Backlog::new(16).unwrap()).unwrap();
        let stage = Self {
            test_dir,
            control,
            child: None,
            idle: 0,
            idle_files: Vec::new(),
        };
        stage.write(
            "config/remit.toml",
            &format!(
                "[audit]\nsink = \"{}\"\n[accounts]\nbroker = {BROKER}\nsocket_group = {SOCKET_GROUP}\n\
                 admin_group = {ADMIN_GROUP}\nnumbers = {:?}\n[bus]\noff = true\n\
                 [breaker]\nfailed_changes = 0\nslow_refusals = 0\npause_refusals = 0\n[jobs]\nuid_first = {}\nuid_count = 512\n{}\n",
                way.sink,
                numbers(),
                unique_uids(512),
                way.jobs
            ),
        );
        stage.grant("to = [\"#64001\", \"#64002\"]");
        stage
    }

    pub fn grant(&self, to: &str) {
        let text = format!(
            "[[grant]]\nname = \"test\"\n{to}\nallow = [\"run\"]\nrun_profile = \"read\"\napproval = \"none\"\n"
        );
        self.write("config/policy.d/10-test.toml", &text);
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.test_dir.path().join(name);
        // Replaced by rename, because a daemon may be reading it.
        let new = self.test_dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(&new, &path).unwrap();
    }

    pub fn command(&self, way: &Way) -> Command {
        let remitd = self.test_dir.path().join("bin/remitd");
        let mut command = match &way.shell {
            None => Command::new(remitd),
            Some(script) => {
                let mut sh = Command::new("unshare");
                sh.args(["-m", "sh", "-c", script, "sh"]).arg(remitd);
                sh
            }
        };
        for name in ["config", "vendor", "runtime", "state", "machine"] {
            command
                .arg(format!("--{name}"))
                .arg(self.test_dir.path().join(name));
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

    pub fn raise(&mut self, way: &Way) -> Broker {
        self.raise_by(self.command(way))
    }

    pub fn raise_by(&mut self, mut command: Command) -> Broker {
        self.child = Some(command.spawn().unwrap());
        self.broker()
    }

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

    pub fn ready(&mut self) {
        self.alive();
        self.idle = self.descriptors();
        self.idle_files = self.open_files();
    }

    pub fn broker(&self) -> Broker {
        assert!(
            readable(self.control.as_fd(), SOON),
            "no broker was started: {}",
            self.log()
        );
        let fd = accept4(self.control.as_raw_fd(), SockFlag::SOCK_CLOEXEC).unwrap();
        // SAFETY: accept4(2) just made it, and nothing else owns it.
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

    pub fn next_broker(&self) -> (Broker, Vec<(ToBroker, Vec<OwnedFd>)>) {
        let broker = self.broker();
        let messages = broker.adopted();
        broker.say(&ToWarden::Ready);
        (broker, messages)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.test_dir.path().join("runtime"))
    }

    fn log_path(&self) -> PathBuf {
        self.test_dir.path().join("stderr")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn admin(&self) -> UnixStream {
        let stream = UnixStream::connect(self.runtime().admin_socket()).unwrap();
        let patience = Some(Duration::from_secs(120));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        stream
    }

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

    /// Checks that the warden answers within a second. The best of three counts, because the machine may be busy.
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
        // Each status takes a loop iteration, so earlier closes are done.
        let count = || {
            let _ = self.status();
            self.open_files().len() - of_sinks(self.pid())
        };
        // The connection of the request may still be open.
        (0..3).map(|_| count()).min().unwrap()
    }

    fn open_files(&self) -> Vec<PathBuf> {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .collect()
    }

    pub fn idle(&self) {
        self.idle_but(0);
    }

    pub fn idle_but(&self, used: usize) {
        self.alive();
        // Killed children take a moment, longer on a busy machine. Each check takes a loop iteration.
        let start = Instant::now();
        let soon = |_: &i32| start.elapsed() < Duration::from_millis(SOON.into());
        let now = (0..)
            .take_while(soon)
            .map(|_| self.descriptors())
            .find(|now| *now <= self.idle + used);
        if now.is_none() {
            panic!(
                "{} descriptors at the start, of {:?}, now {:?}, {} of them of sinks, of {:?}: {}",
                self.idle,
                self.idle_files,
                self.open_files(),
                of_sinks(self.pid()),
                descendants(self.pid()),
                self.log()
            );
        }
    }

    pub fn connect(&self, uid: u32) -> UnixStream {
        let socket = self.runtime().socket();
        std::thread::spawn(move || {
            Identity::new(uid, &[SOCKET_GROUP]).adopt().unwrap();
            UnixStream::connect(socket).unwrap()
        })
        .join()
        .unwrap()
    }

    pub fn records(&self, event: &str) -> Vec<Value> {
        let path = self.test_dir.path().join("state/audit.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        let all = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|record| record["REMIT_EVENT"] == event)
            .collect()
    }

    /// Counts open jobs in the ledger: slots after the header with an entry and without an end.
    pub fn open_jobs(&self) -> usize {
        const SLOT: usize = 8 << 10;
        let ledger = fs::read(self.test_dir.path().join("state/warden/open")).unwrap();
        let length = |slot: &[u8], at| slot.get(at..at + 4).is_some_and(|head| head != [0; 4]);
        let open = |slot: &&[u8]| length(slot, 3 << 10) && !length(slot, 64);
        ledger.chunks(SLOT).skip(1).filter(open).count()
    }

    /// Checks that each intent has exactly one end, no job is open, and the chain has no gap.
    pub fn records_are_whole(&self) {
        assert_eq!(self.open_jobs(), 0, "the ledger has open jobs");
        let text = fs::read_to_string(self.test_dir.path().join("state/audit.jsonl")).unwrap();
        self.check_log_is_whole(&text);
    }

    pub fn check_log_is_whole(&self, text: &str) {
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

    pub fn ended(&mut self) -> Option<i32> {
        assert!(
            ends_within(self.pid(), SOON),
            "remitd does not end: {}",
            self.log()
        );
        self.child.take().unwrap().wait().unwrap().code()
    }

    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended(), Some(0), "{}", self.log());
    }

    /// Returns the warden's CPU time in clock ticks.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    pub fn sleeps(&self) {
        let before = self.cpu_ticks();
        let wait = poll(&mut [], 1000_u16);
        assert_eq!(wait, Ok(0));
        let used = self.cpu_ticks() - before;
        // 100 ticks are a second.
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

pub struct Broker {
    pub link: Link,
    control: Option<Link>,
    pub pid: i32,
    /// Jobs whose `Exited` was received, also while waiting for other messages.
    exited: RefCell<BTreeSet<JobId>>,
}

impl Broker {
    pub fn say(&self, message: &ToWarden) {
        self.say_with(message, &[]).unwrap();
    }

    pub fn say_with(&self, message: &ToWarden, files: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let contents: Vec<_> = files.iter().map(content).collect();
        let packed = Packed::with(message, &contents).unwrap();
        loop {
            match self.link.send(&packed, &[]) {
                Err(LinkError::Full) => {
                    let mut writable = [PollFd::new(self.link.as_fd(), PollFlags::POLLOUT)];
                    assert_ne!(poll(&mut writable, SOON), Ok(0), "the warden does not read");
                }
                done => return done,
            }
        }
    }

    pub fn raw(&self, bytes: &[u8]) {
        let fd = self.link.as_fd().as_raw_fd();
        send(fd, bytes, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    /// The same; returns false if the warden has closed the link.
    pub fn raw_goes_out(&self, bytes: &[u8]) -> bool {
        let fd = self.link.as_fd().as_raw_fd();
        loop {
            match send(fd, bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return true,
                Err(Errno::EAGAIN) => {
                    let mut writable = [PollFd::new(self.link.as_fd(), PollFlags::POLLOUT)];
                    assert_ne!(poll(&mut writable, SOON), Ok(0), "the warden does not read");
                }
                Err(_) => return false,
            }
        }
    }

    pub fn hear(&self) -> (ToBroker, Vec<OwnedFd>) {
        loop {
            assert!(readable(self.link.as_fd(), SOON), "the warden says nothing");
            if let Some(heard) = self.hear_one() {
                return heard;
            }
        }
    }

    /// Says that an entry of the history is stored, and returns the message that came with it, or alone.
    pub fn hear_one(&self) -> Option<(ToBroker, Vec<OwnedFd>)> {
        let (Delivery { entry, message }, fds) = self.link.recv::<Delivery>().unwrap();
        if let Some(entry) = entry {
            self.say(&ToWarden::HistoryStored { seq: entry.seq });
        }
        let message = message?;
        if let ToBroker::Exited { job } = &message {
            self.exited.borrow_mut().insert(*job);
        }
        Some((message, fds))
    }

    pub fn adopted(&self) -> Vec<(ToBroker, Vec<OwnedFd>)> {
        let mut messages = Vec::new();
        loop {
            match self.hear() {
                (ToBroker::Adopted, _) => return messages,
                other => messages.push(other),
            }
        }
    }

    pub fn until<T>(&self, pick: impl Fn(&ToBroker, Vec<OwnedFd>) -> Result<T, Vec<OwnedFd>>) -> T {
        loop {
            let (message, fds) = self.hear();
            if let Ok(found) = pick(&message, fds) {
                return found;
            }
        }
    }

    pub fn session(&self) -> u64 {
        self.session_of(|_| true)
    }

    pub fn session_of(&self, wanted: impl Fn(u32) -> bool) -> u64 {
        self.until(|message, fds| match message {
            ToBroker::Session { session, owner } if wanted(owner.uid) => Ok(*session),
            _ => Err(fds),
        })
    }

    /// Returns once the warden has handled all earlier messages. It can serve other clients between two of them.
    pub fn handled(&self, session: u64) {
        const TICKET: u64 = u64::MAX;
        let access = Access {
            argv: None,
            profile: None,
            name: None,
            query: None,
        };
        self.say(&ToWarden::Access {
            session,
            ticket: TICKET,
            access,
        });
        let _ = self.answer(TICKET);
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

    pub fn finish(&self, job: JobId) -> Ending {
        self.exited(job);
        self.drained(job);
        self.end(job)
    }

    pub fn die(mut self) {
        drop(self.control.take());
        assert!(ends_within(self.pid, SOON));
    }

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
        set: None,
        behalf: None,
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
