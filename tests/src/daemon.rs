//! A throw-away daemon: the real binaries, all its directories in one directory, which is removed afterwards.

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
use remit_common::names::{JobId, Runtime};
use remit_common::refusal::Refusal;
use remit_page::{ShownRequest, Verified};
use remit_wire::client::{self, Client, ClientError};
use serde_json::Value;

use crate::accounts::{Accounts, Directory};
use crate::caller::{Caller, argv, stdout};
use crate::process::{
    Cgroup, Identity, Process, descendants, ends_within, enters, has_ended_within, is_dead, pidfd,
    processes,
};
use crate::scene::AttackFixture;
use crate::session::Session;
use crate::test_dir::{TestDir, built, unique_uids};

/// Members may connect to the daemon.
pub const SOCKET_GROUP: u32 = 64_000;
/// Members may approve and lock.
pub const ADMIN_GROUP: u32 = 64_200;
/// The broker's uid and gid.
pub const BROKER: u32 = 64_100;
/// User of `remit-bus`.
const BUS: u32 = 64_101;

/// Returns uids without an account. Most users of tests have none and are named by number.
fn numbers() -> Vec<u32> {
    let some = (64_001..64_500).chain(64_700..64_800);
    some.chain(66_000..66_200).chain(67_000..67_200).collect()
}

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

/// A user who may connect but has no grant.
#[must_use]
pub fn user_m() -> Identity {
    Identity::new(64_003, &[SOCKET_GROUP])
}

/// A user who may not connect.
#[must_use]
pub fn stranger() -> Identity {
    Identity::new(64_004, &[])
}

/// An administrator.
#[must_use]
pub fn admin() -> Identity {
    Identity::new(64_005, &[SOCKET_GROUP, ADMIN_GROUP])
}

const BREAKERS_OFF: &str =
    "\n[breaker]\nfailed_changes = 0\nslow_refusals = 0\npause_refusals = 0\n";

/// Settings of a daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the binaries.
    pub binaries: PathBuf,
    /// Variables of the daemon's environment, such as `REMIT_MUTATE`.
    pub env: Vec<(String, String)>,
    /// Concurrent jobs, in total and per user.
    pub jobs: usize,
    /// Concurrent jobs per user, if different.
    pub jobs_of_one: Option<usize>,
    /// Jobs that may wait in the queue, limited by the number of uids.
    pub waiting: usize,
    /// Further lines for `[jobs]` of remit.toml.
    pub queue: String,
    /// Lines for `[limits]` of remit.toml.
    pub limits: String,
    /// Complete sections for remit.toml.
    pub config: String,
    /// The only policy file. `@DIR@` in it is the daemon's directory.
    pub policy: String,
    /// Size in bytes of a separate spool disk, in a separate mount namespace.
    pub spool: Option<usize>,
    /// Shared mounts in a separate namespace, as below a service manager. Not together with `spool`.
    pub shared: bool,
    /// The feature that the test program `without` removes: `passrights`, `fsync`.
    pub without: Option<&'static str>,
    /// A separate user database and mount namespace. Not together with `spool`.
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
            without: None,
            accounts: None,
        }
    }
}

