//! Writes the page to a file: whole or not at all, for its owner alone, and over nothing but an earlier report.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use remit_common::refusal::{Code, Refusal};

use super::html::START;
use crate::error::Failure;

/// Checks if the file may be written, before the records are read.
pub fn check(path: &Path, force: bool) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(path, &error)),
        Ok(found) if !found.is_file() => {
            let text = format!(
                "'{}' is no regular file and is not replaced",
                path.display()
            );
            let refusal = Refusal::new(Code::InvalidArgs, text);
            Err(Failure::Input(
                refusal.next("name another, or '-' for standard output"),
            ))
        }
        Ok(_) if force => Ok(()),
        Ok(_) => match is_report(path) {
            Ok(true) => Ok(()),
            Ok(false) => Err(not_replaced(path)),
            Err(error) => Err(unwritable(path, &error)),
        },
    }
}

pub fn write(path: &Path, page: &str, force: bool) -> Result<(), Failure> {
    let new = beside(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    // Whatever is there already is somebody else's, and stays.
    let mut file = options
        .open(&new)
        .map_err(|error| unwritable(&new, &error))?;
    let written = file
        .write_all(page.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| unwritable(path, &error))
        .and_then(|()| put(&new, path, force));
    if written.is_err() {
        // The error that follows says what matters.
        let _ = fs::remove_file(&new);
    }
    written
}

/// A file that came meanwhile is judged, too: link(2) replaces none.
fn put(new: &Path, path: &Path, force: bool) -> Result<(), Failure> {
    match fs::hard_link(new, path) {
        Ok(()) => {
            let _ = fs::remove_file(new);
            Ok(())
        }
        Err(_) => {
            check(path, force)?;
            fs::rename(new, path).map_err(|error| unwritable(path, &error))
        }
    }
}

fn is_report(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?
        .take(START.len() as u64)
        .read_to_end(&mut start)?;
    Ok(start == START.as_bytes())
}

/// Returns a name in the same directory that no other process of this program uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn not_replaced(path: &Path) -> Failure {
    let text = format!(
        "'{}' was not written by 'remit audit report' and is not replaced",
        path.display()
    );
    let refusal = Refusal::new(Code::InvalidArgs, text);
    Failure::Input(refusal.next("name another file, or give --force"))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let text = format!("cannot write '{}': {error}", path.display());
    Failure::Input(Refusal::new(Code::InvalidArgs, text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_report_is_replaced() {
        let dir = std::env::temp_dir().join(format!("remit-report-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let page = format!("{START}x");
        let file = dir.join("a.html");
        let read = || fs::read_to_string(&file).unwrap();
        check(&file, false).unwrap();
        write(&file, &page, false).unwrap();
        assert_eq!(
            (
                read(),
                file.metadata().unwrap().permissions().mode() & 0o777
            ),
            (page.clone(), 0o600)
        );
        write(&file, &format!("{START}y"), false).unwrap();
        assert_eq!(read(), format!("{START}y"));
        for other in ["", "x", "<!DOCTYPE html>\n", &format!(" {START}")] {
            fs::write(&file, other).unwrap();
            check(&file, false).unwrap_err();
            write(&file, &page, false).unwrap_err();
            assert_eq!(read(), other);
            write(&file, &page, true).unwrap();
            assert_eq!(read(), page);
        }
        let (link, missing) = (dir.join("link"), dir.join("no/a.html"));
        symlink(&file, &link).unwrap();
        for (path, force) in [
            (&link, true),
            (&link, false),
            (&dir, true),
            (&missing, true),
        ] {
            write(path, &page, force).unwrap_err();
        }
        assert!(link.symlink_metadata().unwrap().is_symlink());
        // Somebody was there first, and it is theirs.
        let theirs = beside(&file);
        fs::write(&theirs, "theirs").unwrap();
        write(&file, &page, true).unwrap_err();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        fs::remove_file(&theirs).unwrap();
        let mut left: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|one| one.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a.html", "link"]);
        fs::remove_dir_all(dir).unwrap();
    }
}
