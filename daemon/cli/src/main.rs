//! remit: the command line of remitd. It has only its user's rights; the daemon alone decides permissions and sandbox.
#![forbid(unsafe_code)]

mod app;
mod args;
mod checks;

/// Connections to the daemon, and what verbs ask over them.
mod client {
    pub(crate) mod admin_socket;
    pub(crate) mod configuration;
    pub(crate) mod ctrl_c;
    pub(crate) mod follow;
    pub(crate) mod user_socket;
}

/// The verbs; related ones share a file.
mod commands {
    pub mod access;
    pub mod approve;
    pub mod audit;
    pub mod client_config;
    pub mod enroll;
    pub mod grant;
    pub mod history;
    pub mod host;
    mod input;
    pub mod job;
    pub mod jobs;
    pub mod pending;
    pub mod policy;
    pub mod run;
    pub mod status;
}

mod completion;
mod context;
mod enrollment;
mod error;
mod exit;
mod external_program;

/// Reads sshd's effective settings and authorized_keys files as sshd does (sshd(8), AUTHORIZED_KEYS FILE FORMAT;
/// sshd_config(5)). Judges and changes nothing.
mod openssh {
    pub mod blocks;
    pub mod effective;
    pub mod keys;
    pub mod options;
    pub mod pattern;
}

/// Text for people and programs: tables, columns, units, JSON, colors. Text of others is escaped here.
mod render {
    pub(crate) mod calls;
    pub(crate) mod display;
    mod failure;
    pub(crate) mod job_end;
    pub(crate) mod output;
    pub(crate) mod request;
    pub(crate) mod table;
    pub(crate) mod units;
    pub(crate) mod untrusted_columns;
}

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main(std::env::args_os())
}
