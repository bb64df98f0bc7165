//! Arguments of `remit jobs` and `remit stop`.

use clap::Args;
use nix::sys::signal::Signal;
use remit_common::id_prefix::IdPrefix;

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
