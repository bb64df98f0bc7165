//! What the root process is made of, and under which licences.

use std::collections::BTreeSet;

use serde_json::Value;

use super::repo;

/// The most crates from elsewhere in the root process.
const WARDEN_CRATES: usize = 45;

/// Never in the root process: threads, runtimes, parsers of what strangers send, and logging that may block.
const WARDEN_NEVER: &[&str] = &[
    "tokio",
    "async-io",
    "futures-executor",
    "rayon",
    "zbus",
    "tracing-subscriber",
    "tracing-journald",
    "serde_json",
    "clap",
];

/// Licences under which a crate may be used. Also in `deny.toml`.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that may come in two versions, each with its reason. None of them is in the root process.
const TWICE: &[(&str, &str)] = &[
    (
        "embedded-io",
        "an interface of postcard, which offers two versions of it; no code",
    ),
    (
        "syn",
        "derive macros at build time: those of zbus and tracing are still at 2",
    ),
];

/// The crates of the root process that are not of this repository.
fn warden() -> BTreeSet<String> {
    repo::cargo(&["tree", "-p", "remitd", "-e", "normal", "--prefix", "none"])
        .lines()
        .filter(|line| !line.is_empty() && !line.contains(" (/"))
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn the_root_process_has_few_crates() {
    let crates = warden();
    assert!(
        crates.len() <= WARDEN_CRATES,
        "{} crates, at most {WARDEN_CRATES}: {crates:#?}",
        crates.len()
    );
}

#[test]
fn the_root_process_has_no_runtime_bus_or_blocking_log() {
    let crates = warden();
    let found: Vec<_> = crates
        .iter()
        .filter(|one| WARDEN_NEVER.contains(&one.split(' ').next().unwrap_or_default()))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// Every package of the lock file that this platform builds.
fn packages() -> Vec<Value> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = repo::cargo(&[
        "metadata",
        "--format-version=1",
        "--filter-platform",
        &triple,
    ]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo metadata is JSON");
    let built: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("metadata has nodes")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    metadata["packages"]
        .as_array()
        .expect("metadata has packages")
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| built.contains(id)))
        .cloned()
        .collect()
}

#[test]
fn every_crate_is_ours_or_from_the_public_registry() {
    for package in packages() {
        let source = package["source"].as_str();
        assert!(
            source.is_none_or(|source| source.starts_with("registry+")),
            "{} comes from {source:?}",
            package["name"]
        );
    }
}

#[test]
fn every_licence_is_allowed() {
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| !allowed(package["license"].as_str().unwrap_or_default()))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn no_crate_comes_in_two_versions_without_a_reason() {
    let mut seen = BTreeSet::new();
    let packages = packages();
    let twice: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .filter(|name| !seen.insert(*name))
        .filter(|name| !TWICE.iter().any(|(known, _)| known == name))
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// Whether an SPDX expression can be satisfied by [`LICENCES`]. OR binds weaker than AND; the old `/` means OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words) -> bool {
    let mut result = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        result |= all_of(words);
    }
    result
}

fn all_of(words: &mut Words) -> bool {
    let mut result = one(words);
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words);
    }
    result
}

fn one(words: &mut Words) -> bool {
    if words.next_if_eq(&"(").is_some() {
        return any_of(words) & words.next_if_eq(&")").is_some();
    }
    let Some(licence) = words.next() else {
        return false;
    };
    match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => LICENCES.contains(&format!("{licence} WITH {exception}").as_str()),
        None => LICENCES.contains(&licence),
    }
}

#[test]
fn licence_expressions_are_understood() {
    for (expression, expect) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("", false),
        ("MIT OR GPL-3.0-only", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT OR GPL-3.0-only AND LGPL-3.0-only", true),
        ("GPL-3.0-only OR MIT AND LGPL-3.0-only", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0 WITH other-exception", false),
        ("(MIT", false),
        ("MIT MIT", false),
    ] {
        assert_eq!(allowed(expression), expect, "{expression}");
    }
}
