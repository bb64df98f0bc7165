//! A throw-away daemon: the real binaries, all its directories in one place, nothing of it left afterwards.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::client::{self, Client, ClientError};
use remit_common::names::Runtime;
use remit_common::refusal::Refusal;
use serde_json::Value;

use crate::accounts::Accounts;
use crate::caller::{Caller, argv, stdout};
use crate::cgroup::Cgroup;
use crate::directory::Directory;
use crate::place::{Place, built, unique_uids};
use crate::process::{
    Identity, Process, descendants, ends_within, enters, has_ended_within, is_dead, pidfd,
    processes,
};
use crate::scene::Ground;
use crate::session::Session;

/// Members may connect to the daemon.
pub const SOCKET_GROUP: u32 = 64_000;
/// Members may approve and lock.
pub const ADMIN_GROUP: u32 = 64_200;
/// The broker's uid and gid.
pub const BROKER: u32 = 64_100;

/// A user with a grant.
#[must_use]
pub fn user_a() -> Identity {
    Identity::new(64_001, &[SOCKET_GROUP])
}

/// Another user with a grant.
#[must_use]
pub fn user_b() -> Identity {
    Identity::new(64_002, &[SOCKET_GROUP])
}

/// A user who may connect and has no grant.
#[must_use]
pub fn user_m() -> Identity {
    Identity::new(64_003, &[SOCKET_GROUP])
}

/// Somebody who may not even connect.
#[must_use]
pub fn stranger() -> Identity {
    Identity::new(64_004, &[])
}

/// An administrator.
#[must_use]
pub fn admin() -> Identity {
    Identity::new(64_005, &[SOCKET_GROUP, ADMIN_GROUP])
}

/// How to start a daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the binaries lie.
    pub binaries: PathBuf,
    /// Variables of the daemon's environment, such as `REMIT_MUTATE`.
    pub env: Vec<(String, String)>,
    /// Jobs at a time, in all and of one user.
    pub jobs: usize,
    /// Jobs at a time of one user, where that is another number.
    pub jobs_of_one: Option<usize>,
    /// Jobs that may wait for a place, as far as there are uids for them.
    pub waiting: usize,
    /// Further lines for `[jobs]` of remit.toml.
    pub queue: String,
    /// Lines for `[limits]` of remit.toml.
    pub limits: String,
    /// Whole sections for remit.toml.
    pub config: String,
    /// The one policy file.
    pub policy: String,
    /// Bytes of a disk of its own for its spool, in a mount namespace of its own.
    pub spool: Option<usize>,
    /// Its mounts are shared, as they are below a service manager, in a namespace of its own. For a daemon without
    /// a disk of its own.
    pub shared: bool,
    /// A program of the tests that starts it with some system call refused: `without-passrights`, `without-fsync`.
    pub launcher: Option<&'static str>,
    /// A user database of its own, in a mount namespace of its own. For a daemon without a disk of its own.
    pub accounts: Option<Accounts>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            binaries: built(),
            env: Vec::new(),
            jobs: 16,
            jobs_of_one: None,
            waiting: 0,
            queue: String::new(),
            limits: String::new(),
            config: String::new(),
            policy: "[[grant]]\nname = \"test\"\nto = [\"#0\", \"#64001\", \"#64002\"]\nallow = [\"run\"]\n\
                     profile = \"read\"\nenv = [\"LANG\", \"TZ\"]\napproval = \"none\"\n"
                .into(),
            spool: None,
            shared: false,
            launcher: None,
            accounts: None,
        }
    }
}

