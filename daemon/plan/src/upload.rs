//! The name of uploaded bytes: their hash and their length.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hex;

/// As text: the hash in hexadecimal, `-`, and the length. Two uploads with the same name have the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Upload {
    pub sha256: [u8; 32],
    pub size: u64,
}

impl Upload {
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&self.sha256)
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
}
