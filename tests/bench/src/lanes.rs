//! The ways to run `/bin/true` that are compared.

mod direct;
mod tool;

use std::cell::RefCell;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use direct::{enforced, run};
pub use tool::{shim, shim_command};

use crate::Failure;
use crate::args::Args;
use crate::mcp;
use crate::peers::{self, Kind, Peer};
use crate::setting::Setting;
use crate::small::Small;
use crate::ssh::Sshd;
use crate::stage::Stage;

/// One way.
pub trait Lane {
    /// Takes it once.
    fn go(&mut self) -> Result<(), Failure>;

    /// Takes it once; how long it took. By our clock, unless somebody nearer has one.
    fn timed(&mut self) -> Result<Duration, Failure> {
        let start = Instant::now();
        self.go()?;
        Ok(start.elapsed())
    }

    /// Whether what was just done was really done. This is not timed.
    fn check(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Opens a way anew: connections, servers, users.
type Open = Box<dyn Fn(&mut Stage) -> Result<Box<dyn Lane>, Failure>>;

/// A way to be measured.
pub struct Way {
    /// Its name in JSON.
    pub key: String,
    /// Its name for people.
    pub title: String,
    /// Whether it is an MCP server of somebody else.
    pub peer: bool,
    /// See [`Open`].
    pub open: Open,
}

/// The key of the first floor: a process without anything.
pub const FORK: &str = "fork_exec";
/// The same floor, safe also beside threads.
pub const SPAWN: &str = "posix_spawn";
/// The key of the second: an MCP server without anything.
pub const MCP: &str = "mcp_floor";
/// The sandbox `read`, without a daemon.
pub const READ: &str = "sandbox_read";
/// The sandbox `strict`, without a daemon.
pub const STRICT: &str = "sandbox_strict";
/// The key of the warden without a broker of remit's.
pub const ALONE: &str = "warden_alone";
/// The key of what is nearest to the daemon.
pub const DAEMON: &str = "daemon";
/// The key of what most agents will use.
pub const SHIM: &str = "mcp_shim";
/// The second floor through ssh.
pub const SSH_FLOOR: &str = "ssh_mcp_floor";
/// And the same through ssh.
pub const SSH_SHIM: &str = "ssh_mcp_shim";
/// A question that the broker answers.
pub const HOP: &str = "broker_only";

/// What the ways need besides the daemon.
pub struct Ways {
    /// All of them, in the order of the table.
    pub all: Vec<Way>,
    /// Those that cannot be taken here, and why.
    pub missing: Vec<String>,
}

impl Ways {
    /// Starts what they need: it ends with the ways.
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

    /// Those of some keys.
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

/// Those without a client, and the floors.
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
            tool::ours(stage.program("remit-bench-floor"))
        }),
        bare(READ, "sandbox 'read' alone", "read"),
        bare(
            "sandbox_read_whole",
            "the same without a process and a child kept ready",
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
            tool::ours(shim_command(stage))
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

/// Those over an open connection of ssh.
fn far(sshd: Option<&Rc<Sshd>>) -> Vec<Way> {
    let Some(sshd) = sshd else {
        return Vec::new();
    };
    let (one, other) = (Rc::clone(sshd), Rc::clone(sshd));
    vec![
        way(
            SSH_FLOOR,
            "ssh + MCP server that only spawns",
            move |stage| tool::ours(one.command(&words(&stage.argv("remit-bench-floor")))),
        ),
        way(SSH_SHIM, "'read' through ssh + mcp-shim", move |stage| {
            let mut argv = stage.argv("mcp-shim");
            argv.push("--socket".into());
            argv.push(stage.runtime().socket().display().to_string());
            tool::ours(other.command(&words(&argv)))
        }),
    ]
}

/// Those without a job.
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
            tool::ping(shim_command(stage))
        }),
        way(
            "mcp_floor_ping",
            "no job: 'ping' of the MCP floor",
            |stage| tool::ping(stage.program("remit-bench-floor")),
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
                tool::open(command, params.clone(), Box::new(check))
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
