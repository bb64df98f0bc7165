//! A snapshot: sorted lines `section TAB key TAB value` of what lasts. Tables say what is left out, and why.

mod files;

mod installed {
    //! What is installed: accounts, groups, packages, crontabs of users, and running containers; never a password.

    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::lines::{SnapshotSection, modified};
    use crate::cgroup::{self, Tree};
    use crate::packages;
    use crate::read::{self, Gaps, Sources, Why};

    const FILE: u64 = 16 << 20;

    pub(super) fn accounts(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
        each(at, "passwd", |name, password, rest| {
            let [uid, gid, comment, home, shell] = [0, 1, 2, 3, 4].map(|at| rest.get(at).copied());
            let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
            let comment = part(comment);
            let comment = match comment.as_str() {
                "" => String::new(),
                comment => format!(" comment '{comment}'"),
            };
            let value = format!(
                "uid {} gid {} home {} shell {}{comment}{password}",
                part(uid),
                part(gid),
                part(home),
                part(shell)
            );
            section.add(name.as_bytes(), &value);
        })
    }

    pub(super) fn groups(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
        each(at, "group", |name, password, rest| {
            let gid = rest.first().copied().unwrap_or_default();
            let members = match rest.get(1).copied().unwrap_or_default() {
                "" => "none",
                members => members,
            };
            section.add(
                name.as_bytes(),
                &format!("gid {gid} members {members}{password}"),
            );
        })
    }

    /// Calls `each` with the name, words about the password, and the fields after it.
    fn each(
        at: &Sources,
        file: &str,
        mut each: impl FnMut(&str, &str, &[&str]),
    ) -> Result<(), Why> {
        let text = read::text(&at.etc.join(file), FILE)?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            let password = match fields.next() {
                Some("x") => "",
                Some("") => " without a password",
                Some("*" | "!" | "!!" | "!*") | None => " locked",
                Some(_) => " password in this file",
            };
            each(name, password, &fields.collect::<Vec<_>>());
        }
        Ok(())
    }

    pub(super) fn packages(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
        if let Some(dpkg) = packages::dpkg_in_use(at) {
            return of_dpkg(&dpkg, section);
        }
        for rpm in [at.usr.join("lib/sysimage/rpm"), at.var.join("lib/rpm")] {
            if rpm.exists() {
                return Err("the rpm database is not a text file: run 'rpm -qa --last'".to_owned());
            }
        }
        Err("no package database of dpkg was found".to_owned())
    }

    fn of_dpkg(path: &Path, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
        packages::each_dpkg(path, |package| {
            let key = package.key();
            match package.state.as_str() {
                "" | "not-installed" => {}
                "installed" => section.add(key.as_bytes(), &package.version),
                state => section.add(key.as_bytes(), &format!("{} ({state})", package.version)),
            }
        })
    }

    /// Only root reads crontabs, but cron renames a new one into the directory, which changes its time.
    pub(super) fn crontabs(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
        let below_var = |dir: &str| at.var.join(dir.trim_start_matches("/var/"));
        for dir in remit_common::cron::SPOOLS.map(below_var) {
            let Ok(meta) = fs::metadata(&dir) else {
                continue;
            };
            section.add(dir.as_os_str().as_bytes(), &modified(&meta));
            return Ok(());
        }
        Ok(())
    }

    pub(super) fn containers(tree: &Tree, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
        let mut gaps = Gaps::default();
        let found = cgroup::containers(Some(tree), &mut gaps);
        for container in found.iter().flat_map(|list| &list.items) {
            section.add(
                format!("{} {}", container.engine, container.id).as_bytes(),
                "runs",
            );
        }
        let more = found.map_or(0, |list| list.more);
        match gaps.into_list().pop() {
            Some(gap) => Err(gap.why),
            None if more > 0 => Err(format!("{more} more containers run")),
            None => Ok(()),
        }
    }
}

mod kernel;
mod lines;
mod units;

use crate::cgroup::Tree;
use crate::read::{Sources, Why};

pub use lines::{Difference, LINES, Snapshot, differences};
use lines::{SnapshotLines, SnapshotSection, gap};
pub use units::{UnitAnswers, ask as ask_units};

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

impl Snapshot {
    /// Returns a snapshot of which nothing is known.
    #[must_use]
    pub fn unread(why: &str) -> Self {
        Self {
            lines: String::new(),
            gaps: SECTIONS.map(|section| gap(section, why)).into(),
        }
    }
}

/// Takes a snapshot, after [`ask_units`]. Blocks for about 0.2 s, or for good if a file system hangs.
#[must_use]
pub fn take(at: &Sources, units: UnitAnswers) -> Snapshot {
    let mut lines = SnapshotLines::default();
    let tree = Tree::walk(at);
    for (section, read) in [
        (
            SYSTEM,
            kernel::system as fn(&Sources, &mut SnapshotSection<'_>) -> Result<(), Why>,
        ),
        (PACKAGES, installed::packages),
        (ACCOUNTS, installed::accounts),
        (GROUPS, installed::groups),
        (FILES, files::etc),
        (CRONTABS, installed::crontabs),
        (MOUNTS, kernel::mounts),
        (SYSCTL, kernel::sysctl),
    ] {
        lines.section(section, |section| read(at, section));
    }
    lines.section(PORTS, |section| kernel::ports(at, &tree, section));
    lines.section(CONTAINERS, |section| installed::containers(&tree, section));
    lines.section(UNIT_FILES, |section| units::files(units.files, section));
    lines.section(UNITS, |section| units::states(units.states, section));
    lines.finish()
}

#[cfg(test)]
mod tests;
