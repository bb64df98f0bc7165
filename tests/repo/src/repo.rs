//! The checkout: its files and its cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the tests lie in the workspace")
}

/// Returns every existing file under version control, relative to [`root`].
pub fn files() -> Vec<PathBuf> {
    // The tests run as root, perhaps in another user's checkout.
    let listing = stdout(Command::new("git").args(["-c", "safe.directory=*", "ls-files", "-z"]));
    listing
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|file| root().join(file).is_file())
        .collect()
}

pub fn texts(endings: &[&str]) -> Vec<(PathBuf, String)> {
    files()
        .into_iter()
        .filter(|file| {
            file.extension()
                .is_some_and(|ending| endings.iter().any(|one| ending == *one))
        })
        .map(|file| {
            let text = std::fs::read_to_string(root().join(&file)).expect("the file is text");
            (file, text)
        })
        .collect()
}

pub fn cargo(args: &[&str]) -> String {
    stdout(
        Command::new(env!("CARGO"))
            .args(args)
            .args(["--locked", "--offline"]),
    )
}

pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    test.ancestors()
        .nth(2)
        .expect("a test lies in PROFILE/deps")
        .to_owned()
}

/// Fails if `REMIT_TESTS_MUST_RUN` is set. Otherwise prints what was left out.
pub fn missing(what: &str) {
    assert!(
        std::env::var_os("REMIT_TESTS_MUST_RUN").is_none_or(|value| value != "1"),
        "{what} is missing and REMIT_TESTS_MUST_RUN=1"
    );
    eprintln!("left out: {what} is missing");
}

fn stdout(command: &mut Command) -> String {
    let output = command
        .current_dir(root())
        .output()
        .expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the command prints text")
}
