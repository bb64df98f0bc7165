//! Parses the first line of a script as the kernel does (execve(2), fs/binfmt_script.c) and finds its interpreter. It
//! opens nothing. To prove that nobody can change what runs, check these programs as well as the script.

/// Bytes of a file that the kernel reads.
pub const FIRST_BYTES: usize = 256;
/// Maximum depth of scripts as interpreters.
pub const DEPTH: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interpreter<'a> {
    /// Absolute.
    pub path: &'a [u8],
    /// Program that env(1) searches on the PATH, if the interpreter is env.
    pub by_env: Option<&'a [u8]>,
}

/// Parses the first bytes of a file. `None`: not a script. Fails with the reason if the interpreter is unknown.
pub fn interpreter(first: &[u8]) -> Result<Option<Interpreter<'_>>, &'static str> {
    let first = first.get(..FIRST_BYTES).unwrap_or(first);
    let Some(rest) = first.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let is_end = |byte: &u8| [b'\n', 0].contains(byte);
    let is_space = |byte: &u8| b" \t".contains(byte);
    let whole = rest.iter().any(is_end) || first.len() < FIRST_BYTES;
    let line = rest.split(is_end).next().unwrap_or_default().trim_ascii();
    let end = line.iter().position(is_space);
    if end.is_none() && !whole {
        return Err("its first line is longer than the kernel reads");
    }
    let (path, argument) = line.split_at(end.unwrap_or(line.len()));
    if path.first() != Some(&b'/') {
        return Err("its first line names no interpreter by an absolute path");
    }
    let by_env = match path.ends_with(b"/env") {
        true => looked_up(argument.trim_ascii(), whole)?,
        false => None,
    };
    Ok(Some(Interpreter { path, by_env }))
}

fn looked_up(argument: &[u8], whole: bool) -> Result<Option<&[u8]>, &'static str> {
    const UNKNOWN: &str =
        "its first line gives env(1) more than a name; name the interpreter itself by its path";
    let (split, rest) = match argument.strip_prefix(b"-S") {
        Some(rest) => (true, rest.trim_ascii()),
        None => (false, argument),
    };
    let name = match split {
        true => rest.split(|byte| b" \t".contains(byte)).next(),
        false => Some(rest),
    };
    let name = name.unwrap_or_default();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
    match name {
        [] => Ok(None),
        [b'-', ..] => Err(UNKNOWN),
        name if !name.iter().all(is_plain) || (!whole && name.len() == rest.len()) => Err(UNKNOWN),
        name => Ok(Some(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebang_is_parsed_as_by_kernel() {
        let plain = |path| Ok(Some(Interpreter { path, by_env: None }));
        let relative = Err("its first line names no interpreter by an absolute path");
        for (first, want) in [
            (&b"\x7fELF"[..], Ok(None)),
            (b"", Ok(None)),
            (b"# !/bin/sh", Ok(None)),
            (b"#!/bin/sh\necho", plain(b"/bin/sh")),
            (b"#! \t/bin/sh -e \nx", plain(b"/bin/sh")),
            (b"#!/bin/sh\0x", plain(b"/bin/sh")),
            (b"#!/usr/bin/env\n", plain(b"/usr/bin/env")),
            (b"#!/usr/bin/python3 x\n", plain(b"/usr/bin/python3")),
            (b"#!bin/sh\n", relative),
            (b"#!\n/bin/sh", relative),
        ] {
            assert_eq!(interpreter(first), want, "{}", first.escape_ascii());
        }
        let long = [b"#!/".to_vec(), vec![b'x'; 300]].concat();
        assert!(interpreter(&long).is_err());
    }

    #[test]
    fn env_is_followed_to_what_it_looks_up() {
        for (argument, want) in [
            (&b"python3"[..], Some(&b"python3"[..])),
            (b"-S python3 -I", Some(b"python3")),
            (b"-Spython3 -I", Some(b"python3")),
            (b"", None),
        ] {
            let line = [b"#!/usr/bin/env ", argument, b"\n"].concat();
            let found = interpreter(&line).map(|found| found.and_then(|found| found.by_env));
            assert_eq!(found, Ok(want), "{}", argument.escape_ascii());
        }
        for argument in [
            "A=b python3",
            "-i python3",
            "/bin/sh",
            "-S A=b python3",
            "a b",
            "-S -i sh",
            "\"x\"",
        ] {
            let line = format!("#!/usr/bin/env {argument}\n");
            assert!(interpreter(line.as_bytes()).is_err(), "{argument}");
        }
    }
}
