//! Refuses to serve with any privilege.

use caps::CapSet;
use nix::sys::prctl;
use nix::unistd::{Gid, getgroups, getresgid, getresuid};

/// Refuses an id of root and any capability, then sets no_new_privs.
pub fn check() -> Result<(), String> {
    let uid = getresuid().map_err(|error| format!("cannot read own uids: {error}"))?;
    let gid = getresgid().map_err(|error| format!("cannot read own gids: {error}"))?;
    let mut groups = getgroups().map_err(|error| format!("cannot read own groups: {error}"))?;
    groups.extend([gid.real, gid.effective, gid.saved]);
    let uids = [uid.real, uid.effective, uid.saved];
    if uids.iter().any(|uid| uid.is_root()) || groups.contains(&Gid::from_raw(0)) {
        return Err("refusing to run as root: the warden starts the broker as its own user".into());
    }
    for set in [
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
        CapSet::Ambient,
    ] {
        let left =
            caps::read(None, set).map_err(|error| format!("cannot read capabilities: {error}"))?;
        if !left.is_empty() {
            return Err(format!(
                "refusing to run with {} {set:?} capabilities",
                left.len()
            ));
        }
    }
    prctl::set_no_new_privs().map_err(|error| format!("cannot set no_new_privs: {error}"))?;
    // Other processes of this uid can neither trace nor dump it.
    prctl::set_dumpable(false).map_err(|error| format!("cannot become undumpable: {error}"))
}
