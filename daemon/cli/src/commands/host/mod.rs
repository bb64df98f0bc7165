//! `remit host`: shows facts about the machine in tables. The daemon bounds the report; cells are truncated here.

mod changes;
mod machine;

use remit_wire::host::{HostReport, Iface, List, Network, Port, Ports, Route};
use remit_wire::{Reply, Request};

use self::machine::Section;
use crate::args::HostArgs;
use crate::client::user_socket::Daemon;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table::{self, Table};
use crate::render::units;
use crate::render::units::Width;

pub fn host(context: &Context, args: HostArgs) -> Result<Exit, Failure> {
    if let Some(since) = args.since {
        return changes::since(context, since);
    }
    if args.snapshots {
        return changes::snapshots(context);
    }
    let mut daemon = Daemon::connect(&context.runtime)?;
    let sections = args.sections;
    let Reply::Host(report) = daemon.call(Request::Host { sections })? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&context.width.fold(&show(&report, context.width)))?,
    }
    Ok(Exit::OK)
}

fn show(report: &HostReport, width: Width) -> String {
    let mut lines = format!("at {}\n", units::time(report.time));
    for alert in &report.alerts {
        lines += &table::fact("alert", alert);
    }
    let sections = [
        report.os.as_ref().map(machine::os),
        report
            .boots
            .as_ref()
            .map(|part| machine::boots(part, width)),
        report.load.as_ref().map(machine::load),
        report.cpu.as_ref().map(machine::cpu),
        report.memory.as_ref().map(machine::memory),
        report
            .disks
            .as_ref()
            .map(|part| machine::disks(part, width)),
        report
            .mounts
            .as_ref()
            .map(|part| machine::mounts(part, width)),
        report.network.as_ref().map(|part| network(part, width)),
        report.ports.as_ref().map(|part| ports(part, width)),
        report
            .units
            .as_ref()
            .map(|part| machine::units(part, width)),
        report
            .users
            .as_ref()
            .map(|part| machine::users(part, width)),
        report
            .containers
            .as_ref()
            .map(|part| machine::containers(part, width)),
        report.packages.as_ref().map(machine::packages),
        report.updates.as_ref().map(machine::updates),
    ];
    for section in sections.into_iter().flatten() {
        lines.push('\n');
        lines += &section;
    }
    if !report.gaps.is_empty() {
        lines += "\nnot known\n";
        let gaps = report.gaps.iter();
        lines += &table::facts(gaps.map(|gap| (gap.fact.as_str(), gap.why.as_str())));
    }
    lines
}

pub fn network(network: &Network, width: Width) -> String {
    let mut section = Section::new("network");
    if let Some(interfaces) = &network.interfaces {
        section.lines(&self::interfaces(interfaces, width));
    }
    if let Some(routes) = &network.routes {
        section.lines(&self::routes(routes, width));
    }
    section.fact("resolvers", network.resolvers.as_ref().map(joined));
    section.fact("search", network.search.as_ref().map(joined));
    section.0
}

fn interfaces(interfaces: &List<Iface>, width: Width) -> String {
    let mut table = Table::new([
        "~NAME",
        "STATE",
        ">?MTU",
        ">?RX",
        ">?TX",
        ">?ERRORS",
        "~ADDRESSES",
    ]);
    for iface in &interfaces.items {
        let (rx, tx, errors) = match &iface.counters {
            Some(all) => (
                units::bytes(all.rx),
                units::bytes(all.tx),
                all.rx_errors.saturating_add(all.tx_errors).to_string(),
            ),
            None => Default::default(),
        };
        let state = match (iface.up, iface.state.as_str()) {
            (true, state) => state,
            (false, _) => "off",
        };
        table.row([
            &iface.name,
            state,
            &iface.mtu.to_string(),
            &rx,
            &tx,
            &errors,
            &joined(&iface.addrs),
        ]);
    }
    table.render(width) + &table::more(interfaces.more)
}

fn routes(routes: &List<Route>, width: Width) -> String {
    let mut table = Table::new(["~ROUTE", "~VIA", "DEV", "?SOURCE", ">?METRIC", "?KIND"]);
    for route in &routes.items {
        table.row([
            &route.to,
            &route.via.join(" "),
            &route.dev.join(" "),
            route.src.as_deref().unwrap_or_default(),
            &route
                .metric
                .map(|metric| metric.to_string())
                .unwrap_or_default(),
            &route.kind,
        ]);
    }
    table.render(width) + &table::more(routes.more)
}

pub fn ports(ports: &Ports, width: Width) -> String {
    let mut section = Section::new("ports");
    let mut table = Table::new(["PROTO", "~ADDRESS", ">PORT", "?USER", "~UNIT", "~PROCESSES"]);
    for (proto, list) in [("tcp", &ports.tcp), ("udp", &ports.udp)] {
        for port in list.iter().flat_map(|list| &list.items) {
            let (unit, procs) = owner(port);
            let addr = match &port.dev {
                Some(dev) => format!("{}%{dev}", port.addr),
                None => port.addr.clone(),
            };
            table.row([
                proto,
                &addr,
                &port.port.to_string(),
                &port.user,
                &unit,
                &procs,
            ]);
        }
    }
    section.lines(&table.render(width));
    let left_out = |list: &Option<List<Port>>| list.as_ref().map_or(0, |list| list.more);
    section.lines(&table::more(
        left_out(&ports.tcp).saturating_add(left_out(&ports.udp)),
    ));
    section.fact("unix", ports.unix.map(|count| format!("{count} listening")));
    section.fact(
        "established",
        ports.established.map(|count| format!("{count} tcp")),
    );
    section.0
}

