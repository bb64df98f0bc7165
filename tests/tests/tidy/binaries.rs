//! What the built binaries say and contain.

use std::path::Path;
use std::process::Command;

use super::repo;

/// The binaries that packages ship.
pub const SHIPPED: &[&str] = &["remitd", "remit-broker", "remit", "mcp-shim"];

/// A text that only the feature `mutate` puts into a binary.
const MUTATE_MARK: &[u8] = b"remit: built with walls that can be switched off";

fn has_mark(binary: &Path) -> bool {
    let bytes = std::fs::read(binary).expect("the binary is readable");
    bytes
        .windows(MUTATE_MARK.len())
        .any(|window| window == MUTATE_MARK)
}

#[test]
fn no_shipped_binary_has_walls_that_can_be_switched_off() {
    let dir = repo::binaries();
    for name in SHIPPED {
        let binary = dir.join(name);
        if binary.exists() {
            assert!(
                !has_mark(&binary),
                "'{}' has the feature mutate",
                binary.display()
            );
        } else {
            repo::missing(&format!("'{}'", binary.display()));
        }
    }
}

/// The other direction: the mark is really in a binary that has the feature.
#[test]
fn the_mark_of_switched_off_walls_is_found() {
    let binary = repo::binaries().join("../mutate/debug/remitd");
    if binary.exists() {
        assert!(has_mark(&binary), "'{}' has no mark", binary.display());
    } else {
        repo::missing(&format!("'{}' (make mutate)", binary.display()));
    }
}

/// The long options in a text: `--name`, up to the first character that cannot belong to it.
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
fn every_option_stands_in_the_man_page() {
    let pages = repo::root().join("packaging/man");
    if !pages.is_dir() {
        return; // they come with the packages
    }
    for name in SHIPPED {
        let binary = repo::binaries().join(name);
        if !binary.exists() {
            repo::missing(&format!("'{}'", binary.display()));
            continue;
        }
        let page = std::fs::read_dir(&pages)
            .expect("the man pages are readable")
            .filter_map(Result::ok)
            .find(|page| page.path().file_stem().is_some_and(|stem| stem == *name))
            .unwrap_or_else(|| panic!("no man page of '{name}' in '{}'", pages.display()));
        let page = std::fs::read_to_string(page.path()).expect("the man page is text");
        // A man page in roff writes '-' as '\-'.
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
