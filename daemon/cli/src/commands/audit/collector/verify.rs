//! `remit audit verify --journal`: verifies the records of all hosts of a collector, and remembers the newest of each.

use std::collections::BTreeMap;
use std::path::Path;

use remit_common::calendar;
use remit_common::refusal::{Code, Refusal};

use super::fault::Fault;
use super::files;
use super::heads::Heads;
use super::host::Host;
use super::page::HostsPage;
use crate::args::{AcceptedHost, VerifyArgs};
use crate::commands::audit::journal::Journal;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units;

pub fn verify(context: &Context, args: &VerifyArgs, dir: &Path) -> Result<Exit, Failure> {
    let journal = Journal::unopened()?;
    // journalctl runs in another directory.
    let dir = &std::path::absolute(dir)?;
    let found = files::list(dir)?;
    let heads = Heads::open(args.heads.as_deref())?;
    let now_ms = calendar::now_ms();
    let mut gone = Vec::new();
    for stem in heads.stems()? {
        if !found.iter().any(|host| host.stem == stem) {
            let name = files::name(&stem, |other| found.iter().any(|host| host.stem == other));
            let memory = heads.path(&stem);
            gone.push(Host::gone(stem, name, &memory));
        }
    }
    let names = found.iter().map(|host| &host.name);
    check_names(
        names.chain(gone.iter().map(|host| &host.name)),
        &args.accept,
    )?;
    let mut hosts = Vec::new();
    for host in &found {
        let memory = heads.read(&host.stem);
        let mut host = Host::verify(&journal, dir, host, &memory)?;
        if let Some(seconds) = args.silent_after {
            tell_silent(&mut host, now_ms, u64::from(seconds) * 1000);
        }
        host.accept(&args.accept);
        // A later host may take long. Only a new host's findings depend on other hosts.
        if host.is_known {
            remember(&heads, &host, now_ms)?;
        }
        hosts.push(host);
    }
    if hosts.iter().all(|host| host.is_forbidden) {
        let text = format!("you may read no journal file in '{}'", dir.display());
        return Err(Failure::NotAllowed(
            Refusal::new(Code::DeniedRule, text)
                .lift("be root, or a member of the group that may read the collector's files"),
        ));
    }
    tell_shared_machines(&mut hosts);
    tell_other_addresses(&mut hosts);
    for mut host in gone {
        host.accept(&args.accept);
        hosts.push(host);
    }
    for host in hosts.iter().filter(|host| host.is_gone || !host.is_known) {
        remember(&heads, host, now_ms)?;
    }
    let page = HostsPage {
        dir,
        heads: heads.dir(),
        hosts: &hosts,
        now_ms,
    };
    match context.form {
        Form::Json => output::json(&page.json())?,
        Form::Text => output::text(&context.width.fold(&page.text()))?,
    }
    Ok(match page.is_whole() {
        true => Exit::OK,
        false => Exit::FOUND,
    })
}

/// A machine id is the sender's word. Where two hosts have the same one, the host that had it before keeps it.
fn tell_shared_machines(hosts: &mut [Host]) {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for host in hosts.iter() {
        for machine in &host.machines {
            let names = owners.entry(machine.id.clone()).or_default();
            names.push(host.name.clone());
        }
    }
    for host in hosts {
        let mut faults = Vec::new();
        for machine in &host.machines {
            let names = owners.get(&machine.id).into_iter().flatten();
            let others: Vec<&str> = names
                .map(String::as_str)
                .filter(|name| *name != host.name)
                .collect();
            if !others.is_empty() && !host.knows(&machine.id) {
                let text = format!(
                    "machine {} also sends as {}: one is a copy of the other, was given another name or address, or claims \
                     to be the other",
                    machine.id,
                    others.join(", ")
                );
                faults.push(Fault::new("identity", &machine.id, 0, 0, text));
            }
        }
        host.faults.splice(0..0, faults);
    }
}

/// A host with two addresses has two files, and what is missing in one may be in the other: then its hashes link to the
/// records around the gap, which no other host can forge. Says so at the gap; a host that has nothing but what is missing
/// there is no second finding.
fn tell_other_addresses(hosts: &mut [Host]) {
    let mut parts = Vec::new();
    for host in hosts.iter() {
        for machine in &host.machines {
            let part = machine.whole_part();
            parts.extend(part.map(|part| (machine.id.clone(), host.name.clone(), part)));
        }
    }
    let mut explained = Vec::new();
    for host in hosts.iter_mut() {
        for fault in host.faults.iter_mut().filter(|fault| fault.kind == "gap") {
            let other = parts.iter().find(|(machine, name, (range, links))| {
                fault.machine.as_ref() == Some(machine)
                    && *name != host.name
                    && *range == (fault.seq, fault.last)
                    && Some(*links) == fault.links
            });
            if let Some((machine, name, _)) = other {
                fault.text += &format!("; they came as {name}, by their hashes");
                explained.push((machine.clone(), name.clone()));
            }
        }
    }
    for (machine, name) in explained {
        for host in hosts
            .iter_mut()
            .filter(|host| host.name == name && !host.is_known)
        {
            let is_it = |fault: &Fault| {
                fault.kind == "identity" && fault.machine.as_ref() == Some(&machine)
            };
            host.faults.retain(|fault| !is_it(fault));
        }
    }
}

/// A host that sends nothing can hide whatever it does.
fn tell_silent(host: &mut Host, now_ms: u64, most_ms: u64) {
    let silent_ms = host.heard_ms.map(|heard| now_ms.saturating_sub(heard));
    if let Some(silent_ms) =
        silent_ms.filter(|silent_ms| *silent_ms > most_ms && !host.is_foreign())
    {
        let text = format!("nothing was heard of it for {}", units::duration(silent_ms));
        host.faults.push(Fault::of_host("silent", text));
    }
}

fn check_names<'a>(
    names: impl Iterator<Item = &'a String>,
    accepted: &[AcceptedHost],
) -> Result<(), Failure> {
    let names: Vec<&String> = names.collect();
    match accepted.iter().find(|one| !names.contains(&&one.host)) {
        Some(one) => {
            let text = format!("--accept: there is no host '{}'", one.host);
            Err(Failure::Input(Refusal::new(Code::NotFound, text).lift(
                "name a host as 'remit audit verify --journal' prints it",
            )))
        }
        None => Ok(()),
    }
}

fn remember(heads: &Heads, host: &Host, now_ms: u64) -> Result<(), Failure> {
    if host.is_foreign() || !(host.is_whole() || host.is_accepted) {
        return Ok(());
    }
    if host.is_gone {
        return heads.forget(&host.stem);
    }
    let memory = host.memory(now_ms);
    match memory.machines.is_empty() {
        true => Ok(()),
        false => heads.write(&host.stem, &memory),
    }
}
