//! Shortens the longest lists of a report until it fits, and counts the rest. One section keeps long lists. Pure.

use remit_wire::host::{Gap, HostReport, List};

/// Maximum characters of a report as JSON. MCP clients truncate results at about 40,000, with the surrounding text.
pub const JSON_CHARS: usize = 36_000;

/// Shortens `report` to at most `bound` bytes of JSON. Always meets [`JSON_CHARS`]: with empty lists it is smaller.
pub(crate) fn fit(report: &mut HostReport, bound: usize) {
    fit_gaps(&mut report.gaps, bound / 4);
    fit_lists(report, lists, bound);
}

/// Shortens the longest of `lists` until `answer` has at most `bound` bytes of JSON, or all are empty.
pub fn fit_lists<T: serde::Serialize>(
    answer: &mut T,
    lists: impl FnOnce(&mut T) -> Vec<&mut dyn Shorten>,
    bound: usize,
) {
    let mut total = size(answer);
    let mut lists: Vec<_> = lists(answer)
        .into_iter()
        .map(|list| (list.weight(), list))
        .collect();
    while total > bound {
        let full = lists.iter_mut().filter(|(_, list)| !list.is_empty());
        let Some((weight, list)) = full.max_by_key(|(weight, _)| *weight) else {
            return;
        };
        list.shorten();
        total = total.saturating_sub(*weight);
        *weight = list.weight();
        total = total.saturating_add(*weight);
    }
}

fn fit_gaps(gaps: &mut Vec<Gap>, bound: usize) {
    let mut over = 0_u64;
    while size(gaps) > bound && gaps.pop().is_some() {
        over += 1;
    }
    if over > 0 {
        gaps.push(Gap {
            fact: "gaps".into(),
            why: format!("{over} more facts are missing"),
        });
    }
}

fn size<T: serde::Serialize + ?Sized>(value: &T) -> usize {
    // Plain structs and lists always serialize.
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

/// A list that can be shortened, and counts what it loses.
pub trait Shorten {
    fn is_empty(&self) -> bool;
    fn weight(&self) -> usize;
    fn shorten(&mut self);
}

impl<T: serde::Serialize> Shorten for List<T> {
    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn weight(&self) -> usize {
        size(self)
    }

    fn shorten(&mut self) {
        let length = self.items.len();
        self.shrink(length.saturating_sub((length / 8).max(1)));
    }
}

fn known<'a, T: serde::Serialize + 'a>(
    list: &'a mut Option<List<T>>,
) -> Option<&'a mut dyn Shorten> {
    list.as_mut().map(|list| -> &mut dyn Shorten { list })
}

