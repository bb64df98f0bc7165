//! Interfaces, addresses and routes by rtnetlink(7); resolvers from resolv.conf(5).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::sys::socket::SockProtocol;
use remit_wire::host::{Counters, Iface, List, Network, Route};

use crate::netlink::{align, attributes, byte, dump, long, short, uint};
use crate::read::{self, Gaps, Kernel, Sources, Why};

const IFACES: usize = 128;
const ADDRS: usize = 16;
const ROUTES: usize = 256;
/// Routes kept during a dump. A router may have a million.
const KEPT: usize = 4096;
const FEW: usize = 8;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDR: u16 = 20;
const GET_ADDR: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const MAIN_TABLE: u32 = 254;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Network {
    let links = match at.kernel {
        Kernel::Asked => links(),
        Kernel::NotAsked => Err("not asked".into()),
    };
    let names = links.as_deref().map(names).unwrap_or_default();
    let routes = match at.kernel {
        Kernel::Asked => routes(&names),
        Kernel::NotAsked => Err("not asked".into()),
    };
    let resolv = read::text(&at.etc.join("resolv.conf"), 64 << 10);
    Network {
        interfaces: gaps.known(
            "network.interfaces",
            links.and_then(|links| ifaces(links, &names)),
        ),
        routes: gaps.known("network.routes", routes),
        resolvers: gaps.known(
            "network.resolvers",
            resolv.as_deref().map(resolvers).map_err(Clone::clone),
        ),
        search: gaps.known(
            "network.search",
            resolv.as_deref().map(search).map_err(Clone::clone),
        ),
    }
}

struct Link {
    index: u32,
    master: Option<u32>,
    iface: Iface,
}

pub(crate) fn names_now() -> BTreeMap<u32, String> {
    links().map(|links| names(&links)).unwrap_or_default()
}

fn names(links: &[Link]) -> BTreeMap<u32, String> {
    links
        .iter()
        .map(|link| (link.index, link.iface.name.clone()))
        .collect()
}

fn links() -> Result<Vec<Link>, Why> {
    let mut links = Vec::new();
    dump(
        SockProtocol::NetlinkRoute,
        GET_LINK,
        &[0; 16],
        |kind, payload| {
            if kind == NEW_LINK {
                links.extend(link(payload));
            }
        },
    )?;
    Ok(links)
}

fn ifaces(mut links: Vec<Link>, names: &BTreeMap<u32, String>) -> Result<List<Iface>, Why> {
    let mut addrs: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    dump(
        SockProtocol::NetlinkRoute,
        GET_ADDR,
        &[0; 8],
        |kind, payload| {
            if let Some((index, addr)) = address(payload).filter(|_| kind == NEW_ADDR) {
                addrs.entry(index).or_default().push(addr);
            }
        },
    )?;
    for link in &mut links {
        link.iface.master = link.master.map(|master| name_of(names, master));
        link.iface.addrs = List::cut(addrs.remove(&link.index).unwrap_or_default(), ADDRS);
    }
    links.sort_by_key(|link| {
        (
            !link.iface.up,
            link.iface.addrs.items.is_empty(),
            link.index,
        )
    });
    Ok(List::cut(
        links.into_iter().map(|link| link.iface).collect(),
        IFACES,
    ))
}

fn name_of(names: &BTreeMap<u32, String>, index: u32) -> String {
    names
        .get(&index)
        .cloned()
        .unwrap_or_else(|| format!("#{index}"))
}

fn link(payload: &[u8]) -> Option<Link> {
    let loopback = short(payload, 2)? == 772;
    let index = uint(payload, 4)?;
    let flags = uint(payload, 8)?;
    let mut link = Link {
        index,
        master: None,
        iface: Iface {
            name: format!("#{index}"),
            kind: loopback.then(|| "loopback".to_owned()),
            mac: None,
            mtu: 0,
            up: flags & 1 != 0,
            state: "unknown".into(),
            master: None,
            addrs: List::default(),
            counters: None,
        },
    };
    let iface = &mut link.iface;
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            1 => iface.mac = mac(value),
            3 => iface.name = text(value),
            4 => iface.mtu = u64::from(uint(value, 0)?),
            10 => link.master = uint(value, 0),
            16 => iface.state = state(byte(value, 0)?).into(),
            18 => {
                let kind =
                    attributes(value).find_map(|(kind, value)| (kind == 1).then(|| text(value)));
                iface.kind = kind.or(iface.kind.take());
            }
            23 => iface.counters = counters(value),
            _ => {}
        }
    }
    Some(link)
}

fn text(value: &[u8]) -> String {
    read::shown(String::from_utf8_lossy(value).trim_end_matches('\0'))
}

fn mac(value: &[u8]) -> Option<String> {
    let parts: Vec<String> = value
        .iter()
        .take(32)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    value.iter().any(|byte| *byte != 0).then(|| parts.join(":"))
}

