//! Landlock: files are written below the spool only; other files are read where host facts lie.
//!
//! Each version of the interface is tried with all it offers as a hard
//! requirement, newest first: a kernel gives everything it has or the next
//! lower version is asked for. A kernel without Landlock is served without it.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// Where host facts are read.
const READ: [&str; 10] = [
    "/proc",
    "/sys",
    "/etc",
    "/usr",
    "/run",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/boot",
    "/var/cache",
];

/// The versions whose every right is known to this release.
const VERSIONS: [(u32, ABI); 6] = [
    (6, ABI::V6),
    (5, ABI::V5),
    (4, ABI::V4),
    (3, ABI::V3),
    (2, ABI::V2),
    (1, ABI::V1),
];

/// Restricts the calling thread; the version used, 0 without Landlock.
///
/// # Errors
/// When the kernel has Landlock but the rules cannot be put in force.
pub fn restrict(spool: &Path) -> Result<u32, String> {
    for (version, abi) in VERSIONS {
        // An error here says that the kernel lacks something of this version, nothing else.
        let Ok(ruleset) = handled(abi) else { continue };
        return put_in_force(ruleset, spool)
            .map(|()| version)
            .map_err(|error| format!("cannot restrict itself with landlock: {error}"));
    }
    tracing::warn!("no landlock here: seccomp and file permissions alone confine the broker");
    Ok(0)
}

fn handled(abi: ABI) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    Ok(ruleset)
}

fn put_in_force(ruleset: Ruleset, spool: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut ruleset = ruleset.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile;
    ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(spool)?, read | write))?;
    for path in READ {
        // Not every machine has them all, and what is absent needs no rule.
        if let Ok(fd) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, read))?;
        }
    }
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
            Err("not fully enforced".into())
        }
    }
}
