//! Facts about the machine: what `host` answers.
//!
//! Reads /proc, /sys and a few files, asks the kernel by netlink and the
//! service manager by D-Bus, as an ordinary user without any privilege. Starts
//! no program, changes nothing, and keeps nothing between calls. Everything
//! read is taken as odd until parsed: what is missing, unreadable or cut short
//! becomes a gap with a reason, and never a guess.
//!
//! One file for each section; `read` bounds what is read, `fit` what is told.
#![forbid(unsafe_code)]

mod alerts;
mod boots;
mod bus;
mod cgroup;
mod cpu;
mod disks;
mod fit;
mod load;
mod memory;
mod mounts;
mod netlink;
mod network;
mod os;
mod packages;
mod ports;
mod read;
mod room;
mod sockets;
mod updates;
mod users;
mod utmp;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use remit_common::host::{Gap, HostReport, Section};

pub use bus::{BusFacts, ask as ask_bus, service_json};
pub use fit::JSON_CHARS;

/// Where the facts lie. [`Sources::host`] is the machine; tests name a tree of their own.
#[derive(Clone, Debug)]
pub struct Sources {
    /// /proc
    pub proc: PathBuf,
    /// /sys
    pub sys: PathBuf,
    /// /etc
    pub etc: PathBuf,
    /// /run
    pub run: PathBuf,
    /// /usr
    pub usr: PathBuf,
    /// /var
    pub var: PathBuf,
    /// Whether netlink and statvfs(3) are asked: they tell of the real machine only.
    pub kernel: Kernel,
}

/// Whether the running kernel is asked for what no file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Sockets, network and room on file systems come from the kernel.
    Asked,
    /// They are left as gaps.
    NotAsked,
}

impl Sources {
    /// The machine itself.
    #[must_use]
    pub fn host() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            etc: "/etc".into(),
            run: "/run".into(),
            usr: "/usr".into(),
            var: "/var".into(),
            kernel: Kernel::Asked,
        }
    }
}

/// The whole report: [`ask_bus`] on this task, then [`gather`] on a blocking thread.
///
/// No sections means all of them. Must run on a tokio runtime with time enabled.
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

/// Gathers what files and the kernel tell and puts it together with `bus`.
///
/// No sections means all of them. Blocks: milliseconds as a rule, at most about
/// 6 seconds where file systems hang or the kernel is slow to list its sockets.
/// The report takes at most [`JSON_CHARS`] characters as JSON.
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
    for section in Section::ALL
        .into_iter()
        .filter(|section| wants(sections, *section))
    {
        let gaps = &mut gaps;
        match section {
            Section::Os => report.os = Some(os::gather(at, gaps)),
            Section::Load => report.load = load::gather(at, gaps),
            Section::Cpu => report.cpu = cpu::gather(at, gaps),
            Section::Memory => report.memory = memory::gather(at, gaps),
            Section::Disks => report.disks = disks::gather(at, gaps),
            Section::Mounts => report.mounts = mounts::gather(at, gaps),
            Section::Network => report.network = Some(network::gather(at, gaps)),
            Section::Ports => report.ports = Some(ports::gather(at, tree.as_ref(), gaps)),
            // It came with `bus`.
            Section::Units => {}
            Section::Users => {
                report.users = Some(users::gather(at, sessions.take().flatten(), gaps))
            }
            Section::Boots => report.boots = Some(boots::gather(at, gaps)),
            Section::Containers => report.containers = cgroup::containers(tree.as_ref(), gaps),
            Section::Packages => report.packages = packages::gather(at, gaps),
            Section::Updates => report.updates = Some(updates::gather(at, gaps)),
        }
    }
    report.alerts = alerts::of(&report);
    report.gaps = gaps.into_list();
    fit::fit(&mut report, JSON_CHARS);
    report
}

/// Whether `section` was asked for.
fn wants(sections: &[Section], section: Section) -> bool {
    sections.is_empty() || sections.contains(&section)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests;
