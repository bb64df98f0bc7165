//! Free space of the spool's file system, except for a reserve for others.

use std::cell::Cell;
use std::os::fd::AsFd;

use nix::sys::statvfs::fstatvfs;

use crate::output::quota::{STREAMS, portion};

/// The reserve in bytes, or a twentieth of the file system if that is less.
const RESERVE: u64 = 64 << 20;
/// Bytes that may be written before the next statvfs.
const STEP: u64 = 1 << 20;

#[derive(Debug, Default)]
pub struct Disk(Cell<u64>);

impl Disk {
    /// Returns how many bytes may be written now; 0 if only the reserve is left.
    pub fn free(&self, dir: impl AsFd) -> u64 {
        if self.0.get() == 0 {
            let free = fstatvfs(dir).map_or(STEP, |disk| {
                let block = disk.fragment_size();
                left(
                    disk.blocks_available().saturating_mul(block),
                    disk.blocks().saturating_mul(block),
                )
            });
            self.0.set(portion(free, STREAMS).min(STEP));
        }
        self.0.get()
    }

    pub fn wrote(&self, bytes: u64) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}

fn left(available: u64, size: u64) -> u64 {
    available.saturating_sub(RESERVE.min(size / 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_64_mib_or_5_percent() {
        const GIB: u64 = 1 << 30;
        for (available, size, expect) in [
            (GIB, 100 * GIB, GIB - RESERVE),
            (RESERVE, 100 * GIB, 0),
            (RESERVE + 1, 100 * GIB, 1),
            (50, 1000, 0),
            (51, 1000, 1),
            (0, 0, 0),
            (7, 0, 7),
        ] {
            assert_eq!(left(available, size), expect, "{available} of {size}");
        }
    }

    #[test]
    fn file_system_is_queried_once_per_step() {
        let disk = Disk::default();
        let here = std::fs::File::open(std::env::temp_dir()).unwrap();
        let first = disk.free(&here);
        assert!(first > 0 && first <= STEP);
        disk.wrote(1);
        assert_eq!(disk.free(&here), first - 1);
        disk.wrote(u64::MAX);
        assert_eq!(disk.free(&here), first);
    }
}
