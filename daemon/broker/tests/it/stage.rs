//! Test stage: a broker with its own spool, a link, and clients.

use std::fs;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::caps;
use remit_common::frame;
use remit_common::names::JobId;
use remit_link::socket::Packed;
use remit_link::{
    Delivery, HistoryRecord, JobMeta, Link, LinkError, Owner, ToBroker, ToWarden, Totals,
};
use remit_wire::outcome::{
    Ending, JobReport, JobSummary, Matches, OutputPart, Page, State, Stream,
};
use remit_wire::{
    FromClient, GrepQuery, Hello, JobQuery, PROTOCOL, PageQuery, PartQuery, Progress, Purpose,
    Reply, Request, Run, ToClient, What,
};

/// Any uid except root. The package creates the broker's real user.
const UID: u32 = 65_534;
/// A timeout longer than any step takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(20);

pub struct Dir {
    root: PathBuf,
    pub spool: PathBuf,
    pub binary: PathBuf,
}

impl Dir {
    pub fn new() -> Self {
        let root = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-broker-XXXXXX")).unwrap();
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let spool = root.join("spool");
        fs::create_dir(&spool).unwrap();
        fs::set_permissions(&spool, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        nix::unistd::chown(&spool, Some(UID.into()), Some(UID.into())).unwrap();
        // The build directory can be closed to other users.
        let binary = root.join("remit-broker");
        // Use another process for the copy: a child that another test forks meanwhile would cause ETXTBSY.
        let built = env!("CARGO_BIN_EXE_remit-broker");
        let copied = Command::new("cp").arg(built).arg(&binary).status();
        assert!(copied.unwrap().success());
        Self {
            root,
            spool,
            binary,
        }
    }

    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.spool).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

pub struct Broker {
    pub process: Child,
    link: Option<Link>,
    sessions: u64,
}

impl Broker {
    pub fn start(dir: &Dir) -> Self {
        Self::start_with(dir, "", Stdio::null())
    }

    pub fn start_with(dir: &Dir, options: &str, log: Stdio) -> Self {
        let script = format!("exec \"$0\" --spool \"$1\" {options} 3<&0 </dev/null");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).uid(UID).gid(UID);
        Self::run(command, dir, log)
    }

