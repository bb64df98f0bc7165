//! Arguments of `remit jobs`, `job` and `stop`.

use clap::{ArgGroup, Args};
use nix::sys::signal::Signal;
use remit_common::caps;
use remit_common::id_prefix::IdPrefix;
use remit_wire::outcome::Stream;

/// How many jobs are listed unless somebody says otherwise.
const LIMIT: u32 = 20;

#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Only your own jobs, also if you are an administrator
    #[arg(long)]
    pub mine: bool,

    /// Only jobs that run or wait in the queue
    #[arg(long)]
    pub running: bool,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

impl JobsArgs {
    /// The caller's own.
    pub fn mine() -> Self {
        Self {
            mine: true,
            running: false,
            limit: LIMIT,
        }
    }
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// The job's id, or how it begins: 4 digits or more
    #[arg(value_name = "ID")]
    pub id: IdPrefix,

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

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("stream").args(["stdout", "stderr"])))]
pub struct JobArgs {
    /// The job's id, or how it begins: 4 digits or more; without one, your jobs are listed
    #[arg(value_name = "ID")]
    pub id: Option<IdPrefix>,

    /// Wait for its end, and exit with its status
    #[arg(long, requires = "id")]
    pub wait: bool,

    /// Print what it wrote and writes until its end, and exit with its status
    #[arg(long, requires = "id", conflicts_with_all = ["wait", "grep", "limit"])]
    pub follow: bool,

    /// Print what it wrote to standard output, and nothing else
    #[arg(long, requires = "id")]
    pub stdout: bool,

    /// Print what it wrote to standard error, and nothing else
    #[arg(long, requires = "id")]
    pub stderr: bool,

    /// Print lines that match this regular expression, with their numbers [default: of stdout]
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "id",
        allow_hyphen_values = true
    )]
    pub grep: Option<String>,

    /// With --grep, print so many lines before and after each too
    #[arg(long, value_name = "N", requires = "grep",
          value_parser = clap::value_parser!(u32).range(..=i64::from(caps::GREP_CONTEXT)))]
    pub context: Option<u32>,

    /// Begin with this byte of stdout, or with --stderr of that [default: 0]
    #[arg(long, value_name = "N", requires = "id", conflicts_with = "tail")]
    pub offset: Option<u64>,

    /// Print at most this many bytes; with --grep, lines that match
    #[arg(long, value_name = "N", requires = "id", conflicts_with = "tail")]
    pub limit: Option<u64>,

    /// Print the last bytes, this many; with --follow, begin with them
    #[arg(long, value_name = "N", requires = "id", conflicts_with = "grep")]
    pub tail: Option<u64>,
}

impl JobArgs {
    /// Returns true if the answer has more than the job's state.
    pub fn is_for_owner(&self) -> bool {
        self.wait || self.follow || self.grep.is_some() || self.stream().is_some()
    }

    /// The stream to print, if one is: a part that says no stream is one of standard output, but the end that a
    /// `--follow` begins with is each one's.
    pub fn stream(&self) -> Option<Stream> {
        let ends = self.tail.is_some() && !self.follow;
        match (self.stdout, self.stderr) {
            (true, _) => Some(Stream::Stdout),
            (false, true) => Some(Stream::Stderr),
            (false, false) if ends || self.offset.is_some() || self.limit.is_some() => {
                Some(Stream::Stdout)
            }
            (false, false) => None,
        }
    }
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
