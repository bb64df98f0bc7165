//! Computes the bytes of a page. Pure.

use remit_common::caps;
use remit_wire::PageQuery;

pub fn range(query: &PageQuery, kept: u64) -> (u64, u64) {
    let cap = u64::try_from(caps::PAGE).unwrap_or(u64::MAX);
    let limit = u64::from(query.limit).min(cap);
    let start = if query.tail {
        kept.saturating_sub(limit)
    } else {
        query.offset.min(kept)
    };
    (start, limit.min(kept.saturating_sub(start)))
}

/// Returns how many of `bytes` form whole characters: all but an incomplete last one. Invalid UTF-8 counts as whole.
pub fn whole_end(bytes: &[u8]) -> usize {
    (1..=3.min(bytes.len()))
        .map(|back| bytes.len() - back)
        .find_map(|start| {
            let end = bytes.get(start..)?;
            match std::str::from_utf8(end) {
                Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => {
                    Some(start)
                }
                Ok(_) | Err(_) => None,
            }
        })
        .unwrap_or(bytes.len())
}

/// Returns how many bytes at the start, at most three, belong to a character that began before.
pub fn whole_start(bytes: &[u8]) -> usize {
    let rest = bytes
        .iter()
        .take(4)
        .take_while(|byte| **byte & 0xc0 == 0x80)
        .count();
    // Four continuation bytes are not UTF-8, so they are kept.
    if rest > 3 { 0 } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_wire::outcome::Stream;

    #[test]
    fn page_is_within_kept_bytes_and_cap() {
        let cap = caps::PAGE as u64;
        let cases = [
            ((0, 10, false), 100, (0, 10)),
            ((95, 10, false), 100, (95, 5)),
            ((100, 10, false), 100, (100, 0)),
            ((u64::MAX, 10, false), 100, (100, 0)),
            ((7, 10, true), 100, (90, 10)),
            ((7, 200, true), 100, (0, 100)),
            ((0, u32::MAX, false), 10 * cap, (0, cap)),
            ((0, u32::MAX, true), 10 * cap, (9 * cap, cap)),
            ((0, caps::PAGE as u32, false), 10 * cap, (0, cap)),
            ((0, 0, false), 100, (0, 0)),
        ];
        for ((offset, limit, tail), kept, expect) in cases {
            let query = PageQuery {
                stream: Stream::Stdout,
                offset,
                limit,
                tail,
                whole_characters: false,
            };
            assert_eq!(range(&query, kept), expect, "{query:?}");
        }
    }

    #[test]
    fn only_incomplete_character_is_cut_off() {
        let euro = "\u{20ac}".as_bytes();
        let face = "\u{1f600}".as_bytes();
        let cases: [(&[u8], usize); 11] = [
            (b"", 0),
            (b"ab", 2),
            (euro, 3),
            (&euro[..1], 0),
            (&euro[..2], 0),
            (face, 4),
            (&face[..3], 0),
            (b"a\xe2\x82", 1),
            (b"a\xff", 2),
            (b"\x80\x80", 2),
            (b"a\xe2\x41", 3),
        ];
        for (bytes, expect) in cases {
            assert_eq!(whole_end(bytes), expect, "{bytes:?}");
        }
        let cases: [(&[u8], usize); 5] = [
            (b"", 0),
            (b"ab", 0),
            (&euro[1..], 2),
            (&face[1..], 3),
            (b"\x80\x80\x80\x80", 0),
        ];
        for (bytes, expect) in cases {
            assert_eq!(whole_start(bytes), expect, "{bytes:?}");
        }
    }
}
