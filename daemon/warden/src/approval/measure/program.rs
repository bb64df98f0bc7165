//! The program that would be executed, and what it would be interpreted by.

use std::ffi::{CStr, CString};

use super::file::{LARGEST_PROGRAM, Place, look, shown};
use remit_common::shebang::{FIRST_BYTES, interpreter};

use super::{FileFound, Held};

/// The program that `name` means, and its interpreters.
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

/// The file, and what it begins with.
fn one(what: &str, place: &Place) -> Result<(FileFound, Vec<u8>), String> {
    let mut first = Vec::new();
    let found = place.measure(what, Held::Checked, LARGEST_PROGRAM, Some(&mut first))?;
    first.truncate(FIRST_BYTES);
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
