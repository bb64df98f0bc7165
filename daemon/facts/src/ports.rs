//! Listening sockets and their owners. The kernel reports to any user the control group in which a socket was created,
//! and its path names the unit. Access to other users' processes is not needed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use remit_wire::host::{List, Owner, Port, Ports};

use crate::cgroup::Tree;
use crate::read::{self, Gaps, Kernel, Sources, Why};
use crate::sockets::{self, Protocol, Socket};
use crate::{network, users};

const PORTS: usize = 512;

pub(crate) fn gather(at: &Sources, tree: Option<&Tree>, gaps: &mut Gaps) -> Ports {
    let mut naming = Naming {
        users: users::names(&at.etc),
        devs: match at.kernel {
            Kernel::Asked => network::names_now(),
            Kernel::NotAsked => BTreeMap::new(),
        },
        tree,
        owners: BTreeMap::new(),
    };
    let mut ports = |protocol| {
        let mut found = sockets::listening(protocol, at)?;
        // Sockets reachable from other machines come first.
        found
            .sockets
            .sort_by_key(|socket| (socket.addr.is_loopback(), socket.port));
        let sockets = List::cut(found.sockets, PORTS);
        let items = sockets
            .items
            .iter()
            .map(|socket| naming.port(socket, found.ownerless.as_ref()))
            .collect();
        Ok(List {
            items,
            more: sockets.more.saturating_add(found.over),
        })
    };
    Ports {
        tcp: gaps.known("ports.tcp", ports(Protocol::Tcp)),
        udp: gaps.known("ports.udp", ports(Protocol::Udp)),
        unix: gaps.known("ports.unix", unix(at)),
        established: gaps.known("ports.established", established(at)),
    }
}

type OwnerAnswer = Result<(Owner, Option<Why>), Why>;

struct Naming<'a> {
    users: BTreeMap<u64, String>,
    devs: BTreeMap<u32, String>,
    tree: Option<&'a Tree>,
    /// Cache by cgroup id: many sockets share one.
    owners: BTreeMap<u64, OwnerAnswer>,
}

impl Naming<'_> {
    fn port(&mut self, socket: &Socket, ownerless: Option<&Why>) -> Port {
        let (owner, why) = match self.owner(socket, ownerless) {
            Ok((owner, caution)) => (Some(owner), caution),
            Err(why) => (None, Some(why)),
        };
        let dev = |index: u32| {
            self.devs
                .get(&index)
                .cloned()
                .unwrap_or_else(|| format!("#{index}"))
        };
        Port {
            addr: socket.addr.to_string(),
            port: socket.port,
            dev: (socket.dev != 0).then(|| dev(socket.dev)),
            user: self
                .users
                .get(&socket.uid.into())
                .cloned()
                .unwrap_or_else(|| socket.uid.to_string()),
            owner,
            why,
        }
    }

    fn owner(&mut self, socket: &Socket, ownerless: Option<&Why>) -> OwnerAnswer {
        if let Some(why) = ownerless {
            return Err(format!(
                "sockets were read from /proc/net, which has no owner: {why}"
            ));
        }
        let id = socket
            .cgroup
            .ok_or("this kernel does not report the control group of a socket (Linux 5.8 does)")?;
        let tree = self.tree.ok_or("control groups were not examined")?;
        self.owners
            .entry(id)
            .or_insert_with(|| tree.owner(id))
            .clone()
    }
}

/// Counts listening Unix sockets, by the flag that allows accept(2).
fn unix(at: &Sources) -> Result<u64, Why> {
    const ACCEPTS: u32 = 0x1_0000;
    let mut count = 0;
    read::lines(&at.proc.join("net/unix"), 64 << 20, |line| {
        let flags = line
            .split_ascii_whitespace()
            .nth(3)
            .and_then(|flags| u32::from_str_radix(flags, 16).ok());
        count += u64::from(flags.is_some_and(|flags| flags & ACCEPTS != 0));
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// Counts established TCP connections (proc_pid_net(5), snmp).
fn established(at: &Sources) -> Result<u64, Why> {
    let path = at.proc.join("net/snmp");
    let text = read::text(&path, 64 << 10)?;
    counter(&text, "Tcp:", "CurrEstab")
        .ok_or_else(|| format!("'{}' has no CurrEstab", path.display()))
}

/// Returns the counter `name`. Two lines begin with `start`: the first has names, the second numbers.
fn counter(text: &str, start: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(start))
        .map(str::split_ascii_whitespace);
    let index = lines.next()?.position(|word| word == name)?;
    lines.next()?.nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_is_found_by_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: RtoMin CurrEstab InSegs\nTcp: 200 7 9\n";
        assert_eq!(counter(text, "Tcp:", "CurrEstab"), Some(7));
        assert_eq!(counter(text, "Tcp:", "None"), None);
        assert_eq!(counter("Tcp: A\n", "Tcp:", "A"), None);
    }

    #[test]
    fn socket_without_owner_says_why() {
        let socket = Socket {
            addr: "::".parse().unwrap(),
            port: 1,
            dev: 4,
            uid: 77,
            cgroup: None,
        };
        let mut naming = Naming {
            users: BTreeMap::new(),
            devs: BTreeMap::new(),
            tree: None,
            owners: BTreeMap::new(),
        };
        let old = naming.port(&socket, None);
        assert_eq!(
            (old.owner, old.user.as_str(), old.dev.as_deref()),
            (None, "77", Some("#4"))
        );
        assert!(old.why.is_some_and(|why| why.contains("Linux 5.8")));
        let listed = naming.port(&socket, Some(&"no module".into()));
        assert!(
            listed.owner.is_none()
                && listed
                    .why
                    .is_some_and(|why| why.ends_with("no owner: no module"))
        );
    }
}
