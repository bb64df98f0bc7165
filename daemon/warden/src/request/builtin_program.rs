//! Finds the program that answers built-in commands and builds its argv. The program runs as a job in the same
//! sandbox. None of it runs in this process.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use remit_common::builtin::Builtin;
use remit_common::refusal::{Code, Refusal};

const NAME: &str = "remit-look";
const PACKAGED: &str = "/usr/libexec/remit/remit-look";

/// Returns the argv of a built-in command. The program parses these words again.
/// Errors: `not_started`: the program is not installed.
pub fn argv(command: &Builtin) -> Result<Vec<Vec<u8>>, Refusal> {
    let program = find(std::env::current_exe().ok().as_deref()).ok_or_else(|| {
        let text = format!("cannot find '{NAME}' in the directory of remitd, or '{PACKAGED}'");
        Refusal::new(Code::NotStarted, text)
            .object(NAME)
            .lift("install the package again")
            .next("other commands can be run as argv; host tells of units too")
    })?;
    let words = command.words().into_iter().map(String::into_bytes);
    Ok(std::iter::once(program.into_os_string().into_vec())
        .chain(words)
        .collect())
}

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
    fn sibling_program_is_preferred() {
        let dir = std::env::temp_dir().join(format!("remit-look-find-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let own = dir.join("remitd");
        assert_ne!(find(Some(&own)), Some(dir.join(NAME)));
        std::fs::write(dir.join(NAME), "").unwrap();
        assert_eq!(find(Some(&own)), Some(dir.join(NAME)));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
