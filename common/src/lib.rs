//! Types that all parts of remit share: refusals, outcomes, names, bounds, and what of the wire the warden needs. The
//! root process links all of it: no decisions, no privilege, and no IO except on a given stream.

#![forbid(unsafe_code)]

pub mod admin;
pub mod behalf;
pub mod bounded_vec {
    //! Keeps one element of a list above the bound, so callers see the excess: empty ones take 24 times their frame.

    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

    use crate::caps;
    use crate::wire::Bytes;

    struct BoundedVec<T, const CAP: usize>(Vec<T>);

    struct BoundedVecVisitor<T, const CAP: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const CAP: usize> Visitor<'de> for BoundedVecVisitor<T, CAP> {
        type Value = BoundedVec<T, CAP>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while let Some(element) = from.next_element()? {
                if kept.len() <= CAP {
                    kept.push(element);
                }
            }
            Ok(BoundedVec(kept))
        }
    }

    impl<'de, T: Deserialize<'de>, const CAP: usize> Deserialize<'de> for BoundedVec<T, CAP> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_seq(BoundedVecVisitor(PhantomData))
        }
    }

    type Argv = BoundedVec<Bytes, { caps::ARGV_COUNT }>;

    pub fn argv<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bytes>, D::Error> {
        Argv::deserialize(from).map(|bounded| bounded.0)
    }

    pub fn optional_argv<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<Bytes>>, D::Error> {
        Option::<Argv>::deserialize(from).map(|bounded| bounded.map(|bounded| bounded.0))
    }

    pub fn named<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
        BoundedVec::<_, { caps::NAMED_ARGS }>::deserialize(from).map(|bounded| bounded.0)
    }

    pub fn env<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(Bytes, Bytes)>, D::Error> {
        BoundedVec::<_, { caps::ENV_COUNT }>::deserialize(from).map(|bounded| bounded.0)
    }
}
pub mod builtin;
pub mod calendar;
pub mod call_text {
    //! A call of a command as text: `service.reload unit=nginx.service`.

    /// A name and arguments, not checked.
    pub type NameAndArgs = (String, Vec<(String, String)>);

    /// Reads a name and arguments, with one space before each. No value has a space.
    pub fn split(text: &str) -> Result<NameAndArgs, &'static str> {
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default();
        if name.is_empty() || name.contains('=') {
            return Err("it does not begin with a name");
        }
        let args = words.map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err("after the name, each word is NAME=VALUE"),
        });
        Ok((name.to_owned(), args.collect::<Result<_, _>>()?))
    }
}
pub mod capability;
pub mod caps;
pub mod changed;
pub mod cron {
    //! Where cron(8) looks.

    /// Directories of the tables that crontab(1) installs: of Debian, of openSUSE and of others.
    pub const SPOOLS: [&str; 3] = [
        "/var/spool/cron/crontabs",
        "/var/spool/cron/tabs",
        "/var/spool/cron",
    ];

    /// Directories whose scripts are run.
    pub const SCRIPTS: [&str; 5] = [
        "/etc/cron.hourly",
        "/etc/cron.daily",
        "/etc/cron.weekly",
        "/etc/cron.monthly",
        "/etc/cron.yearly",
    ];
}
pub mod engines {
    //! Container engines.

    /// Write access to these sockets equals root. Sockets of libvirt and snapd are absent: these daemons check each peer.
    pub const SOCKETS: [&str; 11] = [
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
        "/run/crio/crio.sock",
        "/run/k3s/containerd/containerd.sock",
        "/var/snap/microk8s/common/run/containerd.sock",
        "/run/lxd/unix.socket",
        "/var/lib/lxd/unix.socket",
        "/var/snap/lxd/common/lxd/unix.socket",
        "/run/incus/unix.socket",
        "/var/lib/incus/unix.socket",
    ];
}
pub mod escape;
pub mod hex;

pub mod inspect {
    //! What commands of remit-look see by a right of root's, and which words have it; for policy, sandbox and remit-look.

    use serde::{Deserialize, Serialize};

    /// Only root can change it there.
    pub const LOOK: &str = "/usr/libexec/remit/remit-look";
    /// The only program of base `extract`, where it could read what a copy of the machine hides.
    pub const EXTRACT: &str = "/usr/libexec/remit/remit-extract";
    /// The argument of its command: the job whose copy it reads.
    pub const EXTRACTED_JOB: &str = "job";

