//! `schedule.cron`: what cron starts, and when.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::lines_but;

/// Tables, and directories of tables.
const TABLES: [&str; 6] = [
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d",
    "/var/spool/cron/crontabs",
    "/var/spool/cron/tabs",
    "/var/spool/cron",
];
/// Directories of scripts, and when they run.
const SCRIPTS: [(&str, &str); 4] = [
    ("hourly", "/etc/cron.hourly"),
    ("daily", "/etc/cron.daily"),
    ("weekly", "/etc/cron.weekly"),
    ("monthly", "/etc/cron.monthly"),
];
/// Of a table, in bytes.
const MOST: u64 = 1 << 20;

#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
enum Job {
    /// As it stands in its table, with when it runs; lines that set variables among them.
    Line {
        table: String,
        line: String,
    },
    Script {
        every: &'static str,
        script: String,
    },
}

pub fn list() -> Result<ExitCode, String> {
    let (mut jobs, mut unseen) = (Vec::new(), 0);
    for table in TABLES.iter().flat_map(|place| files(Path::new(place))) {
        match fs::metadata(&table).and_then(|of| {
            if of.len() > MOST {
                Ok(None)
            } else {
                fs::read(&table).map(Some)
            }
        }) {
            Ok(Some(bytes)) => jobs.extend(told(&table.to_string_lossy(), &bytes)),
            Ok(None) | Err(_) => unseen += 1,
        }
    }
    for (every, place) in SCRIPTS {
        jobs.extend(
            files(Path::new(place))
                .into_iter()
                .map(|script| Job::Script {
                    every,
                    script: script.to_string_lossy().into_owned(),
                }),
        );
    }
    lines_but(jobs, unseen)
}

/// The file that is there, or those in the directory; none that packages leave there to keep it, or that cron skips.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let paths = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    let mut paths: Vec<PathBuf> = paths.filter(|path| !hidden(path)).collect();
    paths.sort();
    paths
}

/// The lines of a table that say something.
fn told(table: &str, bytes: &[u8]) -> Vec<Job> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| Job::Line {
            table: table.to_owned(),
            line: line.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_something_are_told() {
        let text = b"# a comment\n\nSHELL=/bin/sh\n  17 * * * * root cd / && run-parts /etc/cron.hourly\n\t# more\n";
        let found = serde_json::to_value(told("/etc/crontab", text)).unwrap();
        assert_eq!(
            found,
            serde_json::json!([
                { "table": "/etc/crontab", "line": "SHELL=/bin/sh" },
                { "table": "/etc/crontab", "line": "17 * * * * root cd / && run-parts /etc/cron.hourly" },
            ])
        );
        assert_eq!(files(Path::new("/nonexistent")), Vec::<PathBuf>::new());
    }
}
