//! What a command and all processes that it starts cost, also those that outlive it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Failure;
use crate::usage::{Memory, peak};

/// Pause between two looks at the memory.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    pub cpu_ms: f64,
    pub elapsed_ms: f64,
    /// Resident memory of the program itself, in bytes.
    pub peak: u64,
    /// Proportional memory of it and of all that it started, in bytes, as seen at pauses.
    pub pss: u64,
}

impl Cost {
    pub fn and(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms + other.cpu_ms,
            elapsed_ms: self.elapsed_ms + other.elapsed_ms,
            peak: self.peak.max(other.peak),
            pss: self.pss.max(other.pss),
        }
    }

    pub fn of_one(self, runs: usize) -> Self {
        Self {
            cpu_ms: self.cpu_ms / runs as f64,
            elapsed_ms: self.elapsed_ms / runs as f64,
            ..self
        }
    }
}

/// A cgroup without controllers: the kernel counts its processor time all the same. cgroups(7).
pub struct Group {
    path: PathBuf,
}

impl Group {
    pub fn new() -> Result<Self, Failure> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let at = fields.next()?;
            (fields.next()? == "cgroup2").then_some(at)
        });
        let root = root.ok_or("cgroup v2 is not mounted")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let parent = Path::new(root).join(own.unwrap_or_default());
        let path = parent.join(format!("remit-bench-{}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot make '{}': {error}", path.display()).into()),
        }
        Ok(Self { path })
    }

    /// Runs the command in this cgroup. Fails if it does.
    pub fn run(&self, command: Command) -> Result<Cost, Failure> {
        let before = self.cpu_ms()?;
        let start = Instant::now();
        let mut child = Command::new("/bin/sh")
            .args(["-c", "echo $$ >\"$1\"; shift; exec \"$@\"", "sh"])
            .arg(self.path.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args())
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut cost = Cost::default();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            // What ends meanwhile has no memory.
            cost.peak = cost.peak.max(peak(child.id()).unwrap_or(0));
            cost.pss = cost.pss.max(self.pss());
            std::thread::sleep(PAUSE);
        };
        cost.elapsed_ms = start.elapsed().as_secs_f64() * 1e3;
        cost.cpu_ms = self.cpu_ms()? - before;
        match status.success() {
            true => Ok(cost),
            false => Err(format!("{command:?} ended with {status}").into()),
        }
    }

    fn cpu_ms(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(self.path.join("cpu.stat"))?;
        let usec = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        Ok(usec.ok_or("no usage_usec in cpu.stat")?.parse::<f64>()? / 1e3)
    }

    fn pss(&self) -> u64 {
        let all = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        let pids = all.lines().filter_map(|pid| pid.parse().ok());
        pids.filter_map(|pid| Some(Memory::of(pid).ok()?.pss)).sum()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Masters may still be in it; the next one uses it then.
        let _ = fs::remove_dir(&self.path);
    }
}
