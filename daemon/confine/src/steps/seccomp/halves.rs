//! The filter in two programs: most of it is copied by fork(2) at no cost, and a small one, a child's last step,
//! closes what the child still needed. The kernel compiles a program again each time it is installed, which costs a
//! job more than any other step of its own. Of several programs the strictest answer counts. For each number one of
//! the two has the rule and the other lets it through, so both together answer as the whole does.

use std::io;

use super::bpf::{self, Program};
use super::rule::{Arch, Class, Rule, SyscallRow};
use super::rules::rules;
use crate::steps::report::EnabledLayers;
use crate::{Result, sys};

/// Both programs. A process that has only `first` is not confined.
#[derive(Clone, Debug)]
pub(crate) struct Halves {
    /// Installed once by the process that forks the children. Needs `CAP_SYS_ADMIN` or `no_new_privs`.
    pub(crate) first: Program,
    pub(crate) closing: Program,
}

/// Calls of the forking process and its children that a job may not make, or only with some arguments.
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
    ("access lists of the machine's directories, of any size", &[("fsetxattr", 190, 7)]),
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
    if class.inspects {
        // The process that forks needs what such a job does not.
        let inspects = false;
        let (plain, _) = rules(arch, layers, Class { inspects, ..class });
        let others = whole
            .iter()
            .filter(|(n, rule)| of_rules(&plain, *n) != Some(*rule));
        setup.extend(others.map(|(number, _)| *number));
    }
    if class.own_network {
        // A relay or proxy is born with the first half, and bounds the buffers of its own sockets.
        setup.extend(arch.number(&("setsockopt", 54, 208)));
    }
    if class.changes_root {
        // The worker of copies watches the machine's file systems.
        let rows = [("fanotify_init", 300, 262), ("fanotify_mark", 301, 263)];
        setup.extend(rows.iter().filter_map(|row| arch.number(row)));
    }
    setup.sort_unstable();
    setup.dedup();
    let of_job = |number| of_rules(&whole, number).unwrap_or(unknown);
    let closing: Vec<(u32, Rule)> = setup.iter().map(|n| (*n, of_job(*n))).collect();
    let others = whole.iter().filter(|(number, _)| !setup.contains(number));
    let open = setup.iter().map(|number| (*number, Rule::Allow));
    let mut first: Vec<(u32, Rule)> = others.copied().chain(open).collect();
    first.sort_unstable_by_key(|(number, _)| *number);
    let allowed = |number| of_rules(&first, number) == Some(Rule::Allow);
    let known = |number| of_rules(&whole, number).is_some();
    Halves {
        first: bpf::assemble(arch.audit(), &first, unknown, known),
        closing: bpf::assemble(arch.audit(), &closing, Rule::Allow, allowed),
    }
}

fn of_rules(rules: &[(u32, Rule)], number: u32) -> Option<Rule> {
    let at = rules.binary_search_by_key(&number, |(known, _)| *known);
    rules.get(at.ok()?).map(|(_, rule)| *rule)
}

#[derive(Clone, Debug)]
pub(crate) enum Filter {
    Halves(Halves),
    /// Refusals go to the kernel's audit. Nothing is installed before the rest.
    Audited(AuditedFilter),
    /// Base `host`, whose lists install none.
    None,
}

impl Filter {
    pub(crate) fn new(layers: EnabledLayers, class: Class, is_audited: bool) -> Result<Filter> {
        Ok(match is_audited {
            true => Filter::Audited(AuditedFilter::new(&super::compile(layers, class)?)),
            false => Filter::Halves(halves(layers, class)?),
        })
    }

    pub(crate) fn is_audited(&self) -> bool {
        matches!(self, Filter::Audited(_))
    }

    pub(crate) fn install_first(&self) -> io::Result<()> {
        match self {
            Filter::Halves(halves) => sys::install_filter(halves.first.instructions()),
            Filter::Audited(_) | Filter::None => Ok(()),
        }
    }

    pub(crate) fn install_rest(&self) -> io::Result<()> {
        match self {
            Filter::Halves(halves) => sys::install_filter(halves.closing.instructions()),
            Filter::Audited(filter) => filter.install(),
            Filter::None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// `SECCOMP_FILTER_FLAG_LOG` counts for all that a program answers with an errno. Half of our answers are no refusals: a
/// flush that succeeds, or `clone3`, which libc tries. Each would be a record. So the program is installed twice, each time
/// without the other's answers: for any call one of the two answers as the whole one does, and the other lets it through.
#[derive(Clone, Debug)]
pub(crate) struct AuditedFilter {
    refusals: Program,
    others: Program,
}

impl AuditedFilter {
    pub(crate) fn new(whole: &Program) -> AuditedFilter {
        AuditedFilter {
            refusals: whole.without(is_no_refusal),
            others: whole.without(|answer| is_errno(answer) && !is_no_refusal(answer)),
        }
    }

    /// The refusals go first: the other half answers seccomp(2) itself, with success.
    pub(crate) fn install(&self) -> io::Result<()> {
        sys::install_filter_with(self.refusals.instructions(), sys::FILTER_LOG)?;
        sys::install_filter(self.others.instructions())
    }

    #[cfg(test)]
    pub(super) fn halves(&self) -> [&Program; 2] {
        [&self.refusals, &self.others]
    }
}

fn is_errno(answer: u32) -> bool {
    answer & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO
}

/// Success without doing anything, or the answer of a kernel without such a call.
fn is_no_refusal(answer: u32) -> bool {
    is_errno(answer) && [0, libc::ENOSYS as u32].contains(&(answer & libc::SECCOMP_RET_DATA))
}
