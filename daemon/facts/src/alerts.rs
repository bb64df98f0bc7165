//! Derives short warning sentences from a report. Pure: reads nothing else.

use std::net::IpAddr;

use remit_wire::host::{HostReport, Hundredths, Mount, Port};

use crate::fs_space::NO_ANSWER;
use crate::read;

const ALERTS: usize = 16;
const FULL: u64 = 90;
const DNS: u16 = 53;
/// Percent of the last minute in which tasks stalled.
const PRESSURE: Hundredths = Hundredths(1000);

/// Returns those of `first`, of the report, and of `others`.
pub(crate) fn find(report: &HostReport, first: Vec<String>, others: Vec<String>) -> Vec<String> {
    let mut alerts = first;
    units(report, &mut alerts);
    disks(report, &mut alerts);
    strain(report, &mut alerts);
    alerts.extend(others);
    alerts.extend(resolvers(report));
    upkeep(report, &mut alerts);
    if alerts.len() > ALERTS {
        let over = alerts.len() - (ALERTS - 1);
        alerts.truncate(ALERTS - 1);
        alerts.push(format!("and {over} more"));
    }
    alerts.iter().map(|alert| read::shown(alert)).collect()
}

fn units(report: &HostReport, alerts: &mut Vec<String>) {
    let Some(units) = &report.units else { return };
    if units.failed.total() > 0 {
        let names: Vec<&str> = units
            .failed
            .items
            .iter()
            .take(3)
            .map(|unit| unit.name.as_str())
            .collect();
        let rest = if units.failed.total() > 3 { " …" } else { "" };
        alerts.push(format!(
            "{} failed: {}{rest}",
            count(units.failed.total(), "unit"),
            names.join(" ")
        ));
    }
    if units.restarting.total() > 0 {
        alerts.push(format!(
            "{} in a restart loop: {}",
            count(units.restarting.total(), "unit"),
            units.restarting.items.join(" ")
        ));
    }
}

fn disks(report: &HostReport, alerts: &mut Vec<String>) {
    for disk in report.disks.iter().flat_map(|disks| &disks.items) {
        if let Some(missing) = disk.degraded.filter(|missing| *missing > 0) {
            alerts.push(format!(
                "RAID {} lacks {}",
                disk.name,
                count(missing, "member")
            ));
        }
    }
    let mounts = report.mounts.iter().flat_map(|mounts| &mounts.list.items);
    let mounts: Vec<&Mount> = mounts.collect();
    alerts.extend(once_for_each_device(&mounts, silent));
    alerts.extend(once_for_each_device(&mounts, full));
}

/// Returns the alert of a device with its first mount: it may have any number of them. A mount with a quota has another size.
fn once_for_each_device(mounts: &[&Mount], alert: fn(&Mount) -> Option<String>) -> Vec<String> {
    let size = |mount: &Mount| mount.space.as_ref().map(|space| space.size);
    let mut found: Vec<(&Mount, String, u64)> = Vec::new();
    for mount in mounts {
        let Some(alert) = alert(mount) else { continue };
        let is_on_device = mount.source.starts_with("/dev/");
        let is_same = |first: &Mount| first.source == mount.source && size(first) == size(mount);
        match found
            .iter_mut()
            .find(|(first, ..)| is_on_device && is_same(first))
        {
            Some((.., more)) => *more += 1,
            None => found.push((mount, alert, 0)),
        }
    }
    let alert = |(_, alert, more)| match more {
        0 => alert,
        more => format!("{alert} (and {} of it)", count(more, "more mount")),
    };
    found.into_iter().map(alert).collect()
}

fn silent(mount: &Mount) -> Option<String> {
    let is_silent = mount.why.as_deref() == Some(NO_ANSWER);
    is_silent.then(|| format!("file system '{}' does not answer", mount.target))
}

fn full(mount: &Mount) -> Option<String> {
    // A read-only image is full by nature.
    let space = mount.space.as_ref().filter(|_| !mount.read_only)?;
    let inodes_used = space.inodes.saturating_sub(space.inodes_free);
    let inodes_percent = (u128::from(inodes_used) * 100)
        .checked_div(space.inodes.into())
        .unwrap_or(0);
    if space.used_percent >= FULL {
        Some(format!(
            "file system '{}' is {} % full",
            mount.target, space.used_percent
        ))
    } else if inodes_percent >= FULL.into() {
        Some(format!(
            "file system '{}' has {inodes_percent} % of its inodes in use",
            mount.target
        ))
    } else {
        None
    }
}

