//! Finds the program that would be executed, and its interpreters.

use std::ffi::{CStr, CString};

use remit_approval::FileBinding;
use remit_common::shebang::{FIRST_BYTES, interpreter};

use super::FileFound;
use super::file::{LARGEST_PROGRAM, Look, ResolvedFile, look, shown};

pub fn measure(name: &CStr, path: &[CString]) -> Result<Vec<FileFound>, String> {
    let (program, first) = one("program", &find(name, path)?)?;
    let mut files = vec![program];
    let Some(line) = interpreter(&first)? else {
        return Ok(files);
    };
    let unnamed = |_| "its first line has a NUL byte";
    let path_of_it = CString::new(line.path).map_err(unnamed)?;
    let (found, first_of_it) = one("interpreter", &present(&path_of_it)?)?;
    if interpreter(&first_of_it)?.is_some() {
        let text = shown(&path_of_it);
        return Err(format!(
            "'{}' cannot be approved: its interpreter '{text}' is itself a script",
            shown(name)
        ));
    }
    files.push(found);
    if let Some(name) = line.by_env {
        let name = CString::new(name).map_err(unnamed)?;
        files.push(one("interpreter", &find(&name, path)?)?.0);
    }
    Ok(files)
}

fn one(what: &str, resolved: &ResolvedFile) -> Result<(FileFound, Vec<u8>), String> {
    let mut first = Vec::new();
    let found = resolved.measure(
        what,
        FileBinding::Checked,
        LARGEST_PROGRAM,
        Some(&mut first),
    )?;
    first.truncate(FIRST_BYTES);
    Ok((found, first))
}

/// Searches like execvp(3).
fn find(name: &CStr, path: &[CString]) -> Result<ResolvedFile, String> {
    let bytes = name.to_bytes();
    if bytes.first() == Some(&b'/') {
        return present(name);
    }
    if bytes.is_empty() || bytes.contains(&b'/') {
        return Err(format!(
            "'{}' cannot be approved: the program needs an absolute path, or a name found in the PATH \
             of jobs",
            shown(name)
        ));
    }
    for dir in path {
        let whole = [dir.to_bytes(), b"/", bytes].concat();
        let Ok(whole) = CString::new(whole) else {
            continue;
        };
        match look(&whole)? {
            Look::At(resolved) if resolved.is_file() && resolved.is_executable() => {
                return Ok(resolved);
            }
            Look::At(_) | Look::Nothing => {}
            Look::ProcessSpecific => return Err(process_specific(&whole)),
        }
    }
    Err(format!(
        "there is no program '{}' in the PATH of jobs",
        shown(name)
    ))
}

fn present(path: &CStr) -> Result<ResolvedFile, String> {
    let text = shown(path);
    match look(path)? {
        Look::ProcessSpecific => Err(process_specific(path)),
        Look::Nothing => Err(format!("'{text}' does not exist")),
        Look::At(resolved) if !resolved.is_file() => Err(format!("'{text}' is not a regular file")),
        Look::At(resolved) if !resolved.is_executable() => {
            Err(format!("'{text}' is not an executable file"))
        }
        Look::At(resolved) => Ok(resolved),
    }
}

fn process_specific(path: &CStr) -> String {
    format!(
        "'{}' cannot be approved: it is a different file for each process",
        shown(path)
    )
}
