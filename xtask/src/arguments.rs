//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
}