fn strain(report: &HostReport, alerts: &mut Vec<String>) {
    if let Some(kills) = report
        .memory
        .as_ref()
        .and_then(|memory| memory.oom_kills)
        .filter(|kills| *kills > 0)
    {
        alerts.push(format!(
            "{} killed for lack of memory since boot",
            count(kills, "process")
        ));
    }
    let Some(load) = &report.load else { return };
    for (what, pressure) in [
        ("cpu", &load.cpu),
        ("memory", &load.memory),
        ("io", &load.io),
    ] {
        let Some([_, minute, _]) = pressure.as_ref().map(|pressure| match what {
            // Since Linux 5.13 there is a `full` line, which is always 0 for the whole machine.
            "cpu" => pressure.some,
            _ => pressure.full.unwrap_or(pressure.some),
        }) else {
            continue;
        };
        // On a busy processor some task nearly always waits. Only a high value is a sign of trouble.
        if minute >= PRESSURE && (what != "cpu" || minute >= Hundredths(5000)) {
            alerts.push(format!(
                "{what} pressure: tasks stalled {minute} % of the last minute"
            ));
        }
    }
}

/// Name servers that certainly answer nothing: nobody listens on an address of the host's own, or no route leads there.
fn resolvers(report: &HostReport) -> Option<String> {
    let network = report.network.as_ref()?;
    let listens = |server: &IpAddr| {
        let udp = report.ports.as_ref()?.udp.as_ref()?;
        let takes = |addr: &str| {
            addr.parse()
                .is_ok_and(|addr: IpAddr| addr == *server || addr.is_unspecified())
        };
        let is_there = |port: &Port| port.port == DNS && takes(&port.addr);
        Some(udp.more > 0 || udp.items.iter().any(is_there))
    };
    let has_route = || {
        let routes = network.routes.as_ref()?;
        Some(routes.total() > 0)
    };
    let is_silent = |server: &&String| {
        // Of `fe80::1%eth0` the zone says nothing here.
        let address = server.split('%').next().unwrap_or_default().parse();
        address.is_ok_and(|address: IpAddr| match address.is_loopback() {
            true => listens(&address) == Some(false),
            false => has_route() == Some(false),
        })
    };
    let servers = &network.resolvers.as_ref()?.items;
    let silent: Vec<&str> = servers
        .iter()
        .filter(is_silent)
        .map(String::as_str)
        .collect();
    (!silent.is_empty()).then(|| {
        format!(
            "name server {} cannot answer: nobody listens there, or no route leads there",
            silent.join(" ")
        )
    })
}

fn upkeep(report: &HostReport, alerts: &mut Vec<String>) {
    if let Some(updates) = report
        .updates
        .as_ref()
        .filter(|updates| updates.reboot_flag == Some(true))
    {
        let names = updates.reboot_for.items.join(" ");
        alerts.push(if names.is_empty() {
            "a reboot is required".into()
        } else {
            format!("a reboot is required for: {names}")
        });
    }
    if let Some(broken) = report
        .packages
        .as_ref()
        .and_then(|packages| packages.broken.as_ref())
        .filter(|broken| broken.total() > 0)
    {
        alerts.push(format!(
            "{} half installed: {}",
            count(broken.total(), "package"),
            broken.items.first().map_or("", String::as_str)
        ));
    }
}

