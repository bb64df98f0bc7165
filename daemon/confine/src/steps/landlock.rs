//! Landlock, as an additional layer: which rights each ABI lets us handle. Reading and executing are not handled, so
//! they need no rule. Writing is granted only beneath the private directories and on the minimal `/dev`.

use crate::sys::Handled;
use crate::{Layer, spec::layer::EnabledLayers};

const WRITE_FILE: u64 = 1 << 1;
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

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;

const SCOPE_ABSTRACT_UNIX: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) handled: Handled,
    pub(crate) in_private_dirs: u64,
    pub(crate) on_files: u64,
    pub(crate) on_devices: u64,
    pub(crate) on_listed_devices: u64,
}

impl Fence {
    /// Handles no network rights, for jobs that have a network: other layers confine that.
    pub(crate) fn without_network(mut self) -> Fence {
        self.handled.net = 0;
        self
    }
}

/// Returns the rights for a kernel of `abi`; `None` without Landlock. It uses every right of the ABI and drops none
/// silently: a kernel that refuses one fails the step.
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
    let fs = files | nodes | since(2, REFER) | since(3, TRUNCATE) | since(5, IOCTL_DEV);
    let scoped = if layers.is_on(Layer::LandlockScope) {
        SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL
    } else {
        0
    };
    Some(Fence {
        handled: Handled {
            fs,
            net: since(4, BIND_TCP | CONNECT_TCP),
            scoped: since(6, scoped),
        },
        in_private_dirs: fs & !(nodes | IOCTL_DEV),
        on_files: fs & (WRITE_FILE | TRUNCATE),
        on_devices: fs & (WRITE_FILE | TRUNCATE),
        on_listed_devices: fs & (WRITE_FILE | TRUNCATE | IOCTL_DEV),
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
            (9, 0xfff2, 3, 3),
        ] {
            assert_eq!(of(abi).handled, Handled { fs, net, scoped }, "{abi}");
            assert_eq!(
                of(abi).in_private_dirs & (IOCTL_DEV | MAKE_CHAR | MAKE_BLOCK),
                0
            );
            assert_eq!(of(abi).on_devices & !(WRITE_FILE | TRUNCATE), 0);
        }
    }
}
