//! The system call filter: one table, one program, a binary search over the number with argument checks at its leaves.
//! A stack of programs is slow to install: for each spawn the kernel runs all for each number (its cache of calls).

mod bpf;
mod halves;
mod rule;

mod rules {
    use super::bpf::{self, Program};
    use super::rule::{Arch, Class, Instead, Rule};
    use super::table;
    use crate::steps::report::EnabledLayers;
    use crate::{Layer, Result};

    pub(super) fn rules(
        arch: Arch,
        layers: EnabledLayers,
        class: Class,
    ) -> (Vec<(u32, Rule)>, Rule) {
        let mut rules: Vec<(u32, Rule)> = Vec::new();
        let inspects = class.inspects && layers.is_on(Layer::SeccompRefused);
        for group in table::GROUPS {
            let rule = match group.layer {
                Some(layer) if !layers.is_on(layer) => Rule::Allow,
                _ => group.rule,
            };
            rules.extend(group.rows.iter().filter_map(|row| {
                let looks = !inspects || table::LOOKING.contains(&row.0);
                let refused = Rule::Answer(libc::EPERM as u16);
                Some((arch.number(row)?, if looks { rule } else { refused }))
            }));
        }
        for Instead { group, .. } in table::INSTEAD
            .iter()
            .filter(|other| (other.applies_to)(class))
        {
            // A layer that is off lets all of it through already.
            if group.layer.is_some_and(|layer| !layers.is_on(layer)) {
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
        let unknown = if layers.is_on(Layer::SeccompUnknown) {
            Rule::Answer(libc::ENOSYS as u16)
        } else {
            Rule::Allow
        };
        (rules, unknown)
    }

    /// Compiles a filter of these rules alone. Other numbers answer EPERM.
    pub(super) fn exactly(rules: impl Iterator<Item = (libc::c_long, Rule)>) -> Result<Program> {
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
}

mod table;

use crate::{Result, steps::report::EnabledLayers};
pub(crate) use bpf::Program;
pub(crate) use halves::Filter;
#[cfg(test)]
use halves::{AuditedFilter, Halves, halves};
pub(crate) use rule::Class;
use rule::{Arch, Check, Rule, Want};
use rules::{exactly, rules};

fn compile(layers: EnabledLayers, class: Class) -> Result<Program> {
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

/// Compiles the filter whose listener answers what may be a connection to the system bus. What the job's other filter
/// refuses does not come so far: of several answers the kernel takes an errno before a notification.
pub(crate) fn bus() -> Result<Program> {
    on_connect(Rule::Notify(2, table::BUS_ADDRESSES))
}

/// Compiles the filter of jobs that should have a bus and have none: otherwise the kernel would make these connections.
pub(crate) fn no_bus() -> Result<Program> {
    const NONE: &[Check] = &[Check {
        arg: 2,
        mask: !0,
        want: Want::NoneOf(table::BUS_ADDRESSES),
        errno: libc::ENOSYS as u16,
    }];
    on_connect(Rule::Checked(NONE))
}

/// Compiles a filter with a rule for connect(2) alone, which other filters restrict further.
fn on_connect(rule: Rule) -> Result<Program> {
    let arch = Arch::here()?;
    let connect = arch.number(&("connect", 42, 203));
    let rules: Vec<(u32, Rule)> = connect.map(|number| (number, rule)).into_iter().collect();
    Ok(bpf::assemble(arch.audit(), &rules, Rule::Allow, |_| true))
}

#[rustfmt::skip]
const RELAY_CALLS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")] libc::SYS_poll,
    libc::SYS_ppoll, libc::SYS_accept4, libc::SYS_connect, libc::SYS_recvfrom,
    libc::SYS_shutdown, libc::SYS_setsockopt, libc::SYS_getsockopt, libc::SYS_read, libc::SYS_write,
    libc::SYS_close, libc::SYS_clock_gettime, libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

const FAMILY: Check = Check {
    arg: 0,
    mask: !0,
    want: Want::OneOf(&[libc::AF_INET as u32, libc::AF_INET6 as u32]),
    errno: libc::EPERM as u16,
};
const PROTOCOL: Check = Check {
    arg: 2,
    mask: !0,
    want: Want::OneOf(&[0]),
    errno: libc::EPERM as u16,
};
const RELAY_SOCKET: &[Check] = &[
    FAMILY,
    Check {
        arg: 1,
        mask: 0xf,
        want: Want::OneOf(&[libc::SOCK_STREAM as u32]),
        errno: libc::EPERM as u16,
    },
    PROTOCOL,
];

/// With MSG_FASTOPEN, sendto(2) connects as connect(2) does, and Landlock is not asked.
const NOT_CONNECTING: &[Check] = &[Check {
    arg: 3,
    mask: libc::MSG_FASTOPEN as u32,
    want: Want::OneOf(&[0]),
    errno: libc::EPERM as u16,
}];

/// Further calls of a relay that proves an address to be the host's by binding to it.
const BINDING_CALLS: &[libc::c_long] = &[libc::SYS_bind, libc::SYS_getsockname];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayKind {
    Listed,
    ThisHost,
    Proxy,
}

/// Further calls of a proxy: whom it is connected to, and memory that cannot be executed.
const PROXY_CALLS: &[libc::c_long] = &[
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
];
const NOT_EXECUTED: &[Check] = &[Check {
    arg: 2,
    mask: libc::PROT_EXEC as u32,
    want: Want::OneOf(&[0]),
    errno: libc::EPERM as u16,
}];
/// A proxy asks name servers by UDP.
const PROXY_SOCKET: &[Check] = &[
    FAMILY,
    Check {
        arg: 1,
        mask: 0xf,
        want: Want::OneOf(&[libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32]),
        errno: libc::EPERM as u16,
    },
    PROTOCOL,
];

/// Compiles the filter of the relay: TCP connections, and nothing else; of a proxy: these and what it needs for names.
pub(crate) fn relay(kind: RelayKind) -> Result<Program> {
    let (more, socket, mapping) = match kind {
        RelayKind::Listed => (&[][..], RELAY_SOCKET, None),
        RelayKind::ThisHost => (BINDING_CALLS, RELAY_SOCKET, None),
        RelayKind::Proxy => (
            PROXY_CALLS,
            PROXY_SOCKET,
            Some((libc::SYS_mmap, Rule::Checked(NOT_EXECUTED))),
        ),
    };
    let socket = (libc::SYS_socket, Rule::Checked(socket));
    let send = (libc::SYS_sendto, Rule::Checked(NOT_CONNECTING));
    let allowed = RELAY_CALLS.iter().chain(more);
    let allowed = allowed.map(|number| (*number, Rule::Allow));
    exactly(allowed.chain([socket, send]).chain(mapping))
}

#[cfg(test)]
mod tests;
