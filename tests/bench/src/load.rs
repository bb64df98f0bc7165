//! Many calls at once, and what a call costs the processors.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Failure;
use crate::cpu;
use crate::lanes;
use crate::mcp::{self, Session};
use crate::members::Spent;
use crate::memory::Memory;
use crate::rounds::CALLS_PER_USER;
use crate::section::{Section, ratio};
use crate::stage::Stage;

/// Blocks of calls of each kind; kinds take turns.
const BLOCKS: usize = 3;
/// Calls that wait at any time, and by how many clients they are made.
const WIDTHS: &[(usize, usize)] = &[(1, 1), (8, 1), (64, 1), (8, 2), (64, 2)];
/// Users whose calls, one after another, tell what a call costs the processors.
const USERS: usize = 3;

/// A server that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// Ours.
    McpShim,
    /// The one that only spawns.
    McpFloor,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Calls at once.
    pub rates: Vec<Rate>,
    /// Of one call through `mcp-shim`.
    pub cpu: Cpu,
}

/// How fast calls are answered when several wait.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rate {
    /// By whom.
    pub server: Server,
    /// Calls that wait at any time.
    pub in_flight: usize,
    /// Processes that make them, each with its share and its own user.
    pub clients: usize,
    /// Calls in all.
    pub calls: usize,
    /// Calls answered each second.
    pub per_second: f64,
    /// That, over the rate with one in flight.
    pub over_sequential: f64,
}

/// Processor time of one call in microseconds, with one in flight.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cpu {
    /// Of the warden.
    pub warden: f64,
    /// Of the broker.
    pub broker: f64,
    /// Of keeper and zygote.
    pub helpers: f64,
    /// Of the job, from its fork on.
    pub job: f64,
    /// Of `mcp-shim`.
    pub shim: f64,
}

/// Takes all of it.
pub fn take(stage: &mut Stage) -> Result<Load, Failure> {
    let kinds: Vec<(Server, usize, usize)> = [Server::McpShim, Server::McpFloor]
        .into_iter()
        .flat_map(|server| WIDTHS.iter().map(move |&(width, by)| (server, width, by)))
        .collect();
    let mut sums = vec![(0, Duration::ZERO); kinds.len()];
    for _ in 0..BLOCKS {
        for ((server, in_flight, clients), sum) in kinds.iter().zip(&mut sums) {
            let took = block(stage, *server, *in_flight, *clients)?;
            sum.0 += CALLS_PER_USER * clients;
            sum.1 += took;
        }
    }
    let rates = kinds.iter().zip(&sums).map(|(kind, (calls, time))| {
        let (server, in_flight, clients) = *kind;
        Rate {
            server,
            in_flight,
            clients,
            calls: *calls,
            per_second: *calls as f64 / time.as_secs_f64(),
            over_sequential: 0.0,
        }
    });
    let mut rates: Vec<Rate> = rates.collect();
    let one_by_one: Vec<Rate> = rates
        .iter()
        .filter(|rate| rate.in_flight == 1)
        .copied()
        .collect();
    for rate in &mut rates {
        let mut ones = one_by_one.iter();
        let one = ones.find(|one| one.server == rate.server);
        rate.over_sequential = one.map_or(f64::NAN, |one| rate.per_second / one.per_second);
    }
    Ok(Load {
        rates,
        cpu: cpu_per_call(stage)?,
    })
}

fn open(stage: &mut Stage, server: Server) -> Result<Session, Failure> {
    let mut session = match server {
        Server::McpShim => lanes::shim(stage)?,
        Server::McpFloor => Session::open(stage.program("remit-bench-floor"))?.0,
    };
    let mut line = String::new();
    session.ask_run()?;
    session.receive(&mut line)?;
    mcp::ran(&line)?;
    Ok(session)
}

/// As many calls as each client's user may make; how long it took until all were answered.
fn block(
    stage: &mut Stage,
    server: Server,
    in_flight: usize,
    clients: usize,
) -> Result<Duration, Failure> {
    let open = (0..clients).map(|_| open(stage, server));
    let mut sessions = open.collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let answers = thread::scope(|scope| {
        let busy = |session| scope.spawn(move || keep_busy(session, in_flight / clients));
        let threads: Vec<_> = sessions.iter_mut().map(busy).collect();
        let ended = threads.into_iter().map(|thread| {
            let joined = thread.join().map_err(|_| "a client panicked".to_owned());
            joined.and_then(|answers| answers)
        });
        ended.collect::<Result<Vec<_>, _>>()
    })?;
    let took = start.elapsed();
    // Not while the clock runs: reading JSON costs time that is not the daemon's.
    answers
        .iter()
        .flatten()
        .try_for_each(|line| mcp::ran(line))?;
    Ok(took)
}

