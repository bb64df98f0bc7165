//! Describes what jobs of a profile may access, to explain failures. Reads only the policy, never the disk. Pure.

use remit_common::denial::ProfileVisibility;
use remit_policy::{Base, Listed, Network, Profile};

const BUS: &str = "/run/dbus/system_bus_socket";
/// Private directories of each sandboxed job.
const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// `has_bus`: jobs of base `read` without a network ask the system bus.
pub fn of(profile: &Profile, has_bus: bool) -> ProfileVisibility {
    let paths = |lists: &[&[Listed]]| -> Vec<String> {
        let all = lists.iter().flat_map(|list| list.iter());
        all.map(|listed| listed.path.clone()).collect()
    };
    let private: Vec<String> = match profile.base {
        Base::Host => Vec::new(),
        Base::Read | Base::Strict => {
            let own = PRIVATE.iter().map(ToString::to_string);
            own.chain(profile.scratch.iter().cloned()).collect()
        }
    };
    ProfileVisibility {
        profile: profile.name.clone(),
        base: match profile.base {
            Base::Read => "read",
            Base::Strict => "strict",
            Base::Host => "host",
        }
        .into(),
        read: paths(&[&profile.read, &profile.exec]),
        write: paths(&[&profile.write]),
        private,
        sockets: match (profile.base, &profile.network) {
            (Base::Read, Network::None) if has_bus => vec![BUS.to_owned()],
            _ => paths(&[&profile.sockets]),
        },
        network: match &profile.network {
            Network::None => vec!["none".into()],
            Network::Loopback => vec!["loopback".into()],
            Network::Host => vec!["host".into()],
            Network::Connect(all) => all
                .iter()
                .map(|to| format!("{}:{}", to.host, to.port))
                .collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_visibility_lists_paths_and_network() {
        let read = of(&Profile::read(), false);
        assert_eq!(
            (read.profile.as_str(), read.base.as_str()),
            ("read", "read")
        );
        assert_eq!(of(&Profile::read(), true).sockets, [BUS]);
        assert_eq!(
            (read.read.len(), read.write.len(), read.sockets.len()),
            (0, 0, 0)
        );
        assert_eq!(
            (read.private.join(" "), read.network.join(" ")),
            ("/tmp /var/tmp /dev/shm".into(), "none".into())
        );
        let listed = |path: &str| {
            vec![Listed {
                path: path.into(),
                optional: true,
            }]
        };
        let own = of(
            &Profile {
                read: listed("/srv"),
                write: listed("/var/lib/x"),
                scratch: vec!["/work".into()],
                sockets: listed("/run/s"),
                network: Network::Loopback,
                ..Profile::strict()
            },
            true,
        );
        assert_eq!(
            [own.read, own.write, own.sockets, own.network].map(|list| list.join(" ")),
            ["/srv", "/var/lib/x", "/run/s", "loopback"]
        );
        assert_eq!(own.private.last().map(String::as_str), Some("/work"));
        let host = of(&Profile::host(), true);
        assert_eq!(
            (
                host.base.as_str(),
                host.private.len(),
                host.network.join(" ")
            ),
            ("host", 0, "host".into())
        );
    }
}
