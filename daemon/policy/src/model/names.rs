//! Decides which names of hosts, with a port, a copy of the machine may be let reach.

use remit_common::caps;

use crate::model::profile::{Base, Network, Profile};

/// Accepts a name that no resolver reads as a number: some read `127.1`, `0` and `2130706433` as addresses.
pub fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            })
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with(|first: char| first.is_ascii_digit());
    text.len() <= 253 && !numeric && text.split('.').all(label)
}

/// Returns why a list of names cannot have this one.
pub fn refused(host: &str, port: u16) -> Option<&'static str> {
    /// Names that machines give themselves, among them those of metadata services.
    const OWN: [&str; 3] = [".local", ".localhost", ".internal"];
    if !is_host_name(host) {
        return Some("has no host name in small letters");
    }
    if !host.contains('.') {
        return Some("has a name without a dot, which each network reads as it likes");
    }
    if OWN.iter().any(|end| host.ends_with(end)) {
        return Some("has a name that machines give themselves");
    }
    match port {
        0 => Some("has no port from 1 to 65535"),
        443 => Some("has port 443: a tunnel for TLS would carry anything, changes too"),
        _ => None,
    }
}

/// Checks what a profile lists in `network`.
pub(crate) fn check(profile: &Profile) -> Result<(), String> {
    let names = match &profile.network {
        Network::Names(names) => names,
        Network::Connect(to) if to.len() > caps::PROFILE_DESTINATIONS => {
            return Err(format!("reaches over {} hosts", caps::PROFILE_DESTINATIONS));
        }
        _ => return Ok(()),
    };
    let fits = (1..=caps::PROFILE_NAMES).contains(&names.len());
    if profile.base != Base::Plan || !fits {
        return Err("lists names that its base lacks, none or too many".to_owned());
    }
    let refused = names.iter().find_map(|(host, port)| refused(host, *port));
    refused.map_or(Ok(()), |why| Err(format!("reaches a host that {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_with_names_is_a_copy_and_changes_nothing() {
        let with = |base: Profile, names: Vec<(&str, u16)>| Profile {
            network: Network::Names(
                names
                    .into_iter()
                    .map(|(host, port)| (host.to_owned(), port))
                    .collect(),
            ),
            ..base
        };
        let copy = with(Profile::plan(), vec![("deb.debian.org", 80)]);
        assert!(check(&copy).is_ok());
        assert!(copy.changes_nothing() && copy.takes_any_program() && !copy.adds_nothing_to_read());
        for refused in [
            with(Profile::strict(), vec![("deb.debian.org", 80)]),
            with(Profile::read(), vec![("deb.debian.org", 80)]),
            with(Profile::plan(), vec![]),
            with(Profile::plan(), vec![("deb.debian.org", 80); 33]),
            with(Profile::plan(), vec![("deb.debian.org", 443)]),
            with(Profile::plan(), vec![("127.0.0.1", 80)]),
        ] {
            assert!(check(&refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn names_of_other_hosts_are_taken() {
        for host in [
            "deb.debian.org",
            "a.b",
            "mirror-1.example.org",
            "localhost.example.org",
        ] {
            assert_eq!(refused(host, 80), None, "{host}");
        }
        for host in [
            "",
            "localhost",
            "mirror",
            "printer.local",
            "a.localhost",
            "metadata.google.internal",
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "::1",
            "[::1]",
            "Deb.debian.org",
            "*.debian.org",
            "deb.debian.org.",
            ".org",
            "a..b",
            "a b.org",
        ] {
            assert!(refused(host, 80).is_some(), "{host}");
        }
        assert!(refused("deb.debian.org", 443).is_some_and(|why| why.contains("TLS")));
        assert!(refused("deb.debian.org", 0).is_some());
    }
}
