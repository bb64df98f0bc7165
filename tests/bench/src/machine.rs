//! Mount namespaces of daemons: with more file systems, or with a root of the benchmark's own, so that a copy of the machine
//! costs what it shows there, and not what else this computer has.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::pivot_root;
use remit_common::inspect::EXTRACT;

use crate::Failure;
use crate::stage::{APPROVER, CLIENTS, NAMED_CLIENT};

/// The machine's `/usr`, a copy of `/etc` and of dpkg's lists, and nothing else.
#[derive(Debug)]
pub struct Machine(PathBuf);

/// Where this computer's own directories are mounted.
const MOUNTED: [&str; 4] = ["usr", "dev", "proc", "sys"];

impl Machine {
    pub fn new(dir: PathBuf) -> Result<Self, Failure> {
        let made = Self(dir);
        let open = ["tmp", "var/tmp"];
        let all = [
            "",
            "home",
            "opt",
            "run",
            "srv",
            "tmp",
            "var",
            "var/cache",
            "var/lib",
            "var/log",
            "var/tmp",
        ];
        for name in all.iter().chain(&MOUNTED) {
            let mode = if open.contains(name) { 0o1777 } else { 0o755 };
            DirBuilder::new().create(made.at(name))?;
            fs::set_permissions(made.at(name), fs::Permissions::from_mode(mode))?;
        }
        DirBuilder::new().mode(0o700).create(made.at("root"))?;
        for link in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(link)) {
                symlink(target, made.at(link))?;
            }
        }
        for from in ["/etc", "/var/lib/dpkg"] {
            if !Path::new(from).exists() {
                continue;
            }
            let to = made.at(from.trim_start_matches('/'));
            let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
            if !copied.success() {
                return Err(format!("cannot copy '{from}'").into());
            }
        }
        // Their groups are looked up at each approval.
        let mut accounts = OpenOptions::new()
            .append(true)
            .open(made.at("etc/passwd"))?;
        for uid in [NAMED_CLIENT, APPROVER] {
            writeln!(accounts, "remit-bench-{uid}:x:{uid}:{CLIENTS}::/:/bin/sh")?;
        }
        Ok(made)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs `start` with this as the root, where `own` has its usual path. `/usr` can be written only for copies.
    pub fn inside<T>(
        &self,
        own: &Path,
        mounts: usize,
        start: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        in_own_mounts(|| self.enter(own, mounts), start)
    }

    fn enter(&self, own: &Path, mounts: usize) -> Result<(), Failure> {
        let extract = std::env::current_exe()?.with_file_name("remit-extract");
        bind(&self.0, &self.0)?;
        for name in MOUNTED {
            bind(&Path::new("/").join(name), &self.at(name))?;
        }
        // A policy names this program by its path.
        let at = self.at(EXTRACT.trim_start_matches('/'));
        let dir = at.parent().ok_or("it has a directory")?;
        let libexec = self.at("usr/libexec");
        mount_tmpfs(&libexec, "size=64m,mode=0755")?;
        DirBuilder::new().mode(0o755).create(dir)?;
        fs::copy(extract, &at)?;
        let shown = self.at(own.display().to_string().trim_start_matches('/'));
        fs::create_dir_all(&shown)?;
        bind(own, &shown)?;
        mount_all(&self.at("srv/mounts"), mounts)?;
        std::env::set_current_dir(&self.0)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        Ok(std::env::set_current_dir("/")?)
    }
}

impl Drop for Machine {
    /// Removes nothing if anything is mounted in it.
    fn drop(&mut self) {
        let are_empty = MOUNTED
            .iter()
            .all(|name| fs::remove_dir(self.at(name)).is_ok());
        if are_empty {
            let _ = fs::remove_dir_all(&self.0);
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
    in_own_mounts(|| mount_all(dir, count), start)
}

fn in_own_mounts<T>(
    prepare: impl FnOnce() -> Result<(), Failure>,
    start: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let here = std::env::current_dir()?;
    let own = fs::File::open("/proc/self/ns/mnt")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let started = set_propagation(MsFlags::MS_PRIVATE)
        .and_then(|()| prepare())
        .and_then(|()| set_propagation(MsFlags::MS_SHARED))
        .and_then(|()| start());
    // setns(2) changes the working directory to the root.
    if setns(&own, CloneFlags::CLONE_NEWNS).is_err() {
        // What follows removes directories, and this namespace has others in them.
        std::process::abort();
    }
    std::env::set_current_dir(here)?;
    started
}

/// Private first: otherwise new mounts would propagate to the original namespace.
fn set_propagation(kind: MsFlags) -> Result<(), Failure> {
    let none = None::<&Path>;
    Ok(mount(none, "/", none, MsFlags::MS_REC | kind, none)?)
}

fn bind(from: &Path, to: &Path) -> Result<(), Failure> {
    let none = None::<&Path>;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(from), to, none, flags, none)
        .map_err(|e| format!("cannot mount '{}': {e}", from.display()))?)
}

fn mount_tmpfs(at: &Path, options: &str) -> Result<(), Failure> {
    let tmpfs = Some(Path::new("tmpfs"));
    Ok(mount(tmpfs, at, tmpfs, MsFlags::empty(), Some(options))
        .map_err(|e| format!("cannot mount at '{}': {e}", at.display()))?)
}

fn mount_all(dir: &Path, count: usize) -> Result<(), Failure> {
    for at in 0..count {
        let at = dir.join(at.to_string());
        fs::create_dir_all(&at)?;
        mount_tmpfs(&at, "size=64k,mode=0755")?;
    }
    Ok(())
}
