//! What a profile's jobs may, for who explains why one of them failed: from the policy, never from the disk. Pure.

use remit_common::denial::Sight;
use remit_policy::{Base, Listed, Network, Profile};

/// Directories that each job behind walls has for itself.
const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// What jobs of a profile see and reach.
pub fn of(profile: &Profile) -> Sight {
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
    Sight {
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
        sockets: paths(&[&profile.sockets]),
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
    fn what_a_profile_lists_is_told() {
        let read = of(&Profile::read());
        assert_eq!(
            (read.profile.as_str(), read.base.as_str()),
            ("read", "read")
        );
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
        let own = of(&Profile {
            read: listed("/srv"),
            write: listed("/var/lib/x"),
            scratch: vec!["/work".into()],
            sockets: listed("/run/s"),
            network: Network::Loopback,
            ..Profile::strict()
        });
        assert_eq!(
            [own.read, own.write, own.sockets, own.network].map(|list| list.join(" ")),
            ["/srv", "/var/lib/x", "/run/s", "loopback"]
        );
        assert_eq!(own.private.last().map(String::as_str), Some("/work"));
        let host = of(&Profile::host());
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
