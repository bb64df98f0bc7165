//! The programs that commands name: whether only root can change them.

use std::fs;
use std::path::Path;

use remit_policy::Program;

use crate::drop_ins::trust;

/// Looks at the program at an absolute path, links followed.
pub fn program(path: &str) -> Program {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Program::Missing,
        Err(error) => return Program::Distrusted(error.to_string()),
    };
    match trust::program(Path::new(&real)) {
        Ok(true) => Program::Trusted,
        Ok(false) => Program::Missing,
        Err(error) => Program::Distrusted(error.to_string()),
    }
}
