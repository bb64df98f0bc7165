//! The system call filter: one table, one program, which is a binary search over the number with argument checks at
//! its leaves. A stack of linear programs would be slow to install: the kernel then runs every program for every
//! number (its cache of always-allowed calls), in each spawn.

mod arch;
mod bpf;
mod halves;
mod relay;
mod rule;
mod rules;
mod table;

pub(crate) use crate::steps::seccomp::audited_filter::AuditedFilter;
use crate::{Result, spec::layer::EnabledLayers};
use arch::Arch;
pub(crate) use bpf::Program;
pub(crate) use halves::{Halves, halves};
pub(crate) use relay::relay;
pub(crate) use rule::Class;
use rule::Rule;
use rules::{exactly, rules};

/// Returns name and reason of every system call that the filter refuses, or answers itself for some arguments.
pub fn filtered_calls() -> impl Iterator<Item = (&'static str, &'static str)> {
    let filtered = table::GROUPS
        .iter()
        .filter(|group| group.rule != Rule::Allow);
    filtered.flat_map(|group| group.rows.iter().map(|(name, ..)| (*name, group.why)))
}

pub(crate) fn compile(layers: EnabledLayers, class: Class) -> Result<Program> {
    Ok(compile_for(Arch::here()?, layers, class))
}

/// Compiles a filter that allows `numbers` of this machine and answers EPERM to the rest.
pub(crate) fn only(numbers: &[libc::c_long]) -> Result<Program> {
    exactly(numbers.iter().map(|number| (*number, Rule::Allow)))
}

fn compile_for(arch: Arch, layers: EnabledLayers, class: Class) -> Program {
    let (rules, unknown) = rules(arch, layers, class);
    let known = |number| rules.binary_search_by_key(&number, |(n, _)| *n).is_ok();
    bpf::assemble(arch.audit(), &rules, unknown, known)
}

pub(crate) mod audited_filter;
#[cfg(test)]
mod tests;
