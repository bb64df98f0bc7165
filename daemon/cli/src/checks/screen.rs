//! Shows a report on a terminal: a line for each part, then warnings and failures in full, the failures last. Pure.

use remit_common::text;

use super::daemon;
use super::report::{Check, Counts, Part, Report, Verdict};
use crate::render::units;
use crate::render::units::Colour;

/// In bytes, for the result of a good check.
const FOUND: usize = 120;
const SENTENCE_BYTES: usize = 1024;
/// Columns before the state of a part, and of a check.
const PART: usize = 9;
const CHECK: usize = 2;
/// Words of checks, whose names in JSON stay as they are.
const LABELS: [(&str, &str); 8] = [
    ("audit trail", "audit log"),
    ("room for ", "free space in "),
    ("settings of the unit", "unit settings"),
    ("the daemon's process", "daemon process"),
    (": reach", ": access"),
    (": started", ": scheduled jobs"),
    (": keys elsewhere", ": keys in other accounts"),
    (": sshd by connection", ": sshd for other connections"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Skipped,
    Warning,
    Failure,
}

impl State {
    const ALL: [Self; 4] = [Self::Ok, Self::Skipped, Self::Warning, Self::Failure];

    fn of_check(check: &Check) -> Self {
        match check.verdict {
            Verdict::Ok(_) => Self::Ok,
            Verdict::Skipped(_) => Self::Skipped,
            Verdict::Warning(_) => Self::Warning,
            Verdict::Failure(_) => Self::Failure,
        }
    }

    /// Checks that were not made do not count if others were.
    fn of_counts(counts: Counts) -> Self {
        match counts {
            Counts { failures: 1.., .. } => Self::Failure,
            Counts { warnings: 1.., .. } => Self::Warning,
            Counts { ok: 0, .. } => Self::Skipped,
            _ => Self::Ok,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        }
    }

    fn colour(self) -> Colour {
        match self {
            Self::Ok => Colour::Green,
            Self::Skipped => Colour::Dim,
            Self::Warning => Colour::Yellow,
            Self::Failure => Colour::Red,
        }
    }
}

pub fn text(report: &Report, all: bool) -> String {
    let mut lines = String::new();
    for part in &report.parts {
        match all {
            true => {
                lines += &format!("{}\n", label_of_part(part));
                lines.extend(part.checks.iter().map(|check| {
                    let indent = " ".repeat(CHECK);
                    format!("{indent}{}{}", head(check), fix_line(check, "           "))
                }));
            }
            false => lines += &part_line(part),
        }
    }
    if !all {
        for state in [State::Warning, State::Failure] {
            let checks = report.parts.iter().flat_map(|part| &part.checks);
            let found: Vec<&Check> = checks
                .filter(|check| State::of_check(check) == state)
                .collect();
            // One fix may remove several findings.
            for same in found.chunk_by(|one, next| fix(one) == fix(next)) {
                lines.push('\n');
                lines.extend(same.iter().map(|check| head(check)));
                lines.extend(same.first().map(|check| fix_line(check, "    ")));
            }
        }
    }
    lines + "\n" + &summary(report, all)
}

fn label_of_part(part: &Part) -> &'static str {
    match part.title {
        daemon::TITLE => "sandbox",
        title => title,
    }
}

fn part_line(part: &Part) -> String {
    let counts = Counts::from_checks(part.checks.iter());
    let state = State::of_counts(counts);
    let mut text = match (state, part.checks.first()) {
        (
            State::Skipped,
            Some(Check {
                verdict: Verdict::Skipped(why),
                ..
            }),
        ) => why.clone(),
        (State::Failure | State::Warning, _) => {
            let found = [(counts.failures, "failure"), (counts.warnings, "warning")];
            let found = found.into_iter().filter(|(count, _)| *count > 0);
            let found: Vec<String> = found
                .map(|(count, word)| units::count(count, word))
                .collect();
            format!(
                "{} in {}",
                found.join(", "),
                units::count(counts.checks, "check")
            )
        }
        (_, _) => {
            let skipped = skipped(counts);
            format!("{} of {} checks hold{skipped}", counts.ok, counts.checks)
        }
    };
    // Whose accounts were checked, or how to enroll the first one.
    let agents = part.checks.iter().find(|check| check.name == "agents");
    if let Some(Check {
        verdict: Verdict::Ok(names),
        ..
    }) = agents
    {
        text = format!("{text} ({names})");
    }
    let text = text::line(text.as_bytes(), SENTENCE_BYTES);
    format!(
        "{:<PART$} {:<7}  {text}\n",
        label_of_part(part),
        state.word()
    )
}

