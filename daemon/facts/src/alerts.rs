//! Derives short warning sentences from a report. Pure: reads nothing else.

use remit_wire::host::{HostReport, Hundredths, Mount};

use crate::read;

const ALERTS: usize = 16;
const FULL: u64 = 90;
/// Percent of the last minute in which tasks stalled.
const PRESSURE: Hundredths = Hundredths(1000);

pub(crate) fn find(report: &HostReport) -> Vec<String> {
    let mut alerts = Vec::new();
    units(report, &mut alerts);
    disks(report, &mut alerts);
    strain(report, &mut alerts);
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
    // A read-only image is full by nature.
    for mount in mounts.filter(|mount| !mount.read_only) {
        alerts.extend(full(mount));
    }
}

fn full(mount: &Mount) -> Option<String> {
    let space = mount.space.as_ref()?;
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
        let Some([_, minute, _]) = pressure
            .as_ref()
            .map(|pressure| pressure.full.unwrap_or(pressure.some))
        else {
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
    use remit_wire::host::{FailedUnit, FsUsage, List, Mounts, Units, Updates};

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
        assert!(find(&HostReport::default()).is_empty());
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
            find(&report),
            [
                "4 units failed: a.service b.mount c.timer …",
                "file system '/' is 90 % full",
                "file system '/v' has 90 % of its inodes in use",
                "a reboot is required for: linux-image",
            ]
        );
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
        let alerts = find(&report);
        assert_eq!(
            (alerts.len(), alerts.last().map(String::as_str)),
            (16, Some("and 25 more"))
        );
    }
}
