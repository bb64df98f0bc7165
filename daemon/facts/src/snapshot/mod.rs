//! A snapshot: what of the machine lasts, as sorted lines `section TAB key TAB value`. Two of them show what changed.
//!
//! What changes by itself is left out, each kind by a table with its reason: counters, random values, transient units,
//! sessions, backups of editors. Reads only what this process may read: of an unreadable file the mode, owner, size and
//! time are kept, never a hash.

mod accounts;
pub mod difference;
mod files;
mod kernel;
mod lines;
mod programs;
mod reachable;
mod units;

use crate::cgroup::Tree;
use crate::read::{Sources, Why};

pub use lines::Snapshot;
use lines::{SnapshotLines, SnapshotSection, gap};

/// Sections, in the order of an answer.
pub const SECTIONS: [&str; 12] = [
    SYSTEM, PACKAGES, ACCOUNTS, GROUPS, FILES, CRONTABS, UNIT_FILES, UNITS, PORTS, MOUNTS, SYSCTL,
    CONTAINERS,
];
const SYSTEM: &str = "system";
const PACKAGES: &str = "packages";
const ACCOUNTS: &str = "accounts";
const GROUPS: &str = "groups";
const FILES: &str = "files";
const CRONTABS: &str = "crontabs";
const UNIT_FILES: &str = "unit_files";
const UNITS: &str = "units";
const PORTS: &str = "ports";
const MOUNTS: &str = "mounts";
const SYSCTL: &str = "sysctl";
const CONTAINERS: &str = "containers";

/// Takes a snapshot: asks the service manager on this task, then reads on a blocking thread.
///
/// Must run on a tokio runtime with time enabled. Takes about 0.2 s on a common machine.
///
/// `held` is dropped when the reading thread ends, also if the caller no longer waits.
pub async fn snapshot(at: Sources, held: impl Send + 'static) -> Snapshot {
    let units = units::ask(&at).await;
    let taken = tokio::task::spawn_blocking(move || {
        let _held = held;
        take(&at, units)
    })
    .await;
    taken.unwrap_or_else(|error| Snapshot {
        lines: String::new(),
        gaps: SECTIONS
            .map(|section| gap(section, &format!("cut off: {error}")))
            .into(),
    })
}

fn take(at: &Sources, units: units::UnitAnswers) -> Snapshot {
    let mut lines = SnapshotLines::default();
    let tree = Tree::walk(at);
    for (section, read) in [
        (
            SYSTEM,
            kernel::system as fn(&Sources, &mut SnapshotSection<'_>) -> Result<(), Why>,
        ),
        (PACKAGES, programs::packages),
        (ACCOUNTS, accounts::accounts),
        (GROUPS, accounts::groups),
        (FILES, files::etc),
        (CRONTABS, programs::crontabs),
        (MOUNTS, reachable::mounts),
        (SYSCTL, kernel::sysctl),
    ] {
        lines.section(section, |section| read(at, section));
    }
    lines.section(PORTS, |section| reachable::ports(at, &tree, section));
    lines.section(CONTAINERS, |section| programs::containers(&tree, section));
    lines.section(UNIT_FILES, |section| units::files(units.files, section));
    lines.section(UNITS, |section| units::states(units.states, section));
    lines.finish()
}

#[cfg(test)]
mod tests;
