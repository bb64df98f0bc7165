//! Installed packages, crontabs of users, and running containers.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use remit_common::calendar;

use super::lines::SnapshotSection;
use crate::cgroup::{self, Tree};
use crate::read::{self, Gaps, Sources, Why};

const DATABASE: u64 = 256 << 20;
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

/// Reads a paragraph for each package (deb-control(5), dpkg-query(1)).
fn of_dpkg(path: &std::path::Path, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    let [mut name, mut arch, mut version, mut state] = [const { String::new() }; 4];
    let mut end = |fields: [&mut String; 4]| {
        let [name, arch, version, state] = fields.map(std::mem::take);
        match state.as_str() {
            "" | "not-installed" => {}
            // Foreign architectures of a package are other packages.
            "installed" => section.add(format!("{name}:{arch}").as_bytes(), &version),
            state => section.add(
                format!("{name}:{arch}").as_bytes(),
                &format!("{version} ({state})"),
            ),
        }
    };
    read::lines(path, DATABASE, |line| {
        if line.is_empty() {
            end([&mut name, &mut arch, &mut version, &mut state]);
        } else if let Some(value) = line.strip_prefix("Package: ") {
            value.clone_into(&mut name);
        } else if let Some(value) = line.strip_prefix("Architecture: ") {
            value.clone_into(&mut arch);
        } else if let Some(value) = line.strip_prefix("Version: ") {
            value.clone_into(&mut version);
        } else if let Some(value) = line.strip_prefix("Status: ") {
            let word = value.split_ascii_whitespace().nth(2);
            word.unwrap_or_default().clone_into(&mut state);
        }
        ControlFlow::Continue(())
    })?;
    end([&mut name, &mut arch, &mut version, &mut state]);
    Ok(())
}

/// Only root reads crontabs, but cron renames a new one into the directory, which changes its time.
pub(super) fn crontabs(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    for dir in CRONTABS.map(|dir| at.var.join(dir)) {
        let Ok(meta) = fs::metadata(&dir) else {
            continue;
        };
        let seconds = u64::try_from(meta.mtime()).unwrap_or_default();
        let utc = calendar::utc(seconds.saturating_mul(1000));
        let utc = utc.trim_end_matches(" UTC");
        let value = format!("modified {utc}.{:09} UTC", meta.mtime_nsec());
        section.add(dir.as_os_str().as_bytes(), &value);
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
