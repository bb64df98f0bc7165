//! Input of a request: files and standard input, bounded; `KEY=VALUE` words; and errors that clap cannot see.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory};
use remit_common::behalf::Behalf;
use remit_common::refusal::{Code, Refusal};
use remit_common::{builtin, caps, text, traceparent};
use remit_wire::{Bytes, What};

use crate::args::{CallArgs, Cli, Secret};
use crate::error::Failure;

pub fn usage(why: &str) -> Failure {
    misuse(ErrorKind::ValueValidation, why)
}

/// Returns an error with the usage of the verb in the command line, as clap's own errors have it.
fn misuse(kind: ErrorKind, why: &str) -> Failure {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let mut rest = matches.as_ref().ok().and_then(ArgMatches::subcommand);
    while let Some((verb, matches)) = rest {
        let Some(found) = command.find_subcommand(verb).cloned() else {
            break;
        };
        command = found;
        rest = matches.subcommand();
    }
    Failure::Usage(command.error(kind, why))
}

pub fn claimed_trace() -> Option<String> {
    traceparent::checked(std::env::var("TRACEPARENT").ok())
}

pub fn claimed_behalf() -> Option<Behalf> {
    let words = std::env::var_os("REMIT_BEHALF")?;
    Behalf::new(words.as_bytes())
}

pub fn conflict(one: &str, other: &str) -> Failure {
    let why = format!("standard input cannot be both {one} and {other}");
    misuse(ErrorKind::ArgumentConflict, &why)
}

pub fn file_of(what: &str, file: &Path, cap: usize) -> Result<Bytes, Failure> {
    let name = format!("{what} '{}'", file.display());
    let mut opened = std::fs::File::open(file).map_err(|error| unreadable(&name, &error))?;
    bounded(&mut opened, &name, cap)
}

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

/// Returns the command with its arguments: the words in order, then the secrets. The daemon validates them.
pub fn named_command(name: String, words: &[OsString], call: &CallArgs) -> Result<What, Failure> {
    let from_stdin = |secret: &&Secret| secret.file == Path::new("-");
    let readers = call.secret.iter().filter(from_stdin).count();
    if readers > 0 && call.stdin {
        return Err(conflict("a secret", "the command's input ('--stdin')"));
    }
    if readers > 1 {
        return Err(conflict("one secret", "another"));
    }
    let mut args = Vec::new();
    for word in words {
        args.push(pair(&name, word)?);
    }
    for secret in &call.secret {
        args.push((secret.key.clone(), value(secret)?));
    }
    Ok(What::Named { name, args })
}

fn pair(name: &str, word: &OsString) -> Result<(String, String), Failure> {
    let Some(word) = word.to_str() else {
        let why = format!("an argument of '{name}' is not UTF-8");
        return Err(Failure::Input(Refusal::new(Code::InvalidArgs, why)));
    };
    if let Some((key, value)) = word.split_once('=') {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let shown = text::line(word.as_bytes(), 64);
    let why = format!("'{shown}' is no argument: each is KEY=VALUE");
    let then = match meant(name, word) {
        Some(meant) => format!("'{meant}' is likely meant"),
        None => match builtin::pair(name, word) {
            Err(Refusal {
                next: Some(next),
                code: Code::InvalidArgs,
                ..
            }) => next,
            _ => format!("'remit access --name {name}' lists its arguments"),
        },
    };
    Err(usage(&format!("{why}; {then}")))
}

/// Suggests the probable meaning of a word: `ssh` is the unit of `service.status`.
fn meant(name: &str, word: &str) -> Option<String> {
    let command = builtin::find(name).ok()?;
    let mut args = command.args.iter().map(|arg| arg.name);
    let key = args.find(|name| matches!(*name, "unit" | "pattern"))?;
    Some(format!("{key}={word}"))
}

/// Reads a value from a file, without the final newline that an editor adds.
fn value(secret: &Secret) -> Result<String, Failure> {
    // One more byte for a newline.
    let cap = caps::NAMED_VALUE + 1;
    let what = format!("'{}' from", secret.key);
    let bytes = match secret.file == Path::new("-") {
        true => bounded(&mut io::stdin(), "standard input", cap)?,
        false => file_of(&what, &secret.file, cap)?,
    };
    let bytes = bytes.into_vec();
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    match std::str::from_utf8(line) {
        Ok(value) => Ok(value.to_owned()),
        // The message must not show any part of the secret.
        Err(_) => {
            let why = format!("the value of '{}' is not UTF-8", secret.key);
            Err(Failure::Input(Refusal::new(Code::InvalidArgs, why)))
        }
    }
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
