//! Packages, by apt-get(8) or dnf(8), whichever has the database of this machine: never a question, settings that an
//! administrator changed are kept, nothing is removed but what is named and what cannot be without it.

mod before;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Fault;
use crate::args::PackageVerb;

const APT: &str = "/usr/bin/apt-get";
const DNF: &str = "/usr/bin/dnf";
/// The database of dpkg. On a machine of another family apt may be installed, too, and this is empty.
const DPKG: &str = "/var/lib/dpkg/status";

/// The program that knows the packages of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
}

const APT_OPTIONS: [&str; 16] = [
    "--quiet",
    "--assume-yes",
    "-o",
    "APT::Get::AutomaticRemove=false",
    // Else a name that is no package's is a regular expression, and its dots are any character.
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

/// Prints what the change would do.
pub fn describe(verb: PackageVerb, names: &[String]) -> Result<(), Fault> {
    let manager = manager()?;
    match (manager, before::lines(manager, verb, names, true)) {
        (_, Ok(lines)) => {
            println!(
                "packages that change, as the package manager says now: {}",
                lines.len()
            );
            for line in lines {
                println!("{line}");
            }
            Ok(())
        }
        // Without lists of repositories it cannot know. The job looks again, with them.
        (Manager::Dnf, Err(Fault::Refused(why))) if !why.contains("'remit'") => {
            println!("the package manager cannot say now which packages change: {why}");
            Ok(())
        }
        (_, Err(fault)) => Err(fault),
    }
}

/// Runs the package manager; its output is ours.
pub fn act(verb: PackageVerb, names: &[String]) -> Result<(), Fault> {
    let manager = manager()?;
    before::lines(manager, verb, names, false)?;
    let (program, words) = options(manager, verb);
    let status = Command::new(program)
        .args(words)
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // It says which services run old code, and restarts none that nobody named.
        .env("NEEDRESTART_MODE", "l")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Fault::Failed(format!("cannot run '{program}': {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Fault::Failed(format!("'{program}' ended with {status}"))),
    }
}

fn manager() -> Result<Manager, Fault> {
    let has_dpkg = fs::metadata(DPKG).is_ok_and(|status| status.len() > 0);
    chosen(has_dpkg, Path::new(APT).exists(), Path::new(DNF).exists()).ok_or_else(|| {
        let why =
            format!("there is neither '{APT}' with a database of dpkg nor '{DNF}' on this machine");
        Fault::Refused(why)
    })
}

/// By whose database is in use, not by which program is there.
const fn chosen(has_dpkg: bool, has_apt: bool, has_dnf: bool) -> Option<Manager> {
    match (has_dpkg, has_apt, has_dnf) {
        (true, true, _) => Some(Manager::Apt),
        (_, _, true) => Some(Manager::Dnf),
        _ => None,
    }
}

/// The program, and everything before the names.
fn options(manager: Manager, verb: PackageVerb) -> (&'static str, Vec<&'static str>) {
    match manager {
        Manager::Apt => (APT, apt(verb)),
        Manager::Dnf => (DNF, dnf(verb)),
    }
}

/// Everything before the names. Install and upgrade remove nothing.
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
            (true, true, false, Some(Manager::Apt)),
            (true, true, true, Some(Manager::Apt)),
            // Fedora with the package 'apt'.
            (false, true, true, Some(Manager::Dnf)),
            (false, false, true, Some(Manager::Dnf)),
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
