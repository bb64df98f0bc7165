//! A daemon of our own: its files, its start, its end.

use std::fs::{self, DirBuilder};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, setegid, seteuid};
use remit_common::client::Client;
use remit_common::names::Runtime;

use crate::Failure;
use crate::args::Args;
use crate::memory::{Daemon, Memory};

/// The broker's uid.
const BROKER: u32 = 64_200;
/// The group that may connect.
const CLIENTS: u32 = 64_201;
/// The first uid of our clients. Nobody needs to know these users.
const FIRST_CLIENT: u32 = 64_300;
/// How long the start, and how long the end of the daemon may take, in milliseconds.
const PATIENCE_MS: u16 = 30_000;

/// A running daemon. It ends with its value.
pub struct Stage {
    bin: PathBuf,
    runtime: Runtime,
    daemon: Child,
    clients: u32,
}

impl Stage {
    /// Copies the programs into `args.stage`, writes configuration and policy, and starts the daemon.
    pub fn set(args: &Args) -> Result<Self, Failure> {
        let dir = |name: &str| args.stage.join(name);
        for name in ["bin", "config", "config/policy.d", "vendor"] {
            DirBuilder::new()
                .mode(0o755)
                .create(dir(name))
                .map_err(|e| format!("cannot make '{}': {e}", dir(name).display()))?;
        }
        copy_programs(&dir("bin"))?;
        fs::write(
            dir("config").join("remit.toml"),
            format!(
                "[audit]\nsink = \"{}\"\nsync = \"{}\"\n[accounts]\nbroker = {BROKER}\nsocket_group = {CLIENTS}\nadmin_group = {CLIENTS}\n",
                args.sink, args.sync
            ),
        )?;
        fs::write(
            dir("config").join("policy.d/10-bench.toml"),
            format!(
                "[[grant]]\nname = \"bench\"\nto = [\"%#{CLIENTS}\"]\nallow = [\"run\"]\nprofile = \"read\"\n"
            ),
        )?;
        let runtime = dir("run");
        let notify = dir("notify");
        let socket = UnixDatagram::bind(&notify)?;
        // A benchmark that is killed takes its daemon along.
        let mut daemon = Command::new("setpriv")
            .arg("--pdeathsig=KILL")
            .arg(dir("bin").join("remitd"))
            .args(["--config".as_ref(), dir("config").as_os_str()])
            .args(["--vendor".as_ref(), dir("vendor").as_os_str()])
            .args(["--runtime".as_ref(), runtime.as_os_str()])
            .args(["--state".as_ref(), dir("state").as_os_str()])
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        match ready(&mut daemon, &socket) {
            Ok(()) => Ok(Self {
                bin: dir("bin"),
                runtime: Runtime::new(runtime),
                daemon,
                clients: 0,
            }),
            Err(why) => {
                end(&mut daemon);
                Err(why)
            }
        }
    }

    /// A program of ours, to be run by a user whom the daemon has not seen yet: what one user
    /// may ask each second is limited, and that limit is not what we measure.
    pub fn program(&mut self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.uid(self.next_client()).gid(CLIENTS).env_clear();
        command
    }

    /// A connection of such a user.
    pub fn client(&mut self) -> Result<Client, Failure> {
        let uid = self.next_client();
        setegid(Gid::from_raw(CLIENTS))?;
        seteuid(Uid::from_raw(uid))?;
        let client = Client::connect(&self.runtime.socket(), "remit-bench");
        seteuid(Uid::from_raw(0))?;
        setegid(Gid::from_raw(0))?;
        Ok(client?)
    }

    /// The directory of the sockets.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What the daemon's processes use now. No job may be running.
    pub fn memory(&self) -> Result<Daemon, Failure> {
        let warden = self.daemon.id();
        let broker = self.bin.join("remit-broker");
        let mut memory = Daemon {
            warden: Memory::of(warden)?,
            keeper: Memory::default(),
            broker: Memory::default(),
        };
        for child in children(warden)? {
            let part = Memory::of(child)?;
            if fs::read_link(format!("/proc/{child}/exe"))? == broker {
                memory.broker = memory.broker.and(part);
            } else {
                memory.keeper = memory.keeper.and(part);
            }
        }
        Ok(memory)
    }

    fn next_client(&mut self) -> u32 {
        self.clients += 1;
        FIRST_CLIENT + self.clients
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end(&mut self.daemon);
    }
}

/// What is measured lies beside us, so it was built as we were.
fn copy_programs(to: &Path) -> Result<(), Failure> {
    let own = std::env::current_exe()?;
    for name in [
        "remitd",
        "remit-broker",
        "remit",
        "mcp-shim",
        "remit-bench-floor",
    ] {
        let from = own.with_file_name(name);
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

fn children(pid: u32) -> Result<Vec<u32>, Failure> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
    Ok(text
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}
