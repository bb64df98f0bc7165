//! Many calls at once, and the start of a server.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Failure;
use crate::lanes;
use crate::mcp::{self, Session};
use crate::memory::Memory;
use crate::rounds::CALLS_PER_USER;
use crate::series::{Series, Summary};
use crate::stage::Stage;

/// Starts of `mcp-shim`.
const STARTS: usize = 30;

/// How fast calls are answered when several wait.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Throughput {
    /// Calls that wait at any time.
    pub in_flight: usize,
    /// Calls in all.
    pub calls: usize,
    /// Calls answered each second.
    pub per_second: f64,
    /// The last shim, after its share of them.
    pub shim: Memory,
}

/// At least `calls` calls through `mcp-shim`, `in_flight` of them at any time.
///
/// One user and one shim after another: no user may ask for all of them that fast.
pub fn through_shim(
    stage: &mut Stage,
    in_flight: usize,
    calls: usize,
) -> Result<Throughput, Failure> {
    let mut total = Throughput {
        in_flight,
        calls: 0,
        per_second: 0.0,
        shim: Memory::default(),
    };
    let mut time = Duration::ZERO;
    while total.calls < calls {
        let mut session = lanes::shim(stage)?;
        let mut line = String::new();
        session.ask_run()?;
        session.receive(&mut line)?;
        let mut answers = Vec::with_capacity(CALLS_PER_USER);
        let start = Instant::now();
        keep_busy(&mut session, in_flight, &mut answers)?;
        time += start.elapsed();
        // Not while the clock runs: reading JSON costs time that is not the daemon's.
        answers.iter().try_for_each(|line| mcp::ran(line))?;
        total.calls += answers.len();
        total.shim = Memory::of(session.pid())?;
    }
    total.per_second = total.calls as f64 / time.as_secs_f64();
    Ok(total)
}

fn keep_busy(
    session: &mut Session,
    in_flight: usize,
    answers: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut asked = 0;
    while answers.len() < CALLS_PER_USER {
        while asked < CALLS_PER_USER && asked - answers.len() < in_flight {
            session.ask_run()?;
            asked += 1;
        }
        let mut line = String::new();
        session.receive(&mut line)?;
        answers.push(line);
    }
    Ok(())
}

/// From the start of `mcp-shim` to its answer to `initialize`.
pub fn initialize(stage: &mut Stage) -> Result<Summary, Failure> {
    let mut series = Series::default();
    for _ in 0..STARTS {
        let (_, took) = Session::open(lanes::shim_command(stage))?;
        series.push(took);
    }
    Ok(series.summary())
}

/// A shim that has answered `initialize` and nothing else.
pub fn idle_shim(stage: &mut Stage) -> Result<Memory, Failure> {
    Memory::of(lanes::shim(stage)?.pid())
}
