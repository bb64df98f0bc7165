//! The table in SECURITY.md: each pool has a layer, a limit or a sentence, and a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use remit_tests::attack;

use super::arena::security;

/// Columns: pool, counted for, protection, test.
fn rows(document: &str) -> Vec<[String; 4]> {
    let begin = document
        .find("\n## Pools of the machine\n")
        .expect("there is the table");
    let section = &document[begin + 4..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let lines = section.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        <[String; 4]>::try_from(cells).unwrap_or_else(|_| panic!("four columns: {line}"))
    };
    lines.skip(2).map(cells).collect()
}

fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for part in [
        "tests/system",
        "daemon/confine",
        "daemon/spawner",
        "daemon/warden/src",
    ] {
        for file in sources(&root.join(part)) {
            let text = fs::read_to_string(&file).expect("it can be read");
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                match line
                    .strip_prefix("fn ")
                    .and_then(|rest| rest.split('(').next())
                {
                    Some(name) if marked => {
                        found.insert(name.to_owned());
                        marked = false;
                    }
                    _ => marked = line == "#[test]" || marked && line.starts_with("#["),
                }
            }
        }
    }
    found
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn each_pool_has_defense_and_test() {
    let (document, tests) = (security(), tests());
    let rows = rows(&document);
    assert!(rows.len() > 40, "{}", rows.len());
    let mut pools = BTreeSet::new();
    for [pool, counted, mechanism, shown] in &rows {
        assert!(pools.insert(pool), "'{pool}' is there twice");
        assert!(!counted.is_empty(), "{pool}");
        let kind = mechanism.split(':').next().unwrap_or_default();
        assert!(
            ["wall", "limit", "sentence"].contains(&kind),
            "{pool}: {kind}"
        );
        let names: Vec<&str> = shown
            .split(", ")
            .map(|name| name.trim_matches('`'))
            .collect();
        assert!(!names.is_empty(), "{pool}");
        for name in names {
            let is_known = tests.contains(name)
                || attack::named(name).is_some()
                || attack::allowed::named(name).is_some();
            assert!(
                is_known,
                "{pool}: there is no test, attack or check '{name}'"
            );
        }
    }
}
