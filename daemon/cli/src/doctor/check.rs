//! What a check is, and what it can come to. Pure.

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it was, such as `alice: groups`.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be; what was found, in a few words.
    Ok(String),
    /// It was not looked at, and why.
    Skipped(String),
    /// remit holds, but somebody should look.
    Warning(Finding),
    /// remit does not hold, or there is a way around it.
    Failure(Finding),
}

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One sentence.
    pub why: String,
    /// The way out: a command where there is one.
    pub fix: String,
}

/// Checks of one kind, under their heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The heading.
    pub title: &'static str,
    /// In the order they were made.
    pub checks: Vec<Check>,
}

impl Check {
    /// All is well.
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok(found.into()))
    }

    /// Not looked at.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, Verdict::Skipped(why.into()))
    }

    /// Somebody should look.
    pub fn warning(
        name: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (why, fix) = (why.into(), fix.into());
        Self::new(name, Verdict::Warning(Finding { why, fix }))
    }

    /// remit does not hold.
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

/// `found`, or one good check where nothing was found.
pub fn or_ok(found: Vec<Check>, name: &str, text: impl Into<String>) -> Vec<Check> {
    match found.is_empty() {
        true => vec![Check::ok(name, text)],
        false => found,
    }
}

/// What was found wrong, for tests.
#[cfg(test)]
pub fn whys(checks: &[Check]) -> Vec<String> {
    let why = |check: &Check| match &check.verdict {
        Verdict::Warning(finding) => Some(format!("warning: {}", finding.why)),
        Verdict::Failure(finding) => Some(format!("failure: {}", finding.why)),
        Verdict::Ok(_) | Verdict::Skipped(_) => None,
    };
    checks.iter().filter_map(why).collect()
}
