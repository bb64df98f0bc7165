//! The whole benchmark, and its result for people and for programs.

use std::fs;

use serde::Serialize;

use crate::Failure;
use crate::args::Args;
use crate::lanes::{self, ENTRIES};
use crate::load::{self, Throughput};
use crate::memory::{Daemon, Memory};
use crate::rounds;
use crate::series::Summary;
use crate::stage::Stage;

/// Jobs between the two looks at memory, at least; with several calls in flight.
const JOBS: usize = 1000;
/// How many.
const IN_FLIGHT: usize = 8;

/// Everything.
#[derive(Debug, Serialize)]
struct Report {
    conditions: Conditions,
    /// Microseconds.
    calls: Vec<Call>,
    throughput: Throughput,
    /// Microseconds.
    initialize: Summary,
    /// Bytes.
    memory: MemoryReport,
}

/// What the numbers depend on.
#[derive(Debug, Serialize)]
struct Conditions {
    release: &'static str,
    build: &'static str,
    kernel: String,
    processor: String,
    cpus: usize,
    rounds: usize,
    sink: String,
    sync: String,
}

/// One way to make a call.
#[derive(Debug, Serialize)]
struct Call {
    key: &'static str,
    title: &'static str,
    #[serde(flatten)]
    time: Summary,
    /// Its median over that of a bare fork and exec.
    over_fork: f64,
    /// Its median over that of the MCP server that only spawns.
    over_mcp: f64,
}

#[derive(Debug, Serialize)]
struct MemoryReport {
    before: Daemon,
    after: Daemon,
    /// Jobs from `before` to `after`, those that warmed up left out.
    jobs: usize,
    idle_shim: Memory,
}

/// Measures, prints, leaves the JSON where it is wanted.
pub fn run(args: Args) -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err("the daemon must be started by root; 'make bench' sees to it".into());
    }
    let report = measure(&args)?;
    print(&report);
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
    let initialize = load::initialize(&mut stage)?;
    let idle_shim = load::idle_shim(&mut stage)?;
    let series = rounds::take(&mut stage, args.rounds)?;
    let throughput = load::through_shim(&mut stage, IN_FLIGHT, JOBS)?;
    let after = stage.memory()?;

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
        conditions: conditions(args)?,
        calls: calls.collect(),
        throughput,
        initialize,
        memory: MemoryReport {
            before,
            after,
            jobs: args.rounds * ENTRIES.iter().filter(|entry| entry.job).count() + throughput.calls,
            idle_shim,
        },
    })
}

fn conditions(args: &Args) -> Result<Conditions, Failure> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    Ok(Conditions {
        release: remit_common::RELEASE,
        build: if cfg!(debug_assertions) {
            "unoptimised"
        } else {
            "optimised"
        },
        kernel: kernel.trim().to_owned(),
        processor: processor.to_owned(),
        cpus: std::thread::available_parallelism()?.get(),
        rounds: args.rounds,
        sink: args.sink.clone(),
        sync: args.sync.clone(),
    })
}

fn print(report: &Report) {
    let Conditions {
        release,
        build,
        kernel,
        processor,
        cpus,
        rounds,
        sink,
        sync,
    } = &report.conditions;
    println!("remit {release}, {build}; Linux {kernel}, {cpus} × {processor}");
    println!("{rounds} rounds, ways in turns; audit.sink {sink}, audit.sync {sync}\n");
    println!(
        "{:<38}{:>10}{:>10}{:>9}{:>9}",
        "/bin/true by", "p50 ms", "p95 ms", "× fork", "× MCP"
    );
    for call in &report.calls {
        println!(
            "{:<38}{:>10.3}{:>10.3}{:>9.2}{:>9.2}",
            call.title,
            call.time.p50 / 1e3,
            call.time.p95 / 1e3,
            call.over_fork,
            call.over_mcp
        );
    }
    let Throughput {
        in_flight,
        calls,
        per_second,
        shim,
    } = &report.throughput;
    let one = report.calls.iter().find(|call| call.key == lanes::SHIM);
    let sequential = one.map_or(f64::NAN, |call| 1e6 / call.time.p50);
    println!(
        "\nmcp-shim, {in_flight} in flight: {per_second:.0} calls/s over {calls} calls, {:.2} × one after another",
        per_second / sequential
    );
    println!(
        "mcp-shim, start to answered initialize: {:.2} ms (p95 {:.2}, {} starts)\n",
        report.initialize.p50 / 1e3,
        report.initialize.p95 / 1e3,
        report.initialize.count
    );
    let MemoryReport {
        before,
        after,
        jobs,
        idle_shim,
    } = &report.memory;
    let after_jobs = format!("after {jobs} jobs");
    println!(
        "{:<16}{:>22}{:>22}",
        "MiB: RSS (PSS)", "before any job", after_jobs
    );
    for (name, before, after) in [
        ("warden", before.warden, after.warden),
        ("keeper", before.keeper, after.keeper),
        ("broker", before.broker, after.broker),
        ("together", before.sum(), after.sum()),
        ("mcp-shim", *idle_shim, *shim),
    ] {
        println!(
            "{name:<16}{:>22}{:>22}",
            mebibytes(before),
            mebibytes(after)
        );
    }
}

fn mebibytes(memory: Memory) -> String {
    let unit = f64::from(1 << 20);
    format!(
        "{:.2} ({:.2})",
        memory.rss as f64 / unit,
        memory.pss as f64 / unit
    )
}
