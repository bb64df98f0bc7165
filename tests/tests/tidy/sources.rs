//! Size and place of code.

use std::path::Path;

use super::repo;

/// Lines a file may have, without its tests.
const LINES: usize = 400;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

/// Files and directories with unsafe code, each with its reason.
const UNSAFE: &[(&str, &str)] = &[
    ("daemon/confine/src/floor", "the system calls of a sandbox"),
    (
        "daemon/broker/src/watch.rs",
        "to watch a descriptor of its own; the broker has no privilege",
    ),
    (
        "daemon/link/src/socket.rs",
        "to own a descriptor that recvmsg(2) just installed, and an option of a socket that no crate knows",
    ),
];

/// Test code attacks with raw system calls; it is no part of a shipped binary.
fn is_test(file: &Path) -> bool {
    let named = |name: &str| file.components().any(|part| part.as_os_str() == name);
    named("tests") || named("tests.rs")
}

/// The lines before the first test module.
fn lines_without_tests(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count()
}

#[test]
fn files_are_short() {
    let long: Vec<String> = repo::texts(&["rs"])
        .iter()
        .filter(|(file, _)| !is_test(file))
        .filter(|(file, _)| !LONGER.iter().any(|(known, _)| file == Path::new(known)))
        .map(|(file, text)| (file, lines_without_tests(text)))
        .filter(|(_, lines)| *lines > LINES)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "over {LINES}: {long:#?}");
}

#[test]
fn lines_of_tests_do_not_count() {
    assert_eq!(
        lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"),
        2
    );
    assert_eq!(lines_without_tests("a\n    #[cfg(test)]\nb\n"), 3);
}

/// The compiler denies unsafe code in the whole workspace; so it is enough to look where that is lifted.
#[test]
fn unsafe_code_lies_in_few_files() {
    let lifted = ["allow(", "expect(", "warn("].map(|how| format!("{how}unsafe_code"));
    let found: Vec<_> = repo::texts(&["rs"])
        .into_iter()
        .filter(|(file, _)| {
            !is_test(file) && !UNSAFE.iter().any(|(known, _)| file.starts_with(known))
        })
        .filter(|(_, text)| lifted.iter().any(|how| text.contains(how)))
        .map(|(file, _)| file)
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for (file, text) in repo::texts(&["toml"]) {
        if file.ends_with("Cargo.toml")
            && !file.starts_with("tests/fuzz")
            && file.parent() != Some(Path::new(""))
        {
            assert!(
                text.contains("[lints]\nworkspace = true"),
                "{}: no '[lints] workspace = true'",
                file.display()
            );
        }
    }
}

#[test]
fn no_file_puts_something_off() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    for (file, text) in repo::texts(&["rs", "toml", "sh", "md"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let found = marks.iter().find(|mark| line.contains(**mark));
            assert!(found.is_none(), "{}:{number}: {line}", file.display());
        }
    }
}

/// A file that names the place of its author's checkout or package cache is wrong on every other machine.
#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let checkout = repo::root().parent().expect("the checkout has a parent");
    let cache = std::env::var("CARGO_HOME").unwrap_or_else(|_| ".cargo/registry".into());
    let mut places = vec![cache];
    // In a checkout below / or a home directory the parent says nothing: too many good paths start with it.
    if checkout.components().count() > 1
        && !["/root", "/home", "/tmp", "/var/tmp"].contains(&checkout.to_string_lossy().as_ref())
    {
        places.push(format!("{}/", checkout.display()));
    }
    for file in repo::files() {
        let Ok(text) = std::fs::read_to_string(repo::root().join(&file)) else {
            continue; // no text: an image, a fuzz input
        };
        if file == Path::new("tests/tests/tidy/sources.rs") {
            continue;
        }
        for place in &places {
            assert!(
                !text.contains(place.as_str()),
                "{}: names '{place}'",
                file.display()
            );
        }
    }
}