/// Operational state (RFC 2863).
fn state(number: u8) -> &'static str {
    match number {
        1 => "notpresent",
        2 => "down",
        3 => "lowerlayerdown",
        4 => "testing",
        5 => "dormant",
        6 => "up",
        _ => "unknown",
    }
}

/// Parses `struct rtnl_link_stats64`: packets, then bytes, errors, drops.
fn counters(value: &[u8]) -> Option<Counters> {
    let number = |index: usize| long(value, index * 8);
    Some(Counters {
        rx: number(2)?,
        tx: number(3)?,
        rx_errors: number(4)?,
        tx_errors: number(5)?,
        rx_dropped: number(6)?,
        tx_dropped: number(7)?,
    })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    let v4 = || Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into());
    let v6 = || Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into());
    v4().or_else(v6)
}

/// Parses `struct ifaddrmsg` and its attributes: interface index, and address with prefix length.
fn address(payload: &[u8]) -> Option<(u32, String)> {
    let prefix = byte(payload, 1)?;
    let index = uint(payload, 4)?;
    let mut addr = None;
    for (kind, value) in attributes(payload.get(8..)?) {
        match kind {
            // On a point-to-point link attribute 1 is the address of the other side.
            1 => addr = addr.or(ip(value)),
            2 => addr = ip(value).or(addr),
            _ => {}
        }
    }
    Some((index, format!("{}/{prefix}", addr?)))
}

fn routes(names: &BTreeMap<u32, String>) -> Result<List<Route>, Why> {
    let mut routes = Vec::new();
    let mut over = 0;
    dump(
        SockProtocol::NetlinkRoute,
        GET_ROUTE,
        &[0; 12],
        |kind, payload| {
            let Some(route) = route(payload, names).filter(|_| kind == NEW_ROUTE) else {
                return;
            };
            // On a router with the full Internet table, a default route comes late.
            if routes.len() < KEPT || route.to == "default" {
                routes.push(route);
            } else {
                over += 1;
            }
        },
    )?;
    routes.sort_by_key(|route| (route.to != "default", route.metric.unwrap_or(0)));
    let mut list = List::cut(routes, ROUTES);
    list.more += over;
    Ok(list)
}

/// Parses `struct rtmsg` and its attributes. Returns only configured routes of the main table.
fn route(payload: &[u8], names: &BTreeMap<u32, String>) -> Option<Route> {
    /// Flag of route copies made for one peer.
    const CLONED: u32 = 0x200;
    let (family, prefix) = (byte(payload, 0)?, byte(payload, 1)?);
    let mut table = u32::from(byte(payload, 4)?);
    let kind = kind(byte(payload, 7)?);
    if uint(payload, 8)? & CLONED != 0 || !matches!(family, 2 | 10) {
        return None;
    }
    let mut to = None;
    let mut route = Route {
        to: String::new(),
        via: vec![],
        dev: vec![],
        src: None,
        metric: None,
        kind: kind.into(),
    };
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            1 => to = ip(value),
            4 | 5 | 18 => hop(&mut route, kind, value, names),
            6 => route.metric = uint(value, 0).map(u64::from),
            7 => route.src = ip(value).map(|addr| addr.to_string()),
            9 => hops(&mut route, value, names),
            15 => table = uint(value, 0)?,
            _ => {}
        }
    }
    route.to = match (to, prefix) {
        (Some(addr), prefix) => format!("{addr}/{prefix}"),
        (None, 0) => "default".into(),
        (None, _) => return None,
    };
    (table == MAIN_TABLE).then_some(route)
}

fn hop(route: &mut Route, kind: u16, value: &[u8], names: &BTreeMap<u32, String>) {
    let gateway = match kind {
        5 => ip(value),
        // The gateway has another address family, which precedes the address.
        18 => value.get(2..).and_then(ip),
        _ => None,
    };
    if let Some(gateway) = gateway.filter(|_| route.via.len() < FEW) {
        route.via.push(gateway.to_string());
    }
    if let Some(index) = uint(value, 0).filter(|_| kind == 4 && route.dev.len() < FEW) {
        route.dev.push(name_of(names, index));
    }
}

/// Adds the next hops of a multipath route (`struct rtnexthop`).
fn hops(route: &mut Route, mut bytes: &[u8], names: &BTreeMap<u32, String>) {
    while let Some(one) = short(bytes, 0).and_then(|length| bytes.get(..usize::from(length))) {
        let (Some(index), Some(attrs)) = (one.get(4..8), one.get(8..)) else {
            return;
        };
        hop(route, 4, index, names);
        for (kind, value) in attributes(attrs).filter(|(kind, _)| matches!(kind, 5 | 18)) {
            hop(route, kind, value, names);
        }
        bytes = bytes.get(align(one.len())..).unwrap_or_default();
    }
}

