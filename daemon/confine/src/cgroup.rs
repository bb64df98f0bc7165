//! A cgroup (v2) for each job, where there is a hierarchy we may write. cgroups(7).

mod text;

use crate::error::{Doing, Error, Result};
use crate::{Limits, floor};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};
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

/// The directory that holds the jobs' cgroups.
#[derive(Debug)]
pub struct Cgroups {
    base: PathBuf,
    prefix: String,
    controllers: Vec<Controller>,
}

impl Cgroups {
    /// Finds the hierarchy and makes ready a base for jobs. `None`: no cgroup v2 is mounted, or
    /// it may not be written (containers); jobs then end by uid and have resource limits alone.
    ///
    /// The jobs' cgroups, named `name-ID`, lie beside this process's own sub-group
    /// `name-daemon` when our cgroup is delegated to us, that is: not the root, and nobody else
    /// is in it. Then controllers are enabled for the jobs. Else they lie in our cgroup and have
    /// the controllers that happen to be enabled there. Leftovers of that name, of a
    /// process that has ended, are killed and removed.
    pub fn open(name: &str) -> Result<Option<Cgroups>> {
        let mounts = read("/proc/self/mountinfo".as_ref())?;
        let own = read("/proc/self/cgroup".as_ref())?;
        let Some(own) = own_directory(&mounts, &own) else {
            return Ok(None);
        };
        let base = own.path;
        // Still in the daemon's sub-group when a process re-executes itself.
        let base = match base.file_name() {
            Some(last) if last == format!("{name}-daemon").as_str() => {
                base.parent().map(Path::to_owned).unwrap_or(base)
            }
            _ => base,
        };
        if !writable(&base) {
            return Ok(None);
        }
        let mut cgroups = Cgroups {
            base,
            prefix: format!("{name}-"),
            controllers: Vec::new(),
        };
        cgroups.sweep()?;
        if !own.is_root && cgroups.is_ours_alone()? {
            cgroups.take_over(name)?;
        }
        let enabled = read(&cgroups.base.join("cgroup.subtree_control"))?;
        cgroups.controllers = controllers(&enabled);
        Ok(Some(cgroups))
    }

    /// The directory that holds the jobs' cgroups.
    pub fn path(&self) -> &Path {
        &self.base
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
        let path = self.base.join(format!("{}{id}", self.prefix));
        let doing = || format!("cannot make the cgroup '{}'", path.display());
        if id.is_empty()
            || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            || id == "daemon"
        {
            return Err(Error::refused(
                doing(),
                "its name is not made of letters, digits and hyphens",
            ));
        }
        fs::create_dir(&path).doing(doing)?;
        let has = |controller| self.controllers.contains(&controller);
        let counts = Counts {
            memory: has(Controller::Memory),
            tasks: has(Controller::Pids),
        };
        held(path.clone(), counts).inspect_err(|_| {
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

    /// Kills and removes what an earlier daemon of this name has left. Not what belongs to one
    /// that lives: it holds a lock on each.
    fn sweep(&self) -> Result<()> {
        let doing = || format!("cannot read '{}'", self.base.display());
        for entry in fs::read_dir(&self.base).doing(doing)? {
            let path = entry.doing(doing)?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            let ours = name
                .strip_prefix(&self.prefix)
                .is_some_and(|id| id != "daemon");
            let left = || File::open(&path).is_ok_and(|dir| dir.try_lock().is_ok());
            if ours && path.is_dir() && left() {
                let _ = kill(&path);
                // Busy: its processes are still dying. It is swept at the next start.
                let _ = fs::remove_dir(&path);
            }
        }
        Ok(())
    }

    /// Whether no process but this one is in the base itself. One in a group of its own beneath,
    /// as a service manager's control commands are, is not in the way.
    fn is_ours_alone(&self) -> Result<bool> {
        let here = read(&self.base.join("cgroup.procs"))?;
        let me = std::process::id().to_string();
        Ok(here.lines().all(|pid| pid == me))
    }

    /// A cgroup with processes cannot hand controllers down: this one moves aside.
    fn take_over(&self, name: &str) -> Result<()> {
        let own = self.base.join(format!("{name}-daemon"));
        let doing = || format!("cannot move into the cgroup '{}'", own.display());
        match fs::create_dir(&own) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).doing(doing),
            _ => {}
        }
        fs::write(own.join("cgroup.procs"), "0").doing(doing)?;
        let there = controllers(&read(&self.base.join("cgroup.controllers"))?);
        for controller in there {
            let file = self.base.join("cgroup.subtree_control");
            // One that cannot be had is missing from `controllers`, which policy looks at.
            let _ = fs::write(file, format!("+{}", controller.name()));
        }
        Ok(())
    }
}

/// The cgroup at `path`, with a lock on it.
fn held(path: PathBuf, counts: Counts) -> Result<Cgroup> {
    let dir = File::open(&path).doing(|| format!("cannot open '{}'", path.display()))?;
    // Held as long as we live: so that a sweep knows what is left over from what is in use.
    dir.try_lock()
        .map_err(io::Error::from)
        .doing(|| format!("cannot lock '{}'", path.display()))?;
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

/// `cgroup.kill`, Linux 5.14; before, each process that can be seen, for as long as there are
/// some: a fork may be quicker than a list.
fn kill(path: &Path) -> io::Result<()> {
    match fs::write(path.join("cgroup.kill"), "1") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    for _ in 0..100 {
        let list = fs::read_to_string(path.join("cgroup.procs"))?;
        if list.is_empty() {
            break;
        }
        for pid in list
            .lines()
            .filter_map(|l| l.parse::<i32>().ok())
            .filter(|pid| *pid > 0)
        {
            if let Ok(process) = floor::pidfd_open(pid) {
                let _ = floor::pidfd_send_signal(&process, libc::SIGKILL);
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let opened = File::open(path).and_then(|f| f.take(4 << 20).read_to_string(&mut text));
    opened.doing(|| format!("cannot read '{}'", path.display()))?;
    Ok(text)
}

/// Tried by making a directory: a read-only mount and a namespace's root both answer no.
fn writable(base: &Path) -> bool {
    let probe = base.join(format!("remit-probe-{}", std::process::id()));
    let made = fs::create_dir(&probe).is_ok();
    made && fs::remove_dir(&probe).is_ok()
}
