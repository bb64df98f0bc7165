//! A separate daemon: how it differs from others, its files, its start, its end.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, setegid, seteuid};
use remit_common::names::Runtime;
use remit_wire::client::Client;

use crate::machine::{Machine, with_mounts};
use crate::usage::{Daemon, Members};
use crate::{Args, Failure};

const BROKER: u32 = 64_200;
pub const CLIENTS: u32 = 64_201;
/// The first uid of the clients. These users need no account.
pub const FIRST_CLIENT: u32 = 400_000;
const ALL_CLIENTS: u32 = 16_384;
/// The last of them: a policy can name it, and one that approves what it asks for.
pub const NAMED_CLIENT: u32 = FIRST_CLIENT + ALL_CLIENTS - 1;
pub const APPROVER: u32 = NAMED_CLIENT - 1;
/// Timeout of the start, and of the end, in milliseconds.
const PATIENCE_MS: u16 = 30_000;

pub struct Stage {
    bin: PathBuf,
    runtime: Runtime,
    daemon: Child,
    own: PathBuf,
}

impl Stage {
    pub fn set(args: &Args) -> Result<Self, Failure> {
        Self::with(args, &Setting::default())
    }

    /// Copies the programs below `args.stage`, writes configuration and policy, and starts the daemon.
    pub fn with(args: &Args, setting: &Setting) -> Result<Self, Failure> {
        let own = args.stage.join(setting.name);
        let dir = |name: &str| own.join(name);
        for name in ["", "bin", "config", "config/policy.d", "vendor"] {
            DirBuilder::new()
                .mode(0o755)
                .create(dir(name))
                .map_err(|e| format!("cannot make '{}': {e}", dir(name).display()))?;
        }
        copy_programs(&dir("bin"), setting)?;
        write_settings(&dir("config"), args, setting)?;
        let runtime = dir("run");
        let notify = dir("notify");
        let socket = UnixDatagram::bind(&notify)?;
        // The daemon is killed with the benchmark.
        let mut command = Command::new("setpriv");
        command
            .arg("--pdeathsig=KILL")
            .arg(dir("bin").join("remitd"))
            .args(["--config".as_ref(), dir("config").as_os_str()])
            .args(["--vendor".as_ref(), dir("vendor").as_os_str()])
            .args(["--runtime".as_ref(), runtime.as_os_str()])
            .args(["--state".as_ref(), dir("state").as_os_str()])
            .args(looked_at(setting))
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir("log"))?);
        let start = || Ok(command.spawn()?);
        let mut daemon = match &setting.machine {
            Some(machine) => machine.inside(&own, setting.mounts, start)?,
            None => with_mounts(&dir("mounts"), setting.mounts, start)?,
        };
        match ready(&mut daemon, &socket) {
            Ok(()) => Ok(Self {
                bin: dir("bin"),
                runtime: Runtime::new(runtime),
                daemon,
                own,
            }),
            Err(why) => {
                end(&mut daemon);
                let said = fs::read_to_string(dir("log")).unwrap_or_default();
                Err(format!("{why}: {}", said.trim()).into())
            }
        }
    }

    /// Returns a command that runs as a new user, because the rate limit per user would distort the measurement.
    pub fn program(&mut self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.uid(next_client()).gid(CLIENTS).env_clear();
        command
    }

    /// Returns the same as an argv for another program to start as root.
    pub fn argv(&mut self, name: &str) -> Vec<String> {
        vec![
            "setpriv".into(),
            format!("--reuid={}", next_client()),
            format!("--regid={CLIENTS}"),
            "--clear-groups".into(),
            self.bin.join(name).display().to_string(),
        ]
    }

    pub fn client(&mut self) -> Result<Client, Failure> {
        let socket = self.runtime.socket();
        Ok(as_client(next_client(), || {
            Client::connect(&socket, "remit-bench")
        })??)
    }

    /// Connects as [`NAMED_CLIENT`].
    pub fn named_client(&mut self) -> Result<Client, Failure> {
        let socket = self.runtime.socket();
        Ok(as_client(NAMED_CLIENT, || {
            Client::connect(&socket, "remit-bench")
        })??)
    }

    /// Connects without sending anything.
    pub fn connect(&mut self) -> Result<UnixStream, Failure> {
        let socket = self.runtime.socket();
        Ok(as_client(next_client(), || UnixStream::connect(&socket))??)
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns the directory with configuration, state, sockets and programs. Removed on drop.
    pub fn dir(&self) -> &Path {
        &self.own
    }

    /// Returns the number of mounts in its namespace, which each job inherits.
    pub fn mounts(&self) -> Result<usize, Failure> {
        let path = format!("/proc/{}/mountinfo", self.daemon.id());
        Ok(fs::read_to_string(path)?.lines().count())
    }

    pub fn members(&self) -> Result<Members, Failure> {
        Members::of(self.daemon.id())
    }

    pub fn memory(&self) -> Result<Daemon, Failure> {
        self.members()?.memory()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end(&mut self.daemon);
        // Outputs of jobs may be gigabytes.
        let _ = fs::remove_dir_all(&self.own);
    }
}

