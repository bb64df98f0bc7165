//! Opens what a view left: see `remit_common::view`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use remit_common::view::{INDEX, Index, VIEW, lower, mask, upper};

use crate::input::{CopiedMachine, Overlay};

/// Bytes of the longest index: mount points, and the paths that remit-spawner hides at most.
const INDEX_BYTES: u64 = 16 << 20;

impl CopiedMachine {
    /// Opens the directories of a kept view. `tree` is its top. Fails for one that is not whole.
    pub fn open(tree: impl AsFd) -> io::Result<Self> {
        let open = |path: &[u8], flags: OFlag| -> io::Result<OwnedFd> {
            let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            Ok(openat(tree.as_fd(), path, flags, Mode::empty())?)
        };
        let directory = |path: &[u8]| open(path, OFlag::O_PATH | OFlag::O_DIRECTORY);
        let mut bytes = Vec::new();
        let index = File::from(open(INDEX.as_bytes(), OFlag::O_RDONLY)?);
        index.take(INDEX_BYTES).read_to_end(&mut bytes)?;
        let index = Index::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let absolute = |path: &[u8]| [b"/", path].concat();
        let mut overlays = Vec::new();
        for (number, point) in index.points.iter().enumerate() {
            if !point.is_copied {
                continue;
            }
            let merged = match point.at.as_slice() {
                [] => directory(VIEW.as_bytes())?,
                at => directory(&[VIEW.as_bytes(), b"/", at].concat())?,
            };
            overlays.push(Overlay {
                at: absolute(&point.at),
                upper: directory(upper(number).as_bytes())?,
                made: directory(mask(number).as_bytes())?,
                merged,
                lower: directory(lower(number).as_bytes())?,
            });
        }
        let paths = |paths: &mut dyn Iterator<Item = &Vec<u8>>| -> BTreeSet<Vec<u8>> {
            paths.map(|path| absolute(path)).collect()
        };
        Ok(Self {
            overlays,
            started_ns: index.started_ns,
            hidden: paths(&mut index.hidden.iter()),
            emptied: paths(&mut index.emptied.iter()),
            mounts: paths(&mut index.points.iter().map(|point| &point.at)),
        })
    }
}
