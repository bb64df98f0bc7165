//! Sections about units, users, containers and packages.

use remit_common::host::{Boots, Container, List, Packages, Units, Updates, Users};

use super::section::Section;
use crate::render::table::{self, Table};
use crate::render::units;
use crate::render::width::Width;

pub fn boots(boots: &Boots, width: Width) -> String {
    let mut section = Section::new("boots");
    let uptime = boots
        .uptime
        .map(|s| units::duration(s.saturating_mul(1000)));
    section.fact("up for", uptime);
    section.fact("since", boots.booted.map(units::time));
    if let Some(last) = &boots.last {
        let mut table = Table::new(["BOOT", "SHUTDOWN", "~KERNEL"]);
        for boot in &last.items {
            table.row([
                &units::time(boot.start),
                &boot.end.map(units::time).unwrap_or_default(),
                boot.kernel.as_deref().unwrap_or_default(),
            ]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(last.more));
    }
    section.0
}

pub fn units(units: &Units, width: Width) -> String {
    let mut section = Section::new("units");
    section.fact("system", units.system.as_ref());
    let counts = units.counts.iter();
    let counts: Vec<String> = counts
        .map(|one| format!("{} {}", one.count, one.state))
        .collect();
    section.fact("loaded", (!counts.is_empty()).then(|| counts.join(", ")));
    section.fact("waiting", units.jobs.map(|jobs| format!("{jobs} jobs")));
    let mut table = Table::new(["~FAILED", "SINCE", "RESULT", ">?STATUS", "~DESCRIPTION"]);
    for unit in &units.failed.items {
        let result = unit.result.as_ref().or(unit.why.as_ref());
        table.row([
            &unit.name,
            &unit.since.map(units::time).unwrap_or_default(),
            result.map(String::as_str).unwrap_or_default(),
            &unit
                .status
                .map(|status| status.to_string())
                .unwrap_or_default(),
            &unit.description,
        ]);
    }
    section.lines(&table.render(width));
    section.lines(&table::more(units.failed.more));
    section.fact("restarting", some(&units.restarting));
    section.0
}

pub fn users(users: &Users, width: Width) -> String {
    let mut section = Section::new("users");
    if let Some(sessions) = &users.sessions {
        let mut table = Table::new(["SESSION", "TERMINAL", "~FROM", "SINCE"]);
        for session in &sessions.items {
            table.row([
                &session.user,
                session.tty.as_deref().unwrap_or_default(),
                session.from.as_deref().unwrap_or_default(),
                &session.since.map(units::time).unwrap_or_default(),
            ]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(sessions.more));
    }
    if let Some(accounts) = &users.accounts {
        let mut table = Table::new(["ACCOUNT", ">UID", "~HOME", "~SHELL"]);
        for account in &accounts.items {
            let uid = account.uid.to_string();
            table.row([&account.name, &uid, &account.home, &account.shell]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(accounts.more));
    }
    if let Some(groups) = &users.groups {
        let mut table = Table::new(["GROUP", "~MEMBERS"]);
        for group in &groups.items {
            table.row([&group.name, &some(&group.members).unwrap_or_default()]);
        }
        section.lines(&table.render(width));
        section.lines(&table::more(groups.more));
    }
    section.0
}

pub fn containers(containers: &List<Container>, width: Width) -> String {
    let mut section = Section::new("containers");
    let mut table = Table::new(["ENGINE", "~ID"]);
    for container in &containers.items {
        table.row([&container.engine, &container.id]);
    }
    section.lines(&table.render(width));
    section.lines(&table::more(containers.more));
    section.fact("running", Some(containers.total().to_string()));
    section.0
}

pub fn packages(packages: &Packages) -> String {
    let mut section = Section::new("packages");
    section.fact("database", Some(&packages.kind));
    section.fact(
        "installed",
        packages.installed.map(|count| count.to_string()),
    );
    section.fact("broken", packages.broken.as_ref().and_then(some));
    section.0
}

pub fn updates(updates: &Updates) -> String {
    let mut section = Section::new("updates");
    section.fact("pending", updates.pending.map(|count| count.to_string()));
    let reboot = updates
        .reboot_flag
        .map(|asked| if asked { "asked for" } else { "no" });
    section.fact("reboot", reboot);
    section.fact("reboot for", some(&updates.reboot_for));
    section.fact("kernels", updates.kernels.as_ref().and_then(some));
    section.0
}

fn some(list: &List<String>) -> Option<String> {
    let more = (list.more > 0).then(|| format!("and {} more", list.more));
    let names: Vec<&str> = list.items.iter().chain(&more).map(String::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
