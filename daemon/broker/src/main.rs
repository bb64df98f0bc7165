//! remit-broker: talks to clients, keeps job output, has no privilege.
//!
//! Started by the warden with the link as descriptor 3. Decides nothing about
//! rights: it passes requests on, and the warden asks the kernel who is asking.
//! As `remit-broker --sink` it is another process, which closes what may hang for the warden.
#![deny(unsafe_code)]

mod account;
mod aside;
mod broker;
mod bucket;
mod call;
mod check;
mod denials;
mod drain;
mod explain;
mod fence;
mod grep;
mod identity;
mod job;
mod jobs;
mod kernel_audit;
mod left;
mod lines;
mod log;
mod lost;
mod notes;
mod output;
mod pace;
mod page;
mod pipe;
mod programs;
mod pulse;
mod redact;
mod rest;
mod room;
mod session;
mod sink;
mod spool;
mod start;
mod warden;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    if sink::is_asked_for() {
        return sink::run();
    }
    start::run()
}
