//! Landlock, as an additional layer: which rights each ABI lets us handle. Reading and executing are handled only for
//! jobs that see all names, otherwise they need no rule. Writing is granted only beneath the private directories and on the minimal `/dev`.
//! Each right and scope of the newest kernel is a constant here, named as in linux/landlock.h without `LANDLOCK_ACCESS_FS_`,
//! `LANDLOCK_ACCESS_` or `LANDLOCK_`: `tests/machine/call-numbers` fails if the header has another one.

use crate::sys::Handled;
use crate::{Layer, steps::report::EnabledLayers};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
/// Never handled: which directories a job lists is decided by mounts and its uid.
#[cfg(test)]
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Finding sockets that a process outside of the domain has bound to a path. A job finds its own without a rule.
const RESOLVE_UNIX: u64 = 1 << 16;

pub(crate) const NET_BIND_TCP: u64 = 1;
pub(crate) const NET_CONNECT_TCP: u64 = 1 << 1;
pub(crate) const NET_BIND_UDP: u64 = 1 << 2;
pub(crate) const NET_CONNECT_SEND_UDP: u64 = 1 << 3;

const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) handled: Handled,
    pub(crate) in_private_dirs: u64,
    pub(crate) on_files: u64,
    /// 0 if the kernel has no right to handle there.
    pub(crate) on_sockets: u64,
    pub(crate) on_devices: u64,
    pub(crate) on_listed_devices: u64,
    pub(crate) on_libraries: u64,
    pub(crate) on_programs: u64,
}

impl Fence {
    /// Handles no network rights, for jobs that have a network: other layers confine that.
    pub(crate) fn without_network(mut self) -> Fence {
        self.handled.net = 0;
        self
    }

    /// Handles reading and executing too, but not listing: names are seen, and content only of what the program needs.
    pub(crate) fn without_content(mut self) -> Fence {
        self.handled.fs |= READ_FILE | EXECUTE;
        for allowed in [
            &mut self.in_private_dirs,
            &mut self.on_files,
            &mut self.on_devices,
        ] {
            *allowed |= READ_FILE;
        }
        self.on_libraries = READ_FILE;
        self.on_programs = READ_FILE | EXECUTE;
        self
    }
}

/// Returns all rights of `abi`; `None` without Landlock. A kernel that refuses one fails the step: none is dropped.
pub(crate) fn fence(abi: u32, layers: EnabledLayers) -> Option<Fence> {
    if abi == 0 || !layers.is_on(Layer::Landlock) {
        return None;
    }
    let since = |first: u32, rights: u64| if abi >= first { rights } else { 0 };
    let nodes = MAKE_CHAR | MAKE_BLOCK;
    let files = WRITE_FILE
        | REMOVE_DIR
        | REMOVE_FILE
        | MAKE_DIR
        | MAKE_REG
        | MAKE_SOCK
        | MAKE_FIFO
        | MAKE_SYM;
    let fs = files
        | nodes
        | since(2, REFER)
        | since(3, TRUNCATE)
        | since(5, IOCTL_DEV)
        | since(9, RESOLVE_UNIX);
    let tcp = since(4, NET_BIND_TCP | NET_CONNECT_TCP);
    let udp = since(10, NET_BIND_UDP | NET_CONNECT_SEND_UDP);
    let scoped = if layers.is_on(Layer::LandlockScope) {
        SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL
    } else {
        0
    };
    Some(Fence {
        handled: Handled {
            fs,
            net: tcp | udp,
            scoped: since(6, scoped),
        },
        in_private_dirs: fs & !(nodes | IOCTL_DEV | RESOLVE_UNIX),
        on_files: fs & (WRITE_FILE | TRUNCATE),
        on_sockets: fs & RESOLVE_UNIX,
        on_devices: fs & (WRITE_FILE | TRUNCATE),
        on_listed_devices: fs & (WRITE_FILE | TRUNCATE | IOCTL_DEV),
        on_libraries: 0,
        on_programs: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_abi_adds_its_rights() {
        assert_eq!(fence(0, EnabledLayers::ALL), None);
        let of = |abi| fence(abi, EnabledLayers::ALL).unwrap();
        for (abi, fs, net, scoped) in [
            (1, 0x1ff2, 0, 0),
            (2, 0x3ff2, 0, 0),
            (3, 0x7ff2, 0, 0),
            (4, 0x7ff2, 3, 0),
            (5, 0xfff2, 3, 0),
            (6, 0xfff2, 3, 3),
            (8, 0xfff2, 3, 3),
            (9, 0x1fff2, 3, 3),
            (10, 0x1fff2, 0xf, 3),
            (11, 0x1fff2, 0xf, 3),
        ] {
            assert_eq!(of(abi).handled, Handled { fs, net, scoped }, "{abi}");
            let nowhere = IOCTL_DEV | MAKE_CHAR | MAKE_BLOCK | RESOLVE_UNIX;
            assert_eq!(of(abi).in_private_dirs & nowhere, 0);
            assert_eq!(of(abi).on_sockets, if abi >= 9 { RESOLVE_UNIX } else { 0 });
            assert_eq!(of(abi).on_devices & !(WRITE_FILE | TRUNCATE), 0);
        }
    }
    #[test]
    fn without_content_files_are_handled_and_directories_are_not() {
        let fence = fence(1, EnabledLayers::ALL).unwrap().without_content();
        assert_eq!(fence.handled.fs & (READ_FILE | EXECUTE | READ_DIR), 0b101);
        assert_eq!((fence.on_libraries, fence.on_programs), (0b100, 0b101));
        let others = [fence.in_private_dirs, fence.on_devices, fence.on_files];
        assert!(others.iter().all(|rights| rights & EXECUTE == 0));
    }
}