fn lists(report: &mut HostReport) -> Vec<&mut dyn Shorten> {
    let mut lists: Vec<&mut dyn Shorten> = Vec::new();
    lists.extend(known(&mut report.disks));
    lists.extend(known(&mut report.containers));
    if let Some(mounts) = &mut report.mounts {
        lists.push(&mut mounts.list);
    }
    if let Some(network) = &mut report.network {
        lists.extend(known(&mut network.interfaces));
        lists.extend(known(&mut network.routes));
        lists.extend(known(&mut network.resolvers));
        lists.extend(known(&mut network.search));
    }
    if let Some(ports) = &mut report.ports {
        lists.extend(known(&mut ports.tcp));
        lists.extend(known(&mut ports.udp));
    }
    if let Some(units) = &mut report.units {
        lists.push(&mut units.failed);
        lists.push(&mut units.restarting);
    }
    if let Some(users) = &mut report.users {
        lists.extend(known(&mut users.sessions));
        lists.extend(known(&mut users.accounts));
        lists.extend(known(&mut users.groups));
    }
    if let Some(boots) = &mut report.boots {
        lists.extend(known(&mut boots.last));
    }
    if let Some(packages) = &mut report.packages {
        lists.extend(known(&mut packages.broken));
    }
    if let Some(updates) = &mut report.updates {
        lists.push(&mut updates.reboot_for);
        lists.extend(known(&mut updates.kernels));
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;
    use remit_wire::host::{
        Container, Mount, Mounts, Os, Owner, Packages, Port, Ports, Proc, StateCount, Units,
    };

    fn port(number: u16) -> Port {
        let proc = Proc {
            pid: 4_194_304,
            comm: Some("x".repeat(256)),
        };
        Port {
            addr: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".into(),
            port: number,
            dev: Some("eth0".into()),
            user: "u".repeat(256),
            owner: Some(Owner {
                unit: Some("u".repeat(256)),
                user_unit: Some("u".repeat(256)),
                cgroup: "c".repeat(256),
                procs: List {
                    items: vec![proc; 4],
                    more: 9,
                },
            }),
            why: Some("w".repeat(256)),
        }
    }

    fn huge() -> HostReport {
        let text = "\"".repeat(256);
        let mount = Mount {
            target: text.clone(),
            source: text.clone(),
            root: text.clone(),
            fstype: text.clone(),
            options: text.clone(),
            read_only: false,
            space: None,
            why: Some(text.clone()),
        };
        HostReport {
            mounts: Some(Mounts {
                list: List {
                    items: vec![mount; 256],
                    more: 1,
                },
                pseudo: 3,
            }),
            ports: Some(Ports {
                tcp: Some(List::cut((0..512).map(port).collect(), 512)),
                udp: Some(List::cut((0..512).map(port).collect(), 512)),
                unix: None,
                established: None,
            }),
            containers: Some(List::cut(
                vec![
                    Container {
                        engine: "docker".into(),
                        id: "0".repeat(12)
                    };
                    20
                ],
                256,
            )),
            gaps: vec![
                Gap {
                    fact: "ports.unix".into(),
                    why: text
                };
                64
            ],
            ..HostReport::default()
        }
    }

    #[test]
    fn huge_report_is_cut_and_counted() {
        let mut report = huge();
        assert!(size(&report) > 1 << 20);
        fit(&mut report, JSON_CHARS);
        assert!(size(&report) <= JSON_CHARS, "{}", size(&report));
        let tcp = report
            .ports
            .as_ref()
            .and_then(|ports| ports.tcp.as_ref())
            .unwrap();
        assert!(tcp.more > 0 && !tcp.items.is_empty());
        assert_eq!(tcp.total(), 512);
        assert_eq!(
            report.mounts.as_ref().map(|mounts| mounts.list.total()),
            Some(257)
        );
        assert_eq!(report.containers.as_ref().map(|list| list.more), Some(0));
    }

    #[test]
    fn small_report_is_left_alone() {
        let mut report = HostReport {
            containers: huge().containers,
            ..HostReport::default()
        };
        let before = report.clone();
        fit(&mut report, JSON_CHARS);
        assert_eq!(report, before);
    }

    #[test]
    fn gaps_take_quarter_at_most() {
        let mut report = huge();
        fit(&mut report, JSON_CHARS);
        let kept = report.gaps.len() as u64 - 1;
        assert!(kept > 0 && size(&report.gaps) <= JSON_CHARS / 4 + 80);
        let last = report.gaps.last().unwrap();
        assert_eq!(
            (last.fact.as_str(), last.why.clone()),
            ("gaps", format!("{} more facts are missing", 64 - kept))
        );
    }

    #[test]
    fn longest_facts_fit_with_every_list_empty() {
        let text = read::shown(&"\"".repeat(300));
        let some = || Some(text.clone());
        let count = StateCount {
            state: text.clone(),
            count: u64::MAX,
        };
        let mut report = huge();
        report.alerts = vec![text.clone(); 16];
        report.os = Some(Os {
            id: some(),
            version: some(),
            name: some(),
            kernel: some(),
            arch: "x86_64".into(),
            hostname: some(),
            init: some(),
            timezone: some(),
            virt: some(),
        });
        report.units = Some(Units {
            failed: List::default(),
            restarting: List::default(),
            system: some(),
            counts: vec![count; 8],
            jobs: Some(u64::MAX),
        });
        report.packages = Some(Packages {
            kind: text.clone(),
            installed: Some(u64::MAX),
            broken: None,
        });
        fit(&mut report, JSON_CHARS);
        assert!(size(&report) <= JSON_CHARS, "{}", size(&report));
        assert!(
            lists(&mut report).iter().any(|list| !list.is_empty()),
            "lists have bytes left"
        );
    }

    #[test]
    fn bound_that_cannot_be_met_ends() {
        let mut report = huge();
        fit(&mut report, 10);
        assert_eq!(report.gaps.len(), 1);
        assert!(lists(&mut report).iter().all(|list| list.is_empty()));
    }
}
