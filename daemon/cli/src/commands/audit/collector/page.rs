//! The result for all hosts, as text and as JSON. Hosts with findings come first.

use std::path::Path;

use remit_common::text::first_of;
use remit_trail::hex;
use serde_json::{Value, json};

use super::fault::Fault;
use super::host::{Host, MachineRecords};
use crate::render::{table, units};

/// Names in a sentence.
const NAMES: usize = 10;

pub struct HostsPage<'a> {
    pub dir: &'a Path,
    pub heads: &'a Path,
    pub hosts: &'a [Host],
    pub now_ms: u64,
}

impl HostsPage<'_> {
    /// Returns true if nothing is wrong that was not accepted. Without a record there is nothing to trust.
    pub fn is_whole(&self) -> bool {
        self.wrong().next().is_none() && self.of_remit().next().is_some()
    }

    pub fn text(&self) -> String {
        let wrong: Vec<&str> = self.wrong().map(|host| host.name.as_str()).collect();
        let count = units::count(self.of_remit().count() as u64, "host");
        let mut lines = match (wrong.is_empty(), self.of_remit().next()) {
            (true, None) => "there are no records\n".to_owned(),
            (true, Some(_)) => format!("the collected records are whole: {count}\n"),
            (false, _) => format!(
                "the collected records are not whole: {} of {count}: {}\n",
                wrong.len(),
                first_of(&wrong, NAMES)
            ),
        };
        lines += &table::fact("read", &self.dir.display().to_string());
        lines += &table::fact("remembered", &self.heads.display().to_string());
        let foreign: Vec<&str> = self
            .hosts
            .iter()
            .filter(|host| host.is_foreign())
            .map(|host| host.name.as_str())
            .collect();
        if !foreign.is_empty() {
            lines += &table::fact("no records", &first_of(&foreign, NAMES));
        }
        let rest = self.of_remit().filter(|host| !is_wrong(host));
        for host in self.wrong().chain(rest) {
            lines += &self.host(host);
        }
        lines
    }

    fn host(&self, host: &Host) -> String {
        let state = match (host.is_whole(), host.is_accepted) {
            (true, _) => "whole",
            (false, true) => "accepted",
            (false, false) => "not whole",
        };
        let mut lines = format!("{}: {state}\n", table::line(&host.name));
        for machine in &host.machines {
            lines += &table::fact("machine", &named(machine));
            if let Some((first, last)) = machine.report.report.range {
                let records = format!(
                    "{} (numbers {first} to {last})",
                    machine.report.report.records
                );
                lines += &table::fact("records", &records);
            }
            if let Some((first, last)) = machine.times {
                let (from, to) = (units::time(first / 1000), self.moment(last));
                lines += &table::fact("written", &format!("{from} to {to}"));
            }
            if let Some(newest) = machine.newest() {
                lines += &table::fact("newest", &format!("record {}", newest.seq));
            }
        }
        if let Some(heard) = host.heard_ms {
            lines += &table::fact("last heard", &self.moment(heard));
        }
        if !host.is_known && host.is_whole() {
            lines += &table::fact(
                "note",
                "verified for the first time: nothing was remembered to compare with",
            );
        }
        for fault in &host.faults {
            lines += &table::fact("finding", &sentence(fault));
            if let Some(cause) = &fault.cause {
                lines += &table::fact("", cause);
            }
        }
        if host.more_faults > 0 {
            let more = units::count(host.more_faults, "finding");
            lines += &table::fact("", &format!("and {more} more"));
        }
        for note in &host.notes {
            lines += &table::fact("note", note);
        }
        if is_wrong(host) {
            lines += &table::fact("to accept", &accept_options(host));
        }
        lines
    }

    fn moment(&self, ms: u64) -> String {
        let time = units::time(ms / 1000);
        match self.now_ms.checked_sub(ms) {
            Some(age) => format!("{time}, {} ago", units::duration(age)),
            None => format!("{time}, after now by this machine's clock"),
        }
    }

    pub fn json(&self) -> Value {
        let hosts: Vec<Value> = self.hosts.iter().map(host_json).collect();
        json!({
            "whole": self.is_whole(),
            "read": self.dir.display().to_string(),
            "heads": self.heads.display().to_string(),
            "hosts": hosts,
        })
    }

    fn of_remit(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| !host.is_foreign())
    }

    fn wrong(&self) -> impl Iterator<Item = &Host> {
        self.of_remit().filter(|host| is_wrong(host))
    }
}

fn is_wrong(host: &Host) -> bool {
    !host.is_whole() && !host.is_accepted
}

fn host_json(host: &Host) -> Value {
    let machines = host.machines.iter().map(|machine| {
        let report = &machine.report.report;
        json!({
            "machine": machine.id,
            "hostname": machine.host,
            "records": report.records,
            "repeated": machine.report.repeated,
            "accepted": machine.report.accepted,
            "first": report.range.map(|(first, _)| first),
            "last": report.range.map(|(_, last)| last),
            "first_ms": machine.times.map(|(first, _)| first),
            "last_ms": machine.times.map(|(_, last)| last),
            "newest": machine.newest().map(|newest| format!("{}:{}", newest.seq, hex(&newest.hash))),
        })
    });
    let findings = host.faults.iter().map(|fault| {
        json!({
            "kind": fault.kind,
            "machine": fault.machine,
            "seq": fault.seq,
            "last": fault.last,
            "place": fault.position,
            "text": fault.text,
            "cause": fault.cause,
        })
    });
    json!({
        "host": host.name,
        "whole": host.is_whole(),
        "accepted": host.is_accepted,
        "known": host.is_known,
        "files": host.files,
        "heard_ms": host.heard_ms,
        "machines": machines.collect::<Vec<_>>(),
        "accept": is_wrong(host).then(|| host.to_accept()),
        "findings": findings.collect::<Vec<_>>(),
        "more_findings": host.more_faults,
        "notes": host.notes,
    })
}

/// For a shell: a sender's certificate may have any name.
fn accept_options(host: &Host) -> String {
    let words = host.to_accept();
    let options = words
        .iter()
        .map(|word| format!("--accept '{}'", word.replace('\'', r"'\''")));
    options.collect::<Vec<_>>().join(" ")
}

fn named(machine: &MachineRecords) -> String {
    match &machine.host {
        Some(host) => format!("{}, calls itself {host}", machine.id),
        None => machine.id.clone(),
    }
}

fn sentence(fault: &Fault) -> String {
    match fault.position.as_str() {
        "" => fault.text.clone(),
        position => format!("{} ({position})", fault.text),
    }
}
