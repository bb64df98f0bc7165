//! Properties of a path that follow from the input alone, and the age of a base. Pure.

use std::collections::BTreeSet;

use remit_plan::{PlanPath, is_table};

use crate::input::CopiedMachine;
use crate::node::{Node, NodeKind};
use crate::refusal::RefusalReason;

/// Times of changes have the kernel's clock tick, so a change can look as much older than it is.
const TICK_NS: i128 = 20_000_000;
/// Some file systems have whole seconds, or two.
const SECONDS_NS: i128 = 2_000_000_000;
const SECOND_NS: i128 = 1_000_000_000;

/// Programs write here all the time. Only new directories belong to a plan. A copy has its own /tmp and /var/tmp, but for a link.
const SCRATCH: [&str; 4] = ["/var/log", "/var/cache", "/tmp", "/var/tmp"];
/// The answers to the questions of packages.
const KEPT: &[u8] = b"/var/cache/debconf";

/// What the plan's user did not see of the host's path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hiding {
    #[default]
    None,
    /// All of it: it cannot change.
    Hidden,
    /// What is in the directory.
    Emptied,
    /// All of it, and whether it is there: it lies beneath an emptied directory.
    Unseen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    pub is_mount: bool,
    pub hiding: Hiding,
    pub is_scratch: bool,
    /// Something beneath it is not scratch.
    pub contains_kept: bool,
    /// A table of passwords that the copy has without them.
    pub is_table: bool,
    /// What such a table was before a change.
    pub is_old_table: bool,
}

#[derive(Clone, Copy)]
pub struct PathRules<'a> {
    machine: &'a CopiedMachine,
}

impl<'a> PathRules<'a> {
    pub const fn new(machine: &'a CopiedMachine) -> Self {
        Self { machine }
    }

    pub fn region(&self, path: &PlanPath) -> Region {
        let bytes = path.as_bytes();
        let CopiedMachine {
            overlays,
            hidden,
            emptied,
            mounts,
            ..
        } = self.machine;
        let lies_beneath = |all: &BTreeSet<Vec<u8>>| path.ancestors().any(|dir| all.contains(dir));
        let hiding = match () {
            () if hidden.contains(b"/".as_slice()) => Hiding::Hidden,
            () if hidden.contains(bytes) || lies_beneath(hidden) => Hiding::Hidden,
            () if lies_beneath(emptied) => Hiding::Unseen,
            () if emptied.contains(bytes) => Hiding::Emptied,
            () => Hiding::None,
        };
        let is_scratch = SCRATCH.iter().any(|dir| path.is_in(dir.as_bytes())) && !path.is_in(KEPT);
        let is_hidden = |path: &[u8]| is_table(path) && hidden.contains(path);
        Region {
            is_table: is_hidden(bytes),
            is_old_table: bytes.strip_suffix(b"-").is_some_and(is_hidden),
            is_mount: mounts.contains(bytes) || overlays.iter().any(|one| one.at == bytes),
            hiding,
            is_scratch,
            contains_kept: is_scratch
                && KEPT
                    .strip_prefix(bytes)
                    .is_some_and(|rest| rest.starts_with(b"/")),
        }
    }

    /// Fails if the host may have changed a base since the plan began: the plan would undo that, unseen.
    pub const fn check_base(&self, base: &Node) -> Result<(), RefusalReason> {
        if !is_older(base.stat.ctime_ns, self.machine.started_ns) {
            return Err(RefusalReason::ChangedOnHost);
        }
        if base.links > 1 && !matches!(base.kind, NodeKind::Directory) {
            return Err(RefusalReason::HardLinks(base.links));
        }
        Ok(())
    }

    /// Fails if the host has another directory here since the plan began, or another mode of it. A rename changes ctime
    /// alone, and not that of the files beneath. New and removed names change both times, and say nothing of the others.
    pub const fn check_directory(&self, directory: &Node) -> Result<(), RefusalReason> {
        let ctime_ns = directory.stat.ctime_ns;
        let is_same = ctime_ns == directory.mtime_ns;
        if is_same || is_older(ctime_ns, self.machine.started_ns) {
            return Ok(());
        }
        Err(RefusalReason::ChangedOnHost)
    }
}

const fn is_older(ctime_ns: i128, started_ns: i128) -> bool {
    let unit = match ctime_ns % SECOND_NS {
        0 => SECONDS_NS,
        _ => TICK_NS,
    };
    ctime_ns.saturating_add(unit) < started_ns
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn base_is_older_by_a_clock_tick() {
        for (ctime_ns, started_ns, expect) in [
            (1, TICK_NS + 2, true),
            (1, TICK_NS + 1, false),
            (7, 7, false),
            (8, 7, false),
            (SECOND_NS, 3 * SECOND_NS + 1, true),
            (SECOND_NS, 3 * SECOND_NS, false),
            (SECOND_NS + 1, SECOND_NS + TICK_NS + 2, true),
            (i128::MAX, i128::MAX, false),
        ] {
            let is = is_older(ctime_ns, started_ns);
            assert_eq!(is, expect, "{ctime_ns} {started_ns}");
        }
    }

    #[test]
    fn regions_of_paths_are_found() {
        let machine = CopiedMachine {
            overlays: Vec::new(),
            started_ns: 0,
            hidden: [&b"/root"[..], b"/var/log/secret", b"/etc/shadow"]
                .map(<[u8]>::to_vec)
                .into(),
            emptied: [&b"/etc/private"[..], b"/var/log/private", b"/root/x"]
                .map(<[u8]>::to_vec)
                .into(),
            mounts: [b"/srv/data".to_vec()].into(),
        };
        let none = Region::default();
        let covered = |hiding, region| Region { hiding, ..region };
        let hidden = |region| covered(Hiding::Hidden, region);
        let scratch = Region {
            is_scratch: true,
            ..none
        };
        for (path, expect) in [
            ("/root", hidden(none)),
            ("/root/a/b", hidden(none)),
            ("/root/x", hidden(none)),
            ("/rootless", none),
            ("/etc/private", covered(Hiding::Emptied, none)),
            ("/etc/private/a", covered(Hiding::Unseen, none)),
            ("/etc/private/a/b", covered(Hiding::Unseen, none)),
            ("/etc/privates", none),
            ("/var/log/private", covered(Hiding::Emptied, scratch)),
            ("/var/log/private/x", covered(Hiding::Unseen, scratch)),
            (
                "/etc/shadow",
                Region {
                    is_table: true,
                    ..hidden(none)
                },
            ),
            (
                "/etc/shadow-",
                Region {
                    is_old_table: true,
                    ..none
                },
            ),
            ("/etc/gshadow", none),
            ("/etc/gshadow-", none),
            ("/srv", none),
            ("/srv/data/x", none),
            (
                "/srv/data",
                Region {
                    is_mount: true,
                    ..none
                },
            ),
            ("/tmp", scratch),
            ("/tmpfile", none),
            ("/var", none),
            ("/var/log/secret", hidden(scratch)),
            ("/var/cache/apt/x", scratch),
            ("/var/cache/debconf", none),
            ("/var/cache/debconf/config.dat", none),
            ("/var/cache/debconf-old", scratch),
            (
                "/var/cache",
                Region {
                    contains_kept: true,
                    ..scratch
                },
            ),
        ] {
            let region = PathRules::new(&machine).region(&PlanPath::new(path).unwrap());
            assert_eq!(region, expect, "{path}");
        }
    }
}
