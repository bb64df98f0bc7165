//! The compared ways to run `/bin/true`.

mod direct;

use std::cell::RefCell;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::mcp::{self, Session, Sshd};
use crate::peers::Small;
use crate::peers::{self, Kind, Peer};
use crate::stage::{Setting, Stage};
use crate::{Args, Failure};

pub use direct::{enforced, run};

pub trait Lane {
    fn go(&mut self) -> Result<(), Failure>;

    /// Runs once and returns the duration, by our clock unless the other side has a closer one.
    fn timed(&mut self) -> Result<Duration, Failure> {
        let start = Instant::now();
        self.go()?;
        Ok(start.elapsed())
    }

    /// Verifies the last run. Not timed.
    fn check(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Opens new connections, servers and users for a way.
type Open = Box<dyn Fn(&mut Stage) -> Result<Box<dyn Lane>, Failure>>;

pub struct Way {
    pub key: String,
    pub title: String,
    pub peer: bool,
    pub open: Open,
}

/// First baseline: a bare process.
pub const FORK: &str = "fork_exec";
/// The same baseline, safe in a process with threads.
pub const SPAWN: &str = "posix_spawn";
/// Second baseline: an MCP server that only spawns.
pub const MCP: &str = "mcp_floor";
pub const READ: &str = "sandbox_read";
pub const STRICT: &str = "sandbox_strict";
/// The warden with a broker that only measures.
pub const ALONE: &str = "warden_alone";
pub const DAEMON: &str = "daemon";
pub const SHIM: &str = "mcp_shim";
pub const SSH_BASELINE: &str = "ssh_mcp_floor";
pub const SSH_SHIM: &str = "ssh_mcp_shim";
/// A request that the broker answers without the warden.
pub const HOP: &str = "broker_only";

pub struct Ways {
    pub all: Vec<Way>,
    pub missing: Vec<String>,
}

impl Ways {
    /// Starts the processes that the ways need. They end on drop.
    pub fn open(args: &Args) -> Result<Self, Failure> {
        let mut missing = Vec::new();
        let sshd = match Sshd::start(args.stage.join("sshd")) {
            Ok(sshd) => Some(Rc::new(sshd)),
            Err(why) => {
                missing.push(format!("ssh + mcp-shim: {why}"));
                None
            }
        };
        let alone = Setting {
            name: "alone",
            broker: "remit-bench-broker",
            ..Setting::default()
        };
        let mut all = near(Stage::with(args, &alone)?)?;
        all.extend(far(sshd.as_ref()));
        all.extend(hops());
        let peers = args.peers.as_deref().map(peers::read).transpose()?;
        for peer in peers.into_iter().flatten() {
            match peer.command() {
                Some(_) => all.push(of_peer(peer)?),
                None => missing.push(format!("{}: not installed", peer.name)),
            }
        }
        Ok(Self { all, missing })
    }

    pub fn some<'a>(&'a self, keys: &'a [&str]) -> impl Iterator<Item = &'a Way> {
        self.all
            .iter()
            .filter(|way| keys.contains(&way.key.as_str()))
    }
}

fn way(
    key: &str,
    title: &str,
    open: impl Fn(&mut Stage) -> Result<Box<dyn Lane>, Failure> + 'static,
) -> Way {
    Way {
        key: key.into(),
        title: title.into(),
        peer: false,
        open: Box::new(open),
    }
}

fn near(alone: Stage) -> Result<Vec<Way>, Failure> {
    let small = Rc::new(RefCell::new(Small::start()?));
    let alone = RefCell::new(alone);
    let bare = |key, title, which: &'static str| {
        let small = Rc::clone(&small);
        way(key, title, move |_| {
            let small = Rc::clone(&small);
            Ok(Box::new(InSmall { small, which }))
        })
    };
    Ok(vec![
        bare(FORK, "fork + exec + wait, nothing else", "fork"),
        bare(SPAWN, "posix_spawn (vfork) + wait", "vfork"),
        way(MCP, "MCP server that only spawns", |stage| {
            open_run(stage.program("remit-bench-floor"))
        }),
        bare(READ, "sandbox 'read' alone", "read"),
        bare(
            "sandbox_read_whole",
            "the same without a child kept ready",
            "read_whole",
        ),
        bare(STRICT, "sandbox 'strict' alone", "strict"),
        bare(
            "sandbox_strict_whole",
            "the same, all of it when the job comes",
            "strict_whole",
        ),
        way(
            ALONE,
            "'read' by the warden alone (link to recorded end)",
            move |_| direct::alone(&mut alone.borrow_mut()),
        ),
        way(DAEMON, "'read' through the daemon's socket", direct::true_),
        way(SHIM, "'read' through mcp-shim", |stage| {
            open_run(shim_command(stage))
        }),
        way("remit_run", "'read' through a new 'remit run'", |stage| {
            let mut command = stage.program("remit");
            command
                .arg("--runtime")
                .arg(stage.runtime().dir())
                .args(["run", "--", "/bin/true"]);
            Ok(Box::new(Launched(command)))
        }),
    ])
}

fn far(sshd: Option<&Rc<Sshd>>) -> Vec<Way> {
    let Some(sshd) = sshd else {
        return Vec::new();
    };
    let (one, other) = (Rc::clone(sshd), Rc::clone(sshd));
    vec![
        way(
            SSH_BASELINE,
            "ssh + MCP server that only spawns",
            move |stage| open_run(one.command(&words(&stage.argv("remit-bench-floor")))),
        ),
        way(SSH_SHIM, "'read' through ssh + mcp-shim", move |stage| {
            let mut argv = stage.argv("mcp-shim");
            argv.push("--socket".into());
            argv.push(stage.runtime().socket().display().to_string());
            open_run(other.command(&words(&argv)))
        }),
    ]
}

fn hops() -> Vec<Way> {
    vec![
        way(
            HOP,
            "no job: a question that the broker answers",
            direct::broker_only,
        ),
        way(
            "daemon_access",
            "no job: 'access' through the socket",
            direct::access,
        ),
        way("shim_ping", "no job: 'ping' of mcp-shim", |stage| {
            ping(shim_command(stage))
        }),
        way(
            "mcp_floor_ping",
            "no job: 'ping' of the MCP floor",
            |stage| ping(stage.program("remit-bench-floor")),
        ),
    ]
}

fn of_peer(peer: Peer) -> Result<Way, Failure> {
    let title = format!("peer: {}", peer.name);
    let gone = "it was installed a moment ago";
    let params = peer.params()?;
    let is_server = peer.kind == Kind::Mcp;
    let way = way(&peer.name.clone(), &title, move |_| {
        let mut command = peer.command().ok_or(gone)?;
        match peer.kind {
            Kind::Launcher => {
                command.arg("/bin/true");
                Ok(Box::new(Launched(command)))
            }
            Kind::Mcp => {
                let expected = peer.expect.clone();
                let check = move |line: &str| mcp::answered(line, &expected);
                open(command, params.clone(), Box::new(check))
            }
        }
    });
    Ok(Way {
        peer: is_server,
        ..way
    })
}

fn words(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}

struct InSmall {
    small: Rc<RefCell<Small>>,
    which: &'static str,
}

impl Lane for InSmall {
    fn go(&mut self) -> Result<(), Failure> {
        self.timed().map(drop)
    }

