//! Collects findings and their positions, and has examples of what to write instead.

use std::collections::BTreeSet;
use std::ops::Range;

use remit_common::text::is_plain;
use remit_policy::{Diagnostic, Excerpt, Severity};
use toml::Spanned;
use toml::de::DeValue;

pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

pub(crate) fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "to" => "to = [\"%remit\"]",
        "allow" => "allow = [\"nginx.test\"]",
        "deny" => "deny = [\"run\"]",
        "by" => "by = [\"%remit-admin\"]",
        "name" => "name = \"nginx.test\"",
        "summary" => "summary = \"Check an nginx configuration\"",
        "argv" => "argv = [\"/usr/sbin/nginx\", \"-t\"]",
        "effect" => "effect = \"read\" or effect = \"change\"",
        "profile" => "profile = \"read\"",
        "run_profile" => "run_profile = \"strict\"",
        "base" => "base = \"strict\"",
        "type" => "type = \"string\"",
        "under" => "under = \"/srv\"",
        "values" => "values = [\"start\", \"stop\"]",
        "flag" => "flag = \"--verbose\"",
        "who" => "who = \"%remit\"",
        "what" => "what = \"run nginx.test\"",
        "agent" => "agent = \"bot\", the account that reaches it",
        "reaches" => "reaches = \"root\", or \"remit\", or an account",
        "reason" => "reason = \"it maintains the backups of root\"",
        "verdict" => "verdict = \"deny\"",
        "approval" => "approval = { by = [\"%remit-admin\"] }",
        "network" => "network = [\"api.example.com:443\"]",
        "args" => {
            "args.unit = { type = \"unit\" } in a [[command]], args = { unit = [\"nginx.service\"] } in a rule"
        }
        _ => return None,
    })
}

/// Returns the line to write instead: with the same value if its meaning is clear.
pub(crate) fn instead(key: &str, expected: &str, value: &Value<'_>) -> Option<String> {
    let text = value.get_ref().as_str();
    let plain = text.filter(|text| text.len() <= 64 && text.chars().all(is_plain));
    let plain = plain.filter(|text| !text.contains(['"', '\\']));
    let number = value.get_ref().as_integer().map(|number| number.as_str());
    match (expected, plain, number) {
        ("a list of strings", None, Some(uid)) if ["to", "by"].contains(&key) => {
            Some(format!("\"#{uid}\": a uid is text with '#' before it"))
        }
        (_, Some(text), _) if expected.starts_with("a list of strings") => {
            Some(format!("{key} = [\"{text}\"]"))
        }
        _ if ["profile", "type"].contains(&key) && expected.contains("table") => {
            Some(format!("[{key}.NAME]"))
        }
        ("true or false", ..) => Some(format!("{key} = true, without quotes")),
        ("an integer", Some(text), _) if text.parse::<i64>().is_ok() => {
            Some(format!("{key} = {text}, without quotes"))
        }
        ("a string", _, Some(number)) => Some(format!("{key} = \"{number}\"")),
        _ => example(key).map(str::to_owned),
    }
}

/// Maximum number of characters shown of a line; in a longer line, the characters shown before the span.
const WINDOW: usize = 100;
const BEFORE: usize = 40;

pub(crate) fn excerpt(text: &str, span: Range<usize>) -> Excerpt {
    let start = char_start(text, span.start);
    let end = char_start(text, span.end).max(start);
    let (before, rest) = text.split_at_checked(start).unwrap_or((text, ""));
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let lead = before.get(line_start..).unwrap_or_default();
    let lead_chars = lead.chars().count();
    let rest_of_line = rest
        .split('\n')
        .next()
        .unwrap_or_default()
        .trim_end_matches('\r');
    let spanned = text.get(start..end).unwrap_or_default();
    let spanned = spanned.split('\n').next().unwrap_or_default();

    let fits = lead_chars + rest_of_line.chars().count() <= WINDOW;
    let cut = if fits {
        0
    } else {
        lead_chars.saturating_sub(BEFORE)
    };
    let skip = lead_chars - cut;
    let max_width = WINDOW - skip;
    let shown = lead
        .chars()
        .skip(cut)
        .chain(rest_of_line.chars().take(max_width));
    Excerpt {
        line,
        column: lead_chars + 1,
        shown: shown.map(plain).collect::<String>().trim_end().to_owned(),
        skip,
        width: spanned.chars().count().clamp(1, max_width.max(1)),
    }
}

