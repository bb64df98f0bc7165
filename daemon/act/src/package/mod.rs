//! Changes packages by apt-get(8) or dnf(8), depending on which database this machine uses. It never asks a question
//! and keeps configuration files that an administrator changed. It removes only the named packages and what depends
//! on them.

mod before;
mod manager;

use std::process::{Command, Stdio};

use crate::args::PackageVerb;
use crate::fault::Fault;
use manager::{PackageManager, manager, options};

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
        // Without cached repository lists dnf cannot answer. The job checks again, with the repositories.
        (PackageManager::Dnf, Err(Fault::Refused(why))) if !why.contains("'remit'") => {
            println!("the package manager cannot say now which packages change: {why}");
            Ok(())
        }
        (_, Err(fault)) => Err(fault),
    }
}

pub fn act(verb: PackageVerb, names: &[String]) -> Result<(), Fault> {
    let manager = manager()?;
    before::lines(manager, verb, names, false)?;
    let (program, words) = options(manager, verb);
    let status = Command::new(program)
        .args(words)
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Mode "l" lists services that run old code and restarts none of them.
        .env("NEEDRESTART_MODE", "l")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Fault::Failed(format!("cannot run '{program}': {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Fault::Failed(format!("'{program}' ended with {status}"))),
    }
}
