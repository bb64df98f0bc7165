//! All checks on one screen, or as one object. Pure.

use std::fmt::Write;

use remit_common::admin::Checkup;
use remit_common::text;
use serde::Serialize;

use super::check::{Check, Part, Verdict};

/// The most bytes of what a good check found.
const FOUND: usize = 120;
/// The most bytes of a sentence.
const SENTENCE: usize = 1024;

/// What was looked at, and what came of it.
#[derive(Debug)]
pub struct Report {
    pub parts: Vec<Part>,
    /// What the daemon told, if it did.
    pub checkup: Option<Checkup>,
}

/// How many checks came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    checks: usize,
    ok: usize,
    warnings: usize,
    failures: usize,
    skipped: usize,
}

/// One check as an object.
#[derive(Debug, Serialize)]
struct One<'a> {
    part: &'static str,
    name: &'a str,
    verdict: &'static str,
    found: Option<&'a str>,
    why: Option<&'a str>,
    fix: Option<&'a str>,
}

/// The report as an object.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    counts: Counts,
    checks: Vec<One<'a>>,
    checkup: Option<&'a Checkup>,
}

impl Report {
    /// How many checks failed.
    pub fn failures(&self) -> usize {
        self.counts().failures
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for check in self.parts.iter().flat_map(|part| &part.checks) {
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

    /// For programs.
    pub fn json(&self) -> Json<'_> {
        let mut checks = Vec::new();
        for part in &self.parts {
            checks.extend(part.checks.iter().map(|check| one(part.title, check)));
        }
        Json {
            counts: self.counts(),
            checks,
            checkup: self.checkup.as_ref(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = String::new();
        for part in &self.parts {
            lines += part.title;
            lines.push('\n');
            for check in &part.checks {
                lines += &show(check);
            }
        }
        lines + &self.summary()
    }

    fn summary(&self) -> String {
        let counts = self.counts();
        let mut line = format!("{}: {} ok", plural(counts.checks, "check"), counts.ok);
        for (count, name) in [(counts.warnings, "warning"), (counts.failures, "failure")] {
            // Writing to a String cannot fail.
            let _ = write!(line, ", {}", plural(count, name));
        }
        if counts.skipped > 0 {
            let _ = write!(line, ", {} skipped", counts.skipped);
        }
        line.push('\n');
        line
    }
}

fn one<'a>(part: &'static str, check: &'a Check) -> One<'a> {
    let (verdict, found, finding) = match &check.verdict {
        Verdict::Ok(found) => ("ok", Some(found), None),
        Verdict::Skipped(why) => {
            return One {
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
    One {
        part,
        name: &check.name,
        verdict,
        found: found.map(String::as_str),
        why: finding.map(|finding| finding.why.as_str()),
        fix: finding.map(|finding| finding.fix.as_str()),
    }
}

fn show(check: &Check) -> String {
    let name = text::line(check.name.as_bytes(), SENTENCE);
    let line = |text: &str, cap| text::line(text.as_bytes(), cap);
    match &check.verdict {
        Verdict::Ok(found) if found.is_empty() => format!("  ok       {name}\n"),
        Verdict::Ok(found) => format!("  ok       {name}: {}\n", line(found, FOUND)),
        Verdict::Skipped(why) => format!("  skipped  {name}: {}\n", line(why, SENTENCE)),
        Verdict::Warning(finding) | Verdict::Failure(finding) => {
            let word = match &check.verdict {
                Verdict::Failure(_) => "FAILURE",
                _ => "warning",
            };
            format!(
                "  {word}  {name}: {}\n           way out: {}\n",
                line(&finding.why, SENTENCE),
                line(&finding.fix, SENTENCE)
            )
        }
    }
}

fn plural(count: usize, name: &str) -> String {
    match count {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
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
    fn one_line_a_check_and_a_way_out() {
        assert_eq!(
            report().text(),
            "walls\n  ok       read: mounts: EROFS\n\
             agents\n  FAILURE  a: groups: 'a\\x1b[2J' is in\\n'docker'\n           way out: gpasswd\n\
             \x20 warning  a: password: set\n           way out: usermod\n  skipped  b: not root\n\
             4 checks: 1 ok, 1 warning, 1 failure, 1 skipped\n"
        );
        assert_eq!(report().failures(), 1);
    }

    #[test]
    fn the_object_has_the_same() {
        let json = serde_json::to_value(report().json()).unwrap();
        assert_eq!(json["counts"]["failures"], 1);
        assert_eq!(json["checks"][1]["verdict"], "failure");
        assert_eq!(json["checks"][1]["fix"], "gpasswd");
        assert_eq!(json["checks"][3]["why"], "not root");
        assert_eq!(json["checkup"], serde_json::Value::Null);
    }
}