fn looked_at(setting: &Setting) -> Vec<&OsStr> {
    let path = setting.looked_at.as_deref();
    let words = path.map(|path| [OsStr::new("--machine"), path.as_os_str()]);
    words.into_iter().flatten().collect()
}

fn as_client<T>(uid: u32, what: impl FnOnce() -> T) -> Result<T, Failure> {
    setegid(Gid::from_raw(CLIENTS))?;
    seteuid(Uid::from_raw(uid))?;
    let done = what();
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    Ok(done)
}

fn next_client() -> u32 {
    static CLIENTS_SO_FAR: AtomicU32 = AtomicU32::new(0);
    FIRST_CLIENT + CLIENTS_SO_FAR.fetch_add(1, Ordering::Relaxed)
}

fn write_settings(config: &Path, args: &Args, setting: &Setting) -> Result<(), Failure> {
    let (sink, sync, more) = (&args.sink, &args.sync, &setting.toml);
    let clients: Vec<String> = (FIRST_CLIENT..FIRST_CLIENT + ALL_CLIENTS)
        .map(|uid| uid.to_string())
        .collect();
    let clients = clients.join(", ");
    let toml = format!(
        "[audit]\nsink = \"{sink}\"\nsync = \"{sync}\"\n[accounts]\nbroker = {BROKER}\nsocket_group = {CLIENTS}\nadmin_group = {CLIENTS}\nnumbers = [{clients}]\n{more}"
    );
    fs::write(config.join("remit.toml"), toml)?;
    let run = format!(
        "[[grant]]\nname = \"bench\"\nto = [\"%#{CLIENTS}\"]\nallow = [\"run\"]\nrun_profile = \"read\"\n"
    );
    fs::write(config.join("policy.d/10-bench.toml"), run)?;
    if !setting.policy.is_empty() {
        fs::write(config.join("policy.d/20-bench.toml"), &setting.policy)?;
    }
    Ok(())
}

/// Copies from our directory, so the programs have the same build settings, or from another release's, which may lack
/// some of them.
fn copy_programs(to: &Path, setting: &Setting) -> Result<(), Failure> {
    let own = std::env::current_exe()?;
    for (name, is) in [
        ("remitd", "remitd"),
        ("remit-spawner", "remit-spawner"),
        ("remit-broker", setting.broker),
        ("remit-compiler", "remit-compiler"),
        ("remit", "remit"),
        ("mcp-shim", "mcp-shim"),
        ("remit-look", "remit-look"),
        ("remit-commit", "remit-commit"),
        ("remit-prove", "remit-prove"),
        ("remit-bench-floor", "remit-bench-floor"),
    ] {
        let from = match &setting.programs {
            Some(directory) => directory.join(is),
            None => own.with_file_name(is),
        };
        if setting.programs.is_some() && !from.exists() {
            continue;
        }
        // A copy: the broker must belong to root, and all users must reach it.
        fs::copy(&from, to.join(name))
            .map_err(|e| format!("cannot copy '{}': {e}", from.display()))?;
    }
    Ok(())
}

/// Waits for READY=1, sd_notify(3).
fn ready(daemon: &mut Child, socket: &UnixDatagram) -> Result<(), Failure> {
    let stdout = daemon.stdout.as_ref().ok_or("no pipe")?;
    let mut message = [0; 4096];
    loop {
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdout.as_fd(), PollFlags::empty()),
        ];
        poll(&mut fds, PATIENCE_MS)?;
        let [is_readable, ended] = fds.map(|fd| fd.any().unwrap_or_default());
        if !is_readable {
            let what = if ended { "has ended" } else { "is silent" };
            return Err(format!("the daemon {what} before it is ready").into());
        }
        let length = socket.recv(&mut message)?;
        let text = message.get(..length).unwrap_or_default();
        if text
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"READY=1")
        {
            return Ok(());
        }
    }
}

/// Sends SIGTERM, and SIGKILL after the timeout. The end closes its stdout.
fn end(daemon: &mut Child) {
    if let (Ok(pid), Some(stdout)) = (i32::try_from(daemon.id()), &daemon.stdout) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let _ = poll(&mut fds, PollTimeout::from(PATIENCE_MS));
    }
    let _ = daemon.kill();
    let _ = daemon.wait();
}

#[derive(Clone, Debug)]
pub struct Setting {
    /// Its directory below the stage. Unique at any time.
    pub name: &'static str,
    /// Tables of its `remit.toml` besides `audit` and `accounts`. Concurrent daemons need separate job uid ranges.
    pub toml: String,
    /// A second policy drop-in, if not empty.
    pub policy: String,
    pub mounts: usize,
    pub broker: &'static str,
    /// The directory of its programs, if not ours.
    pub programs: Option<PathBuf>,
    /// Its root file system, if not this computer's.
    pub machine: Option<Rc<Machine>>,
    /// Where ways to root are looked for, if not in `/`. Older programs have no such argument.
    pub looked_at: Option<PathBuf>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            name: "plain",
            toml: String::new(),
            policy: String::new(),
            mounts: 0,
            broker: "remit-broker",
            programs: None,
            machine: None,
            looked_at: None,
        }
    }
}
