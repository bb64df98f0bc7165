//! Finds destinations that lead back to this machine: jobs do not connect to them while it has such an address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use remit_policy::{Diagnostic, HostAddress, Network, Policy, Severity};

use crate::names::Names;

const MAX_WARNINGS: usize = 50;

/// The addresses that a machine's interfaces have at the moment. Failovers move them.
#[derive(Debug, Default)]
pub struct InterfaceAddresses(BTreeSet<IpAddr>);

impl InterfaceAddresses {
    /// Asks the kernel. Returns none if it does not answer, or if `names` describe another machine.
    pub fn ask(names: &Names) -> Self {
        if names.are_of_other_host() {
            return Self::default();
        }
        let all = getifaddrs().into_iter().flatten();
        all.filter_map(|interface| {
            let address = interface.address?;
            let six = address.as_sockaddr_in6().map(|six| six.ip().into());
            six.or_else(|| address.as_sockaddr_in().map(|four| four.ip().into()))
        })
        .collect()
    }

    /// Returns true for an address of a name server's answer that this machine has: connections of jobs to it are refused.
    pub fn has_refused(&self, address: &HostAddress) -> bool {
        !address.may_be_own && self.0.contains(&address.ip)
    }

    /// Returns a warning for each name of a profile's network that leads to such an address.
    pub(crate) fn warnings(&self, policy: &Policy) -> Vec<Diagnostic> {
        let mut found = BTreeSet::new();
        for profile in policy.profiles() {
            let Network::Connect(all) = &profile.network else {
                continue;
            };
            for to in all {
                let refused = to.addresses.iter().filter(|one| self.has_refused(one));
                found.extend(refused.map(|one| (to.host.as_str(), one.ip)));
            }
        }
        let found = found.into_iter().take(MAX_WARNINGS);
        found
            .map(|(host, ip)| {
                let why = format!(
                    "'{host}' leads to {ip}, which this machine has now: no job connects to it"
                );
                let help =
                    "if it is meant, write the address, or list it for this name in /etc/hosts";
                Diagnostic::whole(Severity::Warning, "policy", why).help(help)
            })
            .collect()
    }
}

impl FromIterator<IpAddr> for InterfaceAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::{MachineTable, Source};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn name_that_leads_back_has_a_warning() {
        let listed = |text| HostAddress {
            ip: ip(text),
            may_be_own: true,
        };
        let machine = MachineTable {
            hosts: [
                (
                    "a.example",
                    vec![ip("192.0.2.7").into(), ip("192.0.2.9").into()],
                ),
                ("b.example", vec![ip("2001:db8::7").into()]),
                ("listed.example", vec![listed("192.0.2.7")]),
            ]
            .map(|(name, found)| (name.to_owned(), found))
            .into(),
            ..MachineTable::default()
        };
        let text = "[profile.x]\nbase = 'strict'\n\
                    network = ['a.example:443', 'b.example:443', 'listed.example:443', '192.0.2.7:80']\n\
                    [profile.y]\nbase = 'strict'\nnetwork = ['a.example:80']\n";
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], &machine).unwrap();
        for (own, expect) in [
            (vec![], vec![]),
            (vec!["127.0.0.1", "192.0.2.8"], vec![]),
            (vec!["192.0.2.7"], vec!["'a.example' leads to 192.0.2.7"]),
            (
                vec!["192.0.2.9", "2001:db8::7"],
                vec![
                    "'a.example' leads to 192.0.2.9",
                    "'b.example' leads to 2001:db8::7",
                ],
            ),
        ] {
            let own: InterfaceAddresses = own.into_iter().map(ip).collect();
            let found = own.warnings(&policy);
            let begins = |(one, expect): (&Diagnostic, &&str)| one.message().starts_with(*expect);
            let is_expected = found.len() == expect.len();
            assert!(
                is_expected && found.iter().zip(&expect).all(begins),
                "{found:?}"
            );
        }
    }

    #[test]
    fn kernel_names_addresses_of_interfaces() {
        let own = InterfaceAddresses::ask(&Names::default());
        let is_up = std::fs::read_to_string("/proc/net/fib_trie")
            .is_ok_and(|all| all.contains("127.0.0.1"));
        assert_eq!(own.has_refused(&ip("127.0.0.1").into()), is_up);
        assert!(!own.has_refused(&ip("192.0.2.255").into()));
        let other = InterfaceAddresses::ask(&Names::of_other_machine(Vec::new()));
        assert!(!other.has_refused(&ip("127.0.0.1").into()));
    }
}