fn char_start(text: &str, index: usize) -> usize {
    (0..=index.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Replaces a character that is unsafe for a terminal, one for one, so that underlines fit.
fn plain(char: char) -> char {
    match char {
        '\t' => ' ',
        _ if is_plain(char) => char,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Collects findings, at most [`Findings::MOST`] of each severity: a file of mistakes must not fill the memory.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// How many of the errors are about a missing account.
    missing_accounts: usize,
    /// Programs about which there is an error.
    programs: BTreeSet<String>,
}

impl Findings {
    const MOST: usize = 100;

    pub(crate) fn push(
        &mut self,
        severity: Severity,
        file: &str,
        finding: impl FnOnce() -> Diagnostic,
    ) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= Self::MOST {
            self.kept.push(finding());
        } else if *count == Self::MOST + 1 {
            let text = format!(
                "more than {} findings in all; the others are not shown",
                Self::MOST
            );
            self.kept.push(Diagnostic::whole(severity, file, text));
        }
    }

    /// As [`Self::push`], for an error about a user or a group that the user database does not know.
    pub(crate) fn push_missing_account(
        &mut self,
        file: &str,
        finding: impl FnOnce() -> Diagnostic,
    ) {
        self.missing_accounts += 1;
        self.push(Severity::Error, file, || finding().about_missing_account());
    }

    /// Dozens of commands may execute a program that cannot be: one of them reports it.
    pub(super) fn is_first_about(&mut self, program: &str) -> bool {
        self.programs.insert(program.to_owned())
    }

    pub(crate) fn refuse_file(&mut self, file: &str, message: impl Into<String>) {
        self.push(Severity::Error, file, || {
            Diagnostic::whole(Severity::Error, file, message)
        });
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Returns true if further errors are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.max(self.warnings) >= Self::MOST
    }

    /// The finding that others are not shown is about missing accounts if all errors are.
    pub(crate) fn sorted(mut self) -> Vec<Diagnostic> {
        if self.missing_accounts == self.errors {
            let mark = |one: Diagnostic| match one.severity() {
                Severity::Error => one.about_missing_account(),
                Severity::Warning => one,
            };
            self.kept = self.kept.into_iter().map(mark).collect();
        }
        self.kept.sort_by(|a, b| a.key().cmp(&b.key()));
        self.kept.dedup();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_is_located_and_underlined() {
        let check = |text: &str, span: Range<usize>, expect: &str| {
            let found = Diagnostic::at(Severity::Error, "f", excerpt(text, span), "m".into());
            assert_eq!(found.to_string(), expect, "{text:?}");
        };
        check("ab = 1", 0..2, "f:1:1: error: m\n  1 | ab = 1\n    | ^^");
        check(
            "a\nb = é é",
            9..11,
            "f:2:7: error: m\n  2 | b = é é\n    |       ^",
        );
        check("a\r\nb\r\n", 3..4, "f:2:1: error: m\n  2 | b\n    | ^");
        check("a", 1..1, "f:1:2: error: m\n  1 | a\n    |  ^");
        check("", 0..0, "f:1:1: error: m\n  1 | \n    | ^");
        check("ab\ncd", 0..5, "f:1:1: error: m\n  1 | ab\n    | ^^");
        check(
            "\u{1b}[2J\tx",
            0..1,
            "f:1:1: error: m\n  1 | \u{fffd}[2J x\n    | ^",
        );
        check("a", 70..90, "f:1:2: error: m\n  1 | a\n    |  ^");
        check("é", 1..2, "f:1:1: error: m\n  1 | é\n    | ^");
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let text = "x".repeat(100_000);
        let shown = Diagnostic::at(
            Severity::Error,
            "f",
            excerpt(&text, 50_000..90_000),
            "m".into(),
        );
        assert_eq!(shown.column(), Some(50_001));
        assert!(shown.to_string().len() < 300, "{shown}");
    }

    #[test]
    fn findings_are_bounded_but_all_errors_count() {
        let mut findings = Findings::default();
        for at in 0..1000 {
            findings.refuse_file("f", at.to_string());
        }
        assert_eq!(findings.errors(), 1000);
        assert_eq!(findings.sorted().len(), Findings::MOST + 1);
    }

    #[test]
    fn overflow_is_about_accounts_if_all_errors_are() {
        let most = Findings::MOST;
        for (accounts, others, is_about_accounts) in [
            (1, 0, true),
            (most, 0, true),
            (most + 1, 0, true),
            (3 * most, 0, true),
            (most + 1, 1, false),
            (3 * most, 1, false),
            (0, most + 1, false),
        ] {
            let mut findings = Findings::default();
            for at in 0..accounts {
                let finding = || Diagnostic::whole(Severity::Error, "f", at.to_string());
                findings.push_missing_account("f", finding);
            }
            for at in 0..others {
                findings.refuse_file("g", at.to_string());
            }
            let found = findings.sorted();
            let all = found.iter().all(Diagnostic::is_about_missing_account);
            assert_eq!(all, is_about_accounts, "{accounts} {others}");
        }
    }
}
