//! `everyday RESULTS HARMLESS [--json]`: compares what the everyday commands answered to root and through remit.
//!
//! RESULTS holds one directory for each command, as `tests/everyday/each` writes them; HARMLESS the commands whose
//! different answer is right, with the reason. Running the commands is not done here.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [results, harmless] => report(results.as_ref(), harmless.as_ref(), table),
        [results, harmless, "--json"] => report(results.as_ref(), harmless.as_ref(), json),
        _ => Err(io::Error::other(
            "usage: everyday RESULTS HARMLESS [--json]",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("everyday: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What one run of a command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    stdout: String,
    stderr: String,
}

/// A command with its three answers.
#[derive(Clone, Debug)]
struct Trial {
    command: String,
    root: Answer,
    again: Answer,
    remit: Answer,
}

/// What a difference means to the agent that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Same,
    Harmless,
    Refused,
    Silent,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Same, Self::Harmless, Self::Refused, Self::Silent];

    fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Harmless => "harmless",
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }
}

/// Numbers and blanks made equal: they differ from one second to the next.
fn normal(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<String> = line.split_whitespace().map(without_numbers).collect();
        if !words.is_empty() {
            lines.push(words.join(" "));
        }
    }
    lines.join("\n")
}

/// Each run of digits, with the point in it, as one `0`.
fn without_numbers(word: &str) -> String {
    let mut out = String::new();
    let mut number = false;
    for c in word.chars() {
        let digit = c.is_ascii_digit() || (number && c == '.');
        if digit && !number {
            out.push('0');
        } else if !digit {
            out.push(c);
        }
        number = digit;
    }
    out
}

fn equal(a: &Answer, b: &Answer) -> bool {
    a.status == b.status
        && normal(&a.stdout) == normal(&b.stdout)
        && is_nothing(&a.stdout) == is_nothing(&b.stdout)
}

/// No output, or a count of nothing: the one number that is no matter of the second it was asked in.
fn is_nothing(stdout: &str) -> bool {
    matches!(stdout.trim(), "" | "0")
}

/// The first sentence of the answer through remit that root did not get: on stderr, or, with `2>&1`, on stdout.
fn sentence(trial: &Trial) -> Option<&str> {
    let known = normal(&format!("{}\n{}", trial.root.stderr, trial.again.stderr));
    trial
        .remit
        .stderr
        .lines()
        .find(|line| !line.trim().is_empty() && !known.lines().any(|one| one == normal(line)))
}

fn judge(trial: &Trial, harmless: &BTreeMap<String, String>) -> Verdict {
    if equal(&trial.root, &trial.remit) || equal(&trial.again, &trial.remit) {
        Verdict::Same
    } else if harmless.contains_key(&trial.command) {
        Verdict::Harmless
    } else if sentence(trial).is_some() {
        Verdict::Refused
    } else if !equal(&trial.root, &trial.again)
        && trial.root.status == trial.remit.status
        && is_nothing(&trial.root.stdout) == is_nothing(&trial.remit.stdout)
    {
        Verdict::Harmless
    } else {
        Verdict::Silent
    }
}

fn read(dir: &Path) -> io::Result<Trial> {
    let text = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|error| io::Error::other(format!("'{}': {error}", path.display())))
    };
    let answer = |who: &str| {
        Ok::<_, io::Error>(Answer {
            status: text(&format!("{who}.status"))?.trim().to_owned(),
            stdout: text(&format!("{who}.out"))?,
            stderr: text(&format!("{who}.err"))?,
        })
    };
    Ok(Trial {
        command: text("command")?,
        root: answer("root")?,
        again: answer("again")?,
        remit: answer("remit")?,
    })
}

fn read_harmless(file: &Path) -> io::Result<BTreeMap<String, String>> {
    Ok(std::fs::read_to_string(file)?
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .map(|(command, reason)| (command.to_owned(), reason.to_owned()))
        .collect())
}

type Form = fn(&mut dyn Write, &[(Verdict, Trial)], &BTreeMap<String, String>) -> io::Result<()>;

fn report(results: &Path, harmless: &Path, form: Form) -> io::Result<()> {
    let harmless = read_harmless(harmless)?;
    let mut dirs: Vec<_> = std::fs::read_dir(results)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    dirs.sort();
    let mut judged = Vec::new();
    for dir in dirs {
        let trial = read(&dir)?;
        judged.push((judge(&trial, &harmless), trial));
    }
    form(&mut io::stdout().lock(), &judged, &harmless)
}

/// How many of all, in whole percent, rounded.
fn percent(part: usize, all: usize) -> usize {
    (part * 200 + all).checked_div(all * 2).unwrap_or(0)
}

