//! Limits of a job that refuse something to it: the key, what permits more, and what the job can do instead. Pure.

/// A limit that a person can raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobLimit {
    Memory,
    Tasks,
    CpuTime,
    /// Open descriptors.
    Files,
    /// Size of a private directory.
    Tmp,
    /// Size of one file.
    File,
    /// Size of a copy of the machine.
    Space,
}

impl JobLimit {
    /// Returns its setting in remit.toml, or in the profile.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Memory => "limits.memory",
            Self::Tasks => "limits.tasks",
            Self::CpuTime => "limits.cpu_s",
            Self::Files => "limits.files",
            Self::Tmp => "limits.tmp",
            Self::File => "limits.file",
            Self::Space => "space of the profile",
        }
    }

    /// Returns the operation that it refuses.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tasks => "fork",
            Self::CpuTime => "cpu",
            Self::Files => "open",
            Self::Tmp | Self::File | Self::Space => "write",
        }
    }

    /// Returns what a job can do instead.
    #[must_use]
    pub const fn next(self) -> &'static str {
        match self {
            Self::Memory => "work on less at a time: a stream, a part, the output of a filter",
            Self::Tasks => "start fewer processes and threads at a time",
            Self::CpuTime => "do it in parts",
            Self::Files => "open fewer files at a time",
            Self::Tmp => "write less at a time, or to standard output",
            Self::File => "write smaller files, or to standard output",
            Self::Space => "write less to the copy, or to standard output",
        }
    }

    /// Returns what a person can change for jobs of this profile.
    #[must_use]
    pub fn lift(self, profile: &str) -> String {
        let (key, of_profile) = match self {
            Self::Memory => ("memory", Some("memory")),
            Self::Tasks => ("tasks", Some("tasks")),
            Self::Files => ("files", Some("open_files")),
            Self::Tmp => ("tmp", Some("tmp")),
            // A profile cannot set these.
            Self::CpuTime => ("cpu_s", None),
            Self::File => ("file", None),
            Self::Space => return format!("a larger space in profile '{profile}'"),
        };
        // No file defines the profiles that come with remit.
        let is_own = ["read", "strict", "host"].contains(&profile);
        match of_profile.filter(|_| !is_own) {
            Some(own) => format!(
                "a larger {own} in the limits of profile '{profile}', or {key} in [limits] of remit.toml"
            ),
            None => format!("a larger {key} in [limits] of remit.toml"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lift_names_a_setting_that_exists() {
        let of_all = |key: &str| format!("a larger {key} in [limits] of remit.toml");
        for (limit, profile, expect) in [
            (JobLimit::Tmp, "read", of_all("tmp")),
            (JobLimit::Memory, "host", of_all("memory")),
            (JobLimit::File, "site", of_all("file")),
            (JobLimit::CpuTime, "site", of_all("cpu_s")),
            (
                JobLimit::Files,
                "site",
                "a larger open_files in the limits of profile 'site', or files in [limits] of remit.toml".into(),
            ),
            (
                JobLimit::Space,
                "plan",
                "a larger space in profile 'plan'".into(),
            ),
        ] {
            assert_eq!(limit.lift(profile), expect, "{limit:?}");
        }
    }
}
