//! Checks remit on this machine: the sandbox layers, by the daemon's self-test, and the ways around them, here with the
//! caller's rights. Checks that need root are skipped and reported as skipped. Nothing is changed.

mod accounts;
mod agents;
mod approvers;
mod configuration;
mod daemon;
mod enrolled;
pub(crate) mod file_facts;
mod files;
mod journal;
mod kernel;
mod keys;
pub(crate) mod keys_in_other_accounts;
mod login;
mod nightly;
mod paths;
pub(crate) mod privilege_escalation;
mod report;
mod screen;
mod selinux;
mod service;
mod ssh;
mod started;
pub(crate) mod writable_paths;

use std::time::{SystemTime, UNIX_EPOCH};

use daemon::DaemonAnswer;
use nix::unistd::geteuid;
use remit_common::names::Runtime;
use report::{AccountChecks, Part};
use service::Service;

use crate::args::DoctorArgs;
use crate::error::{Exit, Failure};
use crate::external_program::ProgramError;
use crate::render::output::{self, Context, Form};
use crate::render::units;

pub use accounts::{checks_of_new_agent, checks_of_new_approver, login_checks, other_account_of};
pub use keys::or_enroll;
pub use report::{Check, Report, Verdict};
pub use screen::{paint, text};

pub fn examine(runtime: &Runtime) -> Report {
    let asked = SystemTime::now().duration_since(UNIX_EPOCH);
    let asked = asked.unwrap_or_default();
    let DaemonAnswer {
        checkup,
        parts: [layers, kernel],
        status,
    } = daemon::ask(runtime);
    let service = Service::ask();
    let units = match &service {
        Some(Ok(service)) => service.files(),
        Some(Err(_)) | None => Vec::new(),
    };
    let own = files::own(&units);
    let (agents, ssh, paths) = match geteuid().is_root() {
        true => {
            let AccountChecks {
                accounts,
                ssh,
                agents,
            } = accounts::checks(runtime, &own);
            let paths = [paths::checks(&agents), nightly::checks()].concat();
            (accounts, ssh, paths)
        }
        false => {
            let skipped = || {
                vec![Check::skipped(
                    "all",
                    "only root can check this: sudo remit doctor",
                )]
            };
            (skipped(), skipped(), skipped())
        }
    };
    let part = |title, checks| Part { title, checks };
    let parts = vec![
        layers,
        kernel,
        part("agents", agents),
        part("ssh", ssh),
        part("paths", paths),
        part(
            "files",
            [
                files::checks(runtime, &own),
                configuration::checks(status.as_deref().ok()),
            ]
            .concat(),
        ),
        part(
            "service",
            [daemon::status_checks(&status), service_checks(service)].concat(),
        ),
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

pub fn doctor(context: &Context, args: &DoctorArgs) -> Result<Exit, Failure> {
    let report = examine(&context.runtime);
    match context.form {
        Form::Json => output::json(&report.json())?,
        Form::Text => {
            let mut lines = context.width.fold(&text(&report, args.verbose));
            if units::is_color_wanted() {
                lines = paint(&lines);
            }
            output::painted(&lines)?;
        }
    }
    Ok(Exit::of_failures(report.failures()))
}