    fn timed(&mut self) -> Result<Duration, Failure> {
        self.small.borrow_mut().run(self.which)
    }
}

struct Launched(Command);

impl Lane for Launched {
    fn go(&mut self) -> Result<(), Failure> {
        let status = self.0.stdin(Stdio::null()).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{:?} failed: {status}", self.0.get_program()).into())
        }
    }
}

pub fn shim(stage: &mut Stage) -> Result<Session, Failure> {
    let command = shim_command(stage);
    Ok(Session::open(command)?.0)
}

pub fn shim_command(stage: &mut Stage) -> Command {
    let mut command = stage.program("mcp-shim");
    command.arg("--socket").arg(stage.runtime().socket());
    command
}

type Check = Box<dyn Fn(&str) -> Result<(), Failure>>;

pub fn open_run(command: Command) -> Result<Box<dyn Lane>, Failure> {
    open(command, mcp::RUN.to_owned(), Box::new(mcp::ran))
}

pub fn open(command: Command, params: String, check: Check) -> Result<Box<dyn Lane>, Failure> {
    Ok(Box::new(ToolCall {
        session: Session::open(command)?.0,
        params,
        check,
        line: String::new(),
    }))
}

pub fn ping(command: Command) -> Result<Box<dyn Lane>, Failure> {
    Ok(Box::new(Ping(Session::open(command)?.0, String::new())))
}

struct ToolCall {
    session: Session,
    params: String,
    check: Check,
    line: String,
}

impl Lane for ToolCall {
    fn go(&mut self) -> Result<(), Failure> {
        self.session.ask_tool(&self.params)?;
        self.session.receive(&mut self.line)
    }

    fn check(&mut self) -> Result<(), Failure> {
        (self.check)(&self.line)
    }
}

struct Ping(Session, String);

impl Lane for Ping {
    fn go(&mut self) -> Result<(), Failure> {
        self.0.ask_ping()?;
        self.0.receive(&mut self.1)
    }
}
