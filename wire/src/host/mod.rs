//! Types of the `host` answer: facts about the machine.
//!
//! Lists are bounded and count the entries left out. An unavailable fact is `None`, with the reason in a [`Gap`] or
//! `why`. Text from the machine is truncated to 256 bytes and its control characters are escaped.

mod network;
mod section;
mod services;
mod since;
mod system;

use serde::{Deserialize, Serialize};

pub use network::*;
pub use section::{Hundredths, List, Section, UnknownSection};
pub use services::*;
pub use since::*;
pub use system::*;

/// A fact that could not be had.
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
    /// Facts that could not be had, and why.
    pub gaps: Vec<Gap>,
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
