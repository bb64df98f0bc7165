//! The running system, and the kernel's settings below /proc/sys (proc_sys(5)).

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::lines::SnapshotSection;
use crate::os;
use crate::read::{self, Gaps, Sources, Why};

const MOST: usize = 20_000;

/// Below /proc/sys: what counts, is random, acts when it is read, or is reported elsewhere.
const LEFT_OUT: &[&str] = &[
    "fs/aio-nr",
    "fs/binfmt_misc",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota",
    "kernel/hostname",
    "kernel/latencytop",
    "kernel/ns_last_pid",
    "kernel/osrelease",
    "kernel/pty/nr",
    "kernel/random",
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
            // Some directories are for root.
            Err(_) => continue,
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
