//! Measures the cost of runs through remit and without it: one table, one run, no thresholds. The ways ([`lanes`])
//! take turns, so other load of the machine affects all alike. Only ratios within one run are meaningful. The measured
//! programs are in the same directory, and the daemons are separate ([`stage`]).

mod args;
mod calls;
mod conditions;
mod decide;
mod flood;
mod footprint;
mod growth;
mod lanes;
mod load;
mod mcp;
mod members;
mod output;
mod peers;
mod records;
mod report;
mod search;
mod section;
mod series;
mod setting;
mod small;
mod split;
mod ssh;
mod stage;
mod starts;
mod usage;

use std::process::ExitCode;

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
