//! A part of a file that is written in place: its length (4 bytes, little-endian), a checksum, its body (postcard).
//!
//! The checksum is the first 8 bytes of the SHA-256 of the part's name, its owner's id and the body. So a torn part, or
//! another owner's, is known as damaged. Without a part, both are zero.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub const HEAD: usize = 4 + 8;

/// A part's name, offset and size.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub name: &'static [u8],
    pub at: usize,
    pub space: usize,
}

#[derive(Debug)]
pub enum Decoded<T> {
    Nothing,
    Whole(T),
    Damaged,
}

impl Part {
    pub fn encode(self, owner: [u8; 16], value: &impl Serialize) -> Result<Vec<u8>, String> {
        let body = postcard::to_extend(value, Vec::new()).map_err(|error| error.to_string())?;
        if HEAD + body.len() > self.space {
            return Err(format!("{} bytes do not fit into a slot", body.len()));
        }
        let length = u32::try_from(body.len()).map_err(|error| error.to_string())?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(self.checksum(owner, &body));
        bytes.extend(body);
        Ok(bytes)
    }

    /// `slot` may be cut short.
    pub fn decode<T: DeserializeOwned>(self, owner: [u8; 16], slot: &[u8]) -> Decoded<T> {
        let space = slot.get(self.at..).unwrap_or_default();
        let head = space.get(..HEAD.min(space.len())).unwrap_or_default();
        if head.iter().all(|byte| *byte == 0) {
            return Decoded::Nothing;
        }
        match self
            .whole(owner, space)
            .and_then(|body| postcard::from_bytes(body).ok())
        {
            Some(value) => Decoded::Whole(value),
            None => Decoded::Damaged,
        }
    }

    fn whole(self, owner: [u8; 16], space: &[u8]) -> Option<&[u8]> {
        let (length, rest) = space.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let body = rest.get(..length).filter(|_| length <= self.space)?;
        (self.checksum(owner, body) == *sum).then_some(body)
    }

    fn checksum(self, owner: [u8; 16], body: &[u8]) -> [u8; 8] {
        let hash = Sha256::new()
            .chain_update(self.name)
            .chain_update(owner)
            .chain_update(body)
            .finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }
}
