//! The ways to run `/bin/true` that are compared.

use std::process::{Command, Stdio};

use remit_common::caps;
use remit_common::client::Client;
use remit_common::outcome::{Enforced, State};
use remit_common::wire::{Access, Bytes, Purpose, Reply, Request, Run, What};

use crate::Failure;
use crate::mcp::{self, Session};
use crate::processes;
use crate::stage::Stage;

/// One way.
pub trait Lane {
    /// Takes it once. Only this is timed.
    fn go(&mut self) -> Result<(), Failure>;

    /// Whether what was just done was really done.
    fn check(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A way to be measured.
pub struct Entry {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Whether each time makes a job of the daemon.
    pub job: bool,
    /// Opens it anew: connections, servers, users.
    pub open: fn(&mut Stage) -> Result<Box<dyn Lane>, Failure>,
}

/// The key of the first floor: a process without anything.
pub const FORK: &str = "fork_exec";
/// The same floor, safe also beside threads.
pub const SPAWN: &str = "posix_spawn";
/// The key of the second: an MCP server without anything.
pub const MCP: &str = "mcp_floor";
/// The key of what is nearest to the daemon.
pub const DAEMON: &str = "daemon";
/// The key of what most agents will use.
pub const SHIM: &str = "mcp_shim";

/// All ways, in the order of the table.
pub const ENTRIES: &[Entry] = &[
    Entry {
        key: FORK,
        title: "fork + exec + wait, nothing else",
        job: false,
        open: |_| Ok(Box::new(Bare(processes::fork_exec))),
    },
    Entry {
        key: SPAWN,
        title: "posix_spawn (vfork) + wait",
        job: false,
        open: |_| Ok(Box::new(Bare(processes::spawn))),
    },
    Entry {
        key: MCP,
        title: "MCP server that only spawns",
        job: false,
        open: |stage| {
            let (session, _) = Session::open(stage.program("remit-bench-floor"))?;
            Ok(Box::new(ToolCall::new(session)))
        },
    },
    Entry {
        key: DAEMON,
        title: "'read' through the daemon's socket",
        job: true,
        open: |stage| Ok(Box::new(Direct::new(stage.client()?, run_true()))),
    },
    Entry {
        key: SHIM,
        title: "'read' through mcp-shim",
        job: true,
        open: |stage| Ok(Box::new(ToolCall::new(shim(stage)?))),
    },
    Entry {
        key: "remit_run",
        title: "'read' through a new 'remit run'",
        job: true,
        open: |stage| Ok(Box::new(NewClient(remit_run(stage)))),
    },
    Entry {
        key: "daemon_access",
        title: "no job: 'access' through the socket",
        job: false,
        open: |stage| Ok(Box::new(Direct::new(stage.client()?, access()))),
    },
    Entry {
        key: "shim_ping",
        title: "no job: 'ping' of mcp-shim",
        job: false,
        open: |stage| Ok(Box::new(Ping(shim(stage)?, String::new()))),
    },
];

/// A session with a new `mcp-shim`.
pub fn shim(stage: &mut Stage) -> Result<Session, Failure> {
    let command = shim_command(stage);
    Ok(Session::open(command)?.0)
}

/// `mcp-shim`, not started yet.
pub fn shim_command(stage: &mut Stage) -> Command {
    let mut command = stage.program("mcp-shim");
    command.arg("--socket").arg(stage.runtime().socket());
    command
}

/// What the daemon says it enforced on a run.
pub fn enforced(stage: &mut Stage) -> Result<Enforced, Failure> {
    match stage.client()?.call(run_true(), drop)? {
        Reply::Job { report, .. } => report.enforced.ok_or_else(|| "nothing was enforced".into()),
        other => Err(format!("'/bin/true' did not run: {other:?}").into()),
    }
}

fn remit_run(stage: &mut Stage) -> Command {
    let mut command = stage.program("remit");
    command
        .arg("--runtime")
        .arg(stage.runtime().dir())
        .args(["run", "--", "/bin/true"])
        .stdin(Stdio::null());
    command
}

fn run_true() -> Request {
    run(&["/bin/true"])
}

/// A run that is waited for as long as a call may wait.
pub fn run(argv: &[&str]) -> Request {
    let argv = argv.iter().map(|arg| Bytes::from(arg.as_bytes().to_vec()));
    Request::Run(Run {
        traceparent: None,
        what: What::Argv(argv.collect()),
        cwd: None,
        env: Vec::new(),
        stdin: None,
        profile: None,
        wait_ms: Some(caps::WAIT_MS),
        max_runtime_s: None,
        request_id: None,
        purpose: Purpose::Use,
    })
}

fn access() -> Request {
    Request::Access(Access {
        argv: None,
        profile: None,
        name: None,
        query: None,
    })
}

struct Bare(fn() -> Result<(), Failure>);

impl Lane for Bare {
    fn go(&mut self) -> Result<(), Failure> {
        self.0()
    }
}

struct Direct {
    client: Client,
    request: Request,
    reply: Option<Reply>,
}

impl Direct {
    fn new(client: Client, request: Request) -> Self {
        Self {
            client,
            request,
            reply: None,
        }
    }
}

impl Lane for Direct {
    fn go(&mut self) -> Result<(), Failure> {
        self.reply = Some(self.client.call(self.request.clone(), drop)?);
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        match &self.reply {
            Some(Reply::Access(_)) => Ok(()),
            Some(Reply::Job { report, .. })
                if report.state == State::Exited
                    && report.ending.as_ref().and_then(|it| it.exit) == Some(0) =>
            {
                Ok(())
            }
            other => Err(format!("'/bin/true' did not run: {other:?}").into()),
        }
    }
}

struct ToolCall {
    session: Session,
    line: String,
}

impl ToolCall {
    fn new(session: Session) -> Self {
        Self {
            session,
            line: String::new(),
        }
    }
}

impl Lane for ToolCall {
    fn go(&mut self) -> Result<(), Failure> {
        self.session.ask_run()?;
        self.session.receive(&mut self.line)
    }

    fn check(&mut self) -> Result<(), Failure> {
        mcp::ran(&self.line)
    }
}

struct Ping(Session, String);

impl Lane for Ping {
    fn go(&mut self) -> Result<(), Failure> {
        self.0.ask_ping()?;
        self.0.receive(&mut self.1)
    }
}

struct NewClient(Command);

impl Lane for NewClient {
    fn go(&mut self) -> Result<(), Failure> {
        let status = self.0.status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("'remit run' failed: {status}").into())
        }
    }
}