/// As many calls through `session` as its user may make, `in_flight` of them at any time: the answers.
fn keep_busy(session: &mut Session, in_flight: usize) -> Result<Vec<String>, String> {
    let told = |error: Failure| error.to_string();
    let mut answers = Vec::with_capacity(CALLS_PER_USER);
    let mut asked = 0;
    while answers.len() < CALLS_PER_USER {
        while asked < CALLS_PER_USER && asked - answers.len() < in_flight {
            session.ask_run().map_err(told)?;
            asked += 1;
        }
        let mut line = String::new();
        session.receive(&mut line).map_err(told)?;
        answers.push(line);
    }
    Ok(answers)
}

/// Many calls through `mcp-shim`.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// So many.
    pub calls: usize,
    /// How long they took.
    pub time: Duration,
    /// The last shim, after its share of them.
    pub shim: Memory,
}

/// At least `calls` calls through `mcp-shim`, `in_flight` of them at any time: one user and one shim after
/// another, as no user may ask for all of them that fast.
pub fn through_shim(
    stage: &mut Stage,
    in_flight: usize,
    calls: usize,
) -> Result<Throughput, Failure> {
    let mut all = Throughput {
        calls: 0,
        time: Duration::ZERO,
        shim: Memory::default(),
    };
    while all.calls < calls {
        let mut session = open(stage, Server::McpShim)?;
        let start = Instant::now();
        let answers = keep_busy(&mut session, in_flight)?;
        all.time += start.elapsed();
        answers.iter().try_for_each(|line| mcp::ran(line))?;
        all.calls += answers.len();
        all.shim = Memory::of(session.pid())?;
    }
    Ok(all)
}

/// A shim that has answered `initialize` and nothing else.
pub fn idle_shim(stage: &mut Stage) -> Result<Memory, Failure> {
    Memory::of(lanes::shim(stage)?.pid())
}

fn cpu_per_call(stage: &mut Stage) -> Result<Cpu, Failure> {
    let members = stage.members()?;
    let (mut daemon, mut shim) = (Spent::default(), Duration::ZERO);
    for _ in 0..USERS {
        let mut session = open(stage, Server::McpShim)?;
        let (before, own) = (members.cpu()?, cpu::of(session.pid())?);
        let answers = keep_busy(&mut session, 1)?;
        let spent = members.cpu()?.since(before);
        shim += cpu::of(session.pid())?.saturating_sub(own);
        daemon.warden += spent.warden;
        daemon.broker += spent.broker;
        daemon.helpers += spent.helpers;
        daemon.jobs += spent.jobs;
        answers.iter().try_for_each(|line| mcp::ran(line))?;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (USERS * CALLS_PER_USER) as f64;
    Ok(Cpu {
        warden: each(daemon.warden),
        broker: each(daemon.broker),
        helpers: each(daemon.helpers),
        job: each(daemon.jobs),
        shim: each(shim),
    })
}

impl Load {
    /// As tables.
    pub fn sections(&self) -> Vec<Section> {
        vec![self.rates(), self.cpu.section()]
    }

    /// How many in flight, and how often the rate of one in flight: of a single `mcp-shim`.
    pub fn through_shim(&self) -> impl Iterator<Item = (usize, f64)> {
        self.rates
            .iter()
            .filter(|rate| rate.server == Server::McpShim && rate.clients == 1)
            .filter(|rate| rate.in_flight > 1)
            .map(|rate| (rate.in_flight, rate.over_sequential))
    }

    fn rates(&self) -> Section {
        let columns = ["calls at once", "calls/s", "× one in flight", "calls"];
        let mut section = Section::new("Several calls at once", &columns);
        for rate in &self.rates {
            let by = match rate.server {
                Server::McpShim => "mcp-shim",
                Server::McpFloor => "MCP server that only spawns",
            };
            let clients = match rate.clients {
                1 => String::new(),
                n => format!(", {n} clients"),
            };
            section.row(
                format!("{by}, {} in flight{clients}", rate.in_flight),
                [
                    format!("{:.0}", rate.per_second),
                    ratio(rate.over_sequential),
                    rate.calls.to_string(),
                ],
            );
        }
        section.note(
            "The limits are those of a new installation: 16 jobs of one user at once, 32 calls on one connection; the others wait in queue and shim. \
             Each block of calls has a user of its own.",
        );
        section
    }
}

impl Cpu {
    fn section(&self) -> Section {
        let mut section = Section::new("Processor time of one call", &["process", "µs"]);
        let all = [
            ("warden", self.warden),
            ("keeper and zygote", self.helpers),
            ("broker", self.broker),
            ("mcp-shim", self.shim),
            (
                "the job, from its fork to its end, /bin/true with it",
                self.job,
            ),
        ];
        for (name, micros) in all {
            section.row(name, [format!("{micros:.0}")]);
        }
        let sum: f64 = all.iter().map(|(_, micros)| micros).sum();
        section.row("together", [format!("{sum:.0}")]);
        section.note("With one call in flight through mcp-shim, by the clocks of the processes; the client is not counted.");
        section
    }
}
