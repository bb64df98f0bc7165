//! `remitd`: the only process of remit that is root.
//!
//! It decides, records, confines, runs and reports; it never reads what a
//! client or a job writes except through bounded decoders, and its one loop
//! never waits. [`start`] is the order of start-up, [`pipeline`] the story of
//! one request.

#[macro_use]
mod say;

mod access;
mod accounts;
mod admin;
mod ahead;
mod approval;
mod args;
mod arrivals;
mod audit;
mod broker;
mod checkup;
mod clients;
mod clock;
mod config;
mod ending;
mod error;
mod event;
mod everybody;
mod fault;
mod flood;
mod following;
mod grants;
mod history;
mod jobs;
mod json;
mod kernel_audit;
mod ledger;
mod leftover;
mod listen;
mod lock;
mod look;
mod lookups;
mod normal;
mod notification;
mod notify;
mod often;
mod outcome;
mod parking;
mod peer;
mod people;
mod pipeline;
mod plan;
mod policy_load;
mod processes;
mod reactor;
mod recent;
mod refusals;
mod restart;
mod sessions;
mod shutdown;
mod sink;
mod start;
mod status;
mod stop;
mod stuck;
mod survivors;
mod turns;
mod uids;
mod unstarted;
mod waiting;
mod walls;
mod warden;

use std::process::ExitCode;

use remit_confine::zygote;

fn main() -> ExitCode {
    if zygote::asked_for() {
        return ExitCode::from(zygote::serve());
    }
    match args::parse().and_then(start::start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            notify::Notify::from_env().failed(&error.to_string());
            error.report()
        }
    }
}
