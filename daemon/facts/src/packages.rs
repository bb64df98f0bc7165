//! Counts installed packages, and finds pending updates and reboots, from files alone: no package manager is asked.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use remit_wire::host::{List, Packages, Updates};

use crate::read::{self, Gaps, Sources, Why};

const DATABASE: u64 = 256 << 20;
/// Bytes of a file with the state of one package.
const UPDATE: u64 = 1 << 20;
const BROKEN: usize = 64;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Option<Packages> {
    if let Some(dpkg) = dpkg_in_use(at) {
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

/// Returns the database of dpkg. It is empty where dpkg is installed on a machine of another family.
pub(crate) fn dpkg_in_use(at: &Sources) -> Option<PathBuf> {
    let status = at.var.join("lib/dpkg/status");
    let size = status.metadata().map_or(0, |status| status.len());
    (size > 0).then_some(status)
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
    fn add(&mut self, package: &DpkgPackage) {
        let DpkgPackage { name, state, .. } = package;
        match state.as_str() {
            "installed" => self.installed += 1,
            "half-installed" | "unpacked" | "half-configured" | "triggers-awaited"
            | "triggers-pending" => {
                self.broken.push(read::shown(&format!("{name} ({state})")));
            }
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct DpkgPackage {
    pub(crate) name: String,
    pub(crate) arch: String,
    pub(crate) version: String,
    pub(crate) state: String,
}

impl DpkgPackage {
    /// Foreign architectures of a package are other packages.
    pub(crate) fn key(&self) -> String {
        format!("{}:{}", self.name, self.arch)
    }
}

/// Calls `each` for the packages of the database `status`. dpkg writes each step into a file of `updates`, and these into
/// `status` only now and then: after a kill they are what is true.
pub(crate) fn each_dpkg(path: &Path, mut each: impl FnMut(&DpkgPackage)) -> Result<(), Why> {
    let mut latest = BTreeMap::new();
    for update in updates(&path.with_file_name("updates"))? {
        let read = stanzas(&update, UPDATE, |package| {
            latest.insert(package.key(), package);
        });
        // dpkg removes a file when `status` has the same.
        if update.try_exists().unwrap_or(true) {
            read?;
        }
    }
    stanzas(path, DATABASE, |package| {
        if latest.is_empty() || !latest.contains_key(&package.key()) {
            each(&package);
        }
    })?;
    latest.values().for_each(each);
    Ok(())
}

/// Returns the files of dpkg's `updates`, oldest first.
fn updates(path: &Path) -> Result<Vec<PathBuf>, Why> {
    if !path.try_exists().unwrap_or(true) {
        return Ok(Vec::new());
    }
    let mut found = read::entries(path)?;
    found.retain(|file| read::name(file).bytes().all(|byte| byte.is_ascii_digit()));
    Ok(found)
}

fn stanzas(path: &Path, cap: u64, mut each: impl FnMut(DpkgPackage)) -> Result<(), Why> {
    let mut package = DpkgPackage::default();
    read::lines(path, cap, |line| {
        if line.is_empty() {
            each(std::mem::take(&mut package));
        } else if let Some(value) = line.strip_prefix("Package: ") {
            value.clone_into(&mut package.name);
        } else if let Some(value) = line.strip_prefix("Architecture: ") {
            value.clone_into(&mut package.arch);
        } else if let Some(value) = line.strip_prefix("Version: ") {
            value.clone_into(&mut package.version);
        } else if let Some(value) = line.strip_prefix("Status: ") {
            let state = value.split_ascii_whitespace().nth(2);
            state.unwrap_or_default().clone_into(&mut package.state);
        }
        ControlFlow::Continue(())
    })?;
    each(package);
    Ok(())
}

fn count_dpkg(path: &Path) -> Result<Dpkg, Why> {
    let mut count = Dpkg::default();
    each_dpkg(path, |package| count.add(package))?;
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

const MAX_LISTED: usize = 16;

pub(crate) fn gather_updates(at: &Sources, gaps: &mut Gaps) -> Updates {
    let mut reboot_for: Vec<String> = read::text(&at.run.join("reboot-required.pkgs"), 64 << 10)
        .map(|text| {
            text.lines()
                .filter(|line| !line.is_empty())
                .map(read::shown)
                .collect()
        })
        .unwrap_or_default();
    reboot_for.sort();
    reboot_for.dedup();
    Updates {
        reboot_flag: gaps.known("updates.reboot_flag", reboot_flag(at)),
        reboot_for: List::cut(reboot_for, MAX_LISTED),
        kernels: gaps.known("updates.kernels", kernels(&at.usr.join("lib/modules"))),
        pending: gaps.known("updates.pending", pending(at)),
    }
}

/// The absence of the flag means something only where a package writes it: update-notifier-common or reboot-notifier, and
/// unattended-upgrades.
fn reboot_flag(at: &Sources) -> Result<bool, Why> {
    let flag = at.run.join("reboot-required");
    let is_there = flag
        .try_exists()
        .map_err(|err| read::cannot("look at", &flag, &err))?;
    let writers = [
        at.usr.join("share/update-notifier/notify-reboot-required"),
        at.etc.join("kernel/postinst.d/unattended-upgrades"),
    ];
    match is_there || writers.iter().any(|writer| writer.exists()) {
        true => Ok(is_there),
        false => Err("no program here writes '/run/reboot-required'".to_owned()),
    }
}

fn kernels(path: &Path) -> Result<List<String>, Why> {
    let mut found = read::entries(path)?;
    // The leftover directory of a removed kernel has no modules.dep.
    found.retain(|kernel| kernel.join("modules.dep").exists());
    found.sort_by_cached_key(|kernel| {
        Reverse(kernel.metadata().and_then(|meta| meta.modified()).ok())
    });
    Ok(List::cut(
        found
            .iter()
            .map(|kernel| read::shown(&read::name(kernel)))
            .collect(),
        MAX_LISTED,
    ))
}

/// Reads the file that Ubuntu's update-notifier keeps for the login message.
fn pending(at: &Sources) -> Result<u64, Why> {
    let path = at.var.join("lib/update-notifier/updates-available");
    let text = read::text(&path, 64 << 10).map_err(
        |_| "no file has it here: the command 'packages.updates' asks the package manager",
    )?;
    count(&text).ok_or_else(|| format!("'{}' has an unknown format", path.display()))
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (number, rest) = line.trim().split_once(' ')?;
        rest.contains("can be").then(|| number.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn dpkg_states_are_distinguished() {
        let mut text = String::new();
        for (name, status) in [
            ("a", "install ok installed"),
            ("b", "hold ok installed"),
            ("c", "deinstall ok config-files"),
            ("d", "install ok half-configured"),
            ("e", "install reinstreq half-installed"),
            ("f", "install"),
            ("g", ""),
        ] {
            text += &format!("Package: {name}\nStatus: {status}\n\n");
        }
        let scratch = Scratch::new();
        let path = scratch.path().join("status");
        std::fs::write(&path, text).unwrap();
        let count = count_dpkg(&path).unwrap();
        assert_eq!(count.installed, 2);
        assert_eq!(count.broken, ["d (half-configured)", "e (half-installed)"]);
    }

    #[test]
    fn steps_of_an_interrupted_dpkg_count() {
        let package = |arch: &str, version: u8, state: &str| {
            format!(
                "Package: a\nArchitecture: {arch}\nVersion: {version}\nStatus: install ok {state}\n"
            )
        };
        let scratch = Scratch::new();
        let path = scratch.path().join("status");
        let status = [
            package("amd64", 1, "installed"),
            package("i386", 1, "installed"),
        ];
        std::fs::write(&path, status.join("\n")).unwrap();
        let first = package("amd64", 1, "half-installed");
        let last = package("amd64", 2, "half-configured");
        for (updates, expect) in [
            (&[][..], (2, None)),
            (&[("0000", &first)], (1, Some("a (half-installed)"))),
            (
                &[("0000", &first), ("0001", &last)],
                (1, Some("a (half-configured)")),
            ),
            (
                &[("0009", &first), ("0010", &last)],
                (1, Some("a (half-configured)")),
            ),
            (&[("0000", &status[0])], (2, None)),
            (&[("tmp.i", &first)], (2, None)),
        ] {
            let dir = scratch.path().join("updates");
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir(&dir).unwrap();
            for (name, text) in updates {
                std::fs::write(dir.join(name), text).unwrap();
            }
            let count = count_dpkg(&path).unwrap();
            let broken: Vec<&str> = count.broken.iter().map(String::as_str).collect();
            assert_eq!(count.installed, expect.0, "{updates:?}");
            assert_eq!(broken, Vec::from_iter(expect.1), "{updates:?}");
        }
        let dir = scratch.path().join("updates");
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::write(&dir, "").unwrap();
        assert!(
            count_dpkg(&path).is_err(),
            "what cannot be listed is no empty directory"
        );
    }

    #[test]
    fn machine_of_rpm_with_dpkg_installed_is_one_of_rpm() {
        for (status, kind, installed) in [
            ("", "rpm", None),
            (
                "Package: a\nStatus: install ok installed\n",
                "dpkg",
                Some(1),
            ),
        ] {
            let scratch = Scratch::new();
            scratch.put(&[
                ("var/lib/dpkg/status", status.as_bytes()),
                ("usr/lib/sysimage/rpm/rpmdb.sqlite", b"x"),
            ]);
            let mut gaps = Gaps::default();
            let found = gather(&scratch.sources(), &mut gaps).unwrap();
            assert_eq!((found.kind.as_str(), found.installed), (kind, installed));
            let has_gap = gaps
                .into_list()
                .iter()
                .any(|gap| gap.why.contains("rpm -qa"));
            assert_eq!(has_gap, kind == "rpm");
        }
    }

    #[test]
    fn reboot_is_not_known_where_no_program_asks_for_one() {
        const FLAG: &str = "run/reboot-required";
        let gap = Err("no program here writes '/run/reboot-required'".to_owned());
        for (files, expect) in [
            (&[][..], gap),
            (&[FLAG], Ok(true)),
            (
                &["usr/share/update-notifier/notify-reboot-required"],
                Ok(false),
            ),
            (&["etc/kernel/postinst.d/unattended-upgrades"], Ok(false)),
            (
                &["etc/kernel/postinst.d/unattended-upgrades", FLAG],
                Ok(true),
            ),
        ] {
            let scratch = Scratch::new();
            for file in files {
                scratch.put(&[(file, b"")]);
            }
            let (at, mut gaps) = (scratch.sources(), Gaps::default());
            let updates = gather_updates(&at, &mut gaps);
            assert_eq!(updates.reboot_flag, expect.clone().ok(), "{files:?}");
            let gap = gaps.into_list().into_iter();
            let gap = gap.filter(|gap| gap.fact == "updates.reboot_flag");
            assert_eq!(gap.map(|gap| gap.why).next(), expect.err(), "{files:?}");
        }
    }

    #[test]
    fn count_is_found_in_the_greeting() {
        for (text, expect) in [
            (
                "\n12 updates can be applied immediately.\n3 of these updates are standard security updates.\n",
                Some(12),
            ),
            ("1 update can be applied immediately.", Some(1)),
            ("0 packages can be updated.", Some(0)),
            ("Expanded Security Maintenance is not enabled.\n", None),
            ("many updates can be applied", None),
            ("", None),
        ] {
            assert_eq!(count(text), expect, "{text}");
        }
    }
}
