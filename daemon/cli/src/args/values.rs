//! Values of options: times, variables, secrets.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use remit_common::span;

/// One `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

/// An argument whose value does not stand in the list of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub key: String,
    pub file: PathBuf,
}

pub fn timeout(text: &str) -> Result<u32, String> {
    match span::seconds_or_number(text).map_err(|error| error.to_string())? {
        0 => Err("a job runs for 1s at least".to_owned()),
        seconds => Ok(u32::try_from(seconds).unwrap_or(u32::MAX)),
    }
}

pub fn variable(text: OsString) -> Result<Variable, &'static str> {
    let (name, value) = split(text).ok_or("it is not NAME=VALUE")?;
    Ok(Variable { name, value })
}

pub fn secret(text: OsString) -> Result<Secret, &'static str> {
    let (key, file) = split(text).ok_or("it is not KEY=FILE")?;
    let key = String::from_utf8(key).map_err(|_| "the key is not UTF-8")?;
    match file.is_empty() {
        true => Err("it names no file"),
        false => Ok(Secret {
            key,
            file: OsString::from_vec(file).into(),
        }),
    }
}

/// Splits at the first `=`. Returns `None` without `=` or with nothing before it.
fn split(text: OsString) -> Option<(Vec<u8>, Vec<u8>)> {
    let bytes = text.into_vec();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = bytes.split_at(at);
    let value = value.get(1..).unwrap_or_default();
    (at > 0).then(|| (name.to_vec(), value.to_vec()))
}
