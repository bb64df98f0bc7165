//! Free space of a file system. A reserve of it is left to others.

use std::cell::Cell;
use std::os::fd::AsFd;

use nix::sys::statvfs::fstatvfs;
use remit_common::caps;

use super::splice::CHUNK;

/// Streams that can write at the same time.
pub const STREAMS: u64 = 2 * caps::JOBS as u64;

/// The reserve in bytes, or a twentieth of the file system if that is less.
const RESERVE: u64 = 64 << 20;
/// Bytes that may be written before the next statvfs.
const STEP: u64 = 1 << 20;

#[derive(Debug, Default)]
pub struct Disk(Cell<u64>);

impl Disk {
    pub fn free(&self, dir: impl AsFd) -> u64 {
        if self.0.get() == 0 {
            let free = unreserved(dir).unwrap_or(STEP);
            self.0.set(portion(free, STREAMS).min(STEP));
        }
        self.0.get()
    }

    pub fn wrote(&self, bytes: u64) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}

/// Returns the free bytes of a file system without its reserve; 0 if it cannot be asked.
pub fn free_but_reserve(dir: impl AsFd) -> u64 {
    unreserved(dir).unwrap_or(0)
}

fn unreserved(dir: impl AsFd) -> Option<u64> {
    let disk = fstatvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
    Some(left(bytes(disk.blocks_available()), bytes(disk.blocks())))
}

fn left(available: u64, size: u64) -> u64 {
    available.saturating_sub(RESERVE.min(size / 20))
}

/// Returns the share of each of `takers`: together at most `left`, but at the end each may still take one chunk.
pub fn portion(left: u64, takers: u64) -> u64 {
    let portion = left.checked_div(takers).unwrap_or(left);
    portion.max(CHUNK).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_fit_free_space_with_chunk_minimum() {
        for (left, takers, expect) in [
            (0, 2, 0),
            (1, 2, 1),
            (CHUNK, 2, CHUNK),
            (3 * CHUNK, 2, 3 * CHUNK / 2),
            (3 * CHUNK, 100, CHUNK),
            (1000 * CHUNK, 100, 10 * CHUNK),
            (u64::MAX, 1, u64::MAX),
            (7, 0, 7),
        ] {
            assert_eq!(portion(left, takers), expect, "{left} of {takers}");
        }
    }

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
