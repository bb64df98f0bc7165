use std::io::Write;
use std::process::ExitCode;

use crate::arguments::ReportArgs;
use crate::error::ReportError;
use crate::figures::{FIGURES_FILE, FigureChange, Figures};
use crate::print;
use crate::report;
use crate::repository::Repository;

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