    /// Starts a broker with a private spool of 1 MiB. `fill` runs in the spool first, as root.
    pub fn start_with_small_spool(dir: &Dir, fill: &str) -> Self {
        let script = format!(
            "mount -t tmpfs -o size=1m,mode=700,uid={UID} none \"$1\" &&
             cd \"$1\" && {fill} &&
             exec setpriv --reuid {UID} --regid {UID} --clear-groups \
                 \"$0\" --spool \"$1\" 3<&0 </dev/null"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", &script]);
        Self::run(command, dir, Stdio::null())
    }

    fn run(mut command: Command, dir: &Dir, log: Stdio) -> Self {
        let (own_end, broker_end) = Link::pair_closing(drop).unwrap();
        let broker_end: OwnedFd = broker_end.as_fd().try_clone_to_owned().unwrap();
        let process = command
            .arg(&dir.binary)
            .arg(&dir.spool)
            .stdin(Stdio::from(broker_end))
            .stderr(log)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .spawn()
            .unwrap();
        Self {
            process,
            link: Some(own_end),
            sessions: 0,
        }
    }

    pub fn fresh(dir: &Dir) -> Self {
        Self::fresh_with(dir, "")
    }

    pub fn fresh_with(dir: &Dir, options: &str) -> Self {
        let broker = Self::start_with(dir, options, Stdio::null());
        assert_eq!(broker.hear(), ToWarden::Ready);
        broker.tell(&ToBroker::Adopted, &[]);
        broker
    }

    fn link(&self) -> &Link {
        self.link.as_ref().unwrap()
    }

    pub fn tell(&self, message: &ToBroker, fds: &[&OwnedFd]) {
        self.deliver(None, Some(message), fds);
    }

    pub fn deliver(
        &self,
        entry: Option<&HistoryRecord>,
        message: Option<&ToBroker>,
        fds: &[&OwnedFd],
    ) {
        let packed = Packed::new(&Delivery { entry, message }).unwrap();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        loop {
            match self.link().send(&packed, &fds) {
                Ok(()) => return,
                Err(LinkError::Full) => assert!(self.poll(PollFlags::POLLOUT, LONG)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn poll(&self, flags: PollFlags, limit: Duration) -> bool {
        let mut fds = [PollFd::new(self.link().as_fd(), flags)];
        poll(&mut fds, PollTimeout::try_from(limit).unwrap()).unwrap() > 0
    }

    pub fn hear_with_fds(&self) -> (ToWarden, Vec<OwnedFd>) {
        loop {
            match self.hear_any() {
                (ToWarden::HistoryOpened { .. }, _) => {}
                message => return message,
            }
        }
    }

    pub fn hear_any(&self) -> (ToWarden, Vec<OwnedFd>) {
        loop {
            match self.link().recv() {
                Ok(message) => return message,
                Err(LinkError::Empty) => assert!(
                    self.poll(PollFlags::POLLIN, LONG),
                    "the broker says nothing"
                ),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn hear(&self) -> ToWarden {
        self.hear_with_fds().0
    }

    pub fn hear_request(&self) -> ToWarden {
        loop {
            match self.hear() {
                ToWarden::Refused { .. }
                | ToWarden::MoreRefused { .. }
                | ToWarden::Closed { .. } => {}
                other => return other,
            }
        }
    }

    pub fn hears_nothing(&self, within: Duration) -> bool {
        !self.poll(PollFlags::POLLIN, within)
    }

    pub fn connect(&mut self, uid: u32) -> (u64, UnixStream) {
        let (own_end, broker_end) = UnixStream::pair().unwrap();
        self.sessions += 1;
        let session = self.sessions;
        self.tell(
            &ToBroker::Session {
                session,
                owner: owner(uid),
            },
            &[&broker_end.into()],
        );
        own_end.set_read_timeout(Some(LONG)).unwrap();
        own_end.set_write_timeout(Some(LONG)).unwrap();
        (session, own_end)
    }

    pub fn client(&mut self, uid: u32) -> Client {
        let (session, socket) = self.connect(uid);
        let mut client = Client {
            session,
            socket,
            last: 0,
        };
        client.send(&FromClient::Hello(Hello {
            protocol: PROTOCOL,
            client: "test 1".into(),
        }));
        assert!(matches!(
            client.receive(),
            ToClient::Welcome {
                protocol: PROTOCOL,
                ..
            }
        ));
        client
    }

    pub fn start_job(&self, number: u8, owner: u32) -> FakeJob {
        let ToWarden::Run { ticket, .. } = self.hear_request() else {
            panic!("no run")
        };
        let (job, fds) = FakeJob::new(number, owner);
        self.tell(
            &ToBroker::Job {
                secrets: Vec::new(),
                ticket: Some(ticket),
                meta: Box::new(job.meta.clone()),
            },
            &[&fds[0], &fds[1]],
        );
        job
    }

    pub fn hand_over(&self, meta: &JobMeta, pipes: &[OwnedFd]) {
        let pipes: Vec<_> = pipes.iter().collect();
        let meta = Box::new(meta.clone());
        self.tell(
            &ToBroker::Job {
                secrets: Vec::new(),
                ticket: None,
                meta,
            },
            &pipes,
        );
    }

    pub fn drained(&self, job: JobId) -> Totals {
        loop {
            match self.hear_request() {
                ToWarden::Drained { job: of, totals } if of == job => return totals,
                ToWarden::OverLimit { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn end(&self, job: JobId) {
        self.tell(
            &ToBroker::Ended {
                then: Vec::new(),
                visibility: None,
                enforced: None,
                job,
                ending: Box::new(ending()),
            },
            &[],
        );
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn lose_link(&mut self) -> Option<i32> {
        self.link = None;
        self.process.wait().unwrap().code()
    }

    pub fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with(&format!("{field}:")))
            .unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id()))
            .unwrap()
            .count()
    }

    /// Waits until at most `most` descriptors are open: parts of an answer are closed after it was sent.
    pub fn has_at_most(&self, most: usize) {
        let start = Instant::now();
        while self.descriptors() > most {
            assert!(start.elapsed() < Duration::from_secs(60), "{most}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the processor time used so far, of proc_pid_stat(5): utime and stime, in hundredths of a second.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        let times = after_name.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.map(|time| time.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    pub fn memory(&self) -> u64 {
        self.status("VmRSS")
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn ending() -> Ending {
    Ending {
        denials: Vec::new(),
        state: State::Exited,
        exit: Some(0),
        signal: None,
        cause: "exited with status 0".into(),
        kill_verified: true,
        cpu_usec: 1,
        memory_peak: 2,
        runtime_ms: 3,
        code: None,
        next: None,
    }
}

pub struct FakeJob {
    pub id: JobId,
    pub meta: JobMeta,
    pub out: PipeWriter,
    pub err: PipeWriter,
}

fn owner(uid: u32) -> Owner {
    Owner {
        uid,
        user: format!("#{uid}"),
    }
}

impl FakeJob {
    pub fn new(number: u8, owner: u32) -> (Self, [OwnedFd; 2]) {
        let ((from_out, out), (from_err, err)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let id = JobId([number; 16]);
        let meta = JobMeta {
            then: Vec::new(),
            has_secrets: false,
            may_change: false,
            is_unread: false,
            job: id,
            owner: self::owner(owner),
            command: "true".into(),
            started_ms: u64::from(number),
            waiting: None,
            number: u64::from(number),
            age_ms: 0,
            waited_ms: 0,
            enforced: None,
            ending: None,
        };
        (
            Self { id, meta, out, err },
            [from_out.into(), from_err.into()],
        )
    }

    pub fn write(&mut self, out: &[u8], err: &[u8]) {
        self.out.write_all(out).unwrap();
        self.err.write_all(err).unwrap();
    }
}

pub struct Client {
    pub session: u64,
    pub socket: UnixStream,
    last: u32,
}

impl Client {
    pub fn send(&mut self, message: &FromClient) {
        frame::write(&mut self.socket, message, caps::FRAME).unwrap();
    }

    pub fn receive(&mut self) -> ToClient {
        frame::read(&mut self.socket, caps::FRAME).unwrap()
    }

    pub fn call(&mut self, request: Request) -> u32 {
        self.last += 1;
        self.send(&FromClient::Call {
            id: self.last,
            request,
        });
        self.last
    }

    pub fn reply(
        &mut self,
        call: u32,
    ) -> (Result<Reply, remit_common::refusal::Refusal>, Vec<Progress>) {
        let mut seen = Vec::new();
        loop {
            match self.receive() {
                ToClient::Reply { id, reply } if id == call => return (reply, seen),
                ToClient::Progress { id, progress } if id == call => seen.push(progress),
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn ask(&mut self, request: Request) -> Result<Reply, remit_common::refusal::Refusal> {
        let call = self.call(request);
        self.reply(call).0
    }

    pub fn job(&mut self, job: JobId, wait_ms: u32) -> JobReport {
        report(self.ask(Request::Job(JobQuery {
            job,
            wait_ms,
            part: None,
        })))
    }

    pub fn job_list(&mut self) -> Vec<JobSummary> {
        match self.ask(Request::Jobs { limit: 100 }) {
            Ok(Reply::Jobs(jobs)) => jobs,
            other => panic!("{other:?}"),
        }
    }

    pub fn grep(
        &mut self,
        job: JobId,
        change: impl FnOnce(&mut GrepQuery),
    ) -> Result<Matches, remit_common::refusal::Refusal> {
        let mut query = GrepQuery {
            stream: Stream::Stdout,
            pattern: String::new(),
            offset: 0,
            limit: caps::GREP_MATCHES,
            context: 0,
        };
        change(&mut query);
        let query = JobQuery {
            job,
            wait_ms: 0,
            part: Some(PartQuery::Grep(query)),
        };
        self.ask(Request::Job(query)).map(|reply| match reply {
            Reply::Job {
                part: Some(OutputPart::Matches(matches)),
                ..
            } => matches,
            other => panic!("{other:?}"),
        })
    }

    pub fn page(&mut self, job: JobId, stream: Stream, offset: u64, limit: u32) -> Page {
        let page = PageQuery {
            stream,
            offset,
            limit,
            tail: false,
            whole_characters: false,
        };
        match self.ask(Request::Job(JobQuery {
            job,
            wait_ms: 0,
            part: Some(PartQuery::Page(page)),
        })) {
            Ok(Reply::Job {
                part: Some(OutputPart::Page(page)),
                ..
            }) => page,
            other => panic!("{other:?}"),
        }
    }

    pub fn rest(mut self) -> Vec<ToClient> {
        let mut bytes = Vec::new();
        // A close while bytes of the client are unread gives a reset after the sent data.
        let _ = self.socket.read_to_end(&mut bytes);
        let mut from = bytes.as_slice();
        std::iter::from_fn(|| frame::read(&mut from, caps::FRAME).ok()).collect()
    }
}

pub fn report(reply: Result<Reply, remit_common::refusal::Refusal>) -> JobReport {
    match reply {
        Ok(Reply::Job { report, .. }) => *report,
        other => panic!("{other:?}"),
    }
}

pub fn run(argv: &[&str]) -> Run {
    Run::new(
        What::Argv(
            argv.iter()
                .map(|arg| arg.as_bytes().to_vec().into())
                .collect(),
        ),
        Purpose::Use,
    )
}
