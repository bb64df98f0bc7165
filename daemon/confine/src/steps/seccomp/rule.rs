//! Types of the filter: rules, groups of system calls, kinds of profile, architectures.

use crate::{Error, Layer, Result};

/// Name, number on x86_64 and on aarch64; -1 if the architecture has none.
pub(super) type SyscallRow = (&'static str, i32, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Allow,
    /// Do not make it, answer this errno (0: success).
    Answer(u16),
    Checked(&'static [Check]),
    /// For these values the filter's listener answers, or ENOSYS (seccomp_unotify(2)). Others are allowed.
    Notify(u8, &'static [u32]),
}

/// Compares an argument's low 32 bits, masked. The kernel uses no others, or ignores the upper half (flags).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) arg: u8,
    pub(super) mask: u32,
    pub(super) want: Want,
    pub(super) errno: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    OneOf(&'static [u32]),
    NoneOf(&'static [u32]),
    OneOfKind {
        mask: u32,
        kinds: &'static [u32],
        values: &'static [u32],
    },
    /// Applies only if another argument, unmasked, has this value.
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
    /// Applies only if the argument `pointer` is not null: otherwise the call asks and sets nothing.
    NoneOfIfSet {
        pointer: u8,
        values: &'static [u32],
    },
}

#[derive(Debug)]
pub(super) struct Group {
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table"))]
    pub(super) why: &'static str,
    pub(super) layer: Option<Layer>,
    pub(super) rule: Rule,
    pub(super) rows: &'static [SyscallRow],
}

#[derive(Debug)]
pub(super) struct Instead {
    pub(super) applies_to: fn(Class) -> bool,
    pub(super) group: Group,
}

/// What jobs of a kind of profile need or lack beyond the table: each field has its rows in `table::INSTEAD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    /// Real locks and flushes, because files of the host are written.
    pub(crate) locks: bool,
    /// Raw sockets also need a capability.
    pub(crate) internet: bool,
    pub(crate) unix: bool,
    pub(crate) ipc: bool,
    /// Unix sockets that another process connects to the system bus. Not with `internet` or `unix`.
    pub(crate) bus: bool,
    /// No file becomes set-id: others could execute it on the host. An own uid is reused, and `CAP_SETUID` changes it.
    pub(crate) no_set_id: bool,
    /// Less: what the kernel counts by uid is shared with all that the job's user runs.
    pub(crate) shared_uid: bool,
    /// Less: no session of its own, because the kernel shares CPU time by sessions.
    pub(crate) one_session: bool,
    /// Less: only calls that look, for a program that has a right of root's. It may restrict itself further.
    pub(crate) inspects: bool,
    /// Less: in its own network, buffers of sockets keep their size.
    pub(crate) own_network: bool,
    /// More: chroot(2), in a view.
    pub(crate) changes_root: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    pub(super) fn audit(self) -> u32 {
        match self {
            Arch::X86_64 => 0xc000_003e,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    pub(super) fn number(self, row: &SyscallRow) -> Option<u32> {
        let (_, x86_64, aarch64) = *row;
        u32::try_from(match self {
            Arch::X86_64 => x86_64,
            Arch::Aarch64 => aarch64,
        })
        .ok()
    }

    pub(super) fn here() -> Result<Arch> {
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
