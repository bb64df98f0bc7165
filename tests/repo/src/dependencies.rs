//! Dependencies of the root process, and all licenses.

use std::collections::BTreeSet;

use super::repo;

/// Maximum number of external crates in the root process.
const WARDEN_CRATES: usize = 26;

/// Forbidden in the root process: threads, runtimes, parsers of untrusted input, and logging that may block.
const WARDEN_NEVER: &[&str] = &[
    "tokio",
    "async-io",
    "futures-executor",
    "rayon",
    "zbus",
    "tracing-subscriber",
    "tracing-journald",
    "serde_json",
    "toml",
    "toml_parser",
    "clap",
    "ssh-key",
];

/// Permitted licenses. Also in `deny.toml`.
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

/// Crates that may have two versions, each with its reason. None of them is in the root process.
const TWICE: &[(&str, &str)] = &[(
    "syn",
    "derive macros at build time: those of zbus and tracing are still at 2",
)];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    origin: Option<String>,
    licence: String,
}

fn tree(args: &[&str]) -> BTreeSet<Crate> {
    let mut command = vec!["tree", "--prefix", "none", "--format", "{p}\t{l}"];
    command.extend(args);
    repo::cargo(&command)
        .lines()
        .filter_map(|line| parse(line.trim_end_matches(" (*)")))
        .collect()
}

/// `name v1.2.3 (proc-macro) (/path)`, a tab, the license.
fn parse(line: &str) -> Option<Crate> {
    let (package, licence) = line.split_once('\t')?;
    let mut words = package.split(' ');
    Some(Crate {
        name: words.next()?.to_owned(),
        version: words.next()?.to_owned(),
        origin: words
            .find(|word| *word != "(proc-macro)")
            .map(str::to_owned),
        licence: licence.to_owned(),
    })
}

impl Crate {
    fn is_own(&self) -> bool {
        self.origin
            .as_ref()
            .is_some_and(|origin| origin.starts_with("(/"))
    }
}

#[test]
fn lines_of_the_tree_are_understood() {
    for (line, own, origin) in [
        ("a v1.0.0\tMIT", false, None),
        ("a v1.0.0 (proc-macro)\tMIT", false, None),
        ("a v1.0.0 (/src/a)\tMIT", true, Some("(/src/a)")),
        (
            "a v1.0.0 (proc-macro) (https://example.org/a#1)\tMIT",
            false,
            Some("(https://example.org/a#1)"),
        ),
    ] {
        let one = parse(line).expect("a crate");
        assert_eq!(
            (one.is_own(), one.origin.as_deref()),
            (own, origin),
            "{line}"
        );
        assert_eq!((one.name.as_str(), one.licence.as_str()), ("a", "MIT"));
    }
    assert_eq!(parse(""), None);
}

fn warden() -> Vec<Crate> {
    tree(&["-p", "remitd", "-e", "normal"])
        .into_iter()
        .filter(|one| !one.is_own())
        .collect()
}

fn all() -> Vec<Crate> {
    tree(&["--workspace", "-e", "normal,build,dev"])
        .into_iter()
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
fn root_process_has_no_async_bus_or_logger() {
    let crates = warden();
    let found: Vec<_> = crates
        .iter()
        .filter(|one| WARDEN_NEVER.contains(&one.name.as_str()))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn crates_are_own_or_from_registry() {
    let foreign: Vec<_> = all()
        .into_iter()
        .filter(|one| one.origin.is_some() && !one.is_own())
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

#[test]
fn every_licence_is_allowed() {
    let refused: Vec<_> = all()
        .into_iter()
        .filter(|one| !allowed(&one.licence))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn duplicate_crate_versions_have_reasons() {
    let all = all();
    let twice: BTreeSet<&str> = all
        .iter()
        .filter(|one| {
            all.iter()
                .any(|other| other.name == one.name && other.version != one.version)
        })
        .map(|one| one.name.as_str())
        .collect();
    let known: BTreeSet<&str> = TWICE.iter().map(|(name, _)| *name).collect();
    assert_eq!(twice, known);
}

/// Else a build, and the tests after it, would each compile the crate, and all that use it. `remit-tests` names such features.
#[test]
fn tests_add_no_features_to_what_builds_use() {
    let features = |edges: &str| -> BTreeSet<String> {
        let all = [
            "tree",
            "--workspace",
            "--prefix",
            "none",
            "--format",
            "{p}\t{f}",
            "-e",
            edges,
        ];
        let tree = repo::cargo(&all);
        tree.lines()
            .map(|line| line.trim_end_matches(" (*)").to_owned())
            .collect()
    };
    let builds = features("normal,build");
    let with_tests = features("normal,build,dev");
    let added: Vec<_> = builds.difference(&with_tests).collect();
    assert!(added.is_empty(), "{added:#?}");
}

/// Returns true if [`LICENCES`] satisfy an SPDX expression. OR binds weaker than AND; the old `/` means OR.
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
