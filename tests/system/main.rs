//! System tests on the real binaries: one module for each promise or part. `cargo nextest run -p remit-tests -E
//! 'test(/^approvals::/)'` runs one module.

// Helpers panic as well. clippy.toml permits that only in functions marked `#[test]`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

/// Changes that another person approves, over the real daemon: what an approval starts, and what never starts.
mod approvals {
    mod approved;
    mod approvers;
    mod attacks;
    mod decided;
    mod described;
    mod files;
    mod interrupted;
    mod meanwhile;
    mod scene;
    mod signed;
    mod void;
    mod words;
}

/// The audit log: written before the exec, complete, chained, and safe against secrets, forgeries and floods.
mod audit {
    mod corpus;
    mod paths;
    mod records;
    mod stops;
}

/// The chain of records stays valid whatever happens to the daemon, and becomes invalid by any change of the
/// file.
mod audit_log {
    mod changed;
    mod killed;
    mod scene;
}

mod bus;
mod chaos;
mod command_line;
mod controls;
mod deaths;

/// Jobs refused by the kernel: the answer names the layer, the reason and the next step.
mod explain {
    mod everyday;
    mod profiles;
    mod scene;
}

/// Temporary grants, over the real daemon: what they permit, how they end, and what they never permit.
mod grants {
    mod ends;
    mod granted;
    mod refused;
    mod restart;
    mod scene;
}

mod history;
mod identity;

/// Arguments that make common tools execute programs or write files. Each works without remit, and has no effect
/// as a value of a named command.
mod injections {
    mod attempts;
    mod fixture;
}

/// Bad input and misbehaving jobs end in a clear refusal or a named outcome. The daemon lives, others are served
/// within a second, and no process is left.
mod input {
    mod connections;
    mod frames;
    mod jobs;
    mod named;
    mod requests;
}

/// Jobs under attack: floods of jobs and output, binary output, slow searches, full disks, and jobs that resist
/// their end.
mod jobs {
    mod clients;
    mod denials;
    mod disk;
    mod endings;
    mod follow;
    mod grep;
    mod looks;
    mod model;
    mod output;
    mod owners;
    mod queue;
    mod queue_ends;
    mod scene;
    mod stop;
}

mod mcp;
mod mcp_clients;
mod mounts;
mod people;
mod pids;

/// Effects of a policy over the real daemon, and checks of the shipped examples.
mod policy {
    mod arguments;
    mod broken;
    mod catalogue;
    mod commands;
    mod compiler;
    mod documents;
    mod interpreters;
    mod paths;
    mod profiles;
    mod reload;
    mod scene;
    mod strangers;
}

/// Kernel resources that exist once a machine or once a user: no job can use them up.
///
/// Each row of the table 'Pools of the machine' in SECURITY.md names its test.
mod pools {
    mod arena;
    mod files;
    mod kernel;
    mod table;
    mod users;
}

mod races;
mod restart;

/// Rights end at once if accounts are removed, renamed or leave a group.
mod rights {
    mod accounts;
    mod administrators;
    mod denials;
    mod grants;
    mod scene;
}

/// Attacks on the sandboxes through the real daemon.
///
/// [`controls`] shows that each attack succeeds without them. Without Landlock (`make
/// sandbox-without-landlock`), exactly the attacks succeed that only Landlock refuses: the table in SECURITY.md.
mod sandbox {
    mod approved;
    mod arena;
    mod read;
    mod strict;
}

mod secrets;
mod soak;
mod spawner;
mod steps;
mod strangers;

/// The warden against hostile peers: a broker played by the test, misbehaving administrators, and a wrong
/// environment.
#[allow(unsafe_code)]
mod warden {
    pub mod admin;
    pub mod anything;
    pub mod approvals;
    pub mod audit_log;
    pub mod flood;
    pub mod ledger;
    pub mod link;
    pub mod profiles;
    pub mod queue;
    pub mod self_test;
    pub mod service;
    pub mod stage;
    pub mod start;
    pub mod strangers;
}

mod zygote;
