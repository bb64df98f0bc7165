//! `everyday RESULTS HARMLESS [--json
//! --markdown]`: compares the answers of everyday commands to root and through remit. RESULTS has one directory per
//! command, as written by `tests/everyday/each`. HARMLESS lists different answers that are correct, with reasons. Does
//! not run the commands. The table and JSON end with status 1 if fewer are the same or harmless than promised.

mod report {
    //! The verdicts as a table for the terminal, as JSON, and as the page `tests/everyday/RESULTS.md`.

    use std::io::{self, Write};

    use serde_json::json;

    use crate::trial::{Answer, Trial, timeless};
    use crate::verdict::{Exception, Verdict, alike, judge};

    /// Minimum percentage of commands that are the same or harmless.
    const PROMISED: usize = 68;

    pub struct Report<'a> {
        judged: Vec<(Verdict, &'a Trial)>,
        exceptions: &'a [Exception],
    }

    impl<'a> Report<'a> {
        pub fn new(trials: &'a [Trial], exceptions: &'a [Exception]) -> Self {
            let judged = trials.iter().map(|trial| (judge(trial, exceptions), trial));
            Self {
                judged: judged.collect(),
                exceptions,
            }
        }

        /// Fails if fewer commands than promised are the same or harmless.
        pub fn keeps_the_promise(&self) -> Result<(), String> {
            let all = self.judged.len();
            let good = self.count(Verdict::Same) + self.count(Verdict::Harmless);
            if good * 100 >= all * PROMISED {
                return Ok(());
            }
            Err(format!(
                "{good} of {all} are the same or harmless, promised are {PROMISED} %"
            ))
        }

        pub fn table(&self, out: &mut dyn Write) -> io::Result<()> {
            for verdict in Verdict::ALL {
                for trial in self.with(verdict) {
                    let name = verdict.name();
                    let statuses = statuses(trial);
                    let why = self.why(verdict, trial);
                    writeln!(
                        out,
                        "{name:9} {statuses:8} {:.60}  {why:.100}",
                        trial.command
                    )?;
                }
            }
            writeln!(out, "\n{}", self.summary())?;
            for verdict in Verdict::ALL {
                let part = self.count(verdict);
                let percent = percent(part, self.judged.len());
                writeln!(out, "{:9} {part:4} {percent:3} %", verdict.name())?;
            }
            Ok(())
        }

        pub fn json(&self, out: &mut dyn Write) -> io::Result<()> {
            let answer = |answer: &Answer| json!({"status": answer.status, "stdout": answer.stdout, "stderr": answer.stderr});
            let commands: Vec<_> = self
                .judged
                .iter()
                .map(|(verdict, trial)| {
                    json!({
                        "command": trial.command,
                        "verdict": verdict.name(),
                        "why": self.why(*verdict, trial),
                        "root": answer(&trial.root),
                        "remit": answer(&trial.remit),
                        "again": answer(&trial.again),
                    })
                })
                .collect();
            let totals: serde_json::Map<_, _> = Verdict::ALL
                .iter()
                .map(|verdict| (verdict.name().to_owned(), json!(self.count(*verdict))))
                .collect();
            let all =
                json!({"commands": commands, "totals": totals, "root_agrees": self.root_agrees()});
            writeln!(out, "{all:#}")
        }

        pub fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
            writeln!(
                out,
                "# Everyday commands: results\n\n\
             Written by `make everyday`, not by hand; [README.md](README.md) says what is compared.\n\n\
             {}\n\n| verdict | commands | % |\n|---|---|---|",
                self.summary()
            )?;
            for verdict in Verdict::ALL {
                let part = self.count(verdict);
                let percent = percent(part, self.judged.len());
                writeln!(out, "| {} | {part} | {percent} |", verdict.name())?;
            }
            for verdict in [Verdict::Silent, Verdict::Harmless, Verdict::Refused] {
                if self.count(verdict) == 0 {
                    continue;
                }
                writeln!(
                    out,
                    "\n## {}\n\n| command | root/agent | why, or what the agent sees |\n|---|---|---|",
                    verdict.name()
                )?;
                for trial in self.with(verdict) {
                    let command = trial.command.replace('|', "\\|");
                    let why = timeless(self.why(verdict, trial));
                    let why = why.replace('|', "\\|").replace('<', "&lt;");
                    writeln!(out, "| `{command}` | {} | {why} |", statuses(trial))?;
                }
            }
            Ok(())
        }

