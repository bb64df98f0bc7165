//! The conditions of a run: everything except remit that the numbers depend on.

use std::fs;

use remit_wire::outcome::Enforced;
use serde::Serialize;

use crate::section::Section;
use crate::{Args, Failure};

#[derive(Debug, Serialize)]
pub struct Conditions {
    pub release: &'static str,
    pub build: &'static str,
    pub kernel: String,
    pub processor: String,
    pub cpus: usize,
    /// Lines of mountinfo. Each job's mount namespace copies them.
    pub mounts: usize,
    /// Mount events of the host's root propagate to other namespaces.
    pub mounts_shared: bool,
    pub rounds: usize,
    pub sink: String,
    pub sync: String,
    pub enforced: Enforced,
}

impl Conditions {
    pub fn read(args: &Args, enforced: Enforced) -> Result<Self, Failure> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown processor", |(_, name)| name.trim());
        Ok(Self {
            release: remit_common::RELEASE,
            build: if cfg!(debug_assertions) {
                "unoptimised"
            } else {
                "optimised"
            },
            kernel: kernel.trim().to_owned(),
            processor: processor.to_owned(),
            cpus: std::thread::available_parallelism()?.get(),
            mounts: mounts.lines().count(),
            mounts_shared: is_shared(&mounts),
            rounds: args.rounds,
            sink: args.sink.clone(),
            sync: args.sync.clone(),
            enforced,
        })
    }
}

impl Conditions {
    pub fn section(&self) -> Section {
        let shared = if self.mounts_shared {
            "shared"
        } else {
            "not shared"
        };
        let title = format!(
            "remit {}, {}; Linux {}, {} × {}",
            self.release, self.build, self.kernel, self.cpus, self.processor
        );
        let mut section = Section::new(title, &[]);
        section.note(format!(
            "{} rounds, ways in turns; audit.sink {}, audit.sync {}; {} mounts, {shared}: all of it runs in a mount \
             namespace of its own, made so as systemd makes the host's.",
            self.rounds, self.sink, self.sync, self.mounts
        ));
        section.note(format!(
            "Layers: {}; landlock {}; {}.",
            self.enforced.layers.join(" "),
            self.enforced.landlock,
            self.enforced.limits.join(", ")
        ));
        section
    }
}

/// Reads the optional fields of the mount at `/`: proc_pid_mountinfo(5).
fn is_shared(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(4);
        fields.next() == Some("/")
            && fields
                .take_while(|field| *field != "-")
                .any(|field| field.starts_with("shared:"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_mount_counts() {
        for (mounts, shared) in [
            (
                "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
                true,
            ),
            ("22 1 8:1 / / rw,relatime - ext4 shared:1 rw\n", false),
            ("23 22 0:2 / /proc rw shared:2 - proc proc rw\n", false),
        ] {
            assert_eq!(is_shared(mounts), shared, "{mounts}");
        }
    }
}
