//! The running system: the kernel's settings below /proc/sys (proc_sys(5)), listening sockets and mounted file systems.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::lines::SnapshotSection;
use crate::cgroup::Tree;
use crate::read::{self, Gaps, Sources, Why};
use crate::sockets::{self, Protocol};
use crate::{mounts, os, users};

const MOST: usize = 20_000;

/// Below /proc/sys: what counts, is random, changes by itself, acts when it is read, or is in another section.
const LEFT_OUT: &[&str] = &[
    "fs/aio-nr",
    "fs/binfmt_misc",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota",
    "kernel/hostname",
    "kernel/hung_task_detect_count",
    "kernel/latencytop",
    "kernel/ns_last_pid",
    "kernel/osrelease",
    // The kernel lowers it when its handler takes long.
    "kernel/perf_event_max_sample_rate",
    "kernel/pty/nr",
    "kernel/random",
    // Counters of ZFS.
    "kernel/spl/kmem",
    "net/core/netdev_rss_key",
    "net/netfilter/nf_conntrack_buckets",
    "net/netfilter/nf_conntrack_count",
    "sunrpc/transports",
    "user",
    "vm/stat_refresh",
];
/// Directories with one subdirectory for each network interface.
const PER_INTERFACE: &[&str] = &[
    "net/ipv4/conf",
    "net/ipv6/conf",
    "net/ipv4/neigh",
    "net/ipv6/neigh",
];
/// Interfaces that exist for the time of a container or a connection.
const TRANSIENT: &[&str] = &[
    "veth", "vnet", "tap", "tun", "ppp", "cali", "cni", "lxc", "br-",
];

pub(super) fn system(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    let mut gaps = Gaps::default();
    let os = os::gather(at, &mut gaps);
    let boot = gaps.known(
        "boot",
        read::word(&at.proc.join("sys/kernel/random/boot_id")),
    );
    for (key, value) in [
        ("os", os.name),
        ("kernel", os.kernel),
        ("hostname", os.hostname),
        ("timezone", os.timezone),
        ("boot", boot),
    ] {
        if let Some(value) = value {
            section.add(key.as_bytes(), &value);
        }
    }
    Ok(())
}

pub(super) fn sysctl(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    let root = at.proc.join("sys");
    let mut left = vec![root.clone()];
    let mut count = 0;
    while let Some(dir) = left.pop() {
        let listing = match fs::read_dir(&dir) {
            Ok(listing) => listing,
            Err(error) if dir == root => return Err(read::cannot("list", &dir, &error)),
            Err(_) => continue, // Some directories are for root.
        };
        for path in listing.flatten().map(|entry| entry.path()) {
            let name = path.strip_prefix(&root).unwrap_or(&path);
            if is_left_out(name) {
                continue;
            }
            count += 1;
            if count > MOST {
                return Err(format!("there are more than {MOST} settings"));
            }
            match path.is_dir() {
                true => left.push(path.clone()),
                false => add(name, &path, section),
            }
        }
    }
    Ok(())
}

fn add(name: &Path, path: &Path, section: &mut SnapshotSection<'_>) {
    // Settings that only root reads, and those that are only written, are not known.
    if let Ok(text) = read::text(path, 64 << 10) {
        let value: Vec<&str> = text.split_ascii_whitespace().collect();
        section.add(name.as_os_str().as_bytes(), &value.join(" "));
    }
}

fn is_left_out(name: &Path) -> bool {
    let is_transient = || {
        let parent = name.parent().unwrap_or(Path::new(""));
        let interface = name.file_name().unwrap_or_default().as_bytes();
        PER_INTERFACE.iter().any(|dir| parent == Path::new(dir))
            && TRANSIENT
                .iter()
                .any(|start| interface.starts_with(start.as_bytes()))
    };
    LEFT_OUT.iter().any(|out| name == Path::new(out)) || is_transient()
}

/// First port that the kernel gives to a socket by itself, if it does not tell (ip(7)).
const FIRST_EPHEMERAL: u16 = 32_768;
/// Mounts that come and go with sessions, containers and services.
const TRANSIENT_MOUNTS: [&str; 7] = [
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
    let table = mounts::table(at)?;
    let cut = mounts::cut(&table);
    for entry in table {
        let is_transient = TRANSIENT_MOUNTS
            .iter()
            .any(|dir| entry.target.starts_with(dir));
        if entry.is_pseudo() || is_transient {
            continue;
        }
        let value = format!(
            "{} {} {} {}",
            entry.fstype, entry.source, entry.options, entry.fs_options
        );
        section.add(entry.target.as_os_str().as_bytes(), &value);
    }
    cut.map_or(Ok(()), Err)
}
