//! Tools for the work on remit: `cargo xtask report` counts what must not grow.
//!
//! It must not change a file except the kept figures, and it uses no network.

mod classified;
mod graph;
mod print;
mod report;
mod repository;
mod rust;
mod type_names;
mod words;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::report::{FIGURES_FILE, FigureChange, Figures};
use crate::repository::{ReportError, Repository};

fn main() -> ExitCode {
    let XtaskCommand::Report(arguments) = XtaskArgs::parse().command;
    match report(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask report: {error}");
            ExitCode::from(2)
        }
    }
}

/// Tools for the work on remit. Nothing of this is shipped.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct XtaskArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: XtaskCommand,
}

/// The tools.
#[derive(Debug, Subcommand)]
pub enum XtaskCommand {
    /// Count lines, names, words and circles of files, and compare with the kept figures
    Report(ReportArgs),
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Print everything as JSON
    #[arg(long, conflicts_with_all = ["words", "check", "write"])]
    pub json: bool,
    /// Print the locations of all banned words and old names, or of WORD alone
    #[arg(long, value_name = "WORD", num_args = 0..=1, conflicts_with_all = ["check", "write"])]
    pub words: Option<Option<String>>,
    /// Fail if a figure is worse than the kept one
    #[arg(long, conflicts_with = "write")]
    pub check: bool,
    /// Keep the figures as they are now
    #[arg(long)]
    pub write: bool,
    /// The repository; this one by default
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

impl ReportArgs {
    /// Returns the root directory of the repository to count.
    pub fn repository_root(&self) -> PathBuf {
        // Cargo sets the variable for programs that it runs.
        let manifest_dir = || std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let parent = |dir: PathBuf| dir.parent().map(PathBuf::from);
        self.root
            .clone()
            .or_else(|| manifest_dir().and_then(parent))
            .unwrap_or_else(|| PathBuf::from("."))
    }
}

pub fn report(arguments: &ReportArgs) -> Result<ExitCode, ReportError> {
    let repository = Repository::open(&arguments.repository_root())?;
    let report = report::compute(&repository)?;
    if arguments.check || arguments.write {
        let now = Figures::of_report(&report);
        let changes = now.changes_since(&Figures::read(&repository)?);
        if arguments.write {
            now.write(&repository)?;
            show(&written(&changes));
            return Ok(ExitCode::SUCCESS);
        }
        let (text, is_good) = checked(&changes);
        show(&text);
        return Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| ReportError::invalid("the report", error))?;
        show(&(text + "\n"));
    } else if let Some(word) = &arguments.words {
        show(&print::locations(&report, word.as_deref()));
    } else {
        show(&print::report(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints `text`. A reader that closes the pipe early, such as head(1), is not an error.
fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn written(changes: &[FigureChange]) -> String {
    let lines = changes.iter().map(|change| {
        let mark = if change.is_worse() { "  (worse)" } else { "" };
        format!("{change}{mark}\n")
    });
    let lines: String = lines.collect();
    format!(
        "{lines}{} figures changed in {FIGURES_FILE}\n",
        changes.len()
    )
}

/// Returns the text of `--check`, and true if nothing is worse.
fn checked(changes: &[FigureChange]) -> (String, bool) {
    let (worse, better): (Vec<&FigureChange>, Vec<&FigureChange>) =
        changes.iter().partition(|change| change.is_worse());
    let mut text = String::new();
    for change in &better {
        text.push_str(&format!("better: {change}\n"));
    }
    if !better.is_empty() {
        text.push_str("Keep the better figures: cargo xtask report --write\n");
    }
    for change in &worse {
        text.push_str(&format!("worse: {change}\n"));
    }
    if worse.is_empty() {
        text.push_str("No figure is worse than in the repository.\n");
    } else {
        text.push_str(
            "See what is counted: cargo xtask report, cargo xtask report --words WORD\n\
             If it must be so, keep the figure and say why in the commit: cargo xtask report --write\n",
        );
    }
    (text, worse.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Option<ReportArgs> {
        let all = ["xtask", "report"].iter().chain(arguments);
        let XtaskCommand::Report(found) = XtaskArgs::try_parse_from(all).ok()?.command;
        Some(found)
    }

    #[test]
    fn words_take_an_optional_word() {
        let words = |arguments: &[&str]| parse(arguments).map(|found| found.words);
        assert_eq!(words(&[]), Some(None));
        assert_eq!(words(&["--words"]), Some(Some(None)));
        assert_eq!(words(&["--words", "told"]), Some(Some(Some("told".into()))));
    }

    #[test]
    fn check_and_write_exclude_each_other() {
        assert!(parse(&["--check"]).is_some_and(|found| found.check));
        assert!(parse(&["--check", "--write"]).is_none());
    }

    fn change(name: &str, before: usize, now: usize) -> FigureChange {
        FigureChange {
            name: name.to_owned(),
            before,
            now,
        }
    }

    #[test]
    fn worse_figure_fails_and_is_named() {
        let (text, is_good) = checked(&[change("words.told", 1, 2), change("tests", 1, 2)]);
        assert!(!is_good);
        assert!(text.contains("worse: words.told: 2, was 1\n"), "{text}");
        assert!(text.contains("better: tests: 2, was 1\n"), "{text}");
    }

    #[test]
    fn better_figure_passes_and_can_be_kept() {
        let (text, is_good) = checked(&[change("words.told", 2, 1)]);
        assert!(is_good && text.contains("--write"), "{text}");
        let (text, is_good) = checked(&[]);
        assert!(is_good && !text.contains("--write"), "{text}");
    }

    #[test]
    fn write_marks_what_is_worse() {
        let text = written(&[change("a", 1, 2), change("b", 2, 1)]);
        assert_eq!(text.matches("(worse)").count(), 1);
        assert!(text.contains("a: 2, was 1  (worse)"), "{text}");
    }
}