fn count(number: u64, noun: &str) -> String {
    match (number, noun.ends_with('s')) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{number} {noun}es"),
        (_, false) => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_wire::host::{
        FailedUnit, FsUsage, List, Mounts, Network, Ports, Route, Units, Updates,
    };

    fn mount(target: &str, used_percent: u64, read_only: bool, inodes_free: u64) -> Mount {
        Mount {
            target: target.into(),
            source: "d".into(),
            root: "/".into(),
            fstype: "ext4".into(),
            options: "rw".into(),
            read_only,
            space: Some(FsUsage {
                size: 1,
                used: 1,
                avail: 1,
                used_percent,
                inodes: 100,
                inodes_free,
            }),
            why: None,
        }
    }

    fn list<T>(items: Vec<T>) -> List<T> {
        List { items, more: 0 }
    }

    fn failed(name: &str) -> FailedUnit {
        FailedUnit {
            name: name.into(),
            description: String::new(),
            result: None,
            status: None,
            since: None,
            why: None,
        }
    }

    #[test]
    fn healthy_report_has_no_alert() {
        assert!(find(&HostReport::default(), Vec::new(), Vec::new()).is_empty());
    }

    #[test]
    fn alerts_name_what_is_wrong() {
        let report = HostReport {
            units: Some(Units {
                failed: list(
                    ["a.service", "b.mount", "c.timer", "d.service"]
                        .map(failed)
                        .to_vec(),
                ),
                restarting: List::default(),
                system: None,
                counts: vec![],
                jobs: None,
            }),
            mounts: Some(Mounts {
                list: list(vec![
                    mount("/", 90, false, 50),
                    mount("/snap", 100, true, 0),
                    mount("/v", 1, false, 10),
                    mount("/w", 89, false, 11),
                ]),
                pseudo: 0,
            }),
            updates: Some(Updates {
                reboot_flag: Some(true),
                reboot_for: list(vec!["linux-image".into()]),
                kernels: None,
                pending: None,
            }),
            ..HostReport::default()
        };
        assert_eq!(
            find(
                &report,
                vec!["/data stopped".into()],
                vec!["12 zombies".into()]
            ),
            [
                "/data stopped",
                "4 units failed: a.service b.mount c.timer …",
                "file system '/' is 90 % full",
                "file system '/v' has 90 % of its inodes in use",
                "12 zombies",
                "a reboot is required for: linux-image",
            ]
        );
    }

    #[test]
    fn device_with_many_mounts_is_one_alert() {
        let on = |source: &str, mount: Mount| Mount {
            source: source.into(),
            ..mount
        };
        let silent = |target: &str| Mount {
            space: None,
            why: Some(NO_ANSWER.into()),
            ..mount(target, 0, false, 0)
        };
        let mut with_quota = mount("/quota", 95, false, 50);
        with_quota.space.as_mut().unwrap().size = 7;
        for (mounts, expect) in [
            (
                vec![
                    on("/dev/a", mount("/", 99, false, 50)),
                    on("/dev/a", mount("/home", 99, false, 50)),
                    on("/dev/a", mount("/var", 99, false, 50)),
                    on("/dev/b", mount("/b", 98, false, 50)),
                    on("/dev/a", with_quota),
                ],
                &[
                    "file system '/' is 99 % full (and 2 more mounts of it)",
                    "file system '/b' is 98 % full",
                    "file system '/quota' is 95 % full",
                ][..],
            ),
            (
                vec![
                    on("tmpfs", mount("/a", 99, false, 50)),
                    on("tmpfs", mount("/b", 99, false, 50)),
                ],
                &[
                    "file system '/a' is 99 % full",
                    "file system '/b' is 99 % full",
                ],
            ),
            (
                vec![
                    on("/dev/a", mount("/full", 99, false, 50)),
                    on("/dev/c", silent("/dead")),
                    on("/dev/c", silent("/srv")),
                ],
                &[
                    "file system '/dead' does not answer (and 1 more mount of it)",
                    "file system '/full' is 99 % full",
                ],
            ),
        ] {
            let report = HostReport {
                mounts: Some(Mounts {
                    list: list(mounts),
                    pseudo: 0,
                }),
                ..HostReport::default()
            };
            assert_eq!(find(&report, Vec::new(), Vec::new()), expect);
        }
    }

    #[test]
    fn name_servers_that_cannot_answer_are_named() {
        let port = |addr: &str| Port {
            addr: addr.into(),
            port: 53,
            dev: None,
            user: "root".into(),
            owner: None,
            why: None,
        };
        let route = Route {
            to: "default".into(),
            via: Vec::new(),
            dev: Vec::new(),
            src: None,
            metric: None,
            kind: "unicast".into(),
        };
        for (server, listens, route, is_silent) in [
            ("127.0.0.53", None, None, true),
            ("127.0.0.53", Some("127.0.0.1"), None, true),
            ("127.0.0.53", Some("127.0.0.53"), None, false),
            ("::1", Some("::"), None, false),
            ("192.0.2.1", None, None, true),
            ("192.0.2.1", None, Some(route.clone()), false),
            ("fe80::1%eth0", None, None, true),
            ("nonsense", None, None, false),
        ] {
            let report = HostReport {
                network: Some(Network {
                    interfaces: None,
                    routes: Some(list(route.clone().into_iter().collect())),
                    resolvers: Some(list(vec![server.into()])),
                    search: None,
                }),
                ports: Some(Ports {
                    tcp: None,
                    udp: Some(list(listens.map(port).into_iter().collect())),
                    unix: None,
                    established: None,
                }),
                ..HostReport::default()
            };
            let alerts = find(&report, Vec::new(), Vec::new());
            assert_eq!(alerts.len(), usize::from(is_silent), "{server}: {alerts:?}");
        }
    }

    #[test]
    fn alerts_are_bounded() {
        let mounts: Vec<Mount> = (0..40)
            .map(|n| mount(&format!("/m{n}"), 99, false, 50))
            .collect();
        let report = HostReport {
            mounts: Some(Mounts {
                list: List {
                    items: mounts,
                    more: 0,
                },
                pseudo: 0,
            }),
            ..HostReport::default()
        };
        let alerts = find(&report, Vec::new(), Vec::new());
        assert_eq!(
            (alerts.len(), alerts.last().map(String::as_str)),
            (16, Some("and 25 more"))
        );
    }
}
