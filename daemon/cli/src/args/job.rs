//! Arguments of `remit jobs`, `remit job` and `remit stop`.

use clap::{ArgGroup, Args};
use nix::sys::signal::Signal;
use remit_common::names::JobId;
use remit_common::outcome::Stream;

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("stream").args(["stdout", "stderr"])))]
pub struct JobArgs {
    /// The job's id
    #[arg(value_name = "ID")]
    pub id: JobId,

    /// Wait for its end, and exit with its status
    #[arg(long)]
    pub wait: bool,

    /// Print what it wrote to standard output, and nothing else
    #[arg(long)]
    pub stdout: bool,

    /// Print what it wrote to standard error, and nothing else
    #[arg(long)]
    pub stderr: bool,

    /// Begin with this byte of the stream [default: 0]
    #[arg(long, value_name = "N", requires = "stream", conflicts_with = "tail")]
    pub offset: Option<u64>,

    /// Print at most this many bytes
    #[arg(long, value_name = "N", requires = "stream", conflicts_with = "tail")]
    pub limit: Option<u64>,

    /// Print the last bytes, this many
    #[arg(long, value_name = "N", requires = "stream")]
    pub tail: Option<u64>,
}

impl JobArgs {
    /// The stream to print, if one is.
    pub fn stream(&self) -> Option<Stream> {
        match (self.stdout, self.stderr) {
            (true, _) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// The job's id
    #[arg(value_name = "ID")]
    pub id: JobId,

    /// Send this signal first, by name or number; KILL follows [default: TERM]
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub signal: Option<i32>,
}

/// A signal's number, from its name with or without SIG, or from its number.
fn signal(text: &str) -> Result<i32, String> {
    let name = text.to_ascii_uppercase();
    let name = format!("SIG{}", name.strip_prefix("SIG").unwrap_or(&name));
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number
        .or_else(|| name.parse().ok().map(|signal: Signal| signal as i32))
        .ok_or_else(|| "no such signal".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "term", "SIGTERM", "sigterm", "15"] {
            assert_eq!(signal(text), Ok(15), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "TERMS"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
