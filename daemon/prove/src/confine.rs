//! The sandbox of this process: an account without a name, the capability to read, Landlock for reading beneath one
//! directory, and few system calls.

use std::os::fd::AsFd;

use remit_prove::machine::Machine;
use remit_self_confine::{Limits, confine_reader};
use remit_sys::sys;

/// `nobody`: no file that matters is its own, and it cannot write those that are.
const NOBODY: u32 = 65534;
/// `CAP_DAC_READ_SEARCH`, capabilities(7).
const READ: u64 = 1 << 2;
/// Beyond the look's own bound of time.
const LIMITS: Limits = Limits {
    cpu_s: 120,
    memory: 2 << 30,
};

/// `LANDLOCK_ACCESS_FS_READ_FILE` and `READ_DIR`.
const READS: u64 = 1 << 2 | 1 << 3;

pub fn confine(machine: &Machine) -> Result<(), String> {
    let cannot =
        |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
    sys::drop_bounding_but(READ).map_err(cannot("give up capabilities"))?;
    sys::become_user_with(NOBODY, NOBODY, &[], READ).map_err(cannot("become another user"))?;
    sys::no_new_privs().map_err(cannot("give up new privileges"))?;
    restrict(machine).map_err(cannot("restrict itself with landlock"))?;
    confine_reader(LIMITS)
}

/// Everything that this kernel's Landlock knows is refused, but reading beneath the machine's directory.
fn restrict(machine: &Machine) -> std::io::Result<()> {
    let abi = sys::landlock_abi().unwrap_or(0);
    let fs = match abi {
        0 => return Ok(()),
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    let handled = sys::Handled {
        fs: (1 << fs) - 1,
        net: if abi >= 4 { 3 } else { 0 },
        scoped: if abi >= 6 { 3 } else { 0 },
    };
    let ruleset = sys::landlock_ruleset(&handled)?;
    let directory = machine.directory();
    sys::landlock_grant(ruleset.as_fd(), directory.as_fd(), READS)?;
    sys::landlock_restrict(ruleset.as_fd(), 0)
}
