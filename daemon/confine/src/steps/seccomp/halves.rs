//! The filter in two programs: most of it is inherited by fork(2) at no cost, and a small one, a child's last step,
//! closes what the child still needed. The kernel compiles a program again each time it is installed, which costs a
//! job more than any other step of its own. Of several programs the strictest answer counts. For each number one of
//! the two has the rule and the other lets it through, so both together answer as the whole does.

use super::arch::Arch;
use super::bpf::{self, Program};
use super::rule::{Class, Rule, SyscallRow};
use super::rules::rules;
use crate::{Result, spec::layer::EnabledLayers};

/// Both programs. A process that has only `inherited` is not confined.
#[derive(Clone, Debug)]
pub(crate) struct Halves {
    /// Installed once by the process that forks the children. Needs `CAP_SYS_ADMIN` or `no_new_privs`.
    pub(crate) inherited: Program,
    pub(crate) closing: Program,
}

/// Calls of the process that forks and of its children that a job may not make, or only with some arguments. All their
/// other calls are allowed to jobs, too.
#[rustfmt::skip]
pub(super) const SETUP: &[(&str, &[SyscallRow])] = &[
    ("forking: flags in memory, CLONE_PARENT", &[("clone", 56, 220), ("clone3", 435, 435)]),
    ("namespaces", &[("unshare", 272, 97), ("setns", 308, 268)]),
    ("mounts", &[
        ("mount", 165, 40), ("umount2", 166, 39), ("open_tree", 428, 428), ("move_mount", 429, 429),
        ("mount_setattr", 442, 442), ("pivot_root", 155, 41),
    ]),
    ("a /proc of its own, where /proc/sys is read-only", &[
        ("fsopen", 430, 430), ("fsconfig", 431, 431), ("fsmount", 432, 432),
    ]),
    ("looking up paths; refused to jobs that write", &[("openat2", 437, 437)]),
    ("a session of its own", &[("setsid", 112, 157)]),
    ("RLIMIT_CORE", &[("prlimit64", 302, 261)]),
    ("the session keyring", &[("keyctl", 250, 219)]),
    ("the layers that come last", &[
        ("landlock_create_ruleset", 444, 444), ("landlock_add_rule", 445, 445),
        ("landlock_restrict_self", 446, 446), ("seccomp", 317, 277),
    ]),
];

pub(crate) fn halves(layers: EnabledLayers, class: Class) -> Result<Halves> {
    Ok(halves_for(Arch::here()?, layers, class))
}

pub(super) fn halves_for(arch: Arch, layers: EnabledLayers, class: Class) -> Halves {
    let (whole, unknown) = rules(arch, layers, class);
    let rows = SETUP.iter().flat_map(|(_, rows)| *rows);
    let mut setup: Vec<u32> = rows.filter_map(|row| arch.number(row)).collect();
    setup.sort_unstable();
    let of_job = |number| of_rules(&whole, number).unwrap_or(unknown);
    let closing: Vec<(u32, Rule)> = setup.iter().map(|n| (*n, of_job(*n))).collect();
    let others = whole.iter().filter(|(number, _)| !setup.contains(number));
    let open = setup.iter().map(|number| (*number, Rule::Allow));
    let mut inherited: Vec<(u32, Rule)> = others.copied().chain(open).collect();
    inherited.sort_unstable_by_key(|(number, _)| *number);
    let allowed = |number| of_rules(&inherited, number) == Some(Rule::Allow);
    let known = |number| of_rules(&whole, number).is_some();
    Halves {
        inherited: bpf::assemble(arch.audit(), &inherited, unknown, known),
        closing: bpf::assemble(arch.audit(), &closing, Rule::Allow, allowed),
    }
}

fn of_rules(rules: &[(u32, Rule)], number: u32) -> Option<Rule> {
    let at = rules.binary_search_by_key(&number, |(known, _)| *known);
    rules.get(at.ok()?).map(|(_, rule)| *rule)
}
