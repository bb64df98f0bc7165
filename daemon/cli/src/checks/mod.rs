//! Checks remit on this machine: the sandbox layers and the ways around them. The daemon runs the self-test of its
//! layers. All other checks run here with the caller's rights; checks that need root are skipped and reported as
//! skipped. Nothing is changed.

mod accounts;
mod agents;
mod check;
mod connections;
mod daemon;
mod doas;
pub(crate) mod file_facts;
mod files;
mod journal;
mod kernel;
mod keys;
pub(crate) mod keys_in_other_accounts;
mod layers;
pub(crate) mod privilege_escalation;
mod read;
mod report;
mod screen;
mod service;
mod ssh;
mod started;
pub(crate) mod writable_paths;

use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;
use remit_common::names::Runtime;

pub use accounts::checks_of_new_agent;
use check::Part;
pub use check::{Check, Verdict};
use daemon::DaemonAnswer;
pub use report::Report;
pub use screen::{paint, text};
use service::Service;

use crate::os::external_program::ProgramError;

pub fn examine(runtime: &Runtime) -> Report {
    let asked = SystemTime::now().duration_since(UNIX_EPOCH);
    let asked = asked.unwrap_or_default();
    // This is first because the connection starts a socket-activated daemon.
    let DaemonAnswer {
        checkup,
        parts: [layers, kernel],
        lock,
    } = daemon::ask(runtime);
    let service = Service::ask();
    let units = match &service {
        Some(Ok(service)) => service.files(),
        Some(Err(_)) | None => Vec::new(),
    };
    let own = files::own(&units);
    let (agents, ssh) = match geteuid().is_root() {
        true => accounts::checks(runtime, &own),
        false => {
            let skipped = || {
                vec![Check::skipped(
                    "all",
                    "only root can check this: sudo remit doctor",
                )]
            };
            (skipped(), skipped())
        }
    };
    let part = |title, checks| Part { title, checks };
    let parts = vec![
        layers,
        kernel,
        part("agents", agents),
        part("ssh", ssh),
        part("files", files::checks(runtime, &own)),
        part("service", [lock, service_checks(service)].concat()),
        part("journal", journal::checks(checkup.as_ref(), asked)),
    ];
    Report { parts, checkup }
}

fn service_checks(service: Option<Result<Service, ProgramError>>) -> Vec<Check> {
    match service {
        None => vec![Check::skipped("all", "systemd does not run this machine")],
        Some(Err(error)) => vec![Check::skipped("all", error.to_string())],
        Some(Ok(service)) => service.checks(),
    }
}