fn owner(port: &Port) -> (String, String) {
    let why = port
        .why
        .as_deref()
        .map(|why| format!("? {why}"))
        .unwrap_or_default();
    let Some(owner) = &port.owner else {
        return (why, String::new());
    };
    let unit = match (&owner.unit, &owner.user_unit) {
        (Some(unit), Some(user_unit)) => format!("{unit} {user_unit}"),
        (Some(unit), None) => unit.clone(),
        (None, _) => why,
    };
    let names: Vec<String> = owner
        .procs
        .items
        .iter()
        .map(|proc| match &proc.comm {
            Some(comm) => format!("{comm}({})", proc.pid),
            None => proc.pid.to_string(),
        })
        .collect();
    (unit, names.join(" "))
}

fn joined(list: &List<String>) -> String {
    let mut all = list.items.join(" ");
    if list.more > 0 {
        all += &format!(" +{}", list.more);
    }
    all
}

#[cfg(test)]
mod tests {
    use remit_common::text;
    use remit_wire::host::*;

    use super::show;
    use crate::render::units::Width;

    const EVIL: &str = "e\x1b[2J\u{202e}\nvil";
    const SHOWN: &str = "e\\x1b[2J\\u{202e}\\nvil";

    fn evil() -> String {
        EVIL.to_owned()
    }

    fn one<T>(item: T) -> List<T> {
        List {
            items: vec![item],
            more: 3,
        }
    }

    fn full() -> HostReport {
        HostReport {
            time: 1_795_163_148,
            alerts: vec![evil()],
            os: Some(Os {
                id: None,
                version: None,
                name: Some(evil()),
                kernel: Some(evil()),
                arch: evil(),
                hostname: Some(evil()),
                init: Some(evil()),
                timezone: Some(evil()),
                virt: Some(evil()),
            }),
            disks: Some(one(Disk {
                name: evil(),
                size: 10 << 30,
                model: Some(evil()),
                rotational: None,
                read_only: Some(true),
                read: None,
                written: Some(1 << 20),
                degraded: Some(1),
                parts: one(Partition {
                    name: evil(),
                    size: 1 << 30,
                }),
            })),
            mounts: Some(Mounts {
                list: List {
                    items: vec![
                        Mount {
                            target: "/".into(),
                            source: "/dev/sda1".into(),
                            root: "/".into(),
                            fstype: "ext4".into(),
                            options: "rw".into(),
                            read_only: true,
                            space: Some(FsUsage {
                                size: 100 << 30,
                                used: 91 << 30,
                                avail: 9 << 30,
                                used_percent: 91,
                                inodes: 1000,
                                inodes_free: 250,
                            }),
                            why: None,
                        },
                        Mount {
                            target: evil(),
                            source: evil(),
                            root: evil(),
                            fstype: evil(),
                            options: evil(),
                            read_only: false,
                            space: None,
                            why: Some(evil()),
                        },
                    ],
                    more: 2,
                },
                pseudo: 20,
            }),
            ports: Some(Ports {
                tcp: Some(one(Port {
                    addr: "0.0.0.0".into(),
                    port: 22,
                    dev: None,
                    user: "root".into(),
                    owner: Some(Owner {
                        unit: Some("ssh.service".into()),
                        user_unit: None,
                        cgroup: evil(),
                        procs: one(Proc {
                            pid: 812,
                            comm: Some("sshd".into()),
                        }),
                    }),
                    why: None,
                })),
                udp: Some(one(Port {
                    addr: evil(),
                    port: 53,
                    dev: Some(evil()),
                    user: evil(),
                    owner: None,
                    why: Some("it was made before the boot's end".into()),
                })),
                unix: Some(7),
                established: None,
            }),
            gaps: vec![Gap {
                fact: evil(),
                why: evil(),
            }],
            ..HostReport::default()
        }
    }

    #[test]
    fn hostile_names_are_escaped_on_one_line() {
        let shown = show(&full(), Width::UNLIMITED);
        assert!(shown.chars().all(text::is_plain), "{shown}");
        assert!(!shown.contains("\nvil"), "{shown}");
        assert!(shown.matches(SHOWN).count() > 15, "{shown}");
    }

    #[test]
    fn tables_say_what_they_know() {
        let shown = show(&full(), Width::UNLIMITED);
        let squeezed: Vec<String> = shown
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in [
            "at 2026-11-20 08:25:48 UTC",
            "91% 100.0 GiB 9.0 GiB 75% ext4 ro / /dev/sda1",
            "tcp 0.0.0.0 22 root ssh.service sshd(812)",
            "unix 7 listening",
            "… and 2 more",
            "… and 6 more",
        ] {
            assert!(squeezed.iter().any(|is| is == line), "'{line}' in\n{shown}");
        }
        assert!(
            shown.contains("? it was made before the boot's end"),
            "{shown}"
        );
        assert!(
            !shown.contains("established"),
            "unknown is not shown: {shown}"
        );
    }

    #[test]
    fn unrequested_section_is_not_shown() {
        let report = HostReport {
            time: 0,
            ..HostReport::default()
        };
        assert_eq!(
            show(&report, Width::UNLIMITED),
            "at 1970-01-01 00:00:00 UTC\n"
        );
    }
}
