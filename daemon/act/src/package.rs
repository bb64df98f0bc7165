//! Packages, by apt-get(8) or dnf(8), whichever is there: never a question, settings that an administrator changed are
//! kept, nothing is removed but what is named and what cannot be without it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Fault;
use crate::args::PackageVerb;

const APT: &str = "/usr/bin/apt-get";
const DNF: &str = "/usr/bin/dnf";

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

/// Runs the package manager; its output is ours.
pub fn act(verb: PackageVerb, names: &[String]) -> Result<(), Fault> {
    let (program, words) = match (Path::new(APT).exists(), Path::new(DNF).exists()) {
        (true, _) => (APT, apt(verb)),
        (false, true) => (DNF, dnf(verb)),
        (false, false) => {
            let why = format!("there is neither '{APT}' nor '{DNF}' on this machine");
            return Err(Fault::Refused(why));
        }
    };
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
