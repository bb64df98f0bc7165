//! Reads the repository: the files that git lists, and the packages of the workspace by cargo, with the errors of reading.
//! Files that git does not track are never read: build output and notes do not change a figure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    files: Vec<String>,
}

impl Repository {
    pub fn open(root: &Path) -> Result<Self, ReportError> {
        // The caller may be root in a checkout of another user.
        let git = ["-c", "safe.directory=*", "ls-files", "-z"];
        let listing = run(root, "git", &git)?;
        let mut files: Vec<String> = listing
            .split('\0')
            .filter(|name| !name.is_empty() && root.join(name).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        Ok(Self {
            root: root.to_owned(),
            files,
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn files(&self) -> &[String] {
        &self.files
    }

    pub fn with_ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a str> {
        self.files
            .iter()
            .map(String::as_str)
            .filter(move |file| Path::new(file).extension().is_some_and(|end| end == ending))
    }

    pub fn text(&self, file: &str) -> Result<Option<String>, ReportError> {
        let path = self.root.join(file);
        let bytes = std::fs::read(&path).map_err(|source| ReportError::File { path, source })?;
        Ok(String::from_utf8(bytes).ok())
    }

    pub fn entries(&self, dir: &str) -> usize {
        entries(&self.files, dir)
    }
}

fn entries(files: &[String], dir: &str) -> usize {
    let mut names: Vec<&str> = files
        .iter()
        .filter_map(|file| file.strip_prefix(dir)?.strip_prefix('/')?.split('/').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// Returns true if `file` contains only tests, by its path.
pub fn is_test_path(file: &str) -> bool {
    file.split('/')
        .any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "examples"))
}

pub fn run(dir: &Path, program: &str, arguments: &[&str]) -> Result<String, ReportError> {
    let failed = |reason: String| ReportError::Command {
        command: format!("{program} {}", arguments.join(" ")),
        reason,
    };
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(failed(reason.trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot run '{command}': {reason}")]
    Command {
        command: String,
        /// The error of the system, or the output of the program.
        reason: String,
    },
    #[error("cannot access '{}': {source}", .path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot read '{path}': {reason}")]
    Invalid {
        /// The file or the program that printed the text.
        path: String,
        reason: String,
    },
}

impl ReportError {
    pub fn invalid(path: &str, reason: impl ToString) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

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

    fn names(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    #[test]
    fn entries_folder_counts_once() {
        let files = names(&["a/src/b.rs", "a/src/c/d.rs", "a/src/c/e.rs", "a/srcs/f.rs"]);
        assert_eq!(entries(&files, "a/src"), 2);
        assert_eq!(entries(&files, "b/src"), 0);
    }

    #[test]
    fn test_path_needs_whole_component() {
        for file in ["tests/src/a.rs", "a/tests/b.rs", "a/src/b/tests.rs"] {
            assert!(is_test_path(file), "{file}");
        }
        for file in ["a/src/attests.rs", "a/src/test.rs"] {
            assert!(!is_test_path(file), "{file}");
        }
    }

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
