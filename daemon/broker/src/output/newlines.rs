//! Counts newlines as wc(1) does.

use std::fs::File;
use std::ops::Range;

use memchr::memchr_iter;

use crate::output;

const BLOCK: u64 = 256 << 10;

/// Counts newlines in the existing part of a range. Blocks: not for the serving thread.
pub fn count(file: &File, mut range: Range<u64>) -> u64 {
    let mut lines = 0;
    while !range.is_empty() {
        let bytes = output::read(Some(file), range.start, BLOCK.min(range.end - range.start));
        if bytes.is_empty() {
            break;
        }
        lines += in_bytes(&bytes);
        range.start += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
    lines
}

pub fn in_bytes(bytes: &[u8]) -> u64 {
    u64::try_from(memchr_iter(b'\n', bytes).count()).unwrap_or(u64::MAX)
}
