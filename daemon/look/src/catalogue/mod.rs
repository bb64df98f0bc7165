//! Commands for which the distribution has no program, or none whose output is structured or short. One JSON object per
//! line, or a table.

mod certificates;
mod containers;
mod cron;
mod files;
mod processes;
mod unix_sockets;

use std::process::ExitCode;

/// Answers if the first word is a command of this module. Fails if the words are wrong or the data is not available.
pub fn show(words: &[String]) -> Option<Result<ExitCode, String>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words[..] {
        ["certificates", directory, count] => certificates::list(directory, count),
        ["certificate", file] => certificates::show(file),
        ["unix-sockets"] => unix_sockets::list(),
        ["largest-files", directory, count] => files::largest(directory, count),
        ["largest-directories", directory, count] => files::directories(directory, count),
        ["recent-files", directory, minutes, count] => files::recent(directory, minutes, count),
        ["cron"] => cron::list(),
        ["processes-by-memory", count] => processes::by_memory(count),
        ["processes-by-cpu", count] => processes::by_cpu(count),
        ["stuck-processes", count] => processes::stuck(count),
        ["containers", ref words @ ..] => containers::show(words),
        _ => return None,
    })
}
