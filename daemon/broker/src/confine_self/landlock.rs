//! Landlock for the broker: writes only below the spool, reads also where host facts are. Each ABI version is tried
//! with all its rights as a hard requirement, newest first. If the kernel lacks one, the next lower version is
//! tried. Without Landlock the broker serves anyway.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

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

const VERSIONS: [(u32, ABI); 6] = [
    (6, ABI::V6),
    (5, ABI::V5),
    (4, ABI::V4),
    (3, ABI::V3),
    (2, ABI::V2),
    (1, ABI::V1),
];

/// Restricts the calling thread. Returns the ABI version, 0 without Landlock. An error means that the kernel has
/// Landlock but the rules cannot be enforced.
pub fn restrict(spool: &Path) -> Result<u32, String> {
    for (version, abi) in VERSIONS {
        // An error here means only that the kernel does not support all of this version.
        let Ok(ruleset) = handled(abi) else { continue };
        return put_in_force(ruleset, spool)
            .map(|()| version)
            .map_err(|error| format!("cannot restrict itself with landlock: {error}"));
    }
    tracing::warn!("no landlock here: only seccomp and file permissions confine the broker");
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
        // Paths that do not exist on this machine need no rule.
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
