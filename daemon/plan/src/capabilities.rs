//! Capabilities of a file, as version 2 of the attribute `security.capability` has them: capabilities(7),
//! `<linux/capability.h>`. Who executes the file gets them, so they are for an approver what a set-id bit is.

use std::fmt;

// A file with a capability of another number is no file of a plan: nobody could read what it gives.
use remit_common::capability::NAMES;
use serde::{Deserialize, Serialize};

/// VFS_CAP_REVISION_2. Version 3 is of the root of another user namespace, and the kernel shows it to others alone.
const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCapabilities {
    /// Bits by number.
    pub permitted: u64,
    pub inheritable: u64,
    pub is_effective: bool,
}

/// Capabilities of a base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OldCapabilities {
    /// The planner cannot read them, or it is no file.
    #[default]
    Unread,
    Read(Option<FileCapabilities>),
}

impl FileCapabilities {
    /// Reads the value of the attribute. `None`: it is of another version or root, or gives nothing that has a name.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (words, rest) = value.as_chunks();
        let [head, words @ ..] = words else {
            return None;
        };
        let [permitted, inheritable, permitted_high, inheritable_high] = words else {
            return None;
        };
        let head = u32::from_le_bytes(*head);
        let bits = |low: &[u8; 4], high: &[u8; 4]| {
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32
        };
        let read = Self {
            permitted: bits(permitted, permitted_high),
            inheritable: bits(inheritable, inheritable_high),
            is_effective: head & EFFECTIVE != 0,
        };
        let is_known = rest.is_empty() && head & !EFFECTIVE == REVISION_2 && read.is_possible();
        is_known.then_some(read)
    }

    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let words = |bits: u64| bits.to_le_bytes();
        let (permitted, inheritable) = (words(self.permitted), words(self.inheritable));
        let ([a, b], [c, d]) = (halves(permitted), halves(inheritable));
        let head = REVISION_2 | u32::from(self.is_effective);
        [head.to_le_bytes(), a, c, b, d].concat()
    }

    /// Returns true if it gives a capability, and none without a name.
    #[must_use]
    pub const fn is_possible(self) -> bool {
        let all = self.permitted | self.inheritable;
        all != 0 && all >> NAMES.len() == 0
    }

    /// Returns the names of all, as `cap_net_raw, cap_setuid`.
    #[must_use]
    pub fn names(self) -> String {
        names(self.permitted | self.inheritable, ", ")
    }
}

/// Reads the permitted set of the attribute, also of the versions that no plan has. What is cut off is 0.
#[must_use]
pub fn permitted_capabilities(value: &[u8]) -> u64 {
    let word = |at: usize| -> u64 {
        let bytes = value.get(at..at.saturating_add(4));
        let bytes = bytes.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        u32::from_le_bytes(bytes.unwrap_or_default()).into()
    };
    match value.get(3) {
        Some(1) => word(4),
        _ => word(4) | word(12) << 32,
    }
}

fn halves(bytes: [u8; 8]) -> [[u8; 4]; 2] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [[a, b, c, d], [e, f, g, h]]
}

fn names(bits: u64, between: &str) -> String {
    let all = (0..).zip(NAMES).filter(|(bit, _)| bits >> bit & 1 != 0);
    let all: Vec<String> = all.map(|(_, name)| format!("cap_{name}")).collect();
    all.join(between)
}

/// As setcap(8) takes it: `cap_net_raw+ep`.
impl fmt::Display for FileCapabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = self.permitted & self.inheritable;
        let effective = if self.is_effective { "e" } else { "" };
        let parts = [
            (both, "ip"),
            (self.permitted & !both, "p"),
            (self.inheritable & !both, "i"),
        ];
        let parts = parts.into_iter().filter(|(bits, _)| *bits != 0);
        let parts = parts.map(|(bits, sets)| format!("{}+{effective}{sets}", names(bits, ",")));
        f.write_str(&parts.collect::<Vec<_>>().join(" "))
    }
}

