//! Finds the package's programs that the daemon starts.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::startup::error::Fatal;

/// Finds a program next to remitd or in the package's libexec directory. Only root may be able to change it.
pub fn find(name: &str) -> Result<PathBuf, Fatal> {
    let own = std::env::current_exe().map_err(Fatal::call("cannot find our own program"))?;
    let beside = own.with_file_name(name);
    let program = [beside, Path::new("/usr/libexec/remit").join(name)]
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| {
            Fatal::Unavailable(format!(
                "cannot find '{name}' in the directory of '{}' or in '/usr/libexec/remit'",
                own.display()
            ))
        })?;
    check(&program)?;
    Ok(program)
}

fn check(path: &Path) -> Result<(), Fatal> {
    let refuse = |why: &str| {
        Err(Fatal::Unavailable(format!(
            "cannot use '{}': {why}",
            path.display()
        )))
    };
    match path.symlink_metadata() {
        Err(error) => refuse(&error.to_string()),
        Ok(meta) if !meta.is_file() => refuse("it is not a regular file"),
        Ok(meta) if meta.uid() != 0 => refuse("it is not owned by root"),
        Ok(meta) if meta.mode() & 0o022 != 0 => refuse("users other than root can write it"),
        Ok(_) => Ok(()),
    }
}
