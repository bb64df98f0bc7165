//! Types that all parts of remit share: refusals, outcomes, names, bounds, and what of the wire the warden needs. The
//! root process links all of it: no decisions, no privilege, and no IO except on a given stream.

#![forbid(unsafe_code)]

pub mod accounts;
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
pub mod bus;
pub mod calendar;
pub mod capability;
pub mod caps;
pub mod cgroup;
pub mod changed;
pub mod cron;
pub mod disks {
    //! File systems on which this machine's kernel keeps owners and modes itself (statfs(2)): only there do they say who
    //! can change a file. A FUSE server decides at each read, and whoever runs a network server can change its files. So
    //! only listed types are trusted, and those at [`OF_THE_MACHINE`], whose server is root here without remit.

    /// Mount points whose file systems are trusted whatever their type.
    pub const OF_THE_MACHINE: [&str; 2] = ["/", "/usr"];

    /// Types as in `f_type` of statfs(2).
    const KEPT_HERE: [u32; 19] = [
        0x0000_EF53, // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0x2FC1_2FC1, // zfs
        0xCA45_1A4E, // bcachefs
        0xF2F5_2010, // f2fs
        0x3153_464A, // jfs
        0x5265_4973, // reiserfs
        0x0000_3434, // nilfs2
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0x794C_7630, // overlay: mounted by root, of directories that root names
        0x7371_7368, // squashfs
        0xE0F5_E1E2, // erofs
        0x28CD_3D45, // cramfs
        0x0000_9660, // iso9660
        0x1501_3346, // udf
        0x0000_4D44, // vfat, as of /boot/efi
        0x2011_BAB0, // exfat
    ];

    #[must_use]
    pub fn is_kept_here(f_type: u32) -> bool {
        KEPT_HERE.contains(&f_type)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a07_what_others_serve_is_not_kept_here() {
            for (name, f_type) in [
                ("fuse", 0x6573_5546),
                ("nfs", 0x6969),
                ("9p", 0x0102_1997),
                ("cifs", 0xFF53_4D42),
                ("smb2", 0xFE53_4D42),
                ("ceph", 0x00C3_6400),
                ("afs", 0x6B41_4653),
                ("proc", 0x9FA0),
                ("unknown", 0),
            ] {
                assert!(!is_kept_here(f_type), "{name}");
            }
            assert!(is_kept_here(0xEF53));
        }
    }
}
pub mod escape;
pub mod frame;
pub mod hex;
pub mod hosts_file;

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
pub mod path_word;
pub mod prove;
pub mod panics {
    /// Makes a panic of any thread end the process, as in packages, also where a build unwinds: development builds and tests
    /// share what they compile. A task that died must not leave the others with half a state.
    pub fn end_process() {
        if cfg!(panic = "unwind") {
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                print(info);
                std::process::abort()
            }));
        }
    }
}
pub mod refusal;
pub mod service;
pub mod shebang;
pub mod signed;
pub mod span;
pub mod spelling;
pub mod text;
pub mod token_bucket;
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
pub mod view;
pub mod wire;

pub use names::id_prefix;
pub use outcome::denial;

pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