impl Options {
    /// Selects binaries with the feature `mutate` and sets this variable. `None` if they were not built.
    #[must_use]
    pub fn mutated(name: &str, value: &str) -> Option<Self> {
        let binaries = built().parent()?.join("mutate/debug");
        if !binaries.join("remitd").exists() {
            crate::test_dir::missing("a remitd built with the feature mutate (make mutate)");
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
    test_dir: TestDir,
    cgroup: Option<Cgroup>,
    child: Child,
    uid_first: u32,
    uid_count: u32,
    options: Options,
    bin: PathBuf,
    directory: Option<Directory>,
}

/// Milliseconds in which killed processes must be gone: a busy machine takes its time.
const LEFT_MS: u16 = 20_000;
/// The programs of the package. The daemon executes some of them, so a throw-away one has all.
const PROGRAMS: &str = include_str!("../../packaging/programs");

impl Daemon {
    /// Starts a daemon and waits until it is ready. After 30 s it panics with the daemon's standard error.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let mut daemon = Self::prepared(options);
        daemon
            .launch()
            .unwrap_or_else(|why| panic!("remitd did not start: {why}"));
        daemon
    }

    fn prepared(options: Options) -> Self {
        let test_dir = TestDir::new();
        for name in PROGRAMS.lines() {
            // Only remitd and remit-spawner have a separate build in which sandbox layers can be switched off.
            let special = options.binaries.join(name);
            let usual = built().join(name);
            let _ = test_dir.program(if special.exists() { &special } else { &usual });
        }
        let _ = test_dir.program(&built().join("remit-attack"));
        let uid_count = u32::try_from(options.jobs + options.waiting).expect("few jobs") + 2;
        let daemon = Self {
            uid_first: unique_uids(uid_count),
            uid_count,
            bin: test_dir.path().join("bin"),
            child: Command::new("true").spawn().expect("true starts"),
            test_dir,
            cgroup: Cgroup::new(),
            options,
            directory: None,
        };
        daemon.write_configuration();
        daemon
    }

    fn write_configuration(&self) {
        for name in ["config/policy.d", "vendor/policy.d", "machine"] {
            let _ = self.test_dir.directory(name);
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
            "[audit]\nsink = \"file\"\n\n[accounts]\nbroker = {BROKER}\nbus = {BUS}\nsocket_group = {SOCKET_GROUP}\n\
             admin_group = {ADMIN_GROUP}\nnumbers = {:?}\n\n[jobs]\nuid_first = {}\nuid_count = {}\nmax = {jobs}\n\
             max_per_user = {of_one}\n{queue}\n\n[limits]\n{limits}\n\n{config}\n",
            numbers(),
            self.uid_first,
            self.uid_count
        );
        let text = match text.contains("[breaker]") {
            true => text,
            // Tests refuse and fail more than users do.
            false => text + BREAKERS_OFF,
        };
        self.set_file("config/remit.toml", &text);
        let dir = self.test_dir.path().display().to_string();
        self.set_file(
            "config/policy.d/10-test.toml",
            &policy.replace("@DIR@", &dir),
        );
    }

    /// Writes a world-readable file below the daemon's directory.
    pub fn set_file(&self, name: &str, text: &str) {
        let path = self.test_dir.path().join(name);
        // Other tests may have links to it.
        if path.ancestors().nth(1) == Some(&self.test_dir.path().join("bin")) {
            fs::remove_file(&path).expect("the directory is writable");
        }
        fs::write(&path, text).expect("the directory is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    }

    /// Starts it again in the same directories after it has died.
    pub fn restart(&mut self) {
        self.launch()
            .unwrap_or_else(|why| panic!("remitd did not start again: {why}"));
    }

    /// Starts it until it starts, for at most ten seconds: a fork of the dead daemon may hold its lock. Counts
    /// failures.
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
    pub fn restart_cleanly(&mut self) {
        let ended = self.end();
        assert!(ended.cleanly(), "{ended:?}");
        self.restart();
    }

    /// Starts a program of the ended daemon, which fails, and returns what it says.
    #[must_use]
    pub fn refuses_to_start(&self) -> String {
        let names = ["config", "vendor", "runtime", "state", "machine"].iter();
        let arguments = names.flat_map(|name| {
            let path = self.path().join(name);
            [format!("--{name}"), path.display().to_string()]
        });
        let output = Command::new(self.program("remitd"))
            .args(arguments)
            .output()
            .expect("it starts");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Starts it again as [`Self::restart`] does, which fails, and returns what it has said since it was made.
    #[must_use]
    pub fn refuses_to_restart(&mut self) -> String {
        self.launch().expect_err("it does not start")
    }

    /// Uses the test program `without` for the next start.
    pub fn launch_without(&mut self, what: &'static str) {
        self.options.without = Some(what);
    }

    /// Clears [`Options::env`] for the next start.
    pub fn forget_faults(&mut self) {
        self.options.env.clear();
    }

    /// Starts it again and kills it after this time, possibly during its start.
    pub fn restart_and_kill(&mut self, lives: Duration) {
        let _socket = self.spawn();
        std::thread::sleep(lives);
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn launch(&mut self) -> Result<(), String> {
        let socket = self.spawn();
        self.wait_until_ready(&socket)
    }

    fn spawn(&mut self) -> UnixDatagram {
        let _ = self.child.wait();
        let notify = self.test_dir.path().join("notify");
        let _ = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).expect("the directory is writable");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.stderr_path())
            .expect("the directory is writable");
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

    /// Changes its separate user database.
    pub fn set_accounts(&mut self, accounts: Accounts) {
        assert!(self.options.accounts.is_some(), "it has the machine's");
        accounts.write(self.test_dir.path());
        self.options.accounts = Some(accounts);
    }

    /// Returns remitd with the launcher that its options need.
    fn command(&mut self) -> Command {
        let remitd = self.bin.join("remitd");
        if let Some(what) = self.options.without {
            let mut launcher = Command::new(built().join("without"));
            launcher.arg(what).arg(remitd);
            return launcher;
        }
        if let Some(accounts) = &self.options.accounts {
            let (command, directory) = accounts.around(self.test_dir.path(), &remitd);
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
        let spool = self.test_dir.path().join("state/spool");
        fs::create_dir_all(&spool).expect("the directory is writable");
        let script = format!(
            "mount -t tmpfs -o size={bytes},mode=700,uid={BROKER},gid={BROKER} none '{}' && exec \"$@\"",
            spool.display()
        );
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-c", &script, "sh"]).arg(remitd);
        shell
    }

    fn arguments(&self) -> Vec<String> {
        let dir = |name: &str| self.test_dir.path().join(name).display().to_string();
        ["config", "vendor", "runtime", "state", "machine"]
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

    /// Returns the warden's pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// Returns the broker's present pid.
    #[must_use]
    pub fn broker(&self) -> Option<i32> {
        let mut found = descendants(self.pid()).into_iter();
        found
            .find(|process| process.uid == BROKER && process.state != 'Z' && !process.is_sink())
            .map(|process| process.pid)
    }

    /// Ends the broker. Each further one ends at its start, until [`Self::restore_brokers`].
    pub fn end_brokers(&self) {
        self.move_spool("spool", "spool.moved");
        if let Some(broker) = self.broker() {
            let _ = kill(Pid::from_raw(broker), Signal::SIGKILL);
        }
    }

    /// Has the next broker serve.
    pub fn restore_brokers(&self) {
        self.move_spool("spool.moved", "spool");
    }

    fn move_spool(&self, from: &str, to: &str) {
        let state = self.path().join("state");
        fs::rename(state.join(from), state.join(to)).expect("the directory is root's");
    }

    /// Returns the pid of `remit-bus`.
    #[must_use]
    pub fn bus(&self) -> Option<i32> {
        let mut found = descendants(self.pid()).into_iter();
        found
            .find(|process| process.uid == BUS && process.state != 'Z')
            .map(|process| process.pid)
    }

    /// Returns the pid of the watchdog, which ends all jobs if the warden dies.
    #[must_use]
    pub fn watchdog(&self) -> Option<i32> {
        let mut found = descendants(self.pid()).into_iter();
        found.find(Process::is_watchdog).map(|process| process.pid)
    }

    /// Returns every process with a job uid, including zombies. PID 1 is not one. Dead orphans that wait for the
    /// machine's pid 1, and processes just being reaped (X), are excluded.
    #[must_use]
    pub fn job_processes(&self) -> Vec<Process> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = self.job_processes_now();
            // A child that is being pre-forked at this moment has its attendants before it has its name.
            let is_being_made = !found.is_empty() && found.iter().all(attends);
            if !is_being_made || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn job_processes_now(&self) -> Vec<Process> {
        let uids = self.uid_first + 1..self.uid_first + self.uid_count;
        let orphan = |process: &Process| process.parent == 1 && is_dead(process.pid);
        let all = processes();
        let preforked = all.iter().filter(|process| process.name == "remit-zygote");
        // A monitor has that name, too, until its init exists.
        let monitors: Vec<i32> = preforked
            .flat_map(|process| [process.parent, process.pid])
            .collect();
        // The monitor and init of a pre-forked child, which already has a job uid.
        let is_of_preforked = |process: &Process| {
            attends(process)
                && [process.pid, process.parent]
                    .iter()
                    .any(|pid| monitors.contains(pid))
        };
        all.iter()
            .filter(|process| uids.contains(&process.uid) && process.state != 'X')
            .filter(|process| !orphan(process) && !is_of_preforked(process))
            .cloned()
            .collect()
    }

    /// Returns the first job uid. With one job at a time two uids alternate.
    #[must_use]
    pub fn first_job_uid(&self) -> u32 {
        self.uid_first + 1
    }

    /// Returns the number of job uids.
    #[must_use]
    pub const fn job_uids(&self) -> u32 {
        self.uid_count - 1
    }

    /// Returns the daemon's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.test_dir.path()
    }

    /// Returns the path of one of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Returns its directory of sockets.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.test_dir.path().join("runtime"))
    }

    fn stderr_path(&self) -> PathBuf {
        self.test_dir.path().join("stderr")
    }

    /// Returns its standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.stderr_path()).unwrap_or_default()
    }

    /// Prepares scenes for attacks from its jobs.
    #[must_use]
    pub fn fixture(&self, job: Identity) -> AttackFixture {
        AttackFixture {
            dir: self.test_dir.directory("fixture"),
            job,
            stranger: None,
            program: self.program("remit-attack"),
            daemon: self.child.id(),
            socket: self.runtime().socket(),
            audit_log: self.test_dir.path().join("state/audit.jsonl"),
        }
    }

    /// Connects as `user`. Fails if the daemon refuses the connection.
    pub fn client(&self, user: &Identity) -> Result<Client, ClientError> {
        self.client_named(user, "remit-tests")
    }

    /// Connects with this client name.
    pub fn client_named(&self, user: &Identity, name: &str) -> Result<Client, ClientError> {
        let (user, socket) = (user.clone(), self.runtime().socket());
        let name = name.to_owned();
        // A separate thread, because it keeps the identity.
        let connect = move || {
            user.adopt().expect("the tests run as root");
            Client::connect(&socket, &name)
        };
        std::thread::spawn(connect)
            .join()
            .expect("connecting does not panic")
    }

    /// Starts an MCP session as `user`.
    #[must_use]
    pub fn session(&self, user: &Identity) -> Session {
        Session::start(&self.program("mcp-shim"), &self.runtime().socket(), user)
    }

    /// Sends a request as an administrator. Fails if the daemon refuses the connection or the request.
    pub fn administer(&self, request: AdminRequest) -> Result<AdminReply, ClientError> {
        self.administer_as(&admin(), request)
    }

    /// Sends an administrator's request as `user`.
    pub fn administer_as(
        &self,
        user: &Identity,
        request: AdminRequest,
    ) -> Result<AdminReply, ClientError> {
        let (user, socket) = (user.clone(), self.runtime().admin_socket());
        // A separate thread, because it keeps the identity.
        let ask = move || {
            user.adopt().expect("the tests run as root");
            client::admin(&socket, request)
        };
        std::thread::spawn(ask)
            .join()
            .expect("asking does not panic")
    }

    /// Sends an administrator's request as `user`. Panics if there is no answer.
    pub fn administers(
        &self,
        user: &Identity,
        request: AdminRequest,
    ) -> Result<AdminReply, Refusal> {
        match self.administer_as(user, request) {
            Ok(reply) => Ok(reply),
            Err(ClientError::Refused(refusal)) => Err(refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns what an administrator's program shows of a request. Panics if it is not there.
    #[must_use]
    pub fn shows(&self, job: JobId) -> ShownRequest {
        remit_page::shown(&self.verified(job))
    }

    /// Returns a request as an administrator's program checks it. Panics if it is not there.
    #[must_use]
    pub fn verified(&self, job: JobId) -> Verified {
        let (user, socket) = (admin(), self.runtime().admin_socket());
        // A separate thread, because it keeps the identity.
        let ask = move || {
            user.adopt().expect("the tests run as root");
            client::show(&socket, job.to_string())
        };
        let answer = std::thread::spawn(ask).join();
        let answer = answer.expect("asking does not panic").expect("it waits");
        Verified::from_answer(&answer).expect("the daemon does not lie")
    }

    /// Runs the command line tool as `user`.
    #[must_use]
    pub fn remit(&self, user: &Identity, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.program("remit"));
        command
            .arg("--runtime")
            .arg(self.runtime().dir())
            .args(arguments)
            .stdin(Stdio::null());
        user.runs(&mut command);
        command.output().expect("remit starts")
    }

    /// Connects as `user` without sending anything.
    pub fn connect(&self, user: &Identity) -> std::io::Result<UnixStream> {
        let (user, socket) = (user.clone(), self.runtime().socket());
        let connect = move || {
            user.adopt()?;
            UnixStream::connect(socket)
        };
        std::thread::spawn(connect)
            .join()
            .expect("connecting does not panic")
    }

    /// Asserts, after an attack, that a new client of user B is served within a second and no job process is left.
    pub fn is_well(&self) {
        let mut slowest = Duration::ZERO;
        // A busy machine may stall for seconds. A blocked daemon fails each time.
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

    /// Returns all complete audit records.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let text =
            fs::read_to_string(self.test_dir.path().join("state/audit.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("each record is a JSON object"))
            .collect()
    }

    /// Returns the audit records of one event.
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

    /// Stops it. Panics if it does not end within a minute, fails, or leaves a process.
    pub fn stop(mut self) {
        let ended = self.end();
        assert!(ended.cleanly(), "{ended:?}");
    }

    /// Stops it without a check of leftover processes. Returns true if it ended by itself with status 0.
    pub fn end_alone(&mut self) -> bool {
        self.signal(Signal::SIGTERM);
        let gently = ends_within(self.pid(), 60_000);
        if !gently {
            self.signal(Signal::SIGKILL);
        }
        self.child
            .wait()
            .is_ok_and(|status| gently && status.success())
    }

    fn end(&mut self) -> Ended {
        let below: Vec<(i32, OwnedFd)> = descendants(self.pid())
            .iter()
            .filter_map(|process| Some((process.pid, pidfd(process.pid)?)))
            .collect();
        self.signal(Signal::SIGTERM);
        let gently = ends_within(self.pid(), 60_000);
        if !gently {
            self.signal(Signal::SIGKILL);
        }
        let in_order = self.child.wait().is_ok_and(|status| status.success());
        let mut left = self.job_processes();
        // A killed process is in /proc for a moment after its cgroup is empty.
        left.retain(|process| !ends_within(process.pid, LEFT_MS) && !is_dead(process.pid));
        // A daemon with a sandbox layer switched off may not kill its jobs. The machine must stay clean.
        for process in &left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        left.extend(
            below
                .into_iter()
                .filter(|(pid, process)| !has_ended_within(process, LEFT_MS) && !is_dead(*pid))
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

#[derive(Debug)]
struct Ended {
    /// By itself, with status 0.
    in_order: bool,
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

/// Returns the number of open descriptors as soon as it is at most `most`, or after twenty seconds. An ended job is
/// reported slightly before its descriptors are closed.
#[must_use]
pub fn descriptors_left(pid: i32, most: usize) -> usize {
    let end = Instant::now() + Duration::from_secs(20);
    while open_descriptors(pid) > most && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    open_descriptors(pid)
}

/// Returns the open descriptors without the warden's for its closing process, which starts after the first job.
#[must_use]
pub fn open_descriptors(pid: i32) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    all.saturating_sub(of_sinks(pid))
}

/// Returns the warden's descriptors for its closing processes: each has a socket and a pidfd.
#[must_use]
pub fn of_sinks(pid: i32) -> usize {
    let below = descendants(pid).into_iter();
    2 * below
        .filter(|process| process.parent == pid && process.is_sink())
        .count()
}

/// Returns true for the monitor and the init of a job's pid namespace.
fn attends(process: &Process) -> bool {
    ["remit-monitor", "remit-init"].contains(&process.name.as_str())
}
