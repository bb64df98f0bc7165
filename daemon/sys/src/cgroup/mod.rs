//! A cgroup (v2) for each job, and the switch that ends all jobs: nothing runs without `cgroup.kill`. cgroups(7).

mod switch;
mod text;

use crate::error::{Doing, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
pub use switch::Switch;
use switch::{MAKING, kill, of_jobs, switch, unusable};
pub use text::{Controller, Limits, Oom};
use text::{controllers, field, oom, own_directory, settings};

#[derive(Debug)]
pub struct Cgroups {
    directory: PathBuf,
    prefix: String,
    controllers: Vec<Controller>,
    switch: Switch,
    /// Shows other daemons that this one is alive. It is on `cgroup.kill`, which only root can open (mode 0200), so
    /// nobody else can hold it. It is on its own file description, which the watchdog and workers do not have.
    _lock: File,
}

impl Cgroups {
    /// Finds the hierarchy and makes a directory for jobs in it: beside this process's own sub-group `name-daemon`, with
    /// controllers enabled, if our cgroup is delegated to us (not the root, no other process in it); otherwise in ours.
    /// Kills and removes leftovers of that name whose process has ended. Errors: no cgroup v2, it may not be written, it
    /// has no `cgroup.kill` (before Linux 5.14).
    pub fn open(name: &str) -> Result<Cgroups> {
        let mounts = read("/proc/self/mountinfo".as_ref())?;
        let own = read("/proc/self/cgroup".as_ref())?;
        let Some(own) = own_directory(&mounts, &own) else {
            return Err(Error::refused(
                MAKING,
                "cgroup v2 is not mounted, or remitd is not in one of its cgroups; mount it on \
                 /sys/fs/cgroup, in a container with a cgroup namespace of its own",
            ));
        };
        let base = own.path;
        // After a re-execution the process is still in the daemon's sub-group.
        let base = match base.file_name() {
            Some(last) if last == format!("{name}-daemon").as_str() => {
                base.parent().map(Path::to_owned).unwrap_or(base)
            }
            _ => base,
        };
        switch::leftovers(&base, name)?;
        let (directory, switch, lock) = new_directory(&base, name)?;
        if !own.is_root && has_only_this_process(&base)? {
            take_over(&base, name)?;
        }
        // It has no process, so it can pass its controllers on.
        hand_down(&directory);
        let enabled = read(&directory.join("cgroup.subtree_control"))?;
        Ok(Cgroups {
            directory,
            prefix: format!("{name}-"),
            controllers: controllers(&enabled),
            switch,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Waits until no process of a job, a self-test or a pre-forked child may run. False: some are left.
    pub fn wait_until_empty(&self, patience: Duration) -> Result<bool> {
        let path = self.directory.join("cgroup.events");
        let events = File::open(&path).doing(|| format!("cannot open '{}'", path.display()))?;
        let deadline = Instant::now() + patience;
        loop {
            if !populated(&events, &self.directory)? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            // After a signal it looks again.
            let _ = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], left);
        }
    }

    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// Makes a cgroup for job `id` (letters, digits, hyphens), without limits.
    pub fn make(&self, id: &str) -> Result<Cgroup> {
        let path = self.directory.join(format!("{}{id}", self.prefix));
        let doing = || format!("cannot make the cgroup '{}'", path.display());
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Error::refused(
                doing(),
                "its name is not made of letters, digits and hyphens",
            ));
        }
        make(&path).doing(doing)?;
        let has = |controller| self.controllers.contains(&controller);
        let counts = Counts {
            memory: has(Controller::Memory),
            tasks: has(Controller::Pids),
        };
        opened(path.clone(), counts).inspect_err(|_| {
            let _ = fs::remove_dir(&path);
        })
    }

    pub fn limit(&self, cgroup: &Cgroup, limits: &Limits) -> Result<()> {
        for controller in &self.controllers {
            for (file, value) in settings(*controller, limits) {
                let file = cgroup.path.join(file);
                match fs::write(&file, &value) {
                    Ok(()) => {}
                    // This kernel has no swap, so there is nothing to limit.
                    Err(e)
                        if e.kind() == io::ErrorKind::NotFound
                            && file.ends_with("memory.swap.max") => {}
                    Err(e) => {
                        return Err(e)
                            .doing(|| format!("cannot write '{value}' to '{}'", file.display()));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Cgroups {
    /// Removes what is empty. The next start sweeps the rest.
    fn drop(&mut self) {
        let _ = switch::remove(&self.directory);
    }
}

/// Makes a directory that no other daemon has, even with a reused pid, with its switch and the lock on that.
fn new_directory(base: &Path, name: &str) -> Result<(PathBuf, Switch, File)> {
    for number in 0..=u32::MAX {
        let path = base.join(format!("{}{}-{number}", of_jobs(name), std::process::id()));
        return match make(&path) {
            Ok(()) => match switch(&path) {
                Ok(Some((switch, lock))) => Ok((path, switch, lock)),
                Ok(None) => continue,
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    Err(error)
                }
            },
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            // Another daemon swept it before it was locked.
            Err(e) if e.kind() == io::ErrorKind::NotFound && base.exists() => continue,
            Err(e) => Err(unusable(base, "written", &e)),
        };
    }
    Err(Error::refused(MAKING, "every name is taken"))
}

/// Makes a cgroup that all can read (`systemd-cgtop`), whatever the umask. Only root writes in it.
fn make(path: &Path) -> io::Result<()> {
    // Not a mode afterwards: the warden's own filter refuses that.
    let own = umask(Mode::from_bits_truncate(0o022));
    let made = fs::create_dir(path);
    umask(own);
    made
}

/// Returns true if only this process is in the base itself. A service manager's commands in sub-groups do no harm.
fn has_only_this_process(base: &Path) -> Result<bool> {
    let here = read(&base.join("cgroup.procs"))?;
    let me = std::process::id().to_string();
    Ok(here.lines().all(|pid| pid == me))
}

/// Moves this process out of the base: a cgroup with processes cannot pass controllers on.
fn take_over(base: &Path, name: &str) -> Result<()> {
    let own = base.join(format!("{name}-daemon"));
    let doing = || format!("cannot move into the cgroup '{}'", own.display());
    // A new one: a process forked in a cgroup that was killed once may be killed, too (Linux 6.18).
    let _ = fs::remove_dir(&own);
    match make(&own) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).doing(doing),
        _ => {}
    }
    fs::write(own.join("cgroup.procs"), "0").doing(doing)?;
    hand_down(base);
    Ok(())
}

/// Passes its controllers to sub-groups. One that fails is missing from `controllers`, which the policy checks.
fn hand_down(directory: &Path) {
    let there = read(&directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers(&there) {
        let file = directory.join("cgroup.subtree_control");
        let _ = fs::write(file, format!("+{}", controller.name()));
    }
}

fn opened(path: PathBuf, counts: Counts) -> Result<Cgroup> {
    let dir = File::open(&path).doing(|| format!("cannot open '{}'", path.display()))?;
    let events = path.join("cgroup.events");
    let events = File::open(&events).doing(|| format!("cannot open '{}'", events.display()))?;
    Ok(Cgroup {
        path,
        dir: dir.into(),
        events,
        counts,
    })
}

/// The cgroup of one job. Dropping it leaves the directory: `remove` it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    dir: OwnedFd,
    events: File,
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    memory: bool,
    tasks: bool,
}

impl Cgroup {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Kills every process in it, new ones too. They may still be dying: see `populated`.
    pub fn kill(&self) -> Result<()> {
        kill(&self.path).doing(|| format!("cannot kill the cgroup '{}'", self.path.display()))
    }

    /// Returns true if a process in it may still run. A zombie, or one that has all but ended, does not count.
    pub fn populated(&self) -> Result<bool> {
        populated(&self.events, &self.path)
    }

    /// For epoll, `EPOLLPRI`: ready when `populated` has changed.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    pub fn oom_killed(&self) -> Option<Oom> {
        if !self.counts.memory {
            return None;
        }
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        oom(&events)
    }

    /// Returns true if the kernel refused a fork because of the task limit. False without the controller.
    pub fn forks_refused(&self) -> bool {
        if !self.counts.tasks {
            return false;
        }
        let events = fs::read_to_string(self.path.join("pids.events")).unwrap_or_default();
        field(&events, "max").is_some_and(|n| n > 0)
    }

    /// Returns its highest use of memory in bytes, if the controller reports it (Linux 5.19).
    pub fn memory_peak(&self) -> Option<u64> {
        if !self.counts.memory {
            return None;
        }
        fs::read_to_string(self.path.join("memory.peak"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Removes the directory. EBUSY while it is populated. Only a job of base `host` that is root can have made
    /// sub-groups, as a container engine does: elsewhere the cgroup file system is read-only or missing.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir(&self.path)
            .or_else(|_| switch::remove(&self.path))
            .doing(|| format!("cannot remove the cgroup '{}'", self.path.display()))
    }
}

/// `events`: the `cgroup.events` of `path`.
fn populated(events: &File, path: &Path) -> Result<bool> {
    let doing = || format!("cannot read '{}/cgroup.events'", path.display());
    let mut text = [0; 256];
    let n = match events.read_at(&mut text, 0) {
        // Removed already, which is only possible when it is empty.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Ok(false),
        read => read.doing(doing)?,
    };
    let text = String::from_utf8_lossy(text.get(..n).unwrap_or_default()).into_owned();
    match field(&text, "populated") {
        Some(n) => Ok(n != 0),
        None => Err(Error::refused(doing(), "it has no line 'populated'")),
    }
}

/// Returns the file's text. Bytes that are no UTF-8 are replaced: any user names a mount as they like.
fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|f| f.take(4 << 20).read_to_end(&mut bytes));
    opened.doing(|| format!("cannot read '{}'", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_with_any_bytes_are_read() {
        let path = std::env::temp_dir().join(format!("remit-mountinfo-{}", std::process::id()));
        let table = b"90 27 0:50 / /home/\xf6 rw - fuse.a a rw\n41 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n";
        fs::write(&path, table).unwrap();
        let mounts = read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let own = own_directory(&mounts, "0::/a.service\n").unwrap();
        assert_eq!(own.path, Path::new("/sys/fs/cgroup/a.service"));
    }
}
