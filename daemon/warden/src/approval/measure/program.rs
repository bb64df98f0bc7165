//! The program that would be executed, and what it would be interpreted by.

use std::ffi::{CStr, CString};

use super::file::{LARGEST_PROGRAM, Place, look, shown};
use super::{FileFound, Held};

/// As much of the first line as the kernel reads. execve(2).
const FIRST_LINE: usize = 255;

/// The program that `name` means, and its interpreters.
pub fn measure(name: &CStr, path: &[CString]) -> Result<Vec<FileFound>, String> {
    let (program, first) = one("program", &find(name, path)?)?;
    let mut files = vec![program];
    let Some(line) = Line::of(&first)? else {
        return Ok(files);
    };
    let (interpreter, first) = one("interpreter", &present(&line.interpreter)?)?;
    if Line::of(&first)?.is_some() {
        let text = shown(&line.interpreter);
        return Err(format!(
            "'{}' cannot be approved: its interpreter '{text}' is itself a script",
            shown(name)
        ));
    }
    files.push(interpreter);
    if let Some(name) = line.by_env() {
        files.push(one("interpreter", &find(&name, path)?)?.0);
    }
    Ok(files)
}

/// The file, and what it begins with.
fn one(what: &str, place: &Place) -> Result<(FileFound, Vec<u8>), String> {
    let mut first = Vec::new();
    let found = place.measure(what, Held::Checked, LARGEST_PROGRAM, Some(&mut first))?;
    first.truncate(FIRST_LINE);
    Ok((found, first))
}

/// The first file of that name that is a program, as execvp(3) finds it.
fn find(name: &CStr, path: &[CString]) -> Result<Place, String> {
    let bytes = name.to_bytes();
    if bytes.first() == Some(&b'/') {
        return present(name);
    }
    if bytes.is_empty() || bytes.contains(&b'/') {
        return Err(format!(
            "'{}' cannot be approved: what is to be approved needs an absolute path, or one found on \
             the PATH of jobs",
            shown(name)
        ));
    }
    for dir in path {
        let whole = [dir.to_bytes(), b"/", bytes].concat();
        let Ok(whole) = CString::new(whole) else {
            continue;
        };
        let place = look(&whole)?;
        if let Some(place) = place.filter(|place| place.is_file() && place.is_executable()) {
            return Ok(place);
        }
    }
    Err(format!(
        "there is no program '{}' on the PATH of jobs",
        shown(name)
    ))
}

/// The program at an absolute path.
fn present(path: &CStr) -> Result<Place, String> {
    let text = shown(path);
    if path.to_bytes().starts_with(b"/proc/") {
        return Err(format!(
            "'{text}' cannot be approved: it is another file for every process"
        ));
    }
    match look(path)? {
        None => Err(format!("'{text}' does not exist")),
        Some(place) if !place.is_file() => Err(format!("'{text}' is not a regular file")),
        Some(place) if !place.is_executable() => Err(format!("'{text}' is not an executable file")),
        Some(place) => Ok(place),
    }
}

/// The first line of a script.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    interpreter: CString,
    argument: Option<CString>,
}

impl Line {
    /// `None`: the file is no script. Reads the line as the kernel does (fs/binfmt_script.c).
    fn of(first: &[u8]) -> Result<Option<Self>, String> {
        let Some(line) = first.strip_prefix(b"#!") else {
            return Ok(None);
        };
        let line = line.split(|b| [b'\n', 0].contains(b)).next();
        let line = line.unwrap_or_default().trim_ascii();
        let is_space = |b: &u8| b" \t".contains(b);
        let end = line.iter().position(is_space).unwrap_or(line.len());
        let (interpreter, argument) = line.split_at(end);
        let argument = argument.trim_ascii();
        let text = |bytes: &[u8]| CString::new(bytes).ok();
        match text(interpreter) {
            Some(interpreter) if interpreter.as_bytes().first() == Some(&b'/') => Ok(Some(Self {
                interpreter,
                argument: text(argument).filter(|argument| !argument.is_empty()),
            })),
            _ => Err("its first line names no interpreter by an absolute path".to_owned()),
        }
    }

    /// What env(1) would look up, where it is the interpreter and has only that to do.
    fn by_env(&self) -> Option<CString> {
        let is_env = self.interpreter.as_bytes().ends_with(b"/env");
        let plain = |name: &&CString| {
            let bytes = name.as_bytes();
            bytes.first() != Some(&b'-') && !bytes.iter().any(|b| b"=/ \t".contains(b))
        };
        self.argument
            .as_ref()
            .filter(plain)
            .filter(|_| is_env)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read_as_the_kernel_does() {
        let line = |interpreter: &CStr, argument: Option<&CStr>| {
            Ok(Some(Line {
                interpreter: interpreter.to_owned(),
                argument: argument.map(CStr::to_owned),
            }))
        };
        let relative = || Err("its first line names no interpreter by an absolute path".to_owned());
        for (first, want) in [
            (&b"\x7fELF"[..], Ok(None)),
            (b"", Ok(None)),
            (b"# !/bin/sh", Ok(None)),
            (b"#!/bin/sh\necho", line(c"/bin/sh", None)),
            (b"#! \t/bin/sh -e \nx", line(c"/bin/sh", Some(c"-e"))),
            (
                b"#!/usr/bin/env -S a b",
                line(c"/usr/bin/env", Some(c"-S a b")),
            ),
            (b"#!bin/sh\n", relative()),
            (b"#!\n/bin/sh", relative()),
        ] {
            assert_eq!(Line::of(first), want, "{}", first.escape_ascii());
        }
    }

    #[test]
    fn what_env_looks_up_is_known_where_it_does_nothing_else() {
        for (first, want) in [
            (&b"#!/usr/bin/env python3\n"[..], Some(c"python3")),
            (b"#!/usr/bin/env -S python3 -I\n", None),
            (b"#!/usr/bin/env A=b\n", None),
            (b"#!/usr/bin/env /bin/sh\n", None),
            (b"#!/usr/bin/python3 x\n", None),
            (b"#!/usr/bin/env\n", None),
        ] {
            let line = Line::of(first).unwrap().unwrap();
            assert_eq!(line.by_env().as_deref(), want, "{}", first.escape_ascii());
        }
    }
}
