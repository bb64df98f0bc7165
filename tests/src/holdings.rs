//! The machine's resources that a daemon holds: memory, descriptors, threads, mounts, cgroups, files.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::caller::{Caller, argv};
use crate::daemon::{Daemon, open_descriptors};
use crate::process::{Identity, descendants, status_field};

/// A busy machine takes its first snapshot slowly.
const AT_REST: Duration = Duration::from_secs(120);
const QUIET: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(20);

/// Resources of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Resident memory in KiB.
    pub rss: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Visible mounts.
    pub mounts: usize,
}

impl Held {
    /// Reads the present resources, all zero without such a process.
    #[must_use]
    pub fn by(pid: i32) -> Self {
        let rss = status_field(pid, "VmRSS").unwrap_or_default();
        let lines = |name| {
            fs::read_to_string(format!("/proc/{pid}/{name}")).map_or(0, |text| text.lines().count())
        };
        Self {
            rss: rss.trim_end_matches(" kB").parse().unwrap_or(0),
            descriptors: open_descriptors(pid),
            threads: fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count),
            mounts: lines("mountinfo"),
        }
    }
}

/// Resources of a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The warden.
    pub warden: Held,
    /// PID 1 of the jobs' pid namespace.
    pub watchdog: Held,
    /// The broker.
    pub broker: Held,
    /// Targets of the warden's descriptors.
    pub open: Vec<String>,
    /// Names of the jobs' cgroups.
    pub cgroups: Vec<String>,
    /// Zombies below the warden.
    pub zombies: usize,
    /// Leftover processes of jobs.
    pub processes: usize,
    /// Files in the spool.
    pub spool_files: usize,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Bytes in the warden's state directory.
    pub ledger_bytes: u64,
}

impl Holdings {
    /// Reads the present resources of a daemon.
    #[must_use]
    pub fn of(daemon: &Daemon) -> Self {
        let held = |pid: Option<i32>| pid.map_or_else(Held::default, Held::by);
        let spool = sizes(daemon.path().join("state/spool"));
        let below = descendants(daemon.pid());
        Self {
            warden: Held::by(daemon.pid()),
            watchdog: held(daemon.watchdog()),
            broker: held(daemon.broker()),
            open: opened(daemon.pid()),
            cgroups: cgroups(daemon.pid()),
            zombies: below.iter().filter(|process| process.state == 'Z').count(),
            processes: daemon.job_processes().len(),
            spool_files: spool.len(),
            spool_bytes: spool.iter().sum(),
            ledger_bytes: sizes(daemon.path().join("state/warden")).iter().sum(),
        }
    }

    /// Returns the resources once the first snapshot of the machine is kept, the broker has ended its idle threads,
    /// and the numbers have then been stable for half a second, or after two minutes.
    #[must_use]
    pub fn at_rest(daemon: &Daemon) -> Self {
        let start = Instant::now();
        let mut rested: Option<(Instant, Self)> = None;
        loop {
            let now = Self::of(daemon);
            let rests = has_snapshot(daemon) && now.broker.threads <= 2;
            let same = rested
                .take()
                .filter(|(_, last)| last.counts() == now.counts());
            let since = same.map_or_else(Instant::now, |(since, _)| since);
            if rests && since.elapsed() >= QUIET || start.elapsed() >= AT_REST {
                return now;
            }
            rested = rests.then_some((since, now));
            std::thread::sleep(LOOK);
        }
    }

    /// Asserts that a daemon holds as much as before within two minutes.
    pub fn are_again_of(&self, daemon: &Daemon) {
        let start = Instant::now();
        loop {
            let now = Self::of(daemon);
            if now.counts() == self.counts() {
                return;
            }
            let compared = Compared(self, &now);
            assert!(start.elapsed() < AT_REST, "not as before:\n{compared}");
            std::thread::sleep(LOOK);
        }
    }

