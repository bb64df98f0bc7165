//! A cgroup (v2) for each job, and the switch that ends all of them. cgroups(7).
//!
//! `cgroup.kill` is how jobs end, so without it nothing runs.

mod sweep;
mod switch;
mod text;

use crate::Limits;
use crate::error::{Doing, Error, Result};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};
pub use switch::Switch;
use switch::{kill, switch};
use text::{controllers, field, oom, own_directory, settings};

/// A controller of cgroup v2 that limits jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// `memory.max`, `memory.peak`.
    Memory,
    /// `pids.max`.
    Pids,
    /// `cpu.max`.
    Cpu,
}

impl Controller {
    /// Each of them.
    pub const ALL: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

    /// Its name in `cgroup.controllers`.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
        }
    }
}

/// The directory that holds the jobs' cgroups, of one daemon alone.
#[derive(Debug)]
pub struct Cgroups {
    directory: PathBuf,
    prefix: String,
    controllers: Vec<Controller>,
    switch: Switch,
    /// Tells other daemons that this one lives. It is on `cgroup.kill`, which root alone can open (mode 0200), so that
    /// nobody else can hold it; and on a description of its own, which keeper and zygotes do not have.
    _lock: File,
}

/// Why jobs can have no cgroups, and so cannot run.
const MAKING: &str = "cannot make cgroups for jobs";

impl Cgroups {
    /// Finds the hierarchy and makes a directory for jobs in it.
    ///
    /// That lies beside this process's own sub-group `name-daemon` when our cgroup is delegated to us, that
    /// is: not the root, and nobody else is in it. Then controllers are enabled for the jobs. Else it lies in
    /// our cgroup and has the controllers that happen to be enabled there. Leftovers of that name, of a
    /// process that has ended, are killed and removed.
    ///
    /// # Errors
    /// cgroup v2 is not mounted, may not be written, or has no `cgroup.kill` (before Linux 5.14).
    pub fn open(name: &str) -> Result<Cgroups> {
        let mounts = read("/proc/self/mountinfo".as_ref())?;
        let own = read("/proc/self/cgroup".as_ref())?;
        let Some(own) = own_directory(&mounts, &own) else {
            return Err(Error::refused(
                MAKING,
                "cgroup v2 is not mounted, or remitd is in none of its cgroups; mount it on \
                 /sys/fs/cgroup, in a container with a cgroup namespace of its own",
            ));
        };
        let base = own.path;
        // Still in the daemon's sub-group when a process re-executes itself.
        let base = match base.file_name() {
            Some(last) if last == format!("{name}-daemon").as_str() => {
                base.parent().map(Path::to_owned).unwrap_or(base)
            }
            _ => base,
        };
        sweep::leftovers(&base, name)?;
        let (directory, switch, lock) = new_directory(&base, name)?;
        if !own.is_root && is_ours_alone(&base)? {
            take_over(&base, name)?;
        }
        // Nobody is in it, so it can hand down what it has.
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

    /// The directory that holds the jobs' cgroups.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Ends all jobs at once.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The controllers that really limit jobs here.
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// A new cgroup for job `id` (letters, digits, hyphens) with those of its limits whose
    /// controller is there.
    pub fn create(&self, id: &str, limits: &Limits) -> Result<Cgroup> {
        let cgroup = self.make(id)?;
        match self.limit(&cgroup, limits) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    /// A new cgroup for job `id`, still without limits.
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

    /// Gives a cgroup those limits whose controller is there.
    pub fn limit(&self, cgroup: &Cgroup, limits: &Limits) -> Result<()> {
        for controller in &self.controllers {
            for (file, value) in settings(*controller, limits) {
                let file = cgroup.path.join(file);
                match fs::write(&file, &value) {
                    Ok(()) => {}
                    // No swap on this kernel: nothing to limit.
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
    /// Removes what is empty of it. The rest is swept at the next start.
    fn drop(&mut self) {
        let _ = sweep::remove(&self.directory);
    }
}

fn unusable(base: &Path, how: &str, error: &io::Error) -> Error {
    Error::refused(
        MAKING,
        format!(
            "'{}' cannot be {how} ({error}); start remitd as a service with Delegate=yes, or give its \
             container a cgroup v2 that it may write",
            base.display()
        ),
    )
}

/// How the directories of jobs begin, of all daemons of this name. Daemons before 2.1 must not take them for theirs.
fn of_jobs(name: &str) -> String {
    format!("jobs-of-{name}-")
}

/// Makes a directory that no other daemon has, whatever became of its pid, with its switch and the lock on that.
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
            Err(e) => Err(unusable(base, "written", &e)),
        };
    }
    Err(Error::refused(MAKING, "every name is taken"))
}

/// A cgroup whose processes everybody can see, whatever the umask: `systemd-cgtop` reads them all. Nothing
/// in it but `cgroup.procs` and limits, which root alone may write.
fn make(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Whether no process but this one is in the base itself. One in a group of its own beneath,
/// as a service manager's control commands are, is not in the way.
fn is_ours_alone(base: &Path) -> Result<bool> {
    let here = read(&base.join("cgroup.procs"))?;
    let me = std::process::id().to_string();
    Ok(here.lines().all(|pid| pid == me))
}

/// A cgroup with processes cannot hand controllers down: this process moves out of the base.
fn take_over(base: &Path, name: &str) -> Result<()> {
    let own = base.join(format!("{name}-daemon"));
    let doing = || format!("cannot move into the cgroup '{}'", own.display());
    // A new one: what is forked out of a cgroup that was killed once may be killed, too (Linux 6.18).
    let _ = fs::remove_dir(&own);
    match make(&own) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).doing(doing),
        _ => {}
    }
    fs::write(own.join("cgroup.procs"), "0").doing(doing)?;
    hand_down(base);
    Ok(())
}

/// Enables for the cgroups in a directory what it has itself. What cannot be had is missing from
/// `controllers`, which policy looks at.
fn hand_down(directory: &Path) {
    let there = read(&directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers(&there) {
        let file = directory.join("cgroup.subtree_control");
        let _ = fs::write(file, format!("+{}", controller.name()));
    }
}

/// The cgroup at `path`.
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

/// Whose memory was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oom {
    /// The job's own: it reached its limit.
    Job,
    /// The machine's: a job is the first to go.
    Machine,
}

/// The cgroup of one job. Dropping it leaves the directory: `remove` it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    dir: OwnedFd,
    events: File,
    /// It has a controller of memory, and one of tasks: without, there is nothing to read of them.
    counts: Counts,
}

/// What is counted in a cgroup.
#[derive(Clone, Copy, Debug)]
struct Counts {
    memory: bool,
    tasks: bool,
}

impl Cgroup {
    /// Its directory, for `CLONE_INTO_CGROUP`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Kills every process in it, new ones too. They may still be dying: see `populated`.
    pub fn kill(&self) -> Result<()> {
        kill(&self.path).doing(|| format!("cannot kill the cgroup '{}'", self.path.display()))
    }

