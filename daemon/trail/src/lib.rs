//! The chain of the audit log: its events, the hash of a record, and the head. The code is pure. The warden writes
//! with it; `remit-audit-verify` checks what it wrote.

#![forbid(unsafe_code)]

mod event;
mod head;

use sha2::{Digest, Sha256};

pub use event::Event;
pub use head::{BadHead, Expected, Head, Link};

/// SHA-256.
pub type Hash = [u8; 32];

const VERSION: &[u8] = b"remit audit record 1\n";

/// Returns the SHA-256 of a record's fields (remit-audit(7)), sorted by name as bytes. Each is `NAME SP LENGTH LF
/// VALUE LF`; LENGTH is the number of bytes of VALUE in decimal. Covers `MESSAGE`, `MESSAGE_ID`, `PRIORITY` and every
/// `REMIT_` field except `REMIT_HASH`. Fields added by a sink are not covered. Names are complete and unique.
#[must_use]
pub fn hash<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Hash {
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_unstable();
    let mut text = VERSION.to_vec();
    for (name, value) in fields {
        put(&mut text, "", name, value);
    }
    Sha256::digest(text).into()
}

/// Returns the same hash for field names without the `REMIT_` prefix. `text` is a reused buffer.
#[must_use]
pub fn hash_fields<'a>(
    message: &str,
    message_id: &str,
    priority: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    text: &mut Vec<u8>,
) -> Hash {
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    text.clear();
    text.extend_from_slice(VERSION);
    put(text, "", "MESSAGE", message);
    put(text, "", "MESSAGE_ID", message_id);
    put(text, "", "PRIORITY", priority);
    for (name, value) in fields {
        put(text, "REMIT_", name, value);
    }
    Sha256::digest(text.as_slice()).into()
}

fn put(text: &mut Vec<u8>, prefix: &str, name: &str, value: &str) {
    let mut digits = [0; 20];
    let mut length = value.len();
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (length % 10) as u8;
        length /= 10;
        count += 1;
        if length == 0 {
            break;
        }
    }
    text.reserve(prefix.len() + name.len() + count + value.len() + 3);
    text.extend_from_slice(prefix.as_bytes());
    text.extend_from_slice(name.as_bytes());
    text.push(b' ');
    text.extend_from_slice(digits.get(20 - count..).unwrap_or_default());
    text.push(b'\n');
    text.extend_from_slice(value.as_bytes());
    text.push(b'\n');
}

#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'?'));
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Lower case only.
#[must_use]
pub fn unhex(text: &str) -> Option<Hash> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: &u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let (high, low) = (digit(pair.first()?)?, digit(pair.get(1)?)?);
        *byte = high << 4 | low;
    }
    Some(hash)
}
