//! The result types of a check. Pure.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok(String),
    Skipped(String),
    /// Confinement works, but an administrator should look.
    Warning(Finding),
    /// Confinement fails, or a way around it exists.
    Failure(Finding),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub why: String,
    pub fix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub title: &'static str,
    pub checks: Vec<Check>,
}

impl Check {
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok(found.into()))
    }

    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Skipped(why.into()))
    }

    pub fn warning(
        name: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (why, fix) = (why.into(), fix.into());
        Self::new(name, Verdict::Warning(Finding { why, fix }))
    }

    pub fn failure(
        name: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (why, fix) = (why.into(), fix.into());
        Self::new(name, Verdict::Failure(Finding { why, fix }))
    }

    fn new(name: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            name: name.into(),
            verdict,
        }
    }
}

/// Returns `found`, or one good check if it is empty.
pub fn or_ok(found: Vec<Check>, name: &str, text: impl Into<String>) -> Vec<Check> {
    match found.is_empty() {
        true => vec![Check::ok(name, text)],
        false => found,
    }
}

#[cfg(test)]
pub fn whys(checks: &[Check]) -> Vec<String> {
    let why = |check: &Check| match &check.verdict {
        Verdict::Warning(finding) => Some(format!("warning: {}", finding.why)),
        Verdict::Failure(finding) => Some(format!("failure: {}", finding.why)),
        Verdict::Ok(_) | Verdict::Skipped(_) => None,
    };
    checks.iter().filter_map(why).collect()
}
