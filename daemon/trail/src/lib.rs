//! The chain of the audit log: its events and verdicts, the hash of a record, and the head. Pure. `remit-audit-verify` checks it.
#![forbid(unsafe_code)]

mod head;
mod verdict;

use sha2::{Digest, Sha256};

pub use head::{BadHead, Head, Link};
pub use remit_common::hex::{hex, unhex};
pub use verdict::RecordVerdict;

pub type Hash = [u8; 32];

const VERSION: &[u8] = b"remit audit record 1\n";

/// The name of the field with a record's hash. The hash covers every other field of [`is_own`].
pub const HASH: &str = "REMIT_HASH";

/// Returns true for a field of the record itself. A sink adds others.
#[must_use]
pub fn is_own(name: &str) -> bool {
    is_common(name) || name.starts_with("REMIT_")
}

/// Returns true for a name that the daemon may write. With a space and a line feed in a name, records with different
/// fields have the same hash.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    is_common(name) || name.strip_prefix("REMIT_").is_some_and(is_valid_word)
}

fn is_common(name: &str) -> bool {
    matches!(name, "MESSAGE" | "MESSAGE_ID" | "PRIORITY")
}

/// journald refuses names of more than 64 bytes.
fn is_valid_word(word: &str) -> bool {
    let is_valid = |byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
    (1..=58).contains(&word.len()) && word.bytes().all(is_valid)
}

/// Returns the SHA-256 of a record's fields (remit-audit(7)), sorted by name as bytes. Each is `NAME SP LENGTH LF
/// VALUE LF`; LENGTH is the number of bytes of VALUE in decimal. Names are complete, unique and valid.
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
    debug_assert!(
        fields.iter().all(|(name, _)| is_valid_word(name)),
        "a field has a name that no reader takes: {fields:?}"
    );
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

/// An event. Each has its own MESSAGE_ID, for `journalctl MESSAGE_ID=…` and the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Start,
    Stop,
    Queued,
    /// A job is about to be executed.
    Intent,
    End,
    /// A job was running when the daemon died.
    Interrupted,
    Refusal,
    Policy,
    Lock,
    Unlock,
    Broker,
    /// The ledger of jobs was damaged.
    Ledger,
    /// The sandbox self-test ran, or nothing runs because a sandbox layer is missing.
    SelfTest,
    Asked,
    Approved,
    Denied,
    /// A change was not approved in time, or a temporary grant ended.
    Expired,
    /// A waiting change no longer matches its request.
    Void,
    Granted,
    /// A person revoked a temporary grant, or all grants are lost.
    Revoked,
    /// The audit log itself is affected: its file was truncated, or numbers were skipped after a machine crash.
    AuditLog,
    /// What an ended job asked the system bus.
    Bus,
    Paused,
    Resumed,
    /// An administrator confirmed a commit of files from a new login.
    Confirmed,
    /// Nobody confirmed a commit of files: it is undone, was undone, or cannot be.
    Unconfirmed,
    /// A user begins to send a file that a plan can name.
    Upload,
    /// A user had the copy of the machine forgotten that a job left.
    Drop,
    /// An administrator gets the plan of a request, or the contents of files that it has copies of.
    Shown,
}