impl Options {
    /// Binaries with the feature `mutate` and this variable set; `None` where they were not built.
    #[must_use]
    pub fn mutated(name: &str, value: &str) -> Option<Self> {
        let binaries = built().parent()?.join("mutate/debug");
        if !binaries.join("remitd").exists() {
            crate::place::missing("a remitd built with the feature mutate (make mutate)");
            return None;
        }
        Some(Self {
            binaries,
            env: vec![(name.into(), value.into())],
            ..Self::default()
        })
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    place: Place,
    cgroup: Option<Cgroup>,
    child: Child,
    uid_first: u32,
    uid_count: u32,
    options: Options,
    bin: PathBuf,
    directory: Option<Directory>,
}

/// What a package installs: the daemon executes some of them, so a throw-away one has all.
const PROGRAMS: &str = include_str!("../../packaging/programs");

impl Daemon {
    /// Starts one and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not get ready within 30 s; its standard error is printed.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let mut daemon = Self::prepared(options);
        daemon
            .launch()
            .unwrap_or_else(|why| panic!("remitd did not start: {why}"));
        daemon
    }

    fn prepared(options: Options) -> Self {
        let place = Place::new();
        for name in PROGRAMS.lines() {
            // Only remitd has a build of its own with switched-off walls.
            let special = options.binaries.join(name);
            let usual = built().join(name);
            let _ = place.program(if special.exists() { &special } else { &usual });
        }
        let _ = place.program(&built().join("remit-attack"));
        let uid_count = u32::try_from(options.jobs + options.waiting).expect("few jobs") + 2;
        let daemon = Self {
            uid_first: unique_uids(uid_count),
            uid_count,
            bin: place.path().join("bin"),
            child: Command::new("true").spawn().expect("true starts"),
            place,
            cgroup: Cgroup::new(),
            options,
            directory: None,
        };
        daemon.write_configuration();
        daemon
    }

    fn write_configuration(&self) {
        for name in ["config/policy.d", "vendor/policy.d"] {
            let _ = self.place.directory(name);
        }
        let Options {
            jobs,
            jobs_of_one,
            queue,
            limits,
            config,
            policy,
            ..
        } = &self.options;
        let of_one = jobs_of_one.unwrap_or(*jobs);
        let text = format!(
            "[audit]\nsink = \"file\"\n\n[accounts]\nbroker = {BROKER}\nsocket_group = {SOCKET_GROUP}\n\
             admin_group = {ADMIN_GROUP}\n\n[jobs]\nuid_first = {}\nuid_count = {}\nmax = {jobs}\n\
             max_per_user = {of_one}\n{queue}\n\n[limits]\n{limits}\n\n{config}\n",
            self.uid_first, self.uid_count
        );
        self.set_file("config/remit.toml", &text);
        self.set_file("config/policy.d/10-test.toml", policy);
    }