fn kind(number: u8) -> &'static str {
    match number {
        1 => "unicast",
        2 => "local",
        3 => "broadcast",
        4 => "anycast",
        5 => "multicast",
        6 => "blackhole",
        7 => "unreachable",
        8 => "prohibit",
        9 => "throw",
        10 => "nat",
        _ => "other",
    }
}

fn resolvers(text: &str) -> List<String> {
    let lines = text.lines().map(str::split_ascii_whitespace);
    let found =
        lines.filter_map(|mut words| (words.next() == Some("nameserver")).then(|| words.next())?);
    List::cut(found.map(read::shown).collect(), FEW)
}

/// The last `search` or `domain` line is valid.
fn search(text: &str) -> List<String> {
    let lines = text.lines().map(str::split_ascii_whitespace);
    let mut found = lines
        .filter_map(|mut words| matches!(words.next(), Some("search" | "domain")).then_some(words));
    List::cut(
        found
            .next_back()
            .into_iter()
            .flatten()
            .map(read::shown)
            .collect(),
        FEW,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute;
    use proptest::prelude::*;

    fn eth() -> BTreeMap<u32, String> {
        BTreeMap::from([(2, "eth0".to_owned())])
    }

    fn rtmsg(prefix: u8, table: u8, attrs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![2, prefix, 0, 0, table, 3, 0, 1, 0, 0, 0, 0];
        bytes.extend(attrs.concat());
        bytes
    }

    fn words(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn route_by_gateway_is_read() {
        let two = 2_u32.to_ne_bytes();
        let bytes = rtmsg(
            0,
            254,
            &[
                attribute(5, &[10, 0, 0, 1]),
                attribute(4, &two),
                attribute(6, &7_u32.to_ne_bytes()),
            ],
        );
        let route = route(&bytes, &eth()).unwrap();
        assert_eq!(
            (route.to.as_str(), route.metric, route.kind.as_str()),
            ("default", Some(7), "unicast")
        );
        assert_eq!(
            (route.via, route.dev),
            (words(&["10.0.0.1"]), words(&["eth0"]))
        );
    }

    #[test]
    fn route_by_several_hops_is_read() {
        let hop = |index: u32, gateway: [u8; 4]| {
            let attr = attribute(5, &gateway);
            let mut bytes = u16::try_from(8 + attr.len())
                .unwrap()
                .to_ne_bytes()
                .to_vec();
            bytes.extend([0, 0]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend(attr);
            bytes
        };
        let hops = [hop(2, [10, 0, 0, 1]), hop(9, [10, 0, 0, 2])].concat();
        let route = route(
            &rtmsg(
                24,
                254,
                &[attribute(1, &[10, 1, 0, 0]), attribute(9, &hops)],
            ),
            &eth(),
        )
        .unwrap();
        assert_eq!(route.to, "10.1.0.0/24");
        assert_eq!(
            (route.via, route.dev),
            (words(&["10.0.0.1", "10.0.0.2"]), words(&["eth0", "#9"]))
        );
    }

    #[test]
    fn other_tables_are_left_out() {
        let to = attribute(1, &[10, 1, 0, 0]);
        assert_eq!(
            route(&rtmsg(24, 255, std::slice::from_ref(&to)), &eth()),
            None
        );
        assert_eq!(
            route(
                &rtmsg(
                    24,
                    254,
                    &[to.clone(), attribute(15, &1000_u32.to_ne_bytes())]
                ),
                &eth()
            ),
            None
        );
        assert!(route(&rtmsg(24, 254, &[to]), &eth()).is_some());
    }

    #[test]
    fn local_address_wins_over_the_peer() {
        let mut bytes = vec![2, 30, 0, 0, 2, 0, 0, 0];
        bytes.extend(attribute(1, &[10, 0, 0, 2]));
        bytes.extend(attribute(2, &[10, 0, 0, 1]));
        assert_eq!(address(&bytes), Some((2, "10.0.0.1/30".into())));
    }

    #[test]
    fn resolv_conf_is_read() {
        let text = "# c\nnameserver 1.1.1.1\nnameserver\nsearch a b\noptions x\nsearch c d\nnameserver fe80::1%eth0\n";
        assert_eq!(resolvers(text).items, words(&["1.1.1.1", "fe80::1%eth0"]));
        assert_eq!(search(text).items, words(&["c", "d"]));
    }

    proptest! {
        #[test]
        fn odd_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,100}") {
            let _ = (link(&bytes).is_some(), address(&bytes), route(&bytes, &eth()), resolvers(&text), search(&text));
            let mut routes = rtmsg(24, 254, &[attribute(9, &bytes)]);
            routes.extend(bytes);
            let _ = route(&routes, &eth());
        }
    }
}
