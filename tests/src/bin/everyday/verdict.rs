//! Judges differences by their effect on the agent. Pure.

use crate::trial::{Answer, Trial, matches, normal, numbers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    Harmless,
    Refused,
    Silent,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Same, Self::Harmless, Self::Refused, Self::Silent];

    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Harmless => "harmless",
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }
}

/// A different answer that is correct.
#[derive(Debug)]
pub struct Exception {
    pub command: String,
    pub answer: Expected,
    pub reason: String,
}

#[derive(Debug, PartialEq)]
pub enum Expected {
    /// Exit status and standard output, as a pattern of [`matches()`].
    Exactly(String),
    /// Root's answer, with numbers that differ by at most this much.
    Near(f64),
}

impl Exception {
    /// Parses lines of COMMAND, EXPECTED and REASON, separated by tabs. `#` begins a comment.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        text.lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| Self::parse(line).ok_or_else(|| format!("not an exception: '{line}'")))
            .collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let (command, answer, reason) = (fields.next()?, fields.next()?, fields.next()?);
        let answer = match answer.strip_prefix("near ") {
            Some(number) => Expected::Near(number.parse().ok()?),
            None => Expected::Exactly(answer.to_owned()),
        };
        (fields.next().is_none() && !reason.is_empty()).then(|| Self {
            command: command.to_owned(),
            answer,
            reason: reason.to_owned(),
        })
    }

    pub fn holds(&self, trial: &Trial) -> bool {
        let Trial {
            root, remit, again, ..
        } = trial;
        self.command == trial.command
            && match &self.answer {
                Expected::Exactly(pattern) => {
                    matches(pattern, &format!("{} {}", remit.status, remit.stdout))
                }
                Expected::Near(slack) => {
                    alike(root, remit)
                        && alike(again, remit)
                        && in_threes(trial).all(|three| within(three, *slack))
                }
            }
    }
}

pub fn judge(trial: &Trial, exceptions: &[Exception]) -> Verdict {
    if is_same(trial) {
        Verdict::Same
    } else if exceptions.iter().any(|exception| exception.holds(trial)) {
        Verdict::Harmless
    } else if trial.sentence().is_some() {
        Verdict::Refused
    } else if !alike(&trial.root, &trial.again)
        && trial.root.status == trial.remit.status
        && is_nothing(&trial.root.stdout) == is_nothing(&trial.remit.stdout)
    {
        Verdict::Harmless
    } else {
        Verdict::Silent
    }
}

/// Returns true if two answers differ at most in numbers and blanks.
pub fn alike(a: &Answer, b: &Answer) -> bool {
    a.status == b.status
        && normal(&a.stdout) == normal(&b.stdout)
        && is_nothing(&a.stdout) == is_nothing(&b.stdout)
}

fn is_nothing(stdout: &str) -> bool {
    matches!(stdout.trim(), "" | "0")
}

/// Returns true if the agent has root's answer, including each number that root got both before and after. A changing
/// number may have any value, such as a load or a clock. But if it is the whole answer, it is a count: it must be
/// between root's two values, with a margin of a tenth.
fn is_same(trial: &Trial) -> bool {
    let Trial {
        root, remit, again, ..
    } = trial;
    if !alike(root, again) {
        // Root's own answers differ in more than numbers.
        return alike(root, remit) || alike(again, remit);
    }
    let is_count = normal(&root.stdout) == "0";
    alike(root, remit)
        && in_threes(trial).all(|(before, now, after)| match before == after {
            true => now == before,
            false if is_count => within((before, now, after), slack(before).max(slack(after))),
            false => true,
        })
}

/// Returns each number of similar answers: root's before, the agent's, root's after.
fn in_threes(trial: &Trial) -> impl Iterator<Item = (&str, &str, &str)> {
    let root = numbers(&trial.root.stdout).into_iter();
    root.zip(numbers(&trial.remit.stdout))
        .zip(numbers(&trial.again.stdout))
        .map(|((before, now), after)| (before, now, after))
}

