//! Limits of one job; parses and writes the contents of cgroup files. Pure.

use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub const ALL: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oom {
    Job,
    /// The machine's: a job is killed first.
    Machine,
}

pub(super) struct OwnCgroup {
    pub(super) path: PathBuf,
    pub(super) is_root: bool,
}

pub(super) fn own_directory(mounts: &str, own: &str) -> Option<OwnCgroup> {
    let inside = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let (root, point) = mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        kind.starts_with("cgroup2 ")
            .then_some((fields.next()?, fields.next()?))
    })?;
    // A mount may show only a part of the hierarchy.
    let inside = Path::new("/").join(inside);
    let beneath = inside.strip_prefix(root).ok()?;
    let path = Path::new(&unescape(point)).join(beneath);
    Some(OwnCgroup {
        is_root: inside == Path::new("/"),
        path,
    })
}

fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

pub(super) fn controllers(list: &str) -> Vec<Controller> {
    let has = |c: &Controller| list.split_whitespace().any(|name| name == c.name());
    Controller::ALL.into_iter().filter(has).collect()
}

pub(super) fn settings(controller: Controller, limits: &Limits) -> Vec<(&'static str, String)> {
    match controller {
        Controller::Memory => limits.memory.map_or_else(Vec::new, |bytes| {
            vec![
                ("memory.max", bytes.to_string()),
                ("memory.swap.max", "0".into()),
                // Kills the job as a whole, not one process of it.
                ("memory.oom.group", "1".into()),
            ]
        }),
        Controller::Pids => limits
            .tasks
            .map(|n| ("pids.max", n.to_string()))
            .into_iter()
            .collect(),
        Controller::Cpu => limits
            .cpu_percent
            .map(|percent| {
                (
                    "cpu.max",
                    format!("{} 100000", u64::from(percent.max(1)) * 1000),
                )
            })
            .into_iter()
            .collect(),
    }
}

/// Reads `memory.events`: `oom_kill` counts every kill, `oom` those for the group's own limit.
pub(super) fn oom(events: &str) -> Option<Oom> {
    let count = |name| field(events, name).unwrap_or(0);
    match (count("oom_kill"), count("oom")) {
        (0, _) => None,
        (_, 0) => Some(Oom::Machine),
        (_, _) => Some(Oom::Job),
    }
}

pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Limits of one job, all of them upper bounds. The default lets nothing run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Open descriptors of a process; at least 32.
    pub nofile: u64,
    pub nproc: u64,
    /// The uid of a job that shares its user. The kernel counts all tasks of a user together, so the child counts
    /// those of before, and the job may have `nproc` more. `None`: something else counts the job's, or nothing can.
    pub others: Option<u32>,
    /// Bytes of private writable memory of a process (`RLIMIT_DATA`), or `INFINITY`.
    pub data: u64,
    /// CPU seconds of a process: then SIGXCPU, two seconds later SIGKILL.
    pub cpu_s: u64,
    /// Bytes of a file; above `tmp_bytes`, so that ENOSPC comes before SIGXFSZ.
    pub fsize: u64,
    pub tmp_bytes: u64,
    pub tmp_inodes: u64,
    /// Bytes of the whole job. This limit and the next two need their cgroup controller.
    pub memory: Option<u64>,
    pub tasks: Option<u64>,
    pub cpu_percent: Option<u32>,
}

impl Limits {
    /// `RLIM_INFINITY`: no limit.
    pub const INFINITY: u64 = u64::MAX;

    /// Returns the largest file of a job that can write only to private directories of so many bytes.
    #[must_use]
    pub const fn fsize_of_tmp(tmp_bytes: u64) -> u64 {
        // Larger than them, so a full one returns ENOSPC first.
        tmp_bytes.saturating_mul(2)
    }

    /// Returns true if no other setting makes `fsize` larger than the private directories need.
    #[must_use]
    pub const fn is_fsize_of_tmp(&self) -> bool {
        self.fsize <= Self::fsize_of_tmp(self.tmp_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    38 31 0:35 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_own_directory_is_found() {
        let part = "41 31 0:38 /a/b /mnt/c\\040d rw shared:4 - cgroup2 none rw\n";
        for (mounts, own, want) in [
            (
                HYBRID,
                "4:memory:/x\n0::/\n",
                Some(("/sys/fs/cgroup/unified", true)),
            ),
            (
                HYBRID,
                "0::/system.slice/r.service\n",
                Some(("/sys/fs/cgroup/unified/system.slice/r.service", false)),
            ),
            (part, "0::/a/b/c\n", Some(("/mnt/c d/c", false))),
            (part, "0::/other\n", None),
            (HYBRID, "4:memory:/x\n", None),
            (
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n",
                "0::/\n",
                None,
            ),
        ] {
            let got = own_directory(mounts, own).map(|o| (o.path, o.is_root));
            assert_eq!(got, want.map(|(p, r)| (PathBuf::from(p), r)), "{own}");
        }
    }

    #[test]
    fn a_kill_for_memory_has_a_culprit() {
        for (events, want) in [
            ("low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\n", None),
            (
                "max 0\noom 0\noom_kill 1\noom_group_kill 1\n",
                Some(Oom::Machine),
            ),
            (
                "max 7\noom 1\noom_kill 1\noom_group_kill 1\n",
                Some(Oom::Job),
            ),
            ("", None),
        ] {
            assert_eq!(oom(events), want, "{events}");
        }
    }

    #[test]
    fn flat_keyed_fields() {
        let text = "populated 1\nfrozen 0\noom 3\noom_kill 2\n";
        for (name, want) in [
            ("populated", Some(1)),
            ("oom", Some(3)),
            ("oom_kill", Some(2)),
            ("kill", None),
        ] {
            assert_eq!(field(text, name), want, "{name}");
        }
    }
}
