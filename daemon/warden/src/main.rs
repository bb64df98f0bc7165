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

/// Who is at the other end: sockets, peers, accounts, sessions. Nothing here decides what they may do.
mod identity {
    pub mod accounts;
    pub mod arrivals;
    pub mod listeners;
    pub mod login_session;
    pub mod lookups;
    pub mod peer;
    pub mod sessions;
    pub mod user_names;
}

/// The life of a job: admission, record, launch, queue, termination, cleanup. [`job::pipeline`] is the whole story.
mod job {
    pub(crate) mod acts;
    pub mod admission;
    pub mod allocation;
    pub mod backpressure;
    pub mod breaker;
    pub mod commits;
    pub mod confirmation;
    pub mod context;
    pub mod copy_bounds;
    pub mod drain;
    pub mod ended;
    pub mod exit;
    pub mod floor;
    pub mod granted;
    pub mod kept_views;
    pub mod life;
    pub mod live;
    pub mod outcome;
    pub mod pack;
    pub mod pipeline;
    pub mod plan_checks;
    pub mod queue;
    pub mod recently_ended;
    pub mod recheck;
    pub mod recovery;
    pub mod spawn_failure;
    pub mod start;
    pub mod state;
    pub mod steps;
    pub mod table;
    pub mod termination;
    pub mod unconfirmed;
    pub mod unkillable;
}

mod request;
mod sandbox;
mod startup;
mod state;

/// What outlives the daemon in the state directory: ledger, lock; and what a start makes of it.
mod state_dir {
    pub mod framed_file;
    pub mod ledger;
    pub mod leftover_processes;
    pub mod lock;
    pub mod recovery;
}

use std::process::ExitCode;

fn main() -> ExitCode {
    remit_common::panics::end_process();
    match startup::arguments::parse().and_then(startup::start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            service::sd_notify::Notify::from_env().failed(&error.to_string());
            error.report()
        }
    }
}
