//! `remit host`: facts about the machine, for people in tables.
//!
//! The report is bounded where it is made; each cell is cut here.

mod machine;
mod network;
mod system;

use remit_common::host::HostReport;
use remit_common::wire::{Reply, Request};

use crate::app::Context;
use crate::args::HostArgs;
use crate::daemon::Daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::human;
use crate::output::{self, Form};
use crate::table;

/// Shows the sections asked for.
pub fn host(context: &Context, args: HostArgs) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let sections = args.sections;
    let Reply::Host(report) = daemon.call(Request::Host { sections })? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&show(&report))?,
    }
    Ok(Exit::OK)
}

fn show(report: &HostReport) -> String {
    let mut lines = format!("at {}\n", human::time(report.time));
    for alert in &report.alerts {
        lines += &table::fact("alert", alert);
    }
    let sections = [
        report.os.as_ref().map(machine::os),
        report.boots.as_ref().map(system::boots),
        report.load.as_ref().map(machine::load),
        report.cpu.as_ref().map(machine::cpu),
        report.memory.as_ref().map(machine::memory),
        report.disks.as_ref().map(machine::disks),
        report.mounts.as_ref().map(machine::mounts),
        report.network.as_ref().map(network::network),
        report.ports.as_ref().map(network::ports),
        report.units.as_ref().map(system::units),
        report.users.as_ref().map(system::users),
        report.containers.as_ref().map(system::containers),
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

/// Lines of a section below its name.
struct Section(String);

impl Section {
    fn new(name: &str) -> Self {
        Self(format!("{name}\n"))
    }

    /// A fact, where it is known.
    fn fact(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.0 += &table::fact(name, value.as_ref());
        }
    }

    fn lines(&mut self, lines: &str) {
        self.0 += lines;
    }
}

/// A size, where it is known.
fn size(bytes: Option<u64>) -> Option<String> {
    bytes.map(human::bytes)
}

#[cfg(test)]
mod tests;
