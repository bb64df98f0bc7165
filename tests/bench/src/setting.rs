//! What one daemon has that others have not.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::Failure;

/// A daemon beside others.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The directory of all that is its own, beneath the stage. No two have the same at a time.
    pub name: &'static str,
    /// Tables of its `remit.toml` besides `audit` and `accounts`. Daemons whose jobs live at the same time need
    /// ranges of uids of their own.
    pub toml: String,
    /// A second drop-in of its policy, where it is not empty.
    pub policy: String,
    /// So many mounts more than others have.
    pub mounts: usize,
    /// The program beside us that is its broker.
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

/// Does `start` where `count` file systems more are mounted beneath `dir`: in a mount namespace that ends with
/// what was started there. Mounts are shared in it, as they are on most machines. With none it is done right here.
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
    // It puts us at the root, setns(2).
    setns(&own, CloneFlags::CLONE_NEWNS)?;
    std::env::set_current_dir(here)?;
    started
}

fn mount_all(dir: &Path, count: usize) -> Result<(), Failure> {
    let none = None::<&Path>;
    let all = Path::new("/");
    // Private first: else they would be mounted where we came from, too.
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
