//! Measures concurrent calls, and the processor time of a call.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::mcp::{self, Session};
use crate::section::{Section, ratio};
use crate::series::CALLS_PER_USER;
use crate::stage::Stage;
use crate::usage::{self, Memory, Spent};
use crate::{Failure, lanes};

const BLOCKS: usize = 3;
/// Concurrent calls, and the number of clients.
const WIDTHS: &[(usize, usize)] = &[(1, 1), (8, 1), (64, 1), (8, 2), (64, 2)];
const USERS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    McpShim,
    McpFloor,
}

#[derive(Debug, Serialize)]
pub struct Load {
    pub rates: Vec<Rate>,
    pub cpu: Cpu,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rate {
    pub server: Server,
    pub in_flight: usize,
    /// Client processes, each with its share of the calls and its own user.
    pub clients: usize,
    pub calls: usize,
    pub per_second: f64,
    /// Relative to the rate with one call in flight.
    pub over_sequential: f64,
}

/// Processor time of one call in microseconds, with one in flight.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cpu {
    pub warden: f64,
    pub broker: f64,
    /// PID 1 of the jobs' namespace, and the worker.
    pub helpers: f64,
    pub job: f64,
    pub shim: f64,
}

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

/// Makes as many calls as each client's user is allowed. Returns the time until all were answered.
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
    // Checked after the clock stops: parsing JSON is not the daemon's cost.
    answers
        .iter()
        .flatten()
        .try_for_each(|line| mcp::ran(line))?;
    Ok(took)
}

/// Makes as many calls as the user is allowed, `in_flight` of them at any time. Returns the answers.
fn keep_busy(session: &mut Session, in_flight: usize) -> Result<Vec<String>, String> {
    let to_text = |error: Failure| error.to_string();
    let mut answers = Vec::with_capacity(CALLS_PER_USER);
    let mut asked = 0;
    while answers.len() < CALLS_PER_USER {
        while asked < CALLS_PER_USER && asked - answers.len() < in_flight {
            session.ask_run().map_err(to_text)?;
            asked += 1;
        }
        let mut line = String::new();
        session.receive(&mut line).map_err(to_text)?;
        answers.push(line);
    }
    Ok(answers)
}

#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    pub calls: usize,
    pub time: Duration,
    pub shim: Memory,
}

/// Makes at least `calls` calls, `in_flight` at any time, by successive users because of the rate limit per user.
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

pub fn idle_shim(stage: &mut Stage) -> Result<Memory, Failure> {
    Memory::of(lanes::shim(stage)?.pid())
}

fn cpu_per_call(stage: &mut Stage) -> Result<Cpu, Failure> {
    let members = stage.members()?;
    let (mut daemon, mut shim) = (Spent::default(), Duration::ZERO);
    for _ in 0..USERS {
        let mut session = open(stage, Server::McpShim)?;
        let (before, own) = (members.cpu()?, usage::cpu_of(session.pid())?);
        let answers = keep_busy(&mut session, 1)?;
        let spent = members.cpu()?.since(before);
        shim += usage::cpu_of(session.pid())?.saturating_sub(own);
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
    pub fn sections(&self) -> Vec<Section> {
        vec![self.rates(), self.cpu.section()]
    }

    /// Returns the calls in flight and the rate relative to one in flight, for a single `mcp-shim`.
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
            ("watchdog, spawner, zygote", self.helpers),
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