/// Returns true if the agent's number is between root's two, with a margin of `slack`.
fn within((before, now, after): (&str, &str, &str), slack: f64) -> bool {
    match (
        before.parse::<f64>(),
        now.parse::<f64>(),
        after.parse::<f64>(),
    ) {
        (Ok(before), Ok(now), Ok(after)) => {
            before.min(after) - slack <= now && now <= before.max(after) + slack
        }
        // A version such as 1.2.3.
        _ => now == before || now == after,
    }
}

fn slack(number: &str) -> f64 {
    number.parse::<f64>().map_or(0.0, |number| number / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &str, stdout: &str, stderr: &str) -> Answer {
        Answer {
            status: status.into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn number_between_roots_two_runs_is_same() {
        for (root, remit, again, same) in [
            ("12", "12", "12", true),
            ("12", "7", "12", false),
            ("12", "0", "12", false),
            ("12 files", "7 files", "12 files", false),
            ("load 1", "load 7", "load 2", true),
            ("up 3, load 1", "up 4, load 7", "up 3, load 2", false),
            // Changing counts.
            ("12", "13", "14", true),
            ("674", "680", "678", true),
            ("674", "27", "678", false),
            ("1", "0", "2", false),
            ("", "0", "", false),
            // Root's answers differ in more than numbers.
            ("a", "a", "b", true),
            ("a", "b", "b", true),
            ("a", "c", "b", false),
        ] {
            let trial = Trial {
                command: String::new(),
                root: answer("0", root, ""),
                remit: answer("0", remit, ""),
                again: answer("0", again, ""),
            };
            assert_eq!(is_same(&trial), same, "{root:?} {remit:?} {again:?}");
        }
    }

    #[test]
    fn difference_verdict_depends_on_stderr() {
        let exceptions =
            Exception::parse_all("who am i\t0 alice\tits own account\nps\tnear 2\tremit itself\n")
                .unwrap();
        let root = answer("0", "root", "warning 1");
        let other = answer("0", "b", "");
        let count = |number: &str| answer("0", number, "");
        for (command, root, again, remit, expect) in [
            (
                "x",
                &root,
                &root,
                answer("0", "root", "note"),
                Verdict::Same,
            ),
            ("x", &root, &other, answer("0", "b", ""), Verdict::Same),
            ("x", &root, &root, answer("1", "", "no"), Verdict::Refused),
            (
                "x",
                &root,
                &root,
                answer("0", "", "warning 2"),
                Verdict::Silent,
            ),
            ("x", &root, &root, answer("1", "", ""), Verdict::Silent),
            ("x", &root, &other, answer("0", "c", ""), Verdict::Harmless),
            ("x", &root, &other, answer("1", "c", ""), Verdict::Silent),
            (
                "who am i",
                &root,
                &root,
                answer("0", "alice", ""),
                Verdict::Harmless,
            ),
            (
                "who am i",
                &root,
                &root,
                answer("1", "alice", ""),
                Verdict::Silent,
            ),
            (
                "who am i",
                &root,
                &root,
                answer("0", "bob", ""),
                Verdict::Silent,
            ),
            (
                "ps",
                &count("5"),
                &count("5"),
                count("7"),
                Verdict::Harmless,
            ),
            ("ps", &count("5"), &count("5"), count("8"), Verdict::Silent),
            (
                "ps",
                &count("5"),
                &count("5"),
                answer("1", "7", ""),
                Verdict::Silent,
            ),
        ] {
            let trial = Trial {
                command: command.into(),
                root: root.clone(),
                again: again.clone(),
                remit,
            };
            assert_eq!(judge(&trial, &exceptions), expect, "{trial:?}");
        }
    }

    #[test]
    fn an_exception_says_its_answer_and_its_reason() {
        for bad in [
            "x",
            "x\treason",
            "x\tnear y\treason",
            "x\t0\t",
            "x\t0\ta\tb",
        ] {
            assert!(Exception::parse_all(bad).is_err(), "{bad:?}");
        }
        let parsed = Exception::parse_all("# x\n\nx\tnear 2\twhy\n").unwrap();
        assert_eq!(parsed[0].answer, Expected::Near(2.0));
        assert_eq!(parsed.len(), 1);
    }
}
