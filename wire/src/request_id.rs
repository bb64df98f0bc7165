//! Request ids for runs without one, so that a run sent again remains the same job.

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

use remit_common::names::JobId;

/// Returns a unique id: 128 bits of random(4) in hexadecimal. Fails if `/dev/urandom` cannot be read.
pub fn fresh() -> io::Result<String> {
    let mut bits = [0; 16];
    source()?.read_exact(&mut bits)?;
    Ok(JobId(bits).to_string())
}

/// The file is opened once, because a shim needs an id for each call.
fn source() -> io::Result<&'static File> {
    static SOURCE: OnceLock<File> = OnceLock::new();
    match SOURCE.get() {
        Some(file) => Ok(file),
        None => {
            let file = File::open("/dev/urandom")?;
            Ok(SOURCE.get_or_init(|| file))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let (a, b) = (fresh().unwrap(), fresh().unwrap());
        assert!(a != b && a.len() == 32);
    }
}
