//! Names of a strict profile's network: which of their addresses jobs connect to, and what is warned of.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::net::IpAddr;

use common::{accounts, lines, source};
use remit_policy::{Diagnostic, HostAddress, MachineTable, Network, Policy};
use remit_policy_compile::load;

fn with(name: &str, addresses: &[impl Into<HostAddress> + Copy]) -> MachineTable {
    let mut machine = accounts();
    let addresses = addresses.iter().map(|address| (*address).into());
    machine.hosts.insert(name.to_owned(), addresses.collect());
    machine
}

fn loaded(name: &str, addresses: &[impl Into<HostAddress> + Copy]) -> (Policy, Vec<Diagnostic>) {
    let text = format!("[profile.w]\nbase = 'strict'\nnetwork = ['{name}:443']\n");
    match load(&[source("a.toml", text)], &with(name, addresses)) {
        Ok(loaded) => loaded,
        Err(found) => panic!("{name}: {}", lines(&found)),
    }
}

fn used(policy: &Policy) -> Vec<IpAddr> {
    destinations(policy).iter().map(|one| one.ip).collect()
}

fn destinations(policy: &Policy) -> Vec<HostAddress> {
    let profile = policy.profiles().find(|profile| profile.name == "w");
    match profile.map(|profile| &profile.network) {
        Some(Network::Connect(to)) => to[0].addresses.clone(),
        other => panic!("{other:?}"),
    }
}

fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[test]
fn name_with_many_addresses_loads_with_the_lowest_in_any_order() {
    for count in [16_u8, 17, 200] {
        let mut all: Vec<IpAddr> = (0..count).map(|n| [192, 0, 2, n].into()).collect();
        let (policy, found) = loaded("many.example", &all);
        assert_eq!(used(&policy), all[..16], "{count}");
        let expect = match count {
            16 => String::new(),
            _ => format!(
                "\
a.toml:3:12: warning: 'many.example' has {count} addresses: only the 16 lowest are used
  3 | network = ['many.example:443']
    |            ^^^^^^^^^^^^^^^^^^
    = write those that are meant: [\"192.0.2.1:443\"]
"
            ),
        };
        assert_eq!(lines(&found), expect);
        // Approvals stay valid when a name server rotates its answer.
        let digest = policy.digest().to_owned();
        all.rotate_left(5);
        all.push(all[0]);
        assert_eq!(loaded("many.example", &all).0.digest(), digest, "{count}");
    }
}

#[test]
fn name_leads_to_no_loopback_link_local_or_metadata_address() {
    for (name, all, used_of_them, warns) in [
        (
            "db.example",
            &["10.0.0.7", "192.168.3.4", "fd00::7"][..],
            3,
            None,
        ),
        (
            "db.example",
            &["127.0.0.1"],
            0,
            Some("leads to 127.0.0.1, a loopback address: left out"),
        ),
        (
            "db.example",
            &["::1"],
            0,
            Some("leads to ::1, a loopback address: left out"),
        ),
        (
            "db.example",
            &["10.0.0.7", "127.0.0.1", "127.0.0.2", "::1"],
            1,
            Some("leads to 127.0.0.1, a loopback address, and 2 more like it: left out"),
        ),
        (
            "db.example",
            &["169.254.169.254"],
            0,
            Some("leads to 169.254.169.254, a link-local address: left out"),
        ),
        (
            "db.example",
            &["fd00:ec2::254"],
            0,
            Some("leads to fd00:ec2::254, a metadata service: left out"),
        ),
        (
            "db.example",
            &["0.0.0.0"],
            0,
            Some("leads to 0.0.0.0, not an address of a host: left out"),
        ),
        (
            "db.example",
            &["::ffff:127.0.0.1"],
            0,
            Some("leads to 127.0.0.1, a loopback address: left out"),
        ),
        (
            "db.example",
            &["64:ff9b::7f00:1"],
            0,
            Some("a loopback address: left out"),
        ),
        ("localhost", &["127.0.0.1", "::1"], 2, None),
        ("db.localhost", &["127.0.0.1"], 1, None),
        (
            "localhost",
            &["169.254.169.254"],
            0,
            Some("a link-local address: left out"),
        ),
        (
            "notlocalhost",
            &["127.0.0.1"],
            0,
            Some("a loopback address: left out"),
        ),
    ] {
        let all = ips(all);
        let (policy, found) = loaded(name, &all);
        let (used, text) = (used(&policy), lines(&found));
        assert_eq!(used, all[..used_of_them], "{name} {all:?}");
        assert_eq!(text.contains("left out"), warns.is_some(), "{text}");
        assert!(text.contains(warns.unwrap_or_default()), "{text}");
        assert!(!text.contains("has no address now"), "{text}");
        assert_eq!(text.contains("nothing runs"), used.is_empty(), "{text}");
    }
    // An address that is written is meant.
    for literal in ["127.0.0.1", "[::1]", "169.254.169.254"] {
        let text = format!("[profile.w]\nbase = 'strict'\nnetwork = ['{literal}:80']\n");
        let (policy, found) = load(&[source("a.toml", text)], &accounts()).unwrap();
        assert_eq!((used(&policy).len(), found.len()), (1, 0), "{literal}");
        assert!(destinations(&policy)[0].may_be_own, "{literal}");
    }
}

#[test]
fn root_alone_leads_a_name_to_this_machine() {
    for (name, ip, is_listed, expect) in [
        ("db.example", "127.0.1.1", true, Ok(true)),
        ("db.example", "::1", true, Ok(true)),
        ("db.example", "169.254.169.254", true, Ok(true)),
        (
            "db.example",
            "0.0.0.0",
            true,
            Err("which no connection has"),
        ),
        ("db.example", "10.0.0.7", true, Ok(true)),
        // Kept, whoever has it at the load: a job's connection is judged when it begins.
        ("db.example", "10.0.0.7", false, Ok(false)),
        ("db.example", "127.0.1.1", false, Err("a loopback address")),
        ("localhost", "127.0.0.1", false, Ok(true)),
        ("localhost", "10.0.0.7", false, Ok(false)),
    ] {
        let answer = HostAddress {
            ip: ip.parse().unwrap(),
            may_be_own: is_listed,
        };
        let (policy, found) = loaded(name, &[answer]);
        let text = lines(&found);
        let kept = expect.ok().map(|may_be_own| HostAddress {
            may_be_own,
            ..answer
        });
        let kept: Vec<HostAddress> = kept.into_iter().collect();
        assert_eq!(destinations(&policy), kept, "{name} {ip} {is_listed}");
        assert!(text.contains(expect.err().unwrap_or_default()), "{text}");
        assert_eq!(
            text.contains("this name in /etc/hosts"),
            expect.is_err(),
            "{text}"
        );
    }
}

/// There the job has the machine's `/etc/hosts`, not its own.
#[test]
fn name_that_a_listed_etc_hides_is_warned_of() {
    for (lists, destination, is_in_hosts, warns) in [
        ("read = ['/etc']", "db.example", false, Some("'/etc' shows")),
        (
            "exec = ['-/etc']",
            "db.example",
            false,
            Some("'/etc' shows"),
        ),
        (
            "read = ['/etc/hosts']",
            "db.example",
            false,
            Some("'/etc/hosts' shows"),
        ),
        ("read = ['/etc']", "db.example", true, None),
        ("read = ['/etc']", "10.0.0.7", false, None),
        ("read = ['/etc/ssl']", "db.example", false, None),
        ("scratch = ['/srv/x']", "db.example", false, None),
    ] {
        let text = format!(
            "[profile.w]\nbase = 'strict'\n{lists}\nnetwork = ['192.0.2.1:443', '{destination}:443']\n"
        );
        let answer = HostAddress {
            ip: [10, 0, 0, 7].into(),
            may_be_own: is_in_hosts,
        };
        let (_, found) = load(&[source("a.toml", text)], &with("db.example", &[answer])).unwrap();
        let text = lines(&found);
        assert_eq!(found.len(), usize::from(warns.is_some()), "{lists}: {text}");
        assert!(text.contains(warns.unwrap_or_default()), "{lists}: {text}");
    }
}

/// An approval for a policy in which a name leads to other machines alone is none for one where it leads to this machine.
#[test]
fn digest_has_what_may_be_this_machine() {
    let ip = "10.0.0.7".parse().unwrap();
    let of = |all: &[bool]| {
        let all: Vec<_> = all
            .iter()
            .map(|may_be_own| HostAddress {
                ip,
                may_be_own: *may_be_own,
            })
            .collect();
        loaded("db.example", &all).0.digest().to_owned()
    };
    assert_ne!(of(&[false]), of(&[true]));
    assert_eq!(of(&[false, true]), of(&[true]));
    assert_eq!(of(&[true, false]), of(&[true]));
}
