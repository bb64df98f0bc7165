//! Reads the destinations of a profile's jobs, `host:port`. Names are resolved when the policy is loaded.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::load::accounts::Resolved;
use crate::load::reader::{Report, WithSpan};
use remit_policy::model::bounds::ADDRESSES;
use remit_policy::model::machine::{HostAddress, Machine};
use remit_policy::model::names::{self, is_host_name};
use remit_policy::model::profile::Destination;
use remit_policy::quoted;
use remit_proxy::address;

pub(crate) fn destination(
    entry: &WithSpan<&str>,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Option<Destination> {
    let refuse = |report: &mut Report<'_>, why: &str| {
        let help =
            "write it as \"api.example.com:443\", \"192.0.2.1:443\" or \"[2001:db8::1]:443\"";
        let message = format!("{} {why}", quoted(entry.value));
        report.error_with_help(entry.span.clone(), message, help);
    };
    let (host, port) = match parse(entry.value) {
        Ok(parsed) => parsed,
        Err(why) => {
            refuse(report, why);
            return None;
        }
    };
    let (host, addresses) = match host {
        Host::Address(ip) => {
            let may_be_own = true;
            (ip.to_string(), vec![HostAddress { ip, may_be_own }])
        }
        Host::Name(name) => {
            let found = of_name(name, machine.addresses(name), entry, report);
            resolved.hosts.insert(name.to_owned(), found.clone());
            (name.to_owned(), found)
        }
    };
    Some(Destination {
        host,
        addresses,
        port,
    })
}

const LEFT_OUT: &str = "if it is meant, write the address, or list it for this name in /etc/hosts";
const ALL_LEFT_OUT: &str = "nothing runs in this profile: if it is meant, write the address, or list it for this name \
                            in /etc/hosts";

/// Returns up to [`ADDRESSES`] of what a name leads to, in order. No error: the daemon must start without a name server, and
/// whoever answers for the name could keep it from that. A job without any address is refused at its sandbox.
fn of_name(
    name: &str,
    found: Vec<HostAddress>,
    entry: &WithSpan<&str>,
    report: &mut Report<'_>,
) -> Vec<HostAddress> {
    if found.is_empty() {
        let message = format!("{} has no address now", quoted(name));
        let help = "nothing runs in this profile until a reload finds one; an address, or the name in \
                    /etc/hosts, asks no name server";
        report.warning(entry.span.clone(), message, Some(help));
    }
    let is_local = name == "localhost" || name.ends_with(".localhost");
    let mut by_ip: BTreeMap<IpAddr, bool> = BTreeMap::new();
    for HostAddress { ip, may_be_own } in found {
        let ip = ip.to_canonical();
        *by_ip.entry(ip).or_default() |= may_be_own || (is_local && ip.is_loopback());
    }
    let refused = |ip: IpAddr, may_be_own: bool| match may_be_own {
        true => unusable(ip),
        false => address::refused(ip),
    };
    let mut left_out = by_ip
        .iter()
        .filter_map(|(ip, may_be_own)| Some((ip, refused(*ip, *may_be_own)?)));
    if let Some((address, why)) = left_out.next() {
        let more = left_out.count();
        let help = match more + 1 == by_ip.len() {
            true => ALL_LEFT_OUT,
            false => LEFT_OUT,
        };
        let more = match more {
            0 => String::new(),
            more => format!(", and {more} more like it"),
        };
        let message = format!("{} leads to {address}, {why}{more}: left out", quoted(name));
        report.warning(entry.span.clone(), message, Some(help));
    }
    let mut found: Vec<HostAddress> = by_ip
        .into_iter()
        .filter(|(ip, may_be_own)| refused(*ip, *may_be_own).is_none())
        .map(|(ip, may_be_own)| HostAddress { ip, may_be_own })
        .collect();
    if found.len() > ADDRESSES {
        let (all, name) = (found.len(), quoted(name));
        let message = format!("{name} has {all} addresses: only the {ADDRESSES} lowest are used");
        let help = "write those that are meant: [\"192.0.2.1:443\"]";
        report.warning(entry.span.clone(), message, Some(help));
        found.truncate(ADDRESSES);
    }
    found
}

/// Reads a name and port that copies of the machine reach. It is looked up when a job asks for it.
pub(crate) fn name(entry: &WithSpan<&str>, report: &mut Report<'_>) -> Option<(String, u16)> {
    let parsed = match parse(entry.value) {
        Ok((Host::Name(name), port)) => match names::refused(name, port) {
            None => return Some((name.to_owned(), port)),
            Some(why) => why,
        },
        Ok((Host::Address(_), _)) => "is an address, and copies reach names alone",
        Err(why) => why,
    };
    let help = "write a name and a port that speaks http, as \"deb.debian.org:80\": a copy can ask GET and HEAD alone";
    let message = format!("{} {parsed}", quoted(entry.value));
    report.error_with_help(entry.span.clone(), message, help);
    None
}

#[derive(Debug, PartialEq, Eq)]
enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

fn parse(text: &str) -> Result<(Host<'_>, u16), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
    let number = port.parse::<u16>().ok().filter(|number| *number != 0);
    let port = number
        .filter(|number| number.to_string() == port)
        .ok_or("has no port from 1 to 65535")?;
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest
                .strip_suffix(']')
                .and_then(|text| text.parse::<Ipv6Addr>().ok());
            Host::Address(IpAddr::V6(
                address.ok_or("has no IPv6 address in its brackets")?,
            ))
        }
        None => match host.parse::<Ipv4Addr>() {
            Ok(address) => Host::Address(IpAddr::V4(address)),
            Err(_) if is_host_name(host) => Host::Name(host),
            Err(_) => return Err("has neither a host name in small letters nor an address"),
        },
    };
    match host {
        Host::Address(address) => match unusable(address) {
            Some(why) => Err(why),
            None => Ok((host, port)),
        },
        Host::Name(_) => Ok((host, port)),
    }
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("means any address, which no connection has");
    }
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Some("is of many hosts, and TCP has one");
    }
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Some("is an IPv4 address in another dress: write that one")
        }
        IpAddr::V6(six) if six.is_unicast_link_local() => Some("needs an interface besides"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

pub(crate) fn print(destination: &Destination) -> String {
    let Destination { host, port, .. } = destination;
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_host_and_port_in_one_form() {
        for (text, host, port) in [
            ("api.example.com:443", Host::Name("api.example.com"), 443),
            ("localhost:80", Host::Name("localhost"), 80),
            ("127.0.0.1:8080", Host::Address([127, 0, 0, 1].into()), 8080),
            (
                "[::1]:65535",
                Host::Address(Ipv6Addr::LOCALHOST.into()),
                65535,
            ),
        ] {
            assert_eq!(parse(text), Ok((host, port)), "{text}");
        }
        for text in [
            "",
            "a",
            "a:",
            ":80",
            "a:0",
            "a:65536",
            "a:080",
            "a:+80",
            "a: 80",
            "a:80 ",
            "127.1:80",
            "0:80",
            "2130706433:80",
            "0x7f000001:80",
            "0177.0.0.1:80",
            "1.2.3:80",
            "256.1.1.1:80",
            "::1:80",
            "[::1:80",
            "[127.0.0.1]:80",
            "[::ffff:127.0.0.1]:80",
            "[fe80::1%eth0]:80",
            "[fe80::1]:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[ff02::1]:80",
            "EXAMPLE.com:80",
            "a..b:80",
            "a.:80",
            "-a:80",
            "bücher.example:80",
            "a_b:80:80",
            "*:80",
            "http://a:80",
            "a/b:80",
            "user@a:80",
        ] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
    }
}