        fn summary(&self) -> String {
            let fail = |trial: &&Trial| trial.root.status != "0";
            let failed = || self.with(Verdict::Same).filter(fail);
            format!(
                "{} commands; root's two runs agree in {}. Of the same, {} end with a status other than 0 for root too; {} \
             of these give the agent another reason on stderr.",
                self.judged.len(),
                self.root_agrees(),
                failed().count(),
                failed().filter(|trial| trial.reason().is_some()).count()
            )
        }

        fn root_agrees(&self) -> usize {
            let agree = |(_, trial): &&(Verdict, &Trial)| alike(&trial.root, &trial.again);
            self.judged.iter().filter(agree).count()
        }

        fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Trial> {
            let with = self.judged.iter().filter(move |(one, _)| *one == verdict);
            with.map(|(_, trial)| *trial)
        }

        fn count(&self, verdict: Verdict) -> usize {
            self.with(verdict).count()
        }

        fn why<'b>(&'b self, verdict: Verdict, trial: &'b Trial) -> &'b str {
            let exception = self.exceptions.iter().find(|one| one.holds(trial));
            match (verdict, exception) {
                (Verdict::Harmless, Some(exception)) => &exception.reason,
                (Verdict::Harmless, None) => "root's two runs differ as well",
                _ => trial.sentence().unwrap_or_default(),
            }
        }
    }

    fn statuses(trial: &Trial) -> String {
        format!("{}/{}", trial.root.status, trial.remit.status)
    }

    fn percent(part: usize, all: usize) -> usize {
        (part * 200 + all).checked_div(all * 2).unwrap_or(0)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn percents_are_rounded() {
            for (part, all, expect) in [(0, 0, 0), (1, 3, 33), (2, 3, 67), (3, 3, 100)] {
                assert_eq!(percent(part, all), expect);
            }
        }

        #[test]
        fn the_promise_is_not_rounded() {
            let answer = |stdout: &str| Answer {
                status: "0".into(),
                stdout: stdout.into(),
                stderr: String::new(),
            };
            let trial = |remit: &str| Trial {
                command: "a | b".into(),
                root: answer("x"),
                remit: answer(remit),
                again: answer("x"),
            };
            for (same, expect) in [(PROMISED, true), (PROMISED - 1, false)] {
                let mut trials = vec![trial("x"); same];
                trials.resize(100, trial("y"));
                let report = Report::new(&trials, &[]);
                assert_eq!(report.keeps_the_promise().is_ok(), expect, "{same}");
                let mut page = Vec::new();
                report.markdown(&mut page).unwrap();
                let page = String::from_utf8(page).unwrap();
                assert!(page.contains("| `a \\| b` | 0/0 |  |"), "{page}");
            }
        }
    }
}

mod trial;
mod verdict;

use std::error::Error;
use std::process::ExitCode;

use report::Report;
use trial::Trial;
use verdict::Exception;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("everyday: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let [results, harmless, form @ ..] = arguments else {
        return Err("usage: everyday RESULTS HARMLESS [--json|--markdown]".into());
    };
    let trials = Trial::read_all(results.as_ref())?;
    let exceptions = Exception::parse_all(&std::fs::read_to_string(harmless)?)?;
    for Exception { command, .. } in &exceptions {
        if !trials.iter().any(|trial| trial.command == *command) {
            return Err(
                format!("'{harmless}' has '{command}', which is no everyday command").into(),
            );
        }
    }
    let report = Report::new(&trials, &exceptions);
    let out = &mut std::io::stdout().lock();
    match form {
        [] => report.table(out)?,
        ["--json"] => report.json(out)?,
        ["--markdown"] => return Ok(report.markdown(out)?),
        _ => return Err(format!("unknown form '{}'", form.join(" ")).into()),
    }
    Ok(report.keeps_the_promise()?)
}