fn head(check: &Check) -> String {
    let word = State::of_check(check).word();
    let name = text::line(label(&check.name).as_bytes(), SENTENCE_BYTES);
    let (found, cap) = match &check.verdict {
        Verdict::Ok(found) => (found, FOUND),
        Verdict::Skipped(why) => (why, SENTENCE_BYTES),
        Verdict::Warning(finding) | Verdict::Failure(finding) => (&finding.why, SENTENCE_BYTES),
    };
    match text::line(found.as_bytes(), cap).as_str() {
        "" => format!("{word:<7}  {name}\n"),
        found => format!("{word:<7}  {name}: {found}\n"),
    }
}

fn fix(check: &Check) -> Option<&str> {
    match &check.verdict {
        Verdict::Warning(finding) | Verdict::Failure(finding) => Some(&finding.fix),
        Verdict::Ok(_) | Verdict::Skipped(_) => None,
    }
}

fn fix_line(check: &Check, indent: &str) -> String {
    fix(check).map_or_else(String::new, |fix| {
        format!(
            "{indent}fix: {}\n",
            text::line(fix.as_bytes(), SENTENCE_BYTES)
        )
    })
}

fn label(name: &str) -> String {
    LABELS
        .iter()
        .fold(name.to_owned(), |name, (old, new)| name.replace(old, new))
}

fn skipped(counts: Counts) -> String {
    match counts.skipped {
        0 => String::new(),
        count => format!(", {count} skipped"),
    }
}

const GOOD: &str = "remit works here";
/// The caller may not ask the daemon.
const UNTESTED: &str = "the sandbox was not tested here";
const BAD: &str = "remit has problems here";

fn summary(report: &Report, all: bool) -> String {
    let counts = report.counts();
    let verdict = match (counts.failures, &report.checkup) {
        (0, Some(_)) => GOOD,
        (0, None) => UNTESTED,
        _ => BAD,
    };
    let failures = units::count(counts.failures, "failure");
    let warnings = units::count(counts.warnings, "warning");
    let skipped = skipped(counts);
    let checks = units::count(counts.checks, "check");
    let more = match all {
        true => "",
        false => "; -v lists them",
    };
    format!("{verdict}: {failures}, {warnings}{skipped} ({checks}{more})\n")
}

/// Colors the state words of [`text()`], also after it was folded.
pub fn paint(lines: &str) -> String {
    let paint = |line: &str| {
        let before = match line.bytes().take_while(|byte| *byte == b' ').count() {
            CHECK => CHECK,
            0 if line.as_bytes().get(PART) == Some(&b' ') => PART + 1,
            _ => 0,
        };
        painted(line, before)
            .or_else(|| painted(line, 0))
            .unwrap_or_else(|| line.to_owned())
    };
    lines.split_inclusive('\n').map(paint).collect()
}

