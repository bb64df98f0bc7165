//! Why a policy was not loaded, whole and in short. Pure.

use serde::{Deserialize, Serialize};

pub type PolicyErrors = String;

#[derive(Debug, Serialize, Deserialize)]
pub enum LoadError {
    Refused(PolicyErrors),
    /// The compiler gave no answer. The next try may get one.
    Unavailable(PolicyErrors),
}

impl From<String> for LoadError {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

impl LoadError {
    pub fn text(self) -> PolicyErrors {
        match self {
            Self::Refused(text) | Self::Unavailable(text) => text,
        }
    }
}

/// Returns the sentence of each finding, without the lines that show the location in the file.
pub fn findings(why: &str) -> Vec<&str> {
    why.lines().filter(|line| !line.starts_with(' ')).collect()
}

pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Returns the first error and the number of further ones. Without errors, the same for warnings.
pub fn in_short(why: &str) -> String {
    let (warnings, errors): (Vec<_>, Vec<_>) = findings(why)
        .into_iter()
        .partition(|line| line.contains(": warning: "));
    let findings_shown = if errors.is_empty() { warnings } else { errors };
    let first = findings_shown.first().copied().unwrap_or_default();
    match findings_shown.len() {
        0 | 1 => first.to_owned(),
        many => format!("{first} (and {} more)", many - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_form_is_first_error_and_count() {
        let check = |why: &str, expect: &str| assert_eq!(in_short(why), expect, "{why}");
        check("", "");
        check(
            "a.toml:1:1: error: m\n  1 | x\n    | ^\n    = h",
            "a.toml:1:1: error: m",
        );
        check(
            "a.toml:1:1: warning: w\n  1 | x\nb.toml: error: m\n  = h",
            "b.toml: error: m",
        );
        check(
            "a: error: m\nb: warning: w\nc: error: n",
            "a: error: m (and 1 more)",
        );
        check("a: warning: v\nb: warning: w", "a: warning: v (and 1 more)");
    }
}
