//! Random names of requests. A host that gets the same one twice starts the job once.

use std::fs::File;
use std::io::{self, Read};

use remit_common::hex::hex;

/// Returns 128 random bits as 32 digits.
pub fn fresh() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }
}
