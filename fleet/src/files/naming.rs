//! The name of bytes that pass by. Pure.

use remit_plan::Upload;
use sha2::{Digest, Sha256};

#[derive(Debug, Default)]
pub struct Naming {
    hash: Sha256,
    size: u64,
}

impl Naming {
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn end(self) -> Upload {
        Upload {
            sha256: self.hash.finalize().into(),
            size: self.size,
        }
    }
}
