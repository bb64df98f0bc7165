//! The name of uploaded bytes: their hash and their length.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::PlanError;
use crate::deciding::{is_listed, is_startup};
use crate::plan::{Change, Content, Entry, New, Plan};
use crate::{OLD_BYTES, PlanPath, hex};

const LINKED: &str = "it is a link that decides who may do what, and what it leads to may be an upload of this plan, which nobody \
                      reads: make two plans";
/// Long files in these are no text.
const BINARY: [&str; 5] = [
    "/boot",
    "/efi",
    "/lib/modules",
    "/usr/lib/modules",
    "/etc/ld.so.cache",
];
const TEXT: [&str; 5] = [".cfg", ".conf", ".dep", ".alias", ".softdep"];
const UPLOADED: &str = "what is in it decides who may do what, so whoever approves reads it: give it with 'write', not as an upload";

/// As text: the hash in hexadecimal, `-`, and the length. Two uploads with the same name have the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Upload {
    pub sha256: [u8; 32],
    pub size: u64,
}

impl Upload {
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&self.sha256)
    }

    pub(crate) const fn content(self) -> Content {
        Content {
            size: self.size,
            sha256: self.sha256,
            is_uploaded: true,
        }
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn hash_of(text: &str) -> Option<[u8; 32]> {
        let nibbles: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        let nibbles = nibbles?;
        let (pairs, rest) = nibbles.as_chunks::<2>();
        let bytes = pairs
            .iter()
            .map(|[high, low]| u8::try_from(high * 16 + low));
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().ok()?;
        bytes.try_into().ok().filter(|_| rest.is_empty())
    }
}

impl Change {
    #[must_use]
    pub fn bundled(&self) -> Option<Content> {
        self.content().filter(|content| !content.is_uploaded)
    }

    #[must_use]
    pub fn uploaded(&self) -> Option<Content> {
        self.content().filter(|content| content.is_uploaded)
    }

    #[must_use]
    pub fn upload(&self) -> Option<Upload> {
        self.uploaded().map(|content| Upload {
            sha256: content.sha256,
            size: content.size,
        })
    }
}

impl Plan {
    /// Fails for uploads whose content an approver has to read: at their paths, or behind a link of the same plan.
    pub(crate) fn check_uploads(&self) -> Result<(), PlanError> {
        let refused = |entry: &Entry, why| PlanError::Entry {
            path: entry.path.clone(),
            why,
        };
        let uploads = || {
            let all = self.entries().iter();
            all.filter_map(|entry| Some((entry, entry.change.uploaded()?)))
        };
        if let Some((entry, _)) = uploads().find(|(entry, new)| is_read(&entry.path, new.size)) {
            return Err(refused(entry, UPLOADED));
        }
        let leads = |entry: &&Entry| {
            let is_link = matches!(entry.change.makes(), Some(New::Link(_)));
            is_link && is_read(&entry.path, 0)
        };
        match (self.entries().iter().find(leads), uploads().next()) {
            (Some(link), Some(_)) => Err(refused(link, LINKED)),
            _ => Ok(()),
        }
    }
}

/// Returns true if an approver has to read what is in it.
#[must_use]
pub fn is_read(path: &PlanPath, size: u64) -> bool {
    let is_text = TEXT.iter().any(|end| path.name().ends_with(end.as_bytes()));
    let is_binary = !is_text && BINARY.iter().any(|dir| path.is_in(dir.as_bytes()));
    path.holds_login_keys()
        || is_startup(path)
        || is_listed(path) && (!is_binary || size <= OLD_BYTES)
}

impl fmt::Display for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hash(), self.size)
    }
}

impl FromStr for Upload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.split_once('-').and_then(|(hash, size)| {
            let sha256 = Self::hash_of(hash)?;
            let size = size.parse().ok()?;
            Some(Self { sha256, size })
        });
        // One text for each name: neither capitals nor zeros at the front.
        read.filter(|upload| upload.to_string() == text)
            .ok_or_else(|| "an upload is named as 'remit put' prints it: SHA256-BYTES".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let upload = Upload {
            sha256: [0xab; 32],
            size: 12,
        };
        let text = format!("{}-12", "ab".repeat(32));
        assert_eq!(upload.to_string(), text);
        assert_eq!(text.parse(), Ok(upload));
        let hash = "ab".repeat(32);
        for wrong in [
            String::new(),
            hash.clone(),
            format!("{hash}-"),
            format!("{hash}-012"),
            format!("{hash}-+12"),
            format!("{}-12", hash.to_uppercase()),
            format!("{hash}ab-12"),
            format!("{}-12", &hash[2..]),
            format!("{hash}-99999999999999999999"),
        ] {
            assert!(wrong.parse::<Upload>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn text_that_decides_is_read_and_long_files_of_a_boot_are_not() {
        let long = OLD_BYTES + 1;
        for (path, size, expect) in [
            ("/srv/app", 1, false),
            ("/srv/app/.ssh/authorized_keys", long, true),
            ("/etc/sudoers.d/x", long, true),
            ("/etc/modprobe.d/x", long, true),
            ("/boot/initrd.img", long, false),
            ("/boot/initrd.img", OLD_BYTES, true),
            ("/boot/grub/grub.cfg", long, true),
            ("/lib/modules/6.1/x.ko", long, false),
            ("/lib/modules/6.1/modules.alias", long, true),
        ] {
            assert_eq!(
                is_read(&PlanPath::new(path).unwrap(), size),
                expect,
                "{path}"
            );
        }
    }
}
