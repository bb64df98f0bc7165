//! Counts installed packages if the package database is a text file or a directory.

use std::ops::ControlFlow;
use std::path::Path;

use remit_common::host::{List, Packages};

use crate::read::{self, Gaps, Why};
use crate::sources::Sources;

const DATABASE: u64 = 256 << 20;
const BROKEN: usize = 64;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Option<Packages> {
    let dpkg = at.var.join("lib/dpkg/status");
    if dpkg.exists() {
        return from(
            gaps,
            "dpkg",
            count_dpkg(&dpkg).map(|count| (count.installed, Some(count.broken))),
        );
    }
    // apk keeps its database in /lib, which is a link into /usr on merged systems.
    for apk in [
        at.usr.join("lib/apk/db/installed"),
        at.usr.join("../lib/apk/db/installed"),
    ] {
        if apk.exists() {
            return from(gaps, "apk", count_apk(&apk).map(|count| (count, None)));
        }
    }
    let pacman = at.var.join("lib/pacman/local");
    if pacman.exists() {
        let count = read::entries(&pacman)
            .map(|found| found.iter().filter(|path| path.is_dir()).count() as u64);
        return from(gaps, "pacman", count.map(|count| (count, None)));
    }
    for rpm in [at.usr.join("lib/sysimage/rpm"), at.var.join("lib/rpm")] {
        if rpm.exists() {
            let why = "the rpm database is not a text file: 'rpm -qa' lists it".to_owned();
            return from(gaps, "rpm", Err(why));
        }
    }
    gaps.note(
        "packages",
        "no package database of dpkg, rpm, apk or pacman was found",
    );
    None
}

fn from(
    gaps: &mut Gaps,
    kind: &str,
    count: Result<(u64, Option<Vec<String>>), Why>,
) -> Option<Packages> {
    let (installed, broken) = gaps.known("packages.installed", count).unzip();
    let broken = broken.flatten();
    if broken.is_none() {
        gaps.note("packages.broken", format!("not in the database of {kind}"));
    }
    Some(Packages {
        kind: kind.to_owned(),
        installed,
        broken: broken.map(|broken| List::cut(broken, BROKEN)),
    })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Dpkg {
    installed: u64,
    broken: Vec<String>,
}

impl Dpkg {
    /// Counts a package by its `Status: want flag state` (dpkg-query(1)).
    fn add(&mut self, name: &str, status: &str) {
        match status.split_ascii_whitespace().nth(2) {
            Some("installed") => self.installed += 1,
            Some(
                state @ ("half-installed" | "unpacked" | "half-configured" | "triggers-awaited"
                | "triggers-pending"),
            ) => {
                self.broken.push(read::shown(&format!("{name} ({state})")));
            }
            _ => {}
        }
    }
}

fn count_dpkg(path: &Path) -> Result<Dpkg, Why> {
    let mut count = Dpkg::default();
    let mut name = String::new();
    read::lines(path, DATABASE, |line| {
        if let Some(package) = line.strip_prefix("Package: ") {
            package.clone_into(&mut name);
        } else if let Some(status) = line.strip_prefix("Status: ") {
            count.add(&name, status);
        }
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// Counts the lines `P:name`: each package has one.
fn count_apk(path: &Path) -> Result<u64, Why> {
    let mut count = 0;
    read::lines(path, DATABASE, |line| {
        count += u64::from(line.starts_with("P:"));
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_states_are_distinguished() {
        let mut count = Dpkg::default();
        for (name, status) in [
            ("a", "install ok installed"),
            ("b", "hold ok installed"),
            ("c", "deinstall ok config-files"),
            ("d", "install ok half-configured"),
            ("e", "install reinstreq half-installed"),
            ("f", "install"),
            ("g", ""),
        ] {
            count.add(name, status);
        }
        assert_eq!(count.installed, 2);
        assert_eq!(count.broken, ["d (half-configured)", "e (half-installed)"]);
    }
}
