//! Listening sockets and mounted file systems.

use std::os::unix::ffi::OsStrExt;

use super::lines::SnapshotSection;
use crate::cgroup::Tree;
use crate::read::{self, Sources, Why};
use crate::sockets::{self, Protocol};
use crate::{mounts, users};

/// First port that the kernel gives to a socket by itself, if it does not tell (ip(7)).
const FIRST_EPHEMERAL: u16 = 32_768;
/// Mounts that come and go with sessions, containers and services.
const TRANSIENT: [&str; 7] = [
    "/run/user",
    "/run/docker",
    "/run/netns",
    "/run/systemd",
    "/run/remit",
    "/var/lib/containers",
    "/var/lib/docker",
];

pub(super) fn ports(
    at: &Sources,
    tree: &Tree,
    section: &mut SnapshotSection<'_>,
) -> Result<(), Why> {
    let users = users::names(&at.etc);
    let ephemeral = ephemeral(at);
    for (protocol, name) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
        let found = sockets::listening(protocol, at)?;
        for socket in &found.sockets {
            // Such a UDP socket is that of a client, which waits for an answer.
            if protocol == Protocol::Udp && socket.port >= ephemeral {
                continue;
            }
            let user = users.get(&socket.uid.into()).cloned();
            let user = user.unwrap_or_else(|| socket.uid.to_string());
            let owner = socket.cgroup.map(|id| tree.owner(id));
            let unit = match owner {
                Some(Ok((owner, _))) => of_unit(owner.unit.as_deref(), owner.user_unit.as_deref()),
                Some(Err(_)) | None => String::new(),
            };
            let device = if socket.dev == 0 {
                ""
            } else {
                " on one interface"
            };
            let addr = match socket.addr.is_ipv6() {
                true => format!("[{}]", socket.addr),
                false => socket.addr.to_string(),
            };
            let key = format!("{name} {addr}:{}{device}", socket.port);
            section.add(key.as_bytes(), &format!("user {user}{unit}"));
        }
        if found.over > 0 {
            return Err(format!("{} more sockets were not looked at", found.over));
        }
    }
    Ok(())
}

fn of_unit(unit: Option<&str>, user_unit: Option<&str>) -> String {
    match (unit, user_unit) {
        // Each login has a scope with a number of its own.
        (Some(unit), _) if unit.starts_with("session-") => " of a login session".to_owned(),
        (Some(unit), Some(inner)) => format!(" of {inner} in {unit}"),
        (Some(unit), None) => format!(" of {unit}"),
        (None, _) => String::new(),
    }
}

fn ephemeral(at: &Sources) -> u16 {
    let range = read::word(&at.proc.join("sys/net/ipv4/ip_local_port_range"));
    let first = range.ok().and_then(|range| {
        let first = range.split_ascii_whitespace().next()?;
        // `word` escapes the tab between the two numbers.
        let digits: String = first.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    first.unwrap_or(FIRST_EPHEMERAL)
}

pub(super) fn mounts(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    for entry in mounts::table(at)? {
        let is_transient = TRANSIENT.iter().any(|dir| entry.target.starts_with(dir));
        if entry.is_pseudo() || is_transient {
            continue;
        }
        let value = format!("{} {} {}", entry.fstype, entry.source, entry.options);
        section.add(entry.target.as_os_str().as_bytes(), &value);
    }
    Ok(())
}
