//! Input of a request: files and standard input, bounded, and errors of arguments that clap cannot see.

use std::io::{self, Read};
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Bytes;

use crate::args::Cli;
use crate::error::Failure;

pub fn usage(why: &str) -> Failure {
    Failure::Usage(Cli::command().error(ErrorKind::ValueValidation, why))
}

pub fn conflict(one: &str, other: &str) -> Failure {
    let why = format!("standard input cannot be both {one} and {other}");
    Failure::Usage(Cli::command().error(ErrorKind::ArgumentConflict, why))
}

/// Reads a file of at most `cap` bytes.
pub fn file_of(what: &str, file: &Path, cap: usize) -> Result<Bytes, Failure> {
    let name = format!("{what} '{}'", file.display());
    let mut opened = std::fs::File::open(file).map_err(|error| unreadable(&name, &error))?;
    bounded(&mut opened, &name, cap)
}

/// Reads at most `cap` bytes; more is an error.
pub fn bounded(from: &mut impl Read, name: &str, cap: usize) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    from.take(cap as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(name, &error))?;
    if bytes.len() > cap {
        let message = format!("{name} has more than {cap} bytes");
        return Err(Failure::Input(Refusal::new(Code::TooLarge, message)));
    }
    Ok(bytes.into())
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    let message = format!("cannot read {name}: {error}");
    Failure::Input(Refusal::new(Code::InvalidArgs, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_taken_up_to_its_cap() {
        assert_eq!(bounded(&mut &b"abc"[..], "x", 3).unwrap().as_ref(), b"abc");
        let Err(Failure::Input(refusal)) = bounded(&mut &b"abcd"[..], "x", 3) else {
            panic!("one byte too many is refused");
        };
        assert_eq!(refusal.code, Code::TooLarge);
        assert_eq!(refusal.message, "x has more than 3 bytes");
    }
}
