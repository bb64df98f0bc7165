//! remit: the command line of remitd. This program has only its user's rights. The daemon alone decides permissions
//! and confinement.
#![forbid(unsafe_code)]

mod app;
mod args;
mod checks;
mod client;
mod commands;
mod completion;
mod context;
mod enrollment;
mod error;
mod exit;
mod external_program;
mod openssh;
mod render;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main(std::env::args_os())
}
