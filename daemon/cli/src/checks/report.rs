//! The result types of a check; the report holds the results of all checks, counts them and formats them as JSON. Pure.

use remit_common::admin::Checkup;
use serde::Serialize;

#[derive(Debug)]
pub struct Report {
    pub parts: Vec<Part>,
    pub checkup: Option<Checkup>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub checks: usize,
    pub ok: usize,
    pub warnings: usize,
    pub failures: usize,
    pub skipped: usize,
}

impl Counts {
    pub fn from_checks<'a>(checks: impl Iterator<Item = &'a Check>) -> Self {
        let mut counts = Self::default();
        for check in checks {
            counts.checks += 1;
            match check.verdict {
                Verdict::Ok(_) => counts.ok += 1,
                Verdict::Skipped(_) => counts.skipped += 1,
                Verdict::Warning(_) => counts.warnings += 1,
                Verdict::Failure(_) => counts.failures += 1,
            }
        }
        counts
    }
}

#[derive(Debug, Serialize)]
struct CheckView<'a> {
    part: &'static str,
    name: &'a str,
    verdict: &'static str,
    found: Option<&'a str>,
    why: Option<&'a str>,
    fix: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub struct Json<'a> {
    counts: Counts,
    checks: Vec<CheckView<'a>>,
    checkup: Option<&'a Checkup>,
}

impl Report {
    pub fn failures(&self) -> usize {
        self.counts().failures
    }

    pub fn counts(&self) -> Counts {
        Counts::from_checks(self.parts.iter().flat_map(|part| &part.checks))
    }

    pub fn json(&self) -> Json<'_> {
        let mut checks = Vec::new();
        for part in &self.parts {
            checks.extend(
                part.checks
                    .iter()
                    .map(|check| check_view(part.title, check)),
            );
        }
        Json {
            counts: self.counts(),
            checks,
            checkup: self.checkup.as_ref(),
        }
    }
}

fn check_view<'a>(part: &'static str, check: &'a Check) -> CheckView<'a> {
    let (verdict, found, finding) = match &check.verdict {
        Verdict::Ok(found) => ("ok", Some(found), None),
        Verdict::Skipped(why) => {
            return CheckView {
                part,
                name: &check.name,
                verdict: "skipped",
                found: None,
                why: Some(why),
                fix: None,
            };
        }
        Verdict::Warning(finding) => ("warning", None, Some(finding)),
        Verdict::Failure(finding) => ("failure", None, Some(finding)),
    };
    CheckView {
        part,
        name: &check.name,
        verdict,
        found: found.map(String::as_str),
        why: finding.map(|finding| finding.why.as_str()),
        fix: finding.map(|finding| finding.fix.as_str()),
    }
}

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

/// Checks of agents' accounts and of ssh, and whose they are.
pub struct AccountChecks {
    pub accounts: Vec<Check>,
    pub ssh: Vec<Check>,
    pub agents: Vec<String>,
}

impl AccountChecks {
    pub fn unknown(failure: Check, why: &str) -> Self {
        Self {
            accounts: vec![failure],
            ssh: vec![Check::skipped("all", why)],
            agents: Vec::new(),
        }
    }
}

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

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn report() -> Report {
        let part = |title, checks| Part { title, checks };
        Report {
            parts: vec![
                part("walls", vec![Check::ok("read: mounts", "EROFS")]),
                part(
                    "agents",
                    vec![
                        Check::failure("a: groups", "'a\x1b[2J' is in\n'docker'", "gpasswd"),
                        Check::warning("a: password", "set", "usermod"),
                        Check::skipped("b", "not root"),
                    ],
                ),
            ],
            checkup: None,
        }
    }

    #[test]
    fn object_has_every_check() {
        assert_eq!(report().failures(), 1);
        let json = serde_json::to_value(report().json()).unwrap();
        assert_eq!(json["counts"]["failures"], 1);
        assert_eq!(json["checks"][1]["verdict"], "failure");
        assert_eq!(json["checks"][1]["fix"], "gpasswd");
        assert_eq!(json["checks"][3]["why"], "not root");
        assert_eq!(json["checkup"], serde_json::Value::Null);
    }
}
