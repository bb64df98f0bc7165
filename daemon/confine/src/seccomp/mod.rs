//! The system call filter: one table, one program.
//!
//! The table is compiled to a binary search over the number, with argument checks at its
//! leaves. One program instead of a stack of linear ones: the kernel runs every program for
//! every number when it is installed (its cache of always-allowed calls), and that stood in
//! each spawn.

mod bpf;
mod halves;
mod relay;
mod table;
mod told;

use crate::{Error, Result, Wall, wall::Walls};
pub(crate) use bpf::Program;
pub(crate) use halves::{Halves, halves};
pub(crate) use relay::relay;
pub(crate) use told::Told;

/// What to do with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Let it through.
    Allow,
    /// Do not make it, answer this errno (0: success).
    Answer(u16),
    /// Let it through when every check holds.
    Checked(&'static [Check]),
    /// The same, but a call whose argument of this place, a pointer, is null goes through: it
    /// asks and sets nothing.
    CheckedIfSet(u8, &'static [Check]),
}

/// One argument's low 32 bits, masked, compared. All arguments compared here are 32-bit in the
/// kernel, or flags whose upper half it ignores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Check {
    arg: u8,
    mask: u32,
    want: Want,
    errno: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    OneOf(&'static [u32]),
    NoneOf(&'static [u32]),
    /// Asked only where another argument, unmasked, has this value.
    OneOfIf {
        arg: u8,
        is: u32,
        values: &'static [u32],
    },
    NoneOfIf {
        arg: u8,
        is: u32,
        values: &'static [u32],
    },
}

/// Calls with one rule, for one reason.
#[derive(Debug)]
struct Group {
    why: &'static str,
    wall: Option<Wall>,
    rule: Rule,
    rows: &'static [table::Row],
}

/// What jobs of some kinds of profile have in place of the table's rule.
#[derive(Debug)]
struct Instead {
    of: fn(Class) -> bool,
    group: Group,
}

/// An architecture whose numbers the table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// `AUDIT_ARCH_*`.
    fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    fn number(self, row: &table::Row) -> Option<u32> {
        let (_, x86_64, aarch64) = *row;
        u32::try_from(match self {
            Arch::X86_64 => x86_64,
            Arch::Aarch64 => aarch64,
        })
        .ok()
    }

    fn here() -> Result<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Arch::X86_64),
            "aarch64" => Ok(Arch::Aarch64),
            other => Err(Error::refused(
                "cannot compile the system call filter",
                format!("no table for '{other}'; x86_64 and aarch64 have one"),
            )),
        }
    }
}

/// Every system call that the filter refuses, or answers itself for some arguments: its name and
/// the reason. For documents and for explaining a refusal.
pub fn filtered_calls() -> impl Iterator<Item = (&'static str, &'static str)> {
    let filtered = table::GROUPS
        .iter()
        .filter(|group| group.rule != Rule::Allow);
    filtered.flat_map(|group| group.rows.iter().map(|(name, ..)| (*name, group.why)))
}

/// What jobs of a kind of profile need or lack beyond the table: each its rows of `table::INSTEAD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Class {
    /// Real locks and flushes, since files of the host are written.
    pub(crate) locks: bool,
    /// Internet sockets. Raw ones need a capability besides.
    pub(crate) internet: bool,
    /// Unix sockets.
    pub(crate) unix: bool,
    /// System V objects, in a namespace of the job's own.
    pub(crate) ipc: bool,
    /// Less, not more: no file becomes set-id, since others could execute it on the host. A uid
    /// of the job's own is no reason: another job has it later, and `CAP_SETUID` changes it.
    pub(crate) no_set_id: bool,
    /// Less: what the kernel counts by uid is taken from all that the job's user runs.
    pub(crate) shared_uid: bool,
    /// Less: no session of its own, since the kernel shares processor time by sessions.
    pub(crate) one_session: bool,
    /// Less: in a network of its own buffers of sockets keep their size.
    pub(crate) own_network: bool,
}

/// Compiles the filter of this machine for one kind of profile.
pub(crate) fn compile(walls: Walls, class: Class) -> Result<Program> {
    Ok(compile_for(Arch::here()?, walls, class))
}

/// A filter that allows `numbers` of this machine and answers EPERM to the rest.
pub(crate) fn only(numbers: &[libc::c_long]) -> Result<Program> {
    exactly(numbers.iter().map(|number| (*number, Rule::Allow)))
}

/// A filter of these rules on this machine's numbers, which answers EPERM to the rest.
fn exactly(rules: impl Iterator<Item = (libc::c_long, Rule)>) -> Result<Program> {
    let mut rules: Vec<(u32, Rule)> = rules
        .filter_map(|(number, rule)| Some((u32::try_from(number).ok()?, rule)))
        .collect();
    rules.sort_unstable_by_key(|(number, _)| *number);
    Ok(bpf::assemble(
        Arch::here()?.audit(),
        &rules,
        Rule::Answer(libc::EPERM as u16),
        |_| true,
    ))
}

fn compile_for(arch: Arch, walls: Walls, class: Class) -> Program {
    let (rules, unknown) = rules(arch, walls, class);
    let known = |number| rules.binary_search_by_key(&number, |(n, _)| *n).is_ok();
    bpf::assemble(arch.audit(), &rules, unknown, known)
}

/// The rule of every known number, sorted, and that of all others.
fn rules(arch: Arch, walls: Walls, class: Class) -> (Vec<(u32, Rule)>, Rule) {
    let mut rules: Vec<(u32, Rule)> = Vec::new();
    for group in table::GROUPS {
        let rule = match group.wall {
            Some(wall) if !walls.up(wall) => Rule::Allow,
            _ => group.rule,
        };
        rules.extend(
            group
                .rows
                .iter()
                .filter_map(|row| Some((arch.number(row)?, rule))),
        );
    }
    for Instead { group, .. } in table::INSTEAD.iter().filter(|other| (other.of)(class)) {
        // A wall that is off lets all of it through already.
        if group.wall.is_some_and(|wall| !walls.up(wall)) {
            continue;
        }
        let numbers: Vec<u32> = group
            .rows
            .iter()
            .filter_map(|row| arch.number(row))
            .collect();
        let same = rules.iter_mut().filter(|(n, _)| numbers.contains(n));
        same.for_each(|(_, rule)| *rule = group.rule);
    }
    rules.sort_unstable_by_key(|(number, _)| *number);
    let unknown = if walls.up(Wall::SeccompUnknown) {
        Rule::Answer(libc::ENOSYS as u16)
    } else {
        Rule::Allow
    };
    (rules, unknown)
}

#[cfg(test)]
mod tests;
