//! The daemon's own sandbox, entered before it hears the first client. What needs more is done before, or by the spawner,
//! which was started before. All of it is inherited by the children that the daemon forks later.
//! Three layers: capabilities (none that rules the machine), Landlock (it writes only below its own directories), seccomp
//! (only the calls of its list). None can be undone. [`probes`] tests them at each start and for `remit doctor`.

mod calls;
mod capabilities {
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
}
mod paths {
    //! Landlock: what the daemon changes. It reads and executes everywhere, to measure and simulate.

    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::fd::AsFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};

    use remit_sys::sys::{self, Handled};

    const WRITE_FILE: u64 = 1 << 1;
    /// Removing, making and writing of files of any kind.
    const CHANGE: u64 = WRITE_FILE | 0b1_1111_1111 << 4;
    /// Commands to devices, which root may open for reading.
    const IOCTL_DEV: u64 = 1 << 15;
    /// Rights that came later, with their ABI version: moving between directories, truncating, commands to devices.
    const LATER: [(u32, u64); 3] = [(2, 1 << 13), (3, 1 << 14), (5, IOCTL_DEV)];
    /// Rights that a rule for a file, not for a directory, can have.
    const OF_A_FILE: u64 = WRITE_FILE | 1 << 14 | IOCTL_DEV;
    /// `LANDLOCK_ACCESS_NET_BIND_TCP`, ABI 4: it never listens on a network.
    const BIND_TCP: u64 = 1;

    /// Returns false if this kernel has no Landlock.
    pub fn enter(written: &[PathBuf]) -> io::Result<bool> {
        let abi = match sys::landlock_abi() {
            Ok(abi) => abi,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let change = LATER
            .iter()
            .filter(|(since, _)| abi >= *since)
            .fold(CHANGE, |set, (_, right)| set | right);
        let net = if abi >= 4 { BIND_TCP } else { 0 };
        let ruleset = sys::landlock_ruleset(&Handled {
            fs: change,
            net,
            scoped: 0,
        })?;
        let grant = |path: &Path, rights: u64| {
            let file = open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            let rights = match file.metadata()?.is_dir() {
                true => rights,
                false => rights & OF_A_FILE,
            };
            sys::landlock_grant(ruleset.as_fd(), file.as_fd(), rights)
        };
        for path in written {
            grant(path, change)?;
        }
        grant(Path::new("/dev/null"), change)?;
        sys::landlock_restrict(ruleset.as_fd(), 0)?;
        Ok(true)
    }

    fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(path)
    }
}
pub mod probes;
mod proc_mount;

use std::path::PathBuf;

use remit_common::admin::LayerCheck;

use crate::startup::error::Fatal;
use proc_mount::ProcMount;

/// Enters the sandbox and tries it. `written`: existing directories that it changes. Fails if a layer does not hold, or if
/// `/proc` hides process `other`, of another uid, from what is left of its rights.
pub fn enter(written: &[PathBuf], other: i32) -> Result<Vec<LayerCheck>, Fatal> {
    let call = |layer: &str, why: &dyn std::fmt::Display| {
        Fatal::System(format!("cannot confine remitd by {layer}: {why}"))
    };
    let proc_mount = ProcMount::read().map_err(Fatal::call("cannot read the mount of /proc"))?;
    proc_mount
        .join_group()
        .map_err(Fatal::call("cannot join the group that sees all of /proc"))?;
    // Landlock first: it opens the paths. seccomp last: it refuses the calls of the others.
    nix::sys::prctl::set_no_new_privs().map_err(|why| call("no_new_privs", &why))?;
    let has_landlock = paths::enter(written).map_err(|why| call("landlock", &why))?;
    capabilities::enter().map_err(|why| call("capabilities", &why))?;
    calls::enter().map_err(|why| call("seccomp", &why))?;
    proc_mount.shows(other)?;
    let checks = probes::run(has_landlock).map_err(|why| call("a test", &why))?;
    match probes::broken(&checks) {
        None => Ok(checks),
        Some(why) => Err(Fatal::Unavailable(format!(
            "remitd is not confined: {why}; boot a kernel with this layer"
        ))),
    }
}

/// Enters the sandbox without trying it: for tests of what the daemon does inside. It writes beneath directories of tests.
#[cfg(test)]
pub fn enter_layers() {
    nix::sys::prctl::set_no_new_privs().unwrap();
    assert!(
        paths::enter(&[std::env::temp_dir()]).unwrap(),
        "a kernel without Landlock"
    );
    capabilities::enter().unwrap();
    calls::enter().unwrap();
}
