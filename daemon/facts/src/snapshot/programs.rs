//! Installed packages, crontabs of users, and running containers.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::lines::{SnapshotSection, modified};
use crate::cgroup::{self, Tree};
use crate::packages;
use crate::read::{Gaps, Sources, Why};

/// Where cron keeps what crontab(1) installs: Debian's and others' directory.
const CRONTABS: [&str; 2] = ["spool/cron/crontabs", "spool/cron"];

pub(super) fn packages(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    let dpkg = at.var.join("lib/dpkg/status");
    if dpkg.exists() {
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
        // Foreign architectures of a package are other packages.
        let key = format!("{}:{}", package.name, package.arch);
        match package.state.as_str() {
            "" | "not-installed" => {}
            "installed" => section.add(key.as_bytes(), &package.version),
            state => section.add(key.as_bytes(), &format!("{} ({state})", package.version)),
        }
    })
}

/// Only root reads crontabs, but cron renames a new one into the directory, which changes its time.
pub(super) fn crontabs(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    for dir in CRONTABS.map(|dir| at.var.join(dir)) {
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
