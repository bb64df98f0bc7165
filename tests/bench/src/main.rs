//! What a run costs through remit, beside what it costs without: one table, one run, no thresholds.
//!
//! Ways to run `/bin/true` ([`lanes`]) take turns, so that whatever else the machine does
//! meets all of them alike; only ratios within one run mean something. It measures the
//! programs that lie beside it, with daemons of its own ([`stage`]).

mod args;
mod calls;
mod conditions;
mod cpu;
mod decide;
mod document;
mod flood;
mod footprint;
mod growth;
mod lanes;
mod load;
mod mcp;
mod members;
mod memory;
mod output;
mod peers;
mod records;
mod report;
mod rounds;
mod search;
mod section;
mod series;
mod setting;
mod small;
mod split;
mod ssh;
mod stage;
mod starts;
mod summary;

use std::process::ExitCode;

/// Whatever ends a benchmark early; people read it, nothing acts on it.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match args::parse().and_then(report::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-bench: {why}");
            ExitCode::FAILURE
        }
    }
}
