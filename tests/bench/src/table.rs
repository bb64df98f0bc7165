//! The result as a table for people.

use crate::conditions::Conditions;
use crate::decide::Decision;
use crate::flood::Meanwhile;
use crate::lanes;
use crate::load::Throughput;
use crate::memory::Memory;
use crate::report::{MemoryReport, Report};
use crate::search::Searches;

/// Prints it. Where nothing else is said, ratios are those of the medians.
pub fn print(report: &Report) {
    print_conditions(report);
    print_calls(report);
    print_floods(&report.floods);
    print_search(&report.search);
    print_decisions(&report.decide);
    print_memory(report);
}

fn print_conditions(report: &Report) {
    let Conditions {
        release,
        build,
        kernel,
        processor,
        cpus,
        mounts,
        mounts_shared,
        rounds,
        sink,
        sync,
        enforced,
    } = &report.conditions;
    let shared = if *mounts_shared {
        "shared"
    } else {
        "not shared"
    };
    println!("remit {release}, {build}; Linux {kernel}, {cpus} × {processor}");
    println!(
        "{rounds} rounds, ways in turns; audit.sink {sink}, audit.sync {sync}; {mounts} mounts, {shared}"
    );
    println!(
        "walls: {}; landlock {}; {}\n",
        enforced.walls.join(" "),
        enforced.landlock,
        enforced.limits.join(", ")
    );
}

fn print_calls(report: &Report) {
    println!(
        "{:<38}{:>10}{:>10}{:>10}{:>9}{:>9}",
        "/bin/true by", "p10 ms", "p50 ms", "p95 ms", "× fork", "× MCP"
    );
    for call in &report.calls {
        println!(
            "{:<38}{:>10.3}{:>10.3}{:>10.3}{:>9.2}{:>9.2}",
            call.title,
            call.time.p10 / 1e3,
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
        ..
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
}

fn print_floods(floods: &[Meanwhile]) {
    println!(
        "{:<38}{:>10}{:>10}{:>9}{:>9}",
        "while another user's job writes", "p50 ms", "p95 ms", "× idle", "p95 ×"
    );
    for Meanwhile {
        flood,
        bytes_per_second,
        calls,
    } in floods
    {
        println!("{flood}: {:.0} MB/s", bytes_per_second / 1e6);
        for call in calls {
            println!(
                "  {:<36}{:>10.3}{:>10.3}{:>9.2}{:>9.2}",
                call.title,
                call.time.p50 / 1e3,
                call.time.p95 / 1e3,
                call.p50_over_idle,
                call.p95_over_idle
            );
        }
    }
    println!();
}

/// Prints what verdicts cost.
pub fn print_decisions(decisions: &[Decision]) {
    println!(
        "{:<44}{:>12}{:>8}{:>14}{:>8}",
        "decide among 2,000 rules, 500 commands", "spread p50", "p95", "one group p50", "p95 µs"
    );
    for Decision {
        title,
        spread,
        one_group,
    } in decisions
    {
        println!(
            "{title:<44}{:>12.2}{:>8.2}{:>14.2}{:>8.2}",
            spread.p50, spread.p95, one_group.p50, one_group.p95
        );
    }
    println!();
}

fn print_search(all: &Searches) {
    let unit = f64::from(1 << 20);
    println!(
        "{:<38}{:>10}{:>10}{:>12}{:>10}",
        format!(
            "job grep, {:.1} MiB, {} lines",
            all.bytes as f64 / unit,
            all.lines
        ),
        "p50 ms",
        "p95 ms",
        "MiB a page",
        "matches"
    );
    for pages in &all.searches {
        println!(
            "{:<38}{:>10.3}{:>10.3}{:>12.2}{:>10.1}",
            pages.key,
            pages.time.p50 / 1e3,
            pages.time.p95 / 1e3,
            pages.bytes_per_page / unit,
            pages.matching_per_page
        );
    }
    println!();
}

fn print_memory(report: &Report) {
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
        ("mcp-shim", *idle_shim, report.throughput.shim),
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
