use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("cannot run '{command}': {reason}")]
    Command {
        command: String,
        /// The error of the system, or the output of the program.
        reason: String,
    },
    #[error("cannot access '{}': {source}", .path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot read '{path}': {reason}")]
    Invalid {
        /// The file or the program that printed the text.
        path: String,
        reason: String,
    },
}

impl ReportError {
    pub fn invalid(path: &str, reason: impl ToString) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
