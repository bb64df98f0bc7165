//! A daemon of our own: its files, its start, its end.

use std::fs::{self, DirBuilder};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, setegid, seteuid};
use remit_common::client::Client;
use remit_common::names::Runtime;

use crate::Failure;
use crate::args::Args;
use crate::members::Members;
use crate::memory::Daemon;
use crate::setting::{Setting, with_mounts};

/// The broker's uid.
const BROKER: u32 = 64_200;
/// The group that may connect.
pub const CLIENTS: u32 = 64_201;
/// The first uid of our clients. Nobody needs to know these users.
const FIRST_CLIENT: u32 = 400_000;
/// How long the start, and how long the end of the daemon may take, in milliseconds.
const PATIENCE_MS: u16 = 30_000;

/// A running daemon. It ends with its value.
pub struct Stage {
    bin: PathBuf,
    runtime: Runtime,
    daemon: Child,
    own: PathBuf,
}

impl Stage {
    /// The plain one, [`Setting::default`].
    pub fn set(args: &Args) -> Result<Self, Failure> {
        Self::with(args, &Setting::default())
    }

    /// Copies the programs beneath `args.stage`, writes configuration and policy, and starts the daemon.
    pub fn with(args: &Args, setting: &Setting) -> Result<Self, Failure> {
        let own = args.stage.join(setting.name);
        let dir = |name: &str| own.join(name);
        for name in ["", "bin", "config", "config/policy.d", "vendor"] {
            DirBuilder::new()
                .mode(0o755)
                .create(dir(name))
                .map_err(|e| format!("cannot make '{}': {e}", dir(name).display()))?;
        }
        copy_programs(&dir("bin"), setting.broker)?;
        write_settings(&dir("config"), args, setting)?;
        let runtime = dir("run");
        let notify = dir("notify");
        let socket = UnixDatagram::bind(&notify)?;
        // A benchmark that is killed takes its daemon along.
        let mut command = Command::new("setpriv");
        command
            .arg("--pdeathsig=KILL")
            .arg(dir("bin").join("remitd"))
            .args(["--config".as_ref(), dir("config").as_os_str()])
            .args(["--vendor".as_ref(), dir("vendor").as_os_str()])
            .args(["--runtime".as_ref(), runtime.as_os_str()])
            .args(["--state".as_ref(), dir("state").as_os_str()])
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir("log"))?);
        let mut daemon = with_mounts(&dir("mounts"), setting.mounts, || Ok(command.spawn()?))?;
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

    /// A program of ours, to be run by a user whom the daemon has not seen yet: what one user
    /// may ask each second is limited, and that limit is not what we measure.
    pub fn program(&mut self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.uid(next_client()).gid(CLIENTS).env_clear();
        command
    }

    /// The same as words for somebody else who starts it as root.
    pub fn argv(&mut self, name: &str) -> Vec<String> {
        vec![
            "setpriv".into(),
            format!("--reuid={}", next_client()),
            format!("--regid={CLIENTS}"),
            "--clear-groups".into(),
            self.bin.join(name).display().to_string(),
        ]
    }

    /// A connection of such a user.
    pub fn client(&mut self) -> Result<Client, Failure> {
        let socket = self.runtime.socket();
        Ok(as_a_client(|| Client::connect(&socket, "remit-bench"))??)
    }

    /// The same without a word said.
    pub fn connect(&mut self) -> Result<UnixStream, Failure> {
        let socket = self.runtime.socket();
        Ok(as_a_client(|| UnixStream::connect(&socket))??)
    }

    /// The directory of the sockets.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// All that is its own: configuration, state, sockets, programs. Gone with the value.
    pub fn dir(&self) -> &Path {
        &self.own
    }

    /// The mounts that it sees, and each job with it.
    pub fn mounts(&self) -> Result<usize, Failure> {
        let path = format!("/proc/{}/mountinfo", self.daemon.id());
        Ok(fs::read_to_string(path)?.lines().count())
    }

    /// The processes that it consists of.
    pub fn members(&self) -> Result<Members, Failure> {
        Members::of(self.daemon.id())
    }

    /// What the daemon's processes use now, without the jobs.
    pub fn memory(&self) -> Result<Daemon, Failure> {
        self.members()?.memory()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end(&mut self.daemon);
        // What jobs have written may be gigabytes.
        let _ = fs::remove_dir_all(&self.own);
    }
}

/// Does `what` as such a user.
fn as_a_client<T>(what: impl FnOnce() -> T) -> Result<T, Failure> {
    setegid(Gid::from_raw(CLIENTS))?;
    seteuid(Uid::from_raw(next_client()))?;
    let done = what();
    seteuid(Uid::from_raw(0))?;
    setegid(Gid::from_raw(0))?;
    Ok(done)
}

/// A user whom no daemon of this run has seen yet.
fn next_client() -> u32 {
    static CLIENTS_SO_FAR: AtomicU32 = AtomicU32::new(0);
    FIRST_CLIENT + CLIENTS_SO_FAR.fetch_add(1, Ordering::Relaxed)
}

fn write_settings(config: &Path, args: &Args, setting: &Setting) -> Result<(), Failure> {
    let (sink, sync, more) = (&args.sink, &args.sync, &setting.toml);
    let toml = format!(
        "[audit]\nsink = \"{sink}\"\nsync = \"{sync}\"\n[accounts]\nbroker = {BROKER}\nsocket_group = {CLIENTS}\nadmin_group = {CLIENTS}\n{more}"
    );
    fs::write(config.join("remit.toml"), toml)?;
    let run = format!(
        "[[grant]]\nname = \"bench\"\nto = [\"%#{CLIENTS}\"]\nallow = [\"run\"]\nprofile = \"read\"\n"
    );
    fs::write(config.join("policy.d/10-bench.toml"), run)?;
    if !setting.policy.is_empty() {
        fs::write(config.join("policy.d/20-bench.toml"), &setting.policy)?;
    }
    Ok(())
}

/// What is measured lies beside us, so it was built as we were.
fn copy_programs(to: &Path, broker: &str) -> Result<(), Failure> {
    let own = std::env::current_exe()?;
    for (name, is) in [
        ("remitd", "remitd"),
        ("remit-broker", broker),
        ("remit", "remit"),
        ("mcp-shim", "mcp-shim"),
        ("remit-bench-floor", "remit-bench-floor"),
    ] {
        let from = own.with_file_name(is);
        // By value: the daemon wants a broker that belongs to root, and all users must reach it.
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
        let [told, ended] = fds.map(|fd| fd.any().unwrap_or_default());
        if !told {
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

/// Asks it to stop; one that does not is killed. Its stdout closes when it ends.
fn end(daemon: &mut Child) {
    if let (Ok(pid), Some(stdout)) = (i32::try_from(daemon.id()), &daemon.stdout) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let _ = poll(&mut fds, PollTimeout::from(PATIENCE_MS));
    }
    let _ = daemon.kill();
    let _ = daemon.wait();
}
