//! Types of the `host` answer: facts about the machine, and what of it changed between two snapshots. Lists are bounded and
//! count the entries left out. An unavailable fact is `None`, with the reason in a [`Gap`] or `why`. Text from the machine is
//! truncated to 256 bytes and its control characters are escaped.

mod section;
mod services;
mod system;

use remit_common::names::JobId;
use serde::{Deserialize, Serialize};

pub use section::{Hundredths, List, Section, UnknownSection};
pub use services::*;
pub use system::*;

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Dotted name of the fact, as in `users.sessions`.
    pub fact: String,
    pub why: String,
}

/// Facts about the machine. A section that was not requested is null.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// When, in seconds since 1970.
    pub time: u64,
    /// Possible problems in the requested sections, as sentences; at most 16.
    pub alerts: Vec<String>,
    pub os: Option<Os>,
    pub load: Option<Load>,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub disks: Option<List<Disk>>,
    pub mounts: Option<Mounts>,
    pub network: Option<Network>,
    pub ports: Option<Ports>,
    pub units: Option<Units>,
    pub users: Option<Users>,
    pub boots: Option<Boots>,
    pub containers: Option<List<Container>>,
    pub packages: Option<Packages>,
    pub updates: Option<Updates>,
    pub gaps: Vec<Gap>,
}

/// The earlier of the two snapshots that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// The last one at or before this time, in milliseconds since 1970. The other is the present.
    Time(u64),
    /// The first one after the boot. The other is the present.
    Boot,
    /// The last one before this job of the caller. The other is the first after it.
    Job(JobId),
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMark {
    /// When, in seconds since 1970.
    pub time: u64,
    /// Why it was taken, such as `start`, `daily`, `before a change`.
    pub reason: String,
    /// The machine has booted since.
    pub of_earlier_boot: bool,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChanges {
    pub from: SnapshotMark,
    pub to: SnapshotMark,
    pub total: u64,
    /// Only sections that have changes.
    pub sections: Vec<SectionChanges>,
    pub gaps: Vec<Gap>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionChanges {
    /// As `packages`, `files` or `units`.
    pub section: String,
    pub changes: List<HostChange>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChange {
    /// As a path, or the name of a package, account or unit.
    pub name: String,
    /// Null where it was added.
    pub before: Option<String>,
    /// Null where it was removed.
    pub after: Option<String>,
    /// Jobs that could change the host and ran when this changed: an id, `job of another user`, or that it is not known.
    /// None: it was changed outside of remit.
    pub by: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_read_back_from_its_name() {
        for section in Section::ALL {
            assert_eq!(section.to_string().parse(), Ok(section));
        }
        assert!(Section::ALL.is_sorted());
    }

    #[test]
    fn unknown_section_names_itself_and_the_choice() {
        let sentence = "disk\x1b".parse::<Section>().unwrap_err().to_string();
        assert!(
            sentence.starts_with(r"unknown section 'disk\u{1b}': it is none of os load cpu"),
            "{sentence}"
        );
        assert!(
            "x".repeat(9000)
                .parse::<Section>()
                .unwrap_err()
                .to_string()
                .len()
                < 250
        );
    }

    #[test]
    fn hundredths_survive_the_number_they_are_written_as() {
        for hundredths in [0, 1, 29, 115, 9_999, u32::MAX] {
            let number = f64::from(Hundredths(hundredths));
            assert_eq!(Hundredths::try_from(number), Ok(Hundredths(hundredths)));
        }
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(Hundredths::try_from(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Hundredths(105).to_string(), "1.05");
    }

    #[test]
    fn cut_list_counts_what_it_left_out() {
        let mut list = List::cut(vec![1, 2, 3, 4, 5], 4);
        assert_eq!((list.items.len(), list.more, list.total()), (4, 1, 5));
        list.shrink(1);
        assert_eq!((list.items.len(), list.more, list.total()), (1, 4, 5));
        list.shrink(3);
        assert_eq!((list.items.len(), list.more), (1, 4));
    }

    #[test]
    fn report_goes_over_the_wire_and_back() {
        let mut report = HostReport {
            time: 7,
            ..HostReport::default()
        };
        report.units = Some(Units {
            failed: List {
                items: vec![FailedUnit {
                    name: "a.service".into(),
                    description: String::new(),
                    result: Some("exit-code".into()),
                    status: Some(-1),
                    since: None,
                    why: Some("no time".into()),
                }],
                more: 3,
            },
            restarting: List::default(),
            system: None,
            counts: vec![StateCount {
                state: "active".into(),
                count: 9,
            }],
            jobs: Some(0),
        });
        report.gaps.push(Gap {
            fact: "units.system".into(),
            why: "not reported".into(),
        });
        let bytes = postcard::to_stdvec(&report).unwrap();
        assert_eq!(postcard::from_bytes::<HostReport>(&bytes), Ok(report));
    }
}
