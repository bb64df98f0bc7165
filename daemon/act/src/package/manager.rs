//! Finds the package manager of this machine, and its arguments for a verb.

use std::fs;
use std::path::Path;

use crate::args::{Fault, PackageVerb};

const APT: &str = "/usr/bin/apt-get";
const DNF: &str = "/usr/bin/dnf";
/// The database of dpkg. apt can be installed on a machine of another family; this file is empty then.
const DPKG: &str = "/var/lib/dpkg/status";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    Apt,
    Dnf,
}

const APT_OPTIONS: [&str; 16] = [
    "--quiet",
    "--assume-yes",
    "-o",
    "APT::Get::AutomaticRemove=false",
    // Otherwise a name that is not a package is a regular expression, and its dots match any character.
    "-o",
    "APT::Cmd::Pattern-Only=true",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "Dpkg::Use-Pty=false",
    "-o",
    "DPkg::Lock::Timeout=60",
    "-o",
    "APT::Color=false",
];
const DNF_OPTIONS: [&str; 2] = ["--assumeyes", "--setopt=clean_requirements_on_remove=False"];

pub fn manager() -> Result<PackageManager, Fault> {
    let has_dpkg = fs::metadata(DPKG).is_ok_and(|status| status.len() > 0);
    chosen(has_dpkg, Path::new(APT).exists(), Path::new(DNF).exists()).ok_or_else(|| {
        let why =
            format!("there is neither '{APT}' with a database of dpkg nor '{DNF}' on this machine");
        Fault::Refused(why)
    })
}

/// Chooses by the database in use, not by the installed program.
const fn chosen(has_dpkg: bool, has_apt: bool, has_dnf: bool) -> Option<PackageManager> {
    match (has_dpkg, has_apt, has_dnf) {
        (true, true, _) => Some(PackageManager::Apt),
        (_, _, true) => Some(PackageManager::Dnf),
        _ => None,
    }
}

pub fn options(manager: PackageManager, verb: PackageVerb) -> (&'static str, Vec<&'static str>) {
    match manager {
        PackageManager::Apt => (APT, apt(verb)),
        PackageManager::Dnf => (DNF, dnf(verb)),
    }
}

/// Returns the arguments before the names. Install and upgrade remove nothing.
fn apt(verb: PackageVerb) -> Vec<&'static str> {
    let order: &[&str] = match verb {
        PackageVerb::Install => &["--no-remove", "install", "--"],
        PackageVerb::Upgrade => &["--no-remove", "--only-upgrade", "install", "--"],
        PackageVerb::Remove => &["remove", "--"],
    };
    [APT_OPTIONS.as_slice(), order].concat()
}

fn dnf(verb: PackageVerb) -> Vec<&'static str> {
    let order = match verb {
        PackageVerb::Install => "install",
        PackageVerb::Upgrade => "upgrade",
        PackageVerb::Remove => "remove",
    };
    [DNF_OPTIONS.as_slice(), &[order, "--"]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_after_the_last_option() {
        for verb in [
            PackageVerb::Install,
            PackageVerb::Upgrade,
            PackageVerb::Remove,
        ] {
            assert_eq!(apt(verb).last(), Some(&"--"));
            assert_eq!(dnf(verb).last(), Some(&"--"));
        }
    }

    #[test]
    fn c12_the_database_in_use_decides() {
        for (has_dpkg, has_apt, has_dnf, expect) in [
            (true, true, false, Some(PackageManager::Apt)),
            (true, true, true, Some(PackageManager::Apt)),
            // Fedora with the package 'apt' installed.
            (false, true, true, Some(PackageManager::Dnf)),
            (false, false, true, Some(PackageManager::Dnf)),
            (false, true, false, None),
            (false, false, false, None),
        ] {
            assert_eq!(chosen(has_dpkg, has_apt, has_dnf), expect);
        }
    }

    #[test]
    fn only_what_is_named_is_removed() {
        assert!(apt(PackageVerb::Install).contains(&"--no-remove"));
        assert!(apt(PackageVerb::Upgrade).contains(&"--no-remove"));
        assert!(apt(PackageVerb::Upgrade).contains(&"--only-upgrade"));
        assert!(
            !apt(PackageVerb::Remove)
                .iter()
                .any(|word| word.contains("essential"))
        );
    }
}
