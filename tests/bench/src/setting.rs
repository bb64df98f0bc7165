//! The differences between one daemon and others.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::Failure;

#[derive(Clone, Debug)]
pub struct Setting {
    /// Its directory below the stage. Unique at any time.
    pub name: &'static str,
    /// Tables of its `remit.toml` besides `audit` and `accounts`. Concurrent daemons need separate job uid ranges.
    pub toml: String,
    /// A second policy drop-in, if not empty.
    pub policy: String,
    pub mounts: usize,
    pub broker: &'static str,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            name: "plain",
            toml: String::new(),
            policy: String::new(),
            mounts: 0,
            broker: "remit-broker",
        }
    }
}

/// Runs `start` in a mount namespace with `count` more file systems below `dir`. The namespace ends with the processes
/// started there. Its mounts are shared, as on most machines. A count of 0 needs no namespace.
pub fn with_mounts<T>(
    dir: &Path,
    count: usize,
    start: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    if count == 0 {
        return start();
    }
    let here = std::env::current_dir()?;
    let own = fs::File::open("/proc/self/ns/mnt")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let started = mount_all(dir, count).and_then(|()| start());
    // setns(2) changes the working directory to the root.
    setns(&own, CloneFlags::CLONE_NEWNS)?;
    std::env::set_current_dir(here)?;
    started
}

fn mount_all(dir: &Path, count: usize) -> Result<(), Failure> {
    let none = None::<&Path>;
    let all = Path::new("/");
    // Private first: otherwise the mounts would propagate to the original namespace.
    for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        mount(none, all, none, MsFlags::MS_REC | kind, none)?;
    }
    for at in 0..count {
        let at = dir.join(at.to_string());
        fs::create_dir_all(&at)?;
        let tmpfs = Some(Path::new("tmpfs"));
        mount(
            tmpfs,
            &at,
            tmpfs,
            MsFlags::empty(),
            Some("size=64k,mode=0755"),
        )
        .map_err(|e| format!("cannot mount at '{}': {e}", at.display()))?;
    }
    Ok(())
}