    /// What a command of remit-look may see by a right of root's. The sandbox holds the rest of that right back.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Inspect {
        /// Names, owners, modes and sizes in every directory; no content of a file.
        Names,
        /// Programs, open files and counters of every process; nothing is written.
        Processes,
        /// The content of the one file that is an argument.
        File,
    }

    impl Inspect {
        pub const ALL: [(&'static str, Self); 3] = [
            ("names", Self::Names),
            ("processes", Self::Processes),
            ("file", Self::File),
        ];

        #[must_use]
        pub const fn name(self) -> &'static str {
            let [(names, _), (processes, _), (file, _)] = Self::ALL;
            match self {
                Self::Names => names,
                Self::Processes => processes,
                Self::File => file,
            }
        }

        #[must_use]
        pub const fn meaning(self) -> &'static str {
            match self {
                Self::Names => {
                    "names, owners, modes and sizes in every directory, private ones too; no content of any file"
                }
                Self::Processes => {
                    "programs, open files and counters of every process; remit-look closes files to itself before it looks"
                }
                Self::File => {
                    "the content of the one file that its argument names, whatever the file's permissions"
                }
            }
        }

        /// Returns the commands of remit-look that have this right: their first words.
        #[must_use]
        pub const fn commands(self) -> &'static [&'static str] {
            match self {
                Self::Names => &["explain-disk", "list-directory", "plan-private"],
                Self::Processes => &["deleted-files", "open-files", "unit-io"],
                Self::File => &["private-file"],
            }
        }

        /// Says whose right it is, if other words than those of [`commands`](Self::commands) want it.
        #[must_use]
        pub fn only_for(self) -> String {
            let commands = self.commands().join(" or ");
            format!(
                "inspect = \"{}\" is for '{LOOK}' with {commands}",
                self.name()
            )
        }

        /// Returns true if this command of it reads what a caller sends.
        #[must_use]
        pub fn reads_input(self, command: &str) -> bool {
            self == Self::Names && command == "plan-private"
        }

        #[must_use]
        pub fn is_for(self, program: &str, command: &str) -> bool {
            program == LOOK && self.commands().contains(&command)
        }
    }
}

pub mod job_limit;
pub mod marks;
pub mod names;
pub mod outcome;
pub mod pack;
pub mod prove;
pub mod refusal;
pub mod service;
pub mod signed;
pub mod span;
pub mod text;
pub mod traceparent {
    //! Filter for claimed traces (W3C Trace Context, version 00). A claim proves nothing about the caller. A claim is
    //! copied unchanged into records, so any other form is dropped without a message.

    use crate::caps;

    /// Returns `claimed` if it is a `traceparent` of version 00: lower-case hexadecimal, neither id zero.
    #[must_use]
    pub fn checked(claimed: Option<String>) -> Option<String> {
        claimed.filter(|text| is_traceparent(text))
    }

    fn is_traceparent(text: &str) -> bool {
        let mut parts = text.split('-');
        let mut next = |digits: usize| {
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            let part = parts.next().unwrap_or_default();
            (part.len() == digits && part.bytes().all(hex)).then_some(part)
        };
        let is_id = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|b| b != b'0'));
        text.len() == caps::TRACEPARENT
            && next(2) == Some("00")
            && is_id(next(32))
            && is_id(next(16))
            && next(2).is_some()
            && parts.next().is_none()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_traceparent_of_version_00_is_passed_on() {
            let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
            let parent = "00f067aa0ba902b7";
            let whole = format!("00-{trace}-{parent}-01");
            assert_eq!(checked(Some(whole.clone())), Some(whole.clone()));
            assert_eq!(checked(None), None);
            for other in [
                String::new(),
                whole.replace("00-4", "01-4"),
                whole.replace("00-4", "ff-4"),
                whole.to_uppercase(),
                format!("{whole}-00"),
                format!("{whole}\n"),
                format!(" {whole}"),
                whole[..54].to_owned(),
                whole.replace('-', "_"),
                format!("00-{}-{parent}-01", "0".repeat(32)),
                format!("00-{trace}-{}-01", "0".repeat(16)),
                format!("00-{trace}{parent}--01"),
                format!("00-{trace}-{parent}-0g"),
                format!("00-{trace}-{parent}-\u{660}"),
                format!("00-{trace}-{parent}0-1"),
                "x".repeat(55),
            ] {
                assert_eq!(checked(Some(other.clone())), None, "{other:?}");
            }
        }
    }
}
pub mod wire;

pub use names::id_prefix;
pub use outcome::denial;
pub use remit_core::{
    PRIVATE, accounts, bus, disks, frame, hosts_file, mount_table, panics, shebang, token_bucket,
    view,
};

pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
