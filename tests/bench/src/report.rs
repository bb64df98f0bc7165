//! The whole benchmark, from the start of the daemon to its result.

use std::fs;

use serde::Serialize;

use crate::Failure;
use crate::args::Args;
use crate::conditions::Conditions;
use crate::decide::{self, Decision};
use crate::flood::{self, Meanwhile};
use crate::lanes::{self, ENTRIES};
use crate::load::{self, Throughput};
use crate::memory::{Daemon, Memory};
use crate::rounds;
use crate::search::{self, Searches};
use crate::series::Summary;
use crate::stage::Stage;
use crate::table;

/// Jobs between the two looks at memory, at least; with several calls in flight.
const JOBS: usize = 1000;
/// Calls that wait at any time then.
const IN_FLIGHT: usize = 8;

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What it depends on.
    pub conditions: Conditions,
    /// The ways, compared.
    pub calls: Vec<Call>,
    /// Several calls at once.
    pub throughput: Throughput,
    /// Calls while another user's jobs write.
    pub floods: Vec<Meanwhile>,
    /// A large output, searched.
    pub search: Searches,
    /// Verdicts among many rules.
    pub decide: Vec<Decision>,
    /// From the start of `mcp-shim` to its answer, microseconds.
    pub initialize: Summary,
    /// Of the processes, bytes.
    pub memory: MemoryReport,
}

/// One way to make a call.
#[derive(Debug, Serialize)]
pub struct Call {
    /// As [`lanes::Entry`].
    pub key: &'static str,
    /// As [`lanes::Entry`].
    pub title: &'static str,
    /// Microseconds.
    #[serde(flatten)]
    pub time: Summary,
    /// Its median over that of a bare fork and exec.
    pub over_fork: f64,
    /// Its median over that of the MCP server that only spawns.
    pub over_mcp: f64,
}

/// Memory before and after many jobs, in bytes.
#[derive(Debug, Serialize)]
pub struct MemoryReport {
    /// Before the first job.
    pub before: Daemon,
    /// After the last one.
    pub after: Daemon,
    /// Jobs from `before` to `after`, those that warmed up left out.
    pub jobs: usize,
    /// A shim that has run nothing.
    pub idle_shim: Memory,
}

/// Measures, prints, leaves the JSON where it is wanted.
pub fn run(args: Args) -> Result<(), Failure> {
    if args.decide {
        table::print_decisions(&decide::take()?);
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("the daemon must be started by root; 'make bench' sees to it".into());
    }
    let report = measure(&args)?;
    table::print(&report);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text + "\n")
            .map_err(|e| format!("cannot write '{}': {e}", path.display()))?;
    }
    Ok(())
}

fn measure(args: &Args) -> Result<Report, Failure> {
    let mut stage = Stage::set(args)?;
    let before = stage.memory()?;
    let enforced = lanes::enforced(&mut stage)?;
    let initialize = load::initialize(&mut stage)?;
    let idle_shim = load::idle_shim(&mut stage)?;
    let series = rounds::take(&mut stage, args.rounds)?;
    let throughput = load::through_shim(&mut stage, IN_FLIGHT, JOBS)?;
    let after = stage.memory()?;
    let floods = flood::take(&mut stage, args.rounds)?;
    let search = search::take(&mut stage)?;
    let decide = decide::take()?;

    let summaries: Vec<_> = series.iter().map(|series| series.summary()).collect();
    let floor = |key| {
        let entries = ENTRIES.iter().zip(&summaries);
        let found = entries.into_iter().find(|(entry, _)| entry.key == key);
        found.map_or(f64::NAN, |(_, summary)| summary.p50)
    };
    let calls = ENTRIES.iter().zip(&summaries);
    let calls = calls.map(|(entry, time)| Call {
        key: entry.key,
        title: entry.title,
        time: *time,
        over_fork: time.p50 / floor(lanes::FORK),
        over_mcp: time.p50 / floor(lanes::MCP),
    });
    Ok(Report {
        conditions: Conditions::read(args, enforced)?,
        calls: calls.collect(),
        throughput,
        floods,
        search,
        decide,
        initialize,
        memory: MemoryReport {
            before,
            after,
            jobs: args.rounds * ENTRIES.iter().filter(|entry| entry.job).count() + throughput.calls,
            idle_shim,
        },
    })
}
