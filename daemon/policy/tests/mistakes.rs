//! Everyday mistakes of administrators: each diagnostic word for word, and each ends with what to write instead.
//! The system tests load the same files by `remit policy check`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]
#![allow(clippy::disallowed_methods, reason = "the mistakes are files")]

mod common;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use common::{accounts, lines, source};
use remit_policy::{Diagnostic, Severity, load};

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}

fn findings(file: &Path) -> Vec<Diagnostic> {
    let text = fs::read(file).unwrap();
    match load(&[source("a.toml", text)], &accounts()) {
        Err(found) => found,
        Ok(_) => panic!("{} loads", file.display()),
    }
}

#[test]
fn everyday_mistakes_are_reported_in_these_words() {
    let golden = include_str!("mistakes/expected.txt");
    let mut today = String::from("# Diagnostics of the files beside this one.\n");
    for file in files() {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let found = lines(&findings(&file));
        write!(today, "\n=== {name}\n{found}").unwrap();
    }
    for (was, is) in golden.lines().zip(today.lines()) {
        assert_eq!(was, is, "the whole file would be:\n{today}");
    }
    assert_eq!(golden, today, "the whole file would be:\n{today}");
}

#[test]
fn everyday_mistakes_end_with_what_to_write() {
    let files = files();
    assert!(files.len() >= 40, "{}", files.len());
    for file in files {
        for one in findings(&file) {
            let shown = one.to_string();
            let last = shown.lines().last().unwrap().trim_start();
            let helps = last.starts_with("= ") && one.severity() == Severity::Error;
            assert!(
                helps || one.severity() == Severity::Warning,
                "{}:\n{shown}",
                file.display()
            );
        }
    }
}
