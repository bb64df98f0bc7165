//! How `remit-extract` hands the contents of a plan to the broker: over the socket that is its standard input.
//!
//! It sends the name of the upload ([`Header`]), and then the bytes if the answer is [`SEND`]. The last answer is [`KEPT`], or a sentence
//! that says why nothing is kept. An answer is one line.

pub const SEND: &str = "send";
pub const KEPT: &str = "kept";
/// Bytes of the longest answer, with its line feed.
pub const ANSWER: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub sha256: [u8; 32],
    pub size: u64,
}

impl Header {
    pub const BYTES: usize = 40;

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&self.sha256[..], &self.size.to_le_bytes()].concat()
    }

    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let (sha256, size) = bytes.split_first_chunk().unwrap_or((&[0; 32], &[]));
        let size = size.first_chunk().copied().map_or(0, u64::from_le_bytes);
        Self {
            sha256: *sha256,
            size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_read_as_it_is_written() {
        let header = Header {
            sha256: [7; 32],
            size: 0x0102_0304_0506_0708,
        };
        let bytes = header.encode();
        let bytes = bytes.first_chunk().unwrap();
        assert_eq!(Header::decode(bytes), header);
    }
}
