//! Sections about interfaces, routes and listening sockets.

use remit_wire::host::{Iface, List, Network, Port, Ports, Route};

use super::machine::Section;
use crate::render::display::Width;
use crate::render::table::{self, Table};
use crate::render::units;

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

/// Returns unit and processes; if they are unknown, the reason.
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
