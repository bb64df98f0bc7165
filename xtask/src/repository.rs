//! Reads the files of the repository that git lists, and has the errors of reading. Files that git does not track are
//! never read: build output and notes do not change a figure.

use std::path::{Path, PathBuf};
use std::process::Command;

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
}