impl Event {
    pub const ALL: [Self; 29] = [
        Self::Start,
        Self::Stop,
        Self::Queued,
        Self::Intent,
        Self::End,
        Self::Interrupted,
        Self::Refusal,
        Self::Policy,
        Self::Lock,
        Self::Unlock,
        Self::Broker,
        Self::Ledger,
        Self::SelfTest,
        Self::Asked,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Void,
        Self::Granted,
        Self::Revoked,
        Self::AuditLog,
        Self::Bus,
        Self::Paused,
        Self::Resumed,
        Self::Confirmed,
        Self::Unconfirmed,
        Self::Upload,
        Self::Drop,
        Self::Shown,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Queued => "queued",
            Self::Intent => "intent",
            Self::End => "end",
            Self::Interrupted => "interrupted",
            Self::Refusal => "refusal",
            Self::Policy => "policy",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Broker => "broker",
            Self::Ledger => "ledger",
            Self::SelfTest => "walls",
            Self::Asked => "asked",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Void => "void",
            Self::Granted => "given",
            Self::Revoked => "revoked",
            Self::AuditLog => "trail",
            Self::Bus => "bus",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Confirmed => "confirmed",
            Self::Unconfirmed => "unconfirmed",
            Self::Upload => "upload",
            Self::Drop => "drop",
            Self::Shown => "shown",
        }
    }

    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }

    /// Returns the MESSAGE_ID: random, and never changed (systemd.journal-fields(7)).
    #[must_use]
    pub const fn message_id(self) -> &'static str {
        match self {
            Self::Start => "c0cc3637c5ee44cb8d58d74e7160a3e0",
            Self::Stop => "6d21ec74910743cf805e9c049cdfb1c1",
            Self::Queued => "0f46946454ed4d13afac535a47951ec5",
            Self::Intent => "1edd20adaf1747c6a70f3941f01b0e26",
            Self::End => "659a666060e74475b48b3fa33e0243b9",
            Self::Interrupted => "0b8d431c91d34a669e13e5a8436db3f0",
            Self::Refusal => "93c2e8fb1b4d4ef8b72c7642942e781c",
            Self::Policy => "c3ad6bd82b474d7eb37a74a84a4a1525",
            Self::Lock => "f7d6372da06347b2a81c40f3bae22458",
            Self::Unlock => "b67893e89e2b4b63bb3a7d25531aca41",
            Self::Broker => "8336992825cd44a5ae3dee70a0332bfa",
            Self::Ledger => "353e31ef449843afa20e9cf5e5987698",
            Self::SelfTest => "2c0dacc56a64445dab4ead2374fcffab",
            Self::Asked => "0a328af6c0994a3fbca1be6cdfb98d06",
            Self::Approved => "bc85c996466f41df98140f2091bab8e7",
            Self::Denied => "8d0aa2ea175c49b4aa4410af4139cd77",
            Self::Expired => "893cf9b483cc45c7a34971c4833e42b9",
            Self::Void => "636390def0864a02ab8bd2cb703c53f9",
            Self::Granted => "9fc1b832f8d943a19ec349630a1fc9e5",
            Self::Revoked => "3cb934cb73874fb5b5befabeb6bc0fdd",
            Self::AuditLog => "28a45d6cbc7140f2b5ed84ad6dc387a7",
            Self::Bus => "664fd0b77e6040bc9ebd8060abe5330c",
            Self::Paused => "36667f0118b84644b5786c22721f8ca9",
            Self::Resumed => "c63e4651144340b2b378dee090e2d29b",
            Self::Confirmed => "221fecb8b8134d29b27c41d946fce181",
            Self::Unconfirmed => "afa641cd67cb4fb29464649a6375d86a",
            Self::Upload => "4d1f7a0c92c34a5e8b6e0f3a7cd51b28",
            Self::Drop => "f460092ee09e4b2f9dcd8ee8ab29d795",
            Self::Shown => "219265252e7a4b8382e895fcc12858a9",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn message_ids_are_128_bits_and_differ() {
        let ids: BTreeSet<_> = Event::ALL.iter().map(|event| event.message_id()).collect();
        assert_eq!(ids.len(), Event::ALL.len());
        for id in ids {
            assert!(
                id.len() == 32 && u128::from_str_radix(id, 16).is_ok(),
                "{id}"
            );
        }
    }

    #[test]
    fn all_have_names_of_their_own() {
        for (index, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index, "ALL has the order of the type");
            assert_eq!(Event::of_name(event.name()), Some(event));
        }
        assert_eq!(Event::of_name("x"), None);
        for (index, verdict) in RecordVerdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index, "ALL has the order of the type");
        }
        let names: BTreeSet<_> = RecordVerdict::ALL.map(RecordVerdict::name).into();
        assert_eq!(names.len(), RecordVerdict::ALL.len());
    }
}
