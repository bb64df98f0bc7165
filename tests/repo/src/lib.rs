//! Rules of the repository that compiler, clippy and rustfmt cannot check.
//!
//! `deny.toml` has the same rules about dependencies, for cargo-deny. These tests check them on every machine
//! that can build remit, without a network.

// Helpers panic as well. clippy.toml permits that only in functions marked `#[test]`.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![cfg(test)]

mod binaries {
    //! Output and contents of the built binaries.

    use std::path::Path;
    use std::process::Command;

    use super::repo;

    /// Shipped binaries, from the list that build, demo and throw-away daemons also read.
    pub fn shipped() -> impl Iterator<Item = &'static str> {
        include_str!("../../../packaging/programs").lines()
    }

    /// Binaries that people start. The warden starts the broker, so it has no help.
    const WITH_HELP: &[&str] = &["remitd", "remit", "mcp-shim", "remit-fleet"];

    /// Names of variables that only code of the feature `mutate` reads, so a binary with it contains them.
    const MUTATE_MARKS: &[&str] = &["REMIT_MUTATE", "REMIT_FAULT"];

    fn marks(binary: &Path) -> Vec<&'static str> {
        let bytes = std::fs::read(binary).expect("the binary is readable");
        // As text, because its search is fast even without optimization.
        let text = String::from_utf8_lossy(&bytes);
        MUTATE_MARKS
            .iter()
            .copied()
            .filter(|mark| text.contains(mark))
            .collect()
    }

    #[test]
    fn shipped_binaries_have_no_mutation_switches() {
        let dir = repo::binaries();
        for name in shipped() {
            let binary = dir.join(name);
            if binary.exists() {
                let found = marks(&binary);
                assert!(found.is_empty(), "'{}' has {found:?}", binary.display());
            } else {
                repo::missing(&format!("'{}'", binary.display()));
            }
        }
    }

    #[test]
    fn mutation_marks_are_found_in_mutate_build() {
        let binary = repo::binaries().join("../mutate/debug/remitd");
        if binary.exists() {
            assert_eq!(marks(&binary), MUTATE_MARKS, "'{}'", binary.display());
        } else {
            repo::missing(&format!("'{}' (make mutate)", binary.display()));
        }
    }

    fn options(text: &str) -> Vec<String> {
        let mut found: Vec<String> = text
            .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
            .filter(|word| {
                word.strip_prefix("--")
                    .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
            })
            .map(str::to_owned)
            .collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn options_are_found_in_help_texts() {
        let help = "Usage: x [--config DIR] --json\n  -h, --help  show [--a-b=C] - -- ---";
        assert_eq!(options(help), ["--a-b", "--config", "--help", "--json"]);
    }

    #[test]
    fn every_option_is_in_man_page() {
        let pages = repo::root().join("packaging/man");
        for name in WITH_HELP {
            let binary = repo::binaries().join(name);
            if !binary.exists() {
                repo::missing(&format!("'{}'", binary.display()));
                continue;
            }
            let page = std::fs::read_dir(&pages)
                .expect("the man pages are readable")
                .filter_map(Result::ok)
                .map(|page| page.path())
                .find(|page| page.file_stem().is_some_and(|stem| stem == *name))
                .unwrap_or_else(|| panic!("no man page of '{name}' in '{}'", pages.display()));
            let page = std::fs::read_to_string(page).expect("the man page is text");
            // roff writes '-' as '\-'.
            let page = options(&page.replace("\\-", "-"));
            let help = Command::new(&binary)
                .arg("--help")
                .output()
                .expect("the binary starts");
            assert!(help.status.success(), "'{name} --help' fails");
            for option in options(&String::from_utf8_lossy(&help.stdout)) {
                assert!(
                    page.contains(&option),
                    "{name}: '{option}' is not in its man page"
                );
            }
        }
    }
}

mod dependencies;
mod documents;
mod packaging;
mod purge;
mod sources;

/// The checkout: its files and its cargo.
mod repo {
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
        let listing =
            stdout(Command::new("git").args(["-c", "safe.directory=*", "ls-files", "-z"]));
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
}