impl OldCapabilities {
    /// Of a file whose attribute has this value. Capabilities that no plan can name are as if nobody had read them: a commit
    /// refuses to change that file.
    #[must_use]
    pub fn from_attribute(value: Option<&[u8]>) -> Self {
        match value.map(FileCapabilities::decode) {
            None => Self::Read(None),
            Some(None) => Self::Unread,
            Some(own) => Self::Read(own),
        }
    }

    /// Returns true if the file whose attribute has this value fits.
    #[must_use]
    pub fn fits(self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Unread, _) | (Self::Read(None), None) => true,
            (Self::Read(Some(own)), Some(value)) => FileCapabilities::decode(value) == Some(own),
            (Self::Read(Some(_)), None) | (Self::Read(None), Some(_)) => false,
        }
    }

    #[must_use]
    pub const fn known(self) -> Option<FileCapabilities> {
        match self {
            Self::Unread => None,
            Self::Read(known) => known,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const fn of(permitted: u64, inheritable: u64, is_effective: bool) -> FileCapabilities {
        FileCapabilities {
            permitted,
            inheritable,
            is_effective,
        }
    }

    #[test]
    fn values_are_those_of_setcap() {
        // `setcap cap_net_raw+ep`, `cap_setuid+ei`, `cap_bpf,cap_perfmon+p cap_chown+ip`: getfattr -e hex.
        for (value, expect, text) in [
            (
                "0100000200200000000000000000000000000000",
                of(1 << 13, 0, true),
                "cap_net_raw+ep",
            ),
            (
                "0100000200000000800000000000000000000000",
                of(0, 1 << 7, true),
                "cap_setuid+ei",
            ),
            (
                "000000020100000001000000c000000000000000",
                of(1 << 38 | 1 << 39 | 1, 1, false),
                "cap_chown+ip cap_perfmon,cap_bpf+p",
            ),
        ] {
            let bytes = bytes(value);
            assert_eq!(FileCapabilities::decode(&bytes), Some(expect), "{value}");
            assert_eq!((expect.encode(), expect.to_string()), (bytes, text.into()));
        }
        assert_eq!(of(1 << 13, 1 << 7, true).names(), "cap_setuid, cap_net_raw");
    }

    #[test]
    fn other_values_are_no_capabilities_of_a_plan() {
        for (value, why) in [
            ("", "empty"),
            ("01000002002000000000000000000000", "short"),
            ("010000020020000000000000000000000000000000", "long"),
            ("0100000300200000000000000000000000000000", "version"),
            (
                "010000030020000000000000000000000000000000000000",
                "of another root",
            ),
            ("010000010020000000000000", "version 1"),
            ("0300000200200000000000000000000000000000", "unknown flag"),
            ("0100000200000000000000000000000000000000", "nothing"),
            ("0100000200000000000000000002000000000000", "number 41"),
        ] {
            assert_eq!(FileCapabilities::decode(&bytes(value)), None, "{why}");
        }
    }

    #[test]
    fn base_fits_what_it_was() {
        let (raw, other) = (of(1 << 13, 0, true), of(1 << 13, 0, false));
        let (own, none) = (Some(raw.encode()), None::<Vec<u8>>);
        for (old, now, expect) in [
            (OldCapabilities::Unread, &own, true),
            (OldCapabilities::Unread, &none, true),
            (OldCapabilities::Read(None), &none, true),
            (OldCapabilities::Read(None), &own, false),
            (OldCapabilities::Read(Some(raw)), &own, true),
            (OldCapabilities::Read(Some(raw)), &none, false),
            (OldCapabilities::Read(Some(other)), &own, false),
        ] {
            assert_eq!(old.fits(now.as_deref()), expect, "{old:?} {now:?}");
        }
    }

    #[test]
    fn base_is_what_its_attribute_says() {
        let own = of(1 << 13, 0, true);
        let value = own.encode();
        for (value, expect) in [
            (None, OldCapabilities::Read(None)),
            (Some(&value[..]), OldCapabilities::Read(Some(own))),
            (Some(&value[1..]), OldCapabilities::Unread),
        ] {
            assert_eq!(OldCapabilities::from_attribute(value), expect);
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }
}