fn count(judged: &[(Verdict, Trial)], verdict: Verdict) -> usize {
    judged.iter().filter(|(one, _)| *one == verdict).count()
}

fn noise(judged: &[(Verdict, Trial)]) -> usize {
    judged
        .iter()
        .filter(|(_, trial)| equal(&trial.root, &trial.again))
        .count()
}

fn table(
    out: &mut dyn Write,
    judged: &[(Verdict, Trial)],
    harmless: &BTreeMap<String, String>,
) -> io::Result<()> {
    for verdict in Verdict::ALL {
        for (_, trial) in judged.iter().filter(|(one, _)| *one == verdict) {
            let statuses = format!("{}/{}", trial.root.status, trial.remit.status);
            let why = match harmless.get(&trial.command) {
                Some(reason) if verdict == Verdict::Harmless => reason,
                _ => sentence(trial).unwrap_or_default(),
            };
            writeln!(
                out,
                "{:9} {statuses:8} {:.60}  {why:.100}",
                verdict.name(),
                trial.command
            )?;
        }
    }
    let all = judged.len();
    writeln!(
        out,
        "\n{all} commands; root's two runs agree in {} %",
        percent(noise(judged), all)
    )?;
    for verdict in Verdict::ALL {
        let part = count(judged, verdict);
        writeln!(
            out,
            "{:9} {part:4} {:3} %",
            verdict.name(),
            percent(part, all)
        )?;
    }
    Ok(())
}

fn json(
    out: &mut dyn Write,
    judged: &[(Verdict, Trial)],
    harmless: &BTreeMap<String, String>,
) -> io::Result<()> {
    let answer = |answer: &Answer| json!({"status": answer.status, "stdout": answer.stdout, "stderr": answer.stderr});
    let commands: Vec<_> = judged
        .iter()
        .map(|(verdict, trial)| {
            json!({
                "command": trial.command,
                "verdict": verdict.name(),
                "sentence": sentence(trial),
                "reason": harmless.get(&trial.command),
                "root": answer(&trial.root),
                "again": answer(&trial.again),
                "remit": answer(&trial.remit),
            })
        })
        .collect();
    let totals: BTreeMap<_, _> = Verdict::ALL
        .iter()
        .map(|verdict| (verdict.name(), count(judged, *verdict)))
        .collect();
    let all = json!({"commands": commands, "totals": totals, "root_agrees": noise(judged)});
    writeln!(out, "{all:#}")
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
    fn numbers_and_blanks_are_equal() {
        for (a, b, same) in [
            ("load 0.15  12\n", "load 1.2 3", true),
            ("a\n\nb", "a\nb\n", true),
            ("eth0", "eth12", true),
            ("eth0", "lo", false),
            ("v1.2.3", "v4", true),
            ("3 files", "files", false),
            ("12", "7", true),
            ("12", "0", false),
        ] {
            assert_eq!(
                equal(&answer("0", a, ""), &answer("0", b, "")),
                same,
                "{a:?} {b:?}"
            );
        }
    }

    #[test]
    fn a_difference_is_judged_by_what_the_agent_is_told() {
        let harmless = BTreeMap::from([("who am i".to_owned(), "its own account".to_owned())]);
        let root = answer("0", "root", "warning 1");
        for (command, again, remit, expect) in [
            (
                "x",
                root.clone(),
                answer("0", "root", "note"),
                Verdict::Same,
            ),
            (
                "x",
                answer("0", "b", ""),
                answer("0", "b", ""),
                Verdict::Same,
            ),
            ("x", root.clone(), answer("1", "", "no"), Verdict::Refused),
            (
                "x",
                root.clone(),
                answer("0", "", "warning 2"),
                Verdict::Silent,
            ),
            ("x", root.clone(), answer("1", "", ""), Verdict::Silent),
            (
                "x",
                answer("0", "b", ""),
                answer("0", "c", ""),
                Verdict::Harmless,
            ),
            (
                "x",
                answer("0", "b", ""),
                answer("1", "c", ""),
                Verdict::Silent,
            ),
            (
                "who am i",
                root.clone(),
                answer("0", "alice", ""),
                Verdict::Harmless,
            ),
        ] {
            let trial = Trial {
                command: command.into(),
                root: root.clone(),
                again,
                remit,
            };
            assert_eq!(judge(&trial, &harmless), expect, "{trial:?}");
        }
    }

    #[test]
    fn percents_are_rounded() {
        for (part, all, expect) in [(0, 0, 0), (1, 3, 33), (2, 3, 67), (3, 3, 100)] {
            assert_eq!(percent(part, all), expect);
        }
    }
}
