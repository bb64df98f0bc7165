//! Why a policy was not loaded, whole and in short. Pure.

use remit_policy::{Diagnostic, Severity};
use serde::{Deserialize, Serialize};

use crate::identity::user_names::AccountError;
use crate::startup::error::Fatal;

pub type PolicyErrors = String;

#[derive(Debug, Serialize, Deserialize)]
pub enum LoadError {
    Refused(PolicyErrors),
    /// The compiler gave no answer. The next try may get one.
    Unavailable(PolicyErrors),
    /// The user database does not know an account, or does not answer. A directory service may know it later.
    Account(PolicyErrors),
}

impl From<String> for LoadError {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

impl From<AccountError> for LoadError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Missing(text) => Self::Account(text),
            AccountError::Refused(text) => Self::Refused(text),
        }
    }
}

impl LoadError {
    /// Makes the error of these findings. One that is about more than accounts stays wrong, with a directory service, too.
    pub fn from_findings(found: &[Diagnostic], text: PolicyErrors) -> Self {
        let mut errors = found
            .iter()
            .filter(|one| one.severity() == Severity::Error)
            .peekable();
        let is_any = errors.peek().is_some();
        match is_any && errors.all(Diagnostic::is_about_missing_account) {
            true => Self::Account(text),
            false => Self::Refused(text),
        }
    }

    /// Returns the error of a start. `--check` starts nothing, so a missing account is wrong there.
    pub fn at_start(self, is_check: bool) -> Fatal {
        match self {
            Self::Refused(text) => Fatal::Config(text),
            Self::Account(text) if is_check => Fatal::Config(text),
            Self::Unavailable(text) => Fatal::Unavailable(text),
            Self::Account(text) => AccountError::Missing(text).into(),
        }
    }

    pub fn text(self) -> PolicyErrors {
        match self {
            Self::Refused(text) | Self::Unavailable(text) | Self::Account(text) => text,
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
    fn only_a_missing_account_lets_a_start_be_tried_again() {
        let wrong = || Diagnostic::whole(Severity::Error, "a", "wrong");
        let missing = || wrong().about_missing_account();
        let warning = || Diagnostic::whole(Severity::Warning, "a", "odd");
        for (found, is_check, status) in [
            (vec![missing()], false, 69),
            (vec![missing(), warning(), missing()], false, 69),
            (vec![missing()], true, 78),
            (vec![missing(), wrong()], false, 78),
            (vec![warning()], false, 78),
            (vec![], false, 78),
        ] {
            let error = LoadError::from_findings(&found, "why".to_owned());
            let fatal = error.at_start(is_check);
            assert_eq!(fatal.status(), status, "{found:?} {is_check}");
            let is_tried_again = fatal.to_string().contains("tries again");
            assert_eq!(is_tried_again, status == 69, "{fatal}");
        }
        let error = LoadError::from(AccountError::Missing("why".to_owned()));
        assert_eq!(error.text(), "why");
    }

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