    /// Whether a process that may still run is left in it. One whose end is all but complete, or
    /// a zombie, is not counted.
    pub fn populated(&self) -> Result<bool> {
        let doing = || format!("cannot read '{}/cgroup.events'", self.path.display());
        let mut text = [0; 256];
        let n = match self.events.read_at(&mut text, 0) {
            // Removed already, as only an empty one can be.
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return Ok(false),
            read => read.doing(doing)?,
        };
        let text = String::from_utf8_lossy(text.get(..n).unwrap_or_default()).into_owned();
        match field(&text, "populated") {
            Some(n) => Ok(n != 0),
            None => Err(Error::refused(doing(), "it does not say 'populated'")),
        }
    }

    /// For epoll, `EPOLLPRI`: ready when `populated` changed.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Why the kernel killed one of its processes for memory, if it did. `None` without the
    /// controller.
    pub fn oom_killed(&self) -> Option<Oom> {
        if !self.counts.memory {
            return None;
        }
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        oom(&events)
    }

    /// Whether the kernel refused it a fork for its limit of tasks. False without the controller.
    pub fn forks_refused(&self) -> bool {
        if !self.counts.tasks {
            return false;
        }
        let events = fs::read_to_string(self.path.join("pids.events")).unwrap_or_default();
        field(&events, "max").is_some_and(|n| n > 0)
    }

    /// Most bytes of memory it ever used, where the controller tells (Linux 5.19).
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

    /// Removes the directory, and those that a process made beneath. EBUSY while populated.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir(&self.path)
            .doing(|| format!("cannot remove the cgroup '{}'", self.path.display()))
    }
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let opened = File::open(path).and_then(|f| f.take(4 << 20).read_to_string(&mut text));
    opened.doing(|| format!("cannot read '{}'", path.display()))?;
    Ok(text)
}
