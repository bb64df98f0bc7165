//! The program that answers the built-in commands, and how it is called.
//!
//! It runs as any job does, behind the same walls; nothing of it runs here.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use remit_common::builtin::Builtin;
use remit_common::refusal::{Code, Refusal};

const NAME: &str = "remit-look";
const PACKAGED: &str = "/usr/libexec/remit/remit-look";

/// The argv of a built-in command: the program, and the words that it parses again.
///
/// # Errors
/// `not_started`: the program is nowhere to be found.
pub fn argv(command: &Builtin) -> Result<Vec<Vec<u8>>, Refusal> {
    let program = find(std::env::current_exe().ok().as_deref()).ok_or_else(|| {
        let text =
            format!("cannot find '{NAME}' beside the daemon's own program or as '{PACKAGED}'");
        Refusal::new(Code::NotStarted, text)
            .object(NAME)
            .lift("install the package anew")
            .next("other commands can be run as argv; host tells of units too")
    })?;
    let words = command.words().into_iter().map(String::into_bytes);
    Ok(std::iter::once(program.into_os_string().into_vec())
        .chain(words)
        .collect())
}

/// Beside our own program, or in the package's libexec directory.
fn find(own: Option<&Path>) -> Option<PathBuf> {
    let beside = own.map(|own| own.with_file_name(NAME));
    let packaged = PathBuf::from(PACKAGED);
    beside
        .into_iter()
        .chain([packaged])
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_beside_ours_comes_first() {
        let dir = std::env::temp_dir().join(format!("remit-look-find-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let own = dir.join("remitd");
        assert_ne!(find(Some(&own)), Some(dir.join(NAME)));
        std::fs::write(dir.join(NAME), "").unwrap();
        assert_eq!(find(Some(&own)), Some(dir.join(NAME)));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
