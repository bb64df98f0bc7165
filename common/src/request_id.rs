//! Request ids for runs that came without one: a run that is sent again must stay the same job.

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

use crate::names::JobId;

/// An id that nobody else has: 128 random bits from random(4), in hexadecimal.
///
/// # Errors
/// When the kernel's source of random bytes cannot be read.
pub fn fresh() -> io::Result<String> {
    let mut bits = [0; 16];
    source()?.read_exact(&mut bits)?;
    // Written as job ids are.
    Ok(JobId(bits).to_string())
}

/// Opened once: a shim draws for each call.
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
