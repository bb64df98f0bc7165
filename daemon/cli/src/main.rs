//! remit: the command line of remitd.
//!
//! It asks and shows. Who may do what, and what a job may touch, is decided by
//! the daemon alone: this program runs with its user's own rights.
#![forbid(unsafe_code)]

mod admin;
mod app;
mod approval;
mod args;
mod calls;
mod colour;
mod configuration;
mod daemon;
mod decided;
mod doctor;
mod ending;
mod enroll;
mod exit;
mod failure;
mod fold;
mod follow;
mod human;
mod interrupt;
mod json;
mod outlet;
mod output;
mod places;
mod powerful;
mod program;
mod request;
mod sink;
mod sshd;
mod table;
mod terminal;
mod verb;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main(std::env::args_os())
}
