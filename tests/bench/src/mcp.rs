//! A client for an MCP server on stdio, which it trusts to be correct, and a separate sshd on loopback with its own keys and
//! configuration, on a free port.

use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use remit_confine::sys;
use serde::Deserialize;
use serde_json::Value;

use crate::Failure;

const PATIENCE_MS: u16 = 1000;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"remit-bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

pub const RUN: &str = r#"{"name":"run","arguments":{"argv":["/bin/true"]}}"#;

pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    id: u64,
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Outcome>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(default)]
    is_error: bool,
    structured_content: Option<Value>,
}

impl Session {
    /// Starts the server. Returns also the time until `initialize` was answered.
    pub fn open(mut command: Command) -> Result<(Self, Duration), Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let start = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|e| format!("cannot start {command:?}: {e}"))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut session = Self {
            child,
            stdin,
            stdout,
            id: 0,
        };
        session.send(INITIALIZE)?;
        let mut line = String::new();
        session.receive(&mut line)?;
        let took = start.elapsed();
        parse(&line)?;
        session.send(INITIALIZED)?;
        Ok((session, took))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ask_run(&mut self) -> Result<(), Failure> {
        self.ask_tool(RUN)
    }

    /// Calls a tool. `params` is JSON.
    pub fn ask_tool(&mut self, params: &str) -> Result<(), Failure> {
        self.request("tools/call", params)
    }

    pub fn ask_ping(&mut self) -> Result<(), Failure> {
        self.request("ping", "{}")
    }

    pub fn receive(&mut self, line: &mut String) -> Result<(), Failure> {
        line.clear();
        if self.stdout.read_line(line)? == 0 {
            return Err("the MCP server has ended".into());
        }
        Ok(())
    }

    fn request(&mut self, method: &str, params: &str) -> Result<(), Failure> {
        self.id += 1;
        let id = self.id;
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ))
    }

    fn send(&mut self, line: &str) -> Result<(), Failure> {
        let stdin = self.stdin.as_mut().ok_or("no pipe")?;
        // A single write causes a single wake-up.
        stdin.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A server ends at the end of its input, but some ignore it and are killed.
        self.stdin = None;
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        if let Ok(pidfd) = sys::pidfd_open(pid) {
            let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PATIENCE_MS);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Result<Option<Outcome>, Failure> {
    let answer: Answer = serde_json::from_str(line)?;
    match answer.error {
        None => Ok(answer.result),
        Some(_) => Err(format!("the MCP server says: {line}").into()),
    }
}

/// Fails unless the answer says that a program ended with 0.
pub fn ran(line: &str) -> Result<(), Failure> {
    let zero = parse(line)?.is_some_and(|outcome| {
        let exit = outcome.structured_content.as_ref().map(|it| &it["exit"]);
        !outcome.is_error && exit.is_some_and(|exit| *exit == 0)
    });
    if zero {
        Ok(())
    } else {
        Err(format!("'/bin/true' did not run: {line}").into())
    }
}

/// Fails unless another vendor's answer is a success and contains `expected`.
pub fn answered(line: &str, expected: &str) -> Result<(), Failure> {
    let is_error = parse(line)?.is_none_or(|outcome| outcome.is_error);
    if !is_error && line.contains(expected) {
        Ok(())
    } else {
        Err(format!("'/bin/true' did not run: {line}").into())
    }
}

/// sshd requires an absolute path.
const SSHD: &str = "/usr/sbin/sshd";
/// sshd needs this directory, which some systems only create with the service.
const EMPTY: &str = "/run/sshd";
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Sshd {
    dir: PathBuf,
    port: u16,
    child: Child,
    made: bool,
}

impl Sshd {
    /// Starts it with files in a new directory `dir`. `Err` is a reason for people.
    pub fn start(dir: PathBuf) -> Result<Self, String> {
        for (program, package) in [
            (SSHD, "openssh-server"),
            ("/usr/bin/ssh", "openssh-client"),
            ("/usr/bin/ssh-keygen", "openssh-client"),
        ] {
            if !Path::new(program).exists() {
                return Err(format!("{package} is not installed"));
            }
        }
        let describe = |error: Failure| format!("sshd does not serve here: {error}");
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|e| describe(e.into()))?;
        let made = DirBuilder::new().mode(0o755).create(EMPTY).is_ok();
        let port = prepare(&dir).map_err(describe)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig=KILL", SSHD, "-D", "-f"])
            .arg(dir.join("config"))
            .arg("-E")
            .arg(dir.join("log"))
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| describe(e.into()))?;
        let server = Self {
            dir,
            port,
            child,
            made,
        };
        server.listens().map_err(describe)?;
        let status = server
            .command(&["/bin/true"])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| describe(e.into()))?;
        if status.status.success() {
            Ok(server)
        } else {
            let said = String::from_utf8_lossy(&status.stderr).trim().to_owned();
            Err(format!("root may not log in to an sshd of its own: {said}"))
        }
    }

    /// Runs `argv` over a new connection. No word may need quoting.
    pub fn command(&self, argv: &[&str]) -> Command {
        let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
        let mut command = Command::new("/usr/bin/ssh");
        command
            .args(["-F", "none", "-q", "-T", "-oBatchMode=yes"])
            .arg("-oStrictHostKeyChecking=yes")
            .arg("-oIdentitiesOnly=yes")
            .arg(option("UserKnownHostsFile", &self.dir.join("known")))
            .arg(option("IdentityFile", &self.dir.join("user")))
            .args(["-p", &self.port.to_string(), "root@127.0.0.1", "--"])
            .args(argv);
        command
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn listens(&self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

fn prepare(dir: &Path) -> Result<u16, Failure> {
    for name in ["host", "user"] {
        let made = Command::new("/usr/bin/ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "remit-bench", "-f"])
            .arg(dir.join(name))
            .stdin(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(format!("ssh-keygen failed: {made}").into());
        }
    }
    fs::copy(dir.join("user.pub"), dir.join("allowed"))?;
    // The port was free a moment ago. If another process takes it first, the start fails with an error.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let key = fs::read_to_string(dir.join("host.pub"))?;
    fs::write(dir.join("known"), format!("[127.0.0.1]:{port} {key}"))?;
    let file = |name: &str| dir.join(name).display().to_string();
    fs::write(
        dir.join("config"),
        format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPrintMotd no\nMaxStartups 1000\nSubsystem sftp internal-sftp\n",
            file("host"),
            file("allowed")
        ),
    )?;
    Ok(port)
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.made {
            let _ = fs::remove_dir(EMPTY);
        }
    }
}