    /// Returns the numbers that must be equal whenever nothing runs.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        let of = |held: &Held| [held.descriptors, held.threads, held.mounts];
        let own = [self.cgroups.len(), self.zombies, self.processes];
        [of(&self.warden), of(&self.watchdog), of(&self.broker), own].concat()
    }

    fn rows(&self) -> Vec<(String, u64)> {
        let mut rows = Vec::new();
        let three = [
            ("warden", &self.warden),
            ("watchdog", &self.watchdog),
            ("broker", &self.broker),
        ];
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (name, held) in three {
            rows.push((format!("{name}: resident KiB"), held.rss));
            rows.push((format!("{name}: descriptors"), number(held.descriptors)));
            rows.push((format!("{name}: threads"), number(held.threads)));
            rows.push((format!("{name}: mounts"), number(held.mounts)));
        }
        rows.push(("cgroups of jobs".into(), number(self.cgroups.len())));
        rows.push(("zombies".into(), number(self.zombies)));
        rows.push(("processes of jobs".into(), number(self.processes)));
        rows.push(("files in the spool".into(), number(self.spool_files)));
        rows.push(("bytes in the spool".into(), self.spool_bytes));
        rows.push(("bytes in the ledger".into(), self.ledger_bytes));
        rows
    }
}

/// Runs enough jobs to use each uid. Panics if a uid was not used, because it was not released.
pub fn no_uid_is_lost(daemon: &Daemon) {
    // Root, because other users may have reached their request rate.
    let mut caller = Caller::new(daemon, &Identity::new(0, &[]));
    let uids: BTreeSet<u32> = (0..2 * daemon.job_uids())
        .map(|_| caller.run(argv(&["true"])).expect("root has a grant"))
        .map(|report| report.enforced.expect("it ran").uid)
        .collect();
    let lost = usize::try_from(daemon.job_uids()).map(|all| all - uids.len());
    assert_eq!(lost, Ok(0), "uids are lost; these are not: {uids:?}");
}

/// Formats both states side by side.
#[derive(Debug)]
pub struct Compared<'a>(pub &'a Holdings, pub &'a Holdings);

impl fmt::Display for Compared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24}{:>12}{:>12}", "", "before", "after")?;
        for ((name, before), (_, after)) in self.0.rows().iter().zip(self.1.rows()) {
            writeln!(f, "{name:<24}{before:>12}{after:>12}")?;
        }
        for (when, held) in [("before", self.0), ("after", self.1)] {
            writeln!(f, "the warden's descriptors {when}: {:?}", held.open)?;
        }
        Ok(())
    }
}

fn opened(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let links = entries.into_iter().flatten().flatten();
    let mut names: Vec<String> = links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|link| link.display().to_string())
        .collect();
    names.sort_unstable();
    names
}

fn has_snapshot(daemon: &Daemon) -> bool {
    let history = fs::read_dir(daemon.path().join("state/history"));
    let mut paths = history
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    paths.any(|path| {
        let is_snapshot = path.file_stem().is_some_and(|stem| stem == "snapshot");
        is_snapshot && fs::read(path).is_ok_and(|text| text.ends_with(b"end\n"))
    })
}

fn sizes(dir: PathBuf) -> Vec<u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .collect()
}

fn cgroups(warden: i32) -> Vec<String> {
    let of_jobs = job_directories(warden).into_iter().flat_map(directories);
    let names = of_jobs.map(|cgroup| cgroup.file_name().unwrap_or_default().to_owned());
    names.filter_map(|name| name.into_string().ok()).collect()
}

fn directories(dir: PathBuf) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
}

/// Returns the directories with the jobs' cgroups, beside the warden's own cgroup.
#[must_use]
pub fn job_directories(warden: i32) -> Vec<PathBuf> {
    let own = fs::read_to_string(format!("/proc/{warden}/cgroup")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut fields = mounts.lines().map(|line| line.split_whitespace());
    let root = fields.find_map(|mut line| {
        let (_, mount_point, kind) = (line.next()?, line.next()?, line.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(mount_point))
    });
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let (Some(root), Some(own)) = (root, own) else {
        return Vec::new();
    };
    let Some(base) = own.strip_suffix("/remit-daemon") else {
        return Vec::new();
    };
    directories(root.join(base))
        .filter(|path| !path.ends_with("remit-daemon"))
        .collect()
}
