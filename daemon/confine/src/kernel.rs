//! What this kernel can do, found by trying.

use crate::{Error, Result};

/// What this kernel can do.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `uname -r`, to be shown only.
    pub release: String,
    /// Landlock's ABI, 0 without Landlock.
    pub landlock_abi: u32,
    /// Landlock's errata, a bit mask.
    pub landlock_errata: u32,
    /// Kernel keyrings exist.
    pub keyrings: bool,
    /// `/proc/self/loginuid` exists.
    pub loginuid: bool,
    /// clone3 takes `CLONE_PIDFD`.
    pub clone3: bool,
}

impl Kernel {
    /// Tries, in part in a forked child.
    pub fn probe() -> Result<Kernel> {
        Err(Error::refused("cannot probe the kernel", "not built yet"))
    }
}
