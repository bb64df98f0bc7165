//! `remitd`: the only process of remit that runs as root. It decides, records, confines, runs and reports. It must
//! read data of clients and jobs only through bounded decoders. Its single loop never blocks. [`startup`] shows the
//! order of start-up, [`job::pipeline`] the steps of one request.

// First, because its macros are used everywhere.
#[macro_use]
mod service;

mod admin;
mod approval;
mod audit;
mod config;
mod event_loop;
mod identity;
mod job;
mod request;
mod sandbox;
mod startup;
mod state;
mod state_dir;

use std::process::ExitCode;

use remit_confine::spawner;

fn main() -> ExitCode {
    if spawner::is_worker() {
        return ExitCode::from(spawner::serve());
    }
    match startup::arguments::parse().and_then(startup::start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            service::sd_notify::Notify::from_env().failed(&error.to_string());
            error.report()
        }
    }
}