    /// Writes a file below the daemon's place, readable by all.
    pub fn set_file(&self, name: &str, text: &str) {
        let path = self.place.path().join(name);
        fs::write(&path, text).expect("the place is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    }

    /// Starts it again in the same directories, after it has died.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn restart(&mut self) {
        self.launch()
            .unwrap_or_else(|why| panic!("remitd did not start again: {why}"));
    }

    /// Starts it again, as a service manager does: until it starts. A process that the dead one was just forking
    /// holds its lock for a moment. How often it did not start.
    ///
    /// # Panics
    /// When it does not start for another reason, or within ten seconds.
    pub fn restart_insistently(&mut self) -> u32 {
        let start = Instant::now();
        let mut failed = 0;
        while let Err(why) = self.launch() {
            let held = why.contains("another remitd uses");
            assert!(
                held && start.elapsed() < Duration::from_secs(10),
                "remitd did not start again: {why}"
            );
            failed += 1;
        }
        failed
    }

    /// Stops it in order and starts it again.
    ///
    /// # Panics
    /// As [`Self::stop`] and [`Self::start`].
    pub fn restart_cleanly(&mut self) {
        let ended = self.end();
        assert!(ended.cleanly(), "{ended:?}");
        self.restart();
    }

    /// The next start is by this program of the tests.
    pub fn launch_by(&mut self, name: &'static str) {
        self.options.launcher = Some(name);
    }

    /// The next start is without the variables of [`Options::env`].
    pub fn forget_faults(&mut self) {
        self.options.env.clear();
    }

    /// Starts it again and kills it after this time, wherever on its way it is by then.
    ///
    /// # Panics
    /// When it cannot be executed.
    pub fn restart_in_vain(&mut self, lives: Duration) {
        let _socket = self.spawn();
        std::thread::sleep(lives);
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn launch(&mut self) -> Result<(), String> {
        let socket = self.spawn();
        self.wait_until_ready(&socket)
    }

    /// Starts the process; where it will say that it is ready.
    fn spawn(&mut self) -> UnixDatagram {
        let _ = self.child.wait();
        let notify = self.place.path().join("notify");
        let _ = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).expect("the place is ours");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.stderr_path())
            .expect("the place is ours");
        let mut command = self.command();
        command
            .args(self.arguments())
            .env("NOTIFY_SOCKET", &notify)
            .envs(self.options.env.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(door) = self.cgroup.as_ref().and_then(Cgroup::door) {
            enters(&mut command, door);
        }
        self.child = command.spawn().expect("remitd starts");
        socket
    }

    /// Changes its user database.
    ///
    /// # Panics
    /// When it has none of its own.
    pub fn set_accounts(&mut self, accounts: Accounts) {
        assert!(self.options.accounts.is_some(), "it has the machine's");
        accounts.write(self.place.path());
        self.options.accounts = Some(accounts);
    }

    /// remitd, behind what prepares the ground for it.
    fn command(&mut self) -> Command {
        let remitd = self.bin.join("remitd");
        if let Some(name) = self.options.launcher {
            let mut launcher = Command::new(built().join(name));
            launcher.arg(remitd);
            return launcher;
        }
        if let Some(accounts) = &self.options.accounts {
            let (command, directory) = accounts.around(self.place.path(), &remitd);
            self.directory = directory;
            return command;
        }
        if self.options.shared {
            let mut unshare = Command::new("unshare");
            unshare
                .args(["--mount", "--propagation", "shared"])
                .arg(remitd);
            return unshare;
        }
        let Some(bytes) = self.options.spool else {
            return Command::new(remitd);
        };
        let spool = self.place.path().join("state/spool");
        fs::create_dir_all(&spool).expect("the place is ours");
        let script = format!(
            "mount -t tmpfs -o size={bytes},mode=700,uid={BROKER},gid={BROKER} none '{}' && exec \"$@\"",
            spool.display()
        );
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-c", &script, "sh"]).arg(remitd);
        shell
    }

    fn arguments(&self) -> Vec<String> {
        let dir = |name: &str| self.place.path().join(name).display().to_string();
        ["config", "vendor", "runtime", "state"]
            .iter()
            .flat_map(|name| [format!("--{name}"), dir(name)])
            .collect()
    }

    fn wait_until_ready(&self, socket: &UnixDatagram) -> Result<(), String> {
        let ended = pidfd(self.pid()).expect("the daemon was just started");
        socket.set_nonblocking(true).expect("it is a socket");
        loop {
            let mut message = [0; 1024];
            match socket.recv(&mut message) {
                Ok(length)
                    if message[..length]
                        .split(|byte| *byte == b'\n')
                        .any(|line| line == b"READY=1") =>
                {
                    return Ok(());
                }
                Ok(_) => continue,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            let mut wait = [
                PollFd::new(socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            ];
            let ready = poll(&mut wait, 30_000_u16).expect("poll works");
            if ready == 0 || wait[1].any() == Some(true) {
                return Err(self.stderr());
            }
        }
    }

    /// The warden's pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// The broker's pid now.
    #[must_use]
    pub fn broker(&self) -> Option<i32> {
        let mut found = descendants(self.pid()).into_iter();
        found
            .find(|process| process.uid == BROKER && process.state != 'Z')
            .map(|process| process.pid)
    }

    /// The keeper's pid.
    #[must_use]
    pub fn keeper(&self) -> Option<i32> {
        let mut found = descendants(self.pid()).into_iter();
        found.find(Process::is_keeper).map(|process| process.pid)
    }

    /// Every process with a uid of this daemon's jobs, zombies too; the keeper's own is not one. One that is dead and
    /// waits for pid 1, as what jobs leave does, is nobody's any more; nor is what has just been reaped (X).
    #[must_use]
    pub fn job_processes(&self) -> Vec<Process> {
        let uids = self.uid_first + 1..self.uid_first + self.uid_count;
        let orphan = |process: &Process| process.parent == 1 && is_dead(process.pid);
        let all = processes();
        let ahead = all.iter().filter(|process| process.name == "remit-zygote");
        let monitors: Vec<i32> = ahead.map(|process| process.parent).collect();
        // With the attendants of one that waits for a job, which has a uid already.
        let waits = |process: &Process| {
            let attends = ["remit-monitor", "remit-init"].contains(&process.name.as_str());
            attends
                && [process.pid, process.parent]
                    .iter()
                    .any(|pid| monitors.contains(pid))
        };
        all.iter()
            .filter(|process| uids.contains(&process.uid) && process.state != 'X')
            .filter(|process| !orphan(process) && !waits(process))
            .cloned()
            .collect()
    }

    /// The uid that a job gets; with one job at a time there are two, by turns.
    #[must_use]
    pub fn first_job_uid(&self) -> u32 {
        self.uid_first + 1
    }

    /// How many uids it has for jobs.
    #[must_use]
    pub const fn job_uids(&self) -> u32 {
        self.uid_count - 1
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// One of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Its directory of sockets.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.place.path().join("runtime"))
    }

    fn stderr_path(&self) -> PathBuf {
        self.place.path().join("stderr")
    }

    /// What it has written to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.stderr_path()).unwrap_or_default()
    }

    /// Scenes to attack its jobs in.
    #[must_use]
    pub fn ground(&self, job: Identity) -> Ground {
        Ground {
            dir: self.place.directory("ground"),
            job,
            stranger: None,
            program: self.program("remit-attack"),
            daemon: self.child.id(),
            socket: self.runtime().socket(),
            trail: self.place.path().join("state/audit.jsonl"),
        }
    }

    /// A connection as somebody.
    ///
    /// # Errors
    /// The daemon does not let them in.
    pub fn client(&self, who: &Identity) -> Result<Client, ClientError> {
        self.client_named(who, "remit-tests")
    }

    /// The same of a program that calls itself so.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub fn client_named(&self, who: &Identity, name: &str) -> Result<Client, ClientError> {
        let (who, socket) = (who.clone(), self.runtime().socket());
        let name = name.to_owned();
        // A thread of its own: it stays what it has become.
        let connect = move || {
            who.adopt().expect("the tests run as root");
            Client::connect(&socket, &name)
        };
        std::thread::spawn(connect)
            .join()
            .expect("connecting does not panic")
    }

    /// An MCP session as somebody.
    #[must_use]
    pub fn session(&self, who: &Identity) -> Session {
        Session::start(&self.program("mcp-shim"), &self.runtime().socket(), who)
    }

    /// What an administrator asks for.
    ///
    /// # Errors
    /// The daemon does not let them in, or refuses.
    pub fn administer(&self, request: AdminRequest) -> Result<AdminReply, ClientError> {
        self.administer_as(&admin(), request)
    }

    /// The same as somebody.
    ///
    /// # Errors
    /// As [`Self::administer`].
    pub fn administer_as(
        &self,
        who: &Identity,
        request: AdminRequest,
    ) -> Result<AdminReply, ClientError> {
        let (who, socket) = (who.clone(), self.runtime().admin_socket());
        // A thread of its own: it stays what it has become.
        let ask = move || {
            who.adopt().expect("the tests run as root");
            client::admin(&socket, request)
        };
        std::thread::spawn(ask)
            .join()
            .expect("asking does not panic")
    }

    /// What the daemon answers to somebody whom it lets in.
    ///
    /// # Errors
    /// It refuses.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn administers(
        &self,
        who: &Identity,
        request: AdminRequest,
    ) -> Result<AdminReply, Refusal> {
        match self.administer_as(who, request) {
            Ok(reply) => Ok(reply),
            Err(ClientError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// The command line as somebody.
    #[must_use]
    pub fn remit(&self, who: &Identity, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.program("remit"));
        command
            .arg("--runtime")
            .arg(self.runtime().dir())
            .args(arguments)
            .stdin(Stdio::null());
        who.runs(&mut command);
        command.output().expect("remit starts")
    }

    /// A bare connection as somebody, nothing said yet.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn connect(&self, who: &Identity) -> std::io::Result<UnixStream> {
        let (who, socket) = (who.clone(), self.runtime().socket());
        let connect = move || {
            who.adopt()?;
            UnixStream::connect(socket)
        };
        std::thread::spawn(connect)
            .join()
            .expect("connecting does not panic")
    }

    /// After something bad: a new client of user B is served within a second, and nothing of any job is left.
    ///
    /// A machine that is busy with other things gets three attempts; a daemon that hangs fails all of them.
    ///
    /// # Panics
    /// When it is not so.
    pub fn is_well(&self) {
        let mut slowest = Duration::ZERO;
        // A busy machine may stand still for seconds; a daemon that is in somebody's hands is so each time.
        let served = (0..10).any(|_| {
            let start = Instant::now();
            let report = Caller::new(self, &user_b())
                .run(argv(&["echo", "well"]))
                .expect("user B has a grant");
            assert_eq!(stdout(&report), "well\n", "{report:?}");
            slowest = slowest.max(start.elapsed());
            start.elapsed() < Duration::from_secs(1)
        });
        assert!(served, "others are not served within a second: {slowest:?}");
        assert_eq!(self.job_processes(), [], "left running");
    }

    /// All audit records.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let text =
            fs::read_to_string(self.place.path().join("state/audit.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("each record is a JSON object"))
            .collect()
    }

    /// The records of one kind.
    #[must_use]
    pub fn records(&self, event: &str) -> Vec<Value> {
        self.audit()
            .into_iter()
            .filter(|record| record["REMIT_EVENT"] == event)
            .collect()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it does not end within 15 s, ends with an error, or leaves a process behind.
    pub fn stop(mut self) {
        let ended = self.end();
        assert!(ended.cleanly(), "{ended:?}");
    }

    /// Ends it, gently first.
    fn end(&mut self) -> Ended {
        let below: Vec<(i32, OwnedFd)> = descendants(self.pid())
            .iter()
            .filter_map(|process| Some((process.pid, pidfd(process.pid)?)))
            .collect();
        self.signal(Signal::SIGTERM);
        let gently = ends_within(self.pid(), 15_000);
        if !gently {
            self.signal(Signal::SIGKILL);
        }
        let in_order = self.child.wait().is_ok_and(|status| status.success());
        let mut left = self.job_processes();
        // A daemon without one of its walls may fail to end what it started; this machine has to stay clean.
        for process in &left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        left.extend(
            below
                .into_iter()
                .filter(|(pid, process)| !has_ended_within(process, 1000) && !is_dead(*pid))
                .filter_map(|(pid, _)| Process::of(pid)),
        );
        Ended { in_order, left }
    }
}

/// An administrator whom the tests' rules do not name.
#[must_use]
pub fn other_admin() -> Identity {
    Identity::new(64_006, &[SOCKET_GROUP, ADMIN_GROUP])
}

/// How a daemon ended.
#[derive(Debug)]
struct Ended {
    /// By itself, with status 0.
    in_order: bool,
    /// What outlived it.
    left: Vec<Process>,
}

impl Ended {
    fn cleanly(&self) -> bool {
        self.in_order && self.left.is_empty()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.end();
        }
        if std::thread::panicking() {
            eprintln!("remitd said: {}", self.stderr());
        }
    }
}

/// How many descriptors a process has open once it has no more than `most`, or after two seconds. What has
/// ended is closed a moment after that was told.
#[must_use]
pub fn descriptors_left(pid: i32, most: usize) -> usize {
    let end = Instant::now() + Duration::from_secs(2);
    while open_descriptors(pid) > most && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    open_descriptors(pid)
}

/// How many descriptors a process has open.
#[must_use]
pub fn open_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
