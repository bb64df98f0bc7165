//! Collects the facts about the machine that `host` answers. Reads /proc, /sys and a few files; asks the kernel by
//! netlink and the service manager by D-Bus. Needs no privilege, starts no program, changes nothing, keeps nothing
//! between calls: the broker keeps [`snapshot`]s. Input is untrusted until parsed: a fact that is missing, unreadable
//! or truncated becomes a gap with a reason, never a guess. `read` bounds the input, `fit` bounds the output.
#![forbid(unsafe_code)]

mod alerts;
mod bus;
mod cgroup;
mod fit;
mod load;
mod mounts;
mod netlink;
mod network;
mod os;
mod packages;
mod read;
pub mod snapshot;
mod sockets;
mod users;
mod utmp;

use remit_wire::host::{Gap, HostReport, Section};

pub use bus::{BusFacts, Decoding, ask as ask_bus, service_json};
pub use fit::{JSON_CHARS, Shorten, fit_lists};
pub use read::{Kernel, Sources};

use read::{now, wants};

/// Returns the report: [`ask_bus`] on this task, [`gather`] on a blocking thread. An empty list means all sections.
pub async fn report(sections: Vec<Section>, at: Sources) -> HostReport {
    let bus = ask_bus(&sections, &at).await;
    let gathered = tokio::task::spawn_blocking(move || gather(&sections, &at, bus)).await;
    gathered.unwrap_or_else(|err| HostReport {
        time: now(),
        gaps: vec![Gap {
            fact: "host".into(),
            why: format!("gathering was cut off: {err}"),
        }],
        ..HostReport::default()
    })
}

/// Gathers the facts from files and the kernel, and adds `bus`. An empty list means all sections. Blocks: milliseconds,
/// or about 6 seconds if file systems or the kernel's list of sockets hang. Takes at most [`JSON_CHARS`] as JSON.
#[must_use]
pub fn gather(sections: &[Section], at: &Sources, bus: BusFacts) -> HostReport {
    let mut gaps = read::Gaps::default();
    let mut report = HostReport {
        time: now(),
        ..HostReport::default()
    };
    let BusFacts { units, sessions } = bus;
    if let Some(units) = units {
        report.units = gaps.known("units", units);
    }
    let tree = match wants(sections, Section::Ports) || wants(sections, Section::Containers) {
        true => Some(cgroup::Tree::walk(at)),
        false => None,
    };
    let mut sessions = Some(sessions);
    let (mut raids, mut stopped) = (Vec::new(), Vec::new());
    for section in Section::ALL
        .into_iter()
        .filter(|section| wants(sections, *section))
    {
        let gaps = &mut gaps;
        match section {
            Section::Os => report.os = Some(os::gather(at, gaps)),
            Section::Load => report.load = load::gather(at, gaps),
            Section::Cpu => report.cpu = load::gather_cpu(at, gaps),
            Section::Memory => report.memory = load::gather_memory(at, gaps),
            Section::Disks => (report.disks, raids) = mounts::gather_disks(at, gaps),
            Section::Mounts => (report.mounts, stopped) = mounts::gather(at, gaps),
            Section::Network => report.network = Some(network::gather(at, gaps)),
            Section::Ports => report.ports = Some(sockets::gather(at, tree.as_ref(), gaps)),
            Section::Units => {}
            Section::Users => {
                report.users = Some(users::gather(at, sessions.take().flatten(), gaps))
            }
            Section::Boots => report.boots = Some(utmp::gather(at, gaps)),
            Section::Containers => report.containers = cgroup::containers(tree.as_ref(), gaps),
            Section::Packages => report.packages = packages::gather(at, gaps),
            Section::Updates => report.updates = Some(packages::gather_updates(at, gaps)),
        }
    }
    let zombies = wants(sections, Section::Load).then(|| load::zombies(at, &mut gaps));
    let clock = wants(sections, Section::Os).then(|| os::clock(at, report.time));
    let others = zombies.into_iter().chain(clock).flatten().collect();
    report.alerts = alerts::find(&report, [raids, stopped].concat(), others);
    report.gaps = gaps.into_list();
    fit::fit(&mut report, JSON_CHARS);
    report
}

pub(crate) mod fs_space;
#[cfg(test)]
mod tests;