fn painted(line: &str, before: usize) -> Option<String> {
    let (before, rest) = line.split_at_checked(before)?;
    let states = State::ALL.map(|state| (state.word(), state.colour()));
    let verdicts = [(GOOD, Colour::Green), (BAD, Colour::Red)];
    let mut words = states.into_iter().chain(verdicts);
    words.find_map(|(word, colour)| {
        let rest = rest.strip_prefix(word)?;
        rest.starts_with([' ', ':'])
            .then(|| format!("{before}{}{rest}", colour.paint(word)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn parts_take_one_line_and_failures_are_last() {
        assert_eq!(
            text(&report(), false),
            "sandbox   ok       1 of 1 checks hold\n\
             agents    FAILURE  1 failure, 1 warning in 3 checks\n\
             \nwarning  a: password: set\n    fix: usermod\n\
             \nFAILURE  a: groups: 'a\\x1b[2J' is in\\n'docker'\n    fix: gpasswd\n\
             \nremit has problems here: 1 failure, 1 warning, 1 skipped (4 checks; -v lists them)\n"
        );
    }

    #[test]
    fn common_fix_is_shown_once() {
        let checks = vec![
            Check::failure("programs", "there is no '/a'", "install it"),
            Check::failure("programs", "there is no '/b'", "install it"),
            Check::failure("sockets", "there is no '/c'", "start it"),
        ];
        let parts = vec![Part {
            title: "files",
            checks,
        }];
        let report = Report {
            parts,
            checkup: None,
        };
        let expect = "\n\nFAILURE  programs: there is no '/a'\nFAILURE  programs: there is no '/b'\n    fix: \
                      install it\n\nFAILURE  sockets: there is no '/c'\n    fix: start it\n\n";
        let shown = text(&report, false);
        assert!(shown.contains(expect), "{shown}");
    }

    #[test]
    fn remit_works_only_if_the_daemon_tested_its_sandbox() {
        let last = |checks, checkup| {
            let title = daemon::TITLE;
            let parts = vec![Part { title, checks }];
            let shown = text(&Report { parts, checkup }, true);
            shown.lines().last().unwrap_or_default().to_owned()
        };
        let good = || Some(daemon::tests::checkup());
        let expect = "the sandbox was not tested here: 0 failures, 0 warnings, 1 skipped (1 check)";
        assert_eq!(
            last(vec![Check::skipped("daemon", "not root")], None),
            expect
        );
        assert!(last(vec![Check::ok("a", "")], good()).starts_with(GOOD));
        assert!(last(vec![Check::failure("a", "", "")], good()).starts_with(BAD));
    }

    #[test]
    fn verbose_report_has_every_check() {
        assert_eq!(
            text(&report(), true),
            "sandbox\n  ok       read: mounts: EROFS\n\
             agents\n  FAILURE  a: groups: 'a\\x1b[2J' is in\\n'docker'\n           fix: gpasswd\n\
             \x20 warning  a: password: set\n           fix: usermod\n  skipped  b: not root\n\
             \nremit has problems here: 1 failure, 1 warning, 1 skipped (4 checks)\n"
        );
    }

    #[test]
    fn part_without_findings_says_what_it_covers() {
        let part = |title, checks| part_line(&Part { title, checks });
        for (title, checks, expect) in [
            (
                "agents",
                vec![Check::ok("agents", "a b"), Check::ok("a: groups", "a")],
                "agents    ok       2 of 2 checks hold (a b)\n",
            ),
            (
                "ssh",
                vec![Check::skipped("all", "there is no sshd")],
                "ssh       skipped  there is no sshd\n",
            ),
            (
                "journal",
                vec![Check::ok("a", ""), Check::skipped("b", "not root")],
                "journal   ok       1 of 2 checks hold, 1 skipped\n",
            ),
        ] {
            assert_eq!(part(title, checks), expect);
        }
    }

    #[test]
    fn names_of_checks_are_words_on_the_screen() {
        for (name, expect) in [
            ("ann: reach", "ann: access"),
            ("room for /var/lib/remit", "free space in /var/lib/remit"),
            ("audit trail", "audit log"),
            ("read: mounts", "read: mounts"),
        ] {
            assert_eq!(label(name), expect);
        }
    }

    #[test]
    fn only_state_words_are_painted() {
        let shown = text(&report(), false) + &text(&report(), true);
        let painted = paint(&shown);
        for (word, number) in [
            ("ok", 32),
            ("skipped", 2),
            ("warning", 33),
            ("FAILURE", 31),
            (BAD, 31),
        ] {
            assert!(
                painted.contains(&format!("\x1b[{number}m{word}\x1b[0m")),
                "{painted}"
            );
        }
        assert!(
            painted.contains("agents    \x1b[31mFAILURE\x1b[0m  1 failure"),
            "{painted}"
        );
        let mut plain = painted;
        for code in ["\x1b[32m", "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, shown);
    }
}
