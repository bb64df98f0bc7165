//! The daemon's own sandbox, entered before it hears the first client. What needs more is done before, or by the
//! spawner, which was started before. All of it is inherited by the children that the daemon forks later.
//!
//! Three layers: capabilities (none that rules the machine), Landlock (it writes only below its own directories),
//! seccomp (only the calls of its list). None can be undone. [`probes`] tries what must be refused, at each start and
//! for `remit doctor`.

mod calls;
mod capabilities;
mod paths;
pub mod probes;

use std::path::PathBuf;

use remit_common::admin::LayerCheck;

use crate::startup::error::Fatal;

/// `written`: the directories below which it changes files; each must exist.
///
/// Enters the sandbox and tries it. Fails if a layer that the kernel has cannot be entered, or does not hold.
pub fn enter(written: &[PathBuf]) -> Result<Vec<LayerCheck>, Fatal> {
    let call = |layer: &str, why: &dyn std::fmt::Display| {
        Fatal::System(format!("cannot confine remitd by {layer}: {why}"))
    };
    // Landlock first: it opens the paths. seccomp last: it refuses the calls of the others.
    nix::sys::prctl::set_no_new_privs().map_err(|why| call("no_new_privs", &why))?;
    let has_landlock = paths::enter(written).map_err(|why| call("landlock", &why))?;
    capabilities::enter().map_err(|why| call("capabilities", &why))?;
    calls::enter().map_err(|why| call("seccomp", &why))?;
    let checks = probes::run(has_landlock).map_err(|why| call("a test", &why))?;
    match probes::broken(&checks) {
        None => Ok(checks),
        Some(why) => Err(Fatal::Unavailable(format!(
            "remitd is not confined: {why}; boot a kernel with this layer"
        ))),
    }
}
