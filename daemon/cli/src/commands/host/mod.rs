//! `remit host`: shows facts about the machine in tables. The daemon bounds the report. This module truncates each
//! cell.

mod machine;
mod network;
mod section;
mod system;

use remit_common::host::HostReport;
use remit_common::wire::{Reply, Request};

use crate::args::HostArgs;
use crate::client::user_socket::Daemon;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};
use crate::render::table;
use crate::render::units;
use crate::render::width::Width;

pub fn host(context: &Context, args: HostArgs) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let sections = args.sections;
    let Reply::Host(report) = daemon.call(Request::Host { sections })? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&context.width.fold(&show(&report, context.width)))?,
    }
    Ok(Exit::OK)
}

fn show(report: &HostReport, width: Width) -> String {
    let mut lines = format!("at {}\n", units::time(report.time));
    for alert in &report.alerts {
        lines += &table::fact("alert", alert);
    }
    let sections = [
        report.os.as_ref().map(machine::os),
        report.boots.as_ref().map(|part| system::boots(part, width)),
        report.load.as_ref().map(machine::load),
        report.cpu.as_ref().map(machine::cpu),
        report.memory.as_ref().map(machine::memory),
        report
            .disks
            .as_ref()
            .map(|part| machine::disks(part, width)),
        report
            .mounts
            .as_ref()
            .map(|part| machine::mounts(part, width)),
        report
            .network
            .as_ref()
            .map(|part| network::network(part, width)),
        report
            .ports
            .as_ref()
            .map(|part| network::ports(part, width)),
        report.units.as_ref().map(|part| system::units(part, width)),
        report.users.as_ref().map(|part| system::users(part, width)),
        report
            .containers
            .as_ref()
            .map(|part| system::containers(part, width)),
        report.packages.as_ref().map(system::packages),
        report.updates.as_ref().map(system::updates),
    ];
    for section in sections.into_iter().flatten() {
        lines.push('\n');
        lines += &section;
    }
    if !report.gaps.is_empty() {
        lines += "\nnot known\n";
        let gaps = report.gaps.iter();
        lines += &table::facts(gaps.map(|gap| (gap.fact.as_str(), gap.why.as_str())));
    }
    lines
}

#[cfg(test)]
mod tests;
