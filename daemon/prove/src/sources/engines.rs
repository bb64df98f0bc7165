//! Sockets of daemons that do for a client what root can, and devices that hold the machine's memory or disks.

use remit_common::engines;

use crate::facts::Source;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Of an engine by another path, and of libvirt, which checks each peer by the group of its socket.
const OTHER_SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/libvirt/libvirt-sock"];
const DEVICES: [&str; 4] = ["/dev/mem", "/dev/kmem", "/dev/port", "/dev/kcore"];
/// Prefixes of names of block devices.
const DISKS: [&[u8]; 7] = [b"sd", b"vd", b"nvme", b"xvd", b"dm-", b"mmcblk", b"md"];

pub fn look(look: &mut Look<'_>) {
    for path in crate::rules::engines() {
        if look.machine.entry(&FilePath::fixed(path)).is_some() {
            look.facts.present.insert(path.to_owned());
        }
    }
    let sockets = engines::SOCKETS.into_iter().chain(OTHER_SOCKETS);
    for path in sockets.map(FilePath::fixed) {
        let is_socket = look
            .machine
            .entry(&path)
            .is_some_and(|(_, entry)| entry.kind == crate::machine::entry::Kind::Socket);
        if is_socket {
            let source = Source::whole(&path);
            look.powerful(0, path, RuleId::EngineSocket, &source);
        }
    }
    let devices = FilePath::fixed("/dev");
    let disks = look.machine.list(&devices).into_iter();
    let disks = disks.filter(|name| DISKS.iter().any(|prefix| name.starts_with(prefix)));
    let disks: Vec<_> = disks.filter_map(|name| devices.join(name)).collect();
    for path in DEVICES.map(FilePath::fixed).into_iter().chain(disks) {
        if look.exists(&path) {
            let source = Source::whole(&path);
            look.powerful(0, path, RuleId::Device, &source);
        }
    }
}
