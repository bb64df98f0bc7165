//! The capabilities that the daemon keeps, each with its reason.

use std::io;

use remit_sys::sys;

/// Number (capabilities(7)) and reason.
const KEPT: [(u8, &str); 6] = [
    (
        2,
        "CAP_DAC_READ_SEARCH: the content of any file that is approved",
    ),
    (5, "CAP_KILL: jobs have uids of their own"),
    (
        6,
        "CAP_SETGID: children that read as somebody else; broker and compiler",
    ),
    (7, "CAP_SETUID: the same"),
    (8, "CAP_SETPCAP: these give up the rest"),
    (
        37,
        "CAP_AUDIT_READ: the broker's socket to the kernel's audit, if remit.toml asks for it",
    ),
];

pub fn kept() -> u64 {
    KEPT.iter().fold(0, |set, (number, _)| set | 1 << number)
}

/// Gives up all others, in every set. A kernel or container that lacks one of the kept is no error here.
pub fn enter() -> io::Result<()> {
    sys::keep_only_capabilities(kept())
}
