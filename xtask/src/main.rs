//! Tools for the work on remit: `cargo xtask report` counts what must not grow.
//!
//! It must not change a file except the kept figures, and it uses no network.

mod classified;
mod command;
mod figures;
mod graph;
mod packages;
mod print;
mod report;
mod repository;
mod rust;
mod type_names;
mod words;

use std::process::ExitCode;

use clap::Parser;

use command::{XtaskArgs, XtaskCommand};

fn main() -> ExitCode {
    let XtaskCommand::Report(arguments) = XtaskArgs::parse().command;
    match command::report(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask report: {error}");
            ExitCode::from(2)
        }
    }
}
