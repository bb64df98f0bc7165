//! Asks cargo for the packages of the workspace and their dependencies.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::repository::{ReportError, Repository, run};

/// The platform whose dependencies are counted, the same on every machine.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Clone, Debug)]
pub struct Package {
    pub name: String,
    pub dir: String,
    /// The files at which rustc begins: libraries, programs, tests.
    pub crate_roots: Vec<String>,
}

impl Package {
    /// Returns true if users of remit get code of this package: it is neither for tests nor a tool.
    pub fn is_shipped(&self) -> bool {
        !matches!(self.dir.split('/').next(), Some("tests" | "xtask"))
    }

    pub fn contains(&self, file: &str) -> bool {
        file.strip_prefix(self.dir.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Closure {
    pub own: BTreeSet<String>,
    /// Number of packages from other sources, without procedural macros.
    pub external: usize,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: String,
    targets: Vec<MetadataTarget>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    src_path: String,
}

pub fn packages(repository: &Repository) -> Result<Vec<Package>, ReportError> {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version=1"];
    let text = run(repository.root(), &cargo(), &arguments)?;
    let metadata: Metadata = serde_json::from_str(&text)
        .map_err(|error| ReportError::invalid("cargo metadata", error))?;
    let root = repository.root().canonicalize();
    let root = root.map_err(|source| ReportError::File {
        path: repository.root().to_owned(),
        source,
    })?;
    let root = format!("{}/", root.display());
    let relative = |path: &str| path.strip_prefix(&root).unwrap_or(path).to_owned();
    let mut packages: Vec<Package> = metadata
        .packages
        .into_iter()
        .map(|package| Package {
            dir: relative(package.manifest_path.trim_end_matches("/Cargo.toml")),
            crate_roots: package
                .targets
                .iter()
                .map(|target| relative(&target.src_path))
                .collect(),
            name: package.name,
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// Returns the package that `file` belongs to: the one with the longest directory.
pub fn owner<'a>(packages: &'a [Package], file: &str) -> Option<&'a Package> {
    packages
        .iter()
        .filter(|package| package.contains(file))
        .max_by_key(|package| package.dir.len())
}

/// Returns the packages that `package` is linked with. Features are those of this package built by itself.
pub fn closure(repository: &Repository, package: &str) -> Result<Closure, ReportError> {
    let arguments = [
        "tree",
        "--offline",
        "--locked",
        "--package",
        package,
        "--edges=normal,no-proc-macro",
        "--target",
        PLATFORM,
        "--prefix=none",
        "--format={p}",
    ];
    Ok(parse_tree(&run(repository.root(), &cargo(), &arguments)?))
}

/// Parses lines of the form `name v1.2.3`, with a path after it for packages of this repository.
fn parse_tree(text: &str) -> Closure {
    let lines: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    let (own, external): (BTreeSet<&str>, BTreeSet<&str>) =
        lines.into_iter().partition(|line| line.contains(" (/"));
    Closure {
        own: own
            .iter()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect(),
        external: external.len(),
    }
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dir: &str) -> Package {
        Package {
            name: name.to_owned(),
            dir: dir.to_owned(),
            crate_roots: Vec::new(),
        }
    }

    #[test]
    fn tree_repeated_line_counts_once() {
        let text = "a v0.1.0 (/x/a)\nlibc v0.2.1\nb v0.1.0 (/x/b)\nlibc v0.2.1 (*)\nlibc v0.3.0\n";
        let closure = parse_tree(text);
        assert_eq!(closure.own.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(closure.external, 2);
    }

    #[test]
    fn owner_is_innermost_package() {
        let all = [package("t", "tests"), package("b", "tests/bench")];
        let name = |file| owner(&all, file).map(|package| package.name.as_str());
        assert_eq!(name("tests/bench/src/a.rs"), Some("b"));
        assert_eq!(name("tests/src/a.rs"), Some("t"));
        assert_eq!(name("testsuite/a.rs"), None);
    }

    #[test]
    fn shipped_excludes_tests_and_tools() {
        assert!(package("w", "daemon/warden").is_shipped());
        assert!(!package("b", "tests/bench").is_shipped());
        assert!(!package("x", "xtask").is_shipped());
    }
}
