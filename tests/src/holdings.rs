//! What a daemon holds of the machine: memory, descriptors, threads, mounts, cgroups, files.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::caller::{Caller, argv};
use crate::daemon::{Daemon, open_descriptors};
use crate::process::{Identity, descendants, status_field};

/// How long a daemon may take to let go of what it needs no more.
const AT_REST: Duration = Duration::from_secs(20);
/// The broker keeps an idle thread for two seconds.
const QUIET: Duration = Duration::from_millis(2500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What one process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Resident memory in KiB.
    pub rss: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Mounts that it sees.
    pub mounts: usize,
}

impl Held {
    /// What a process holds now; nothing when there is no such process.
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

/// What a daemon holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Root.
    pub warden: Held,
    /// Ends all jobs when the warden dies.
    pub keeper: Held,
    /// Talks to clients.
    pub broker: Held,
    /// What is behind root's descriptors.
    pub open: Vec<String>,
    /// Cgroups of jobs, by name.
    pub cgroups: Vec<String>,
    /// Processes below the warden that have ended and were not waited for.
    pub zombies: usize,
    /// Processes that jobs left.
    pub processes: usize,
    /// Files in the spool.
    pub spool_files: usize,
    /// Bytes in them.
    pub spool_bytes: u64,
    /// Bytes in the warden's own directory of the state.
    pub ledger_bytes: u64,
}

impl Holdings {
    /// What a daemon holds now.
    #[must_use]
    pub fn of(daemon: &Daemon) -> Self {
        let held = |pid: Option<i32>| pid.map_or_else(Held::default, Held::by);
        let spool = sizes(daemon.path().join("state/spool"));
        let below = descendants(daemon.pid());
        Self {
            warden: Held::by(daemon.pid()),
            keeper: held(daemon.keeper()),
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

    /// What a daemon holds once that has not changed for longer than an idle thread is kept, or 20 s have passed.
    #[must_use]
    pub fn at_rest(daemon: &Daemon) -> Self {
        let start = Instant::now();
        let (mut last, mut since) = (Self::of(daemon), start);
        while since.elapsed() < QUIET && start.elapsed() < AT_REST {
            std::thread::sleep(LOOK);
            let now = Self::of(daemon);
            if now.counts() != last.counts() {
                since = Instant::now();
            }
            last = now;
        }
        last
    }

    /// Waits until a daemon holds as much as before: it may be letting go of something, for 20 s.
    ///
    /// # Panics
    /// When it then holds more, or less.
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

    /// What must be the same whenever nothing runs.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        let of = |held: &Held| [held.descriptors, held.threads, held.mounts];
        let own = [self.cgroups.len(), self.zombies, self.processes];
        [of(&self.warden), of(&self.keeper), of(&self.broker), own].concat()
    }

    /// A row for each number: name, and the number.
    fn rows(&self) -> Vec<(String, u64)> {
        let mut rows = Vec::new();
        let three = [
            ("warden", &self.warden),
            ("keeper", &self.keeper),
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

/// Runs jobs one after the other until each uid must have had its turn: one that is not given back gets none.
///
/// # Panics
/// When a uid has had no turn.
pub fn no_uid_is_lost(daemon: &Daemon) {
    // Root, whose requests nobody has counted yet.
    let mut caller = Caller::new(daemon, &Identity::new(0, &[]));
    let uids: BTreeSet<u32> = (0..2 * daemon.job_uids())
        .map(|_| caller.run(argv(&["true"])).expect("root has a grant"))
        .map(|report| report.enforced.expect("it ran").uid)
        .collect();
    let lost = usize::try_from(daemon.job_uids()).map(|all| all - uids.len());
    assert_eq!(lost, Ok(0), "uids are lost; these are not: {uids:?}");
}

/// Before and after, side by side.
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

fn sizes(dir: PathBuf) -> Vec<u64> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .collect()
}

/// Names of the jobs' cgroups: those in the directories of jobs beside the warden's own.
fn cgroups(warden: i32) -> Vec<String> {
    let own = fs::read_to_string(format!("/proc/{warden}/cgroup")).unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut fields = mounts.lines().map(|line| line.split_whitespace());
    let root = fields.find_map(|mut line| {
        let (_, place, kind) = (line.next()?, line.next()?, line.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    });
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let (Some(root), Some(own)) = (root, own) else {
        return Vec::new();
    };
    let Some(base) = own.strip_suffix("/remit-daemon") else {
        return Vec::new();
    };
    let below = |dir: PathBuf| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir())
    };
    below(root.join(base))
        .filter(|entry| entry.file_name() != "remit-daemon")
        .flat_map(|of_jobs| below(of_jobs.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
