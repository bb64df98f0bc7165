//! What the bus sends to a job: replies pass, signals and calls are dropped. No message is kept whole. No IO.

use crate::message::{FIXED, Malformed, padded};

/// Bytes of a message of the bus: the limit of the system bus (dbus-daemon(1), `max_message_size`).
pub const MESSAGE: usize = 32 << 20;
const REPLY: u8 = 2;
const ERROR: u8 = 3;

#[derive(Debug, Default)]
pub struct Replies {
    /// The fixed part of a header, if it is not complete.
    fixed: Vec<u8>,
    missing: usize,
    passes: bool,
    /// Replies that have passed completely.
    pub count: u64,
}

impl Replies {
    /// Returns true if a message of the proxy can follow what has passed.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.missing == 0 || !self.passes
    }

    pub fn pass(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let (start, rest) = bytes.split_at(bytes.len().min(FIXED - self.fixed.len()));
                self.fixed.extend(start);
                bytes = rest;
                let Some(fixed) = self.fixed.first_chunk::<FIXED>() else {
                    return Ok(());
                };
                let length = length(fixed)?;
                let [_, kind, ..] = *fixed;
                self.passes = kind == REPLY || kind == ERROR;
                self.missing = length - FIXED;
                if self.passes {
                    out.extend(fixed);
                }
                self.fixed.clear();
            }
            let (start, rest) = bytes.split_at(bytes.len().min(self.missing));
            if self.passes {
                out.extend(start);
            }
            self.missing -= start.len();
            if self.missing == 0 && self.passes {
                self.count += 1;
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// Returns the length of the whole message, at least [`FIXED`].
fn length(fixed: &[u8; FIXED]) -> Result<usize, Malformed> {
    let [
        order,
        kind,
        _,
        version,
        b0,
        b1,
        b2,
        b3,
        _,
        _,
        _,
        _,
        f0,
        f1,
        f2,
        f3,
    ] = *fixed;
    let number: fn([u8; 4]) -> u32 = match order {
        b'l' => u32::from_le_bytes,
        b'B' => u32::from_be_bytes,
        _ => return Err(Malformed("the bus sends no message")),
    };
    if version != 1 || kind == 0 {
        return Err(Malformed("the bus sends another version"));
    }
    let fields = padded(number([f0, f1, f2, f3]) as usize);
    let body = number([b0, b1, b2, b3]) as usize;
    let all = FIXED.saturating_add(fields).saturating_add(body);
    match all <= MESSAGE {
        true => Ok(all),
        false => Err(Malformed("the bus sends a message that is too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header;

    fn message(kind: u8, text: &str) -> Vec<u8> {
        let mut message = Vec::new();
        header::error(&mut message, 9, 1, "a.B", text);
        message[1] = kind;
        message
    }

    #[test]
    fn replies_pass_in_pieces_of_any_size() {
        let (reply, error) = (message(2, "a"), message(3, "bcd"));
        let all = [
            message(4, "signal"),
            reply.clone(),
            message(1, "call"),
            error.clone(),
            message(9, "unknown"),
        ]
        .concat();
        for size in 1..all.len() {
            let (mut replies, mut out) = (Replies::default(), Vec::new());
            for piece in all.chunks(size) {
                replies.pass(piece, &mut out).unwrap();
            }
            assert_eq!(out, [reply.clone(), error.clone()].concat(), "{size}");
            assert!(replies.is_between() && replies.count == 2);
        }
    }

    #[test]
    fn nothing_is_inserted_into_a_reply() {
        let reply = message(2, "abc");
        for cut in 0..=reply.len() {
            let (mut replies, mut out) = (Replies::default(), Vec::new());
            replies.pass(&reply[..cut], &mut out).unwrap();
            let is_whole = out.is_empty() || out == reply;
            assert_eq!(replies.is_between(), is_whole, "{cut}");
        }
    }

    #[test]
    fn long_and_foreign_messages_end_it() {
        let with = |at: usize, bytes: &[u8]| {
            let mut message = message(2, "a");
            message[at..at + bytes.len()].copy_from_slice(bytes);
            Replies::default().pass(&message, &mut Vec::new())
        };
        assert_eq!(with(0, b"l"), Ok(()));
        for (at, bytes) in [
            (0, &b"x"[..]),
            (1, b"\0"),
            (3, b"\x02"),
            (4, b"\xff\xff\xff\xff"),
            (4, b"\0\0\0\x02"),
            (12, b"\xff\xff\xff\xff"),
        ] {
            assert!(with(at, bytes).is_err(), "{at} {bytes:?}");
        }
    }
}
