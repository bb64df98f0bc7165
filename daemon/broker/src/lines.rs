//! Newlines, counted as wc(1) counts them.

use std::fs::File;
use std::ops::Range;

use memchr::memchr_iter;

use crate::output;

/// Bytes read at once.
const BLOCK: u64 = 256 << 10;

/// Newlines in a part of a file, as far as it is there. May take a while: not for the one thread that serves.
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

/// Newlines in some bytes.
pub fn in_bytes(bytes: &[u8]) -> u64 {
    u64::try_from(memchr_iter(b'\n', bytes).count()).unwrap_or(u64::MAX)
}
