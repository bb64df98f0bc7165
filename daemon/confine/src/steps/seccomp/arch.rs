//! Architectures of the table.

use super::rule::SyscallRow;
use crate::{Error, Result};

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
