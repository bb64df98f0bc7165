//! `schedule.cron`: what cron starts, and when.

use std::fs;
use std::io;
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
const SCRIPTS: [(&str, &str); 5] = [
    ("hourly", "/etc/cron.hourly"),
    ("daily", "/etc/cron.daily"),
    ("weekly", "/etc/cron.weekly"),
    ("monthly", "/etc/cron.monthly"),
    ("yearly", "/etc/cron.yearly"),
];
/// Variables that say how a job runs. The values of others are often secrets.
const TOLD: [&str; 13] = [
    "CONTENT_TRANSFER_ENCODING",
    "CONTENT_TYPE",
    "CRON_TZ",
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "MAILFROM",
    "MAILTO",
    "PATH",
    "RANDOM_DELAY",
    "SHELL",
    "START_HOURS_RANGE",
];
/// Of a table, in bytes.
const MOST: u64 = 1 << 20;

#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
enum Job {
    /// As it stands in its table, with when it runs, but without what may be a secret; lines that set variables among
    /// them.
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
    let mut in_place = |place: &str| {
        files(Path::new(place)).unwrap_or_else(|error| {
            unseen += u64::from(error.kind() != io::ErrorKind::NotFound);
            Vec::new()
        })
    };
    let tables: Vec<PathBuf> = TABLES.into_iter().flat_map(&mut in_place).collect();
    for (every, place) in SCRIPTS {
        jobs.extend(in_place(place).into_iter().map(|script| Job::Script {
            every,
            script: script.to_string_lossy().into_owned(),
        }));
    }
    for table in tables {
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
    lines_but(jobs, unseen)
}

/// The file that is there, or those in the directory; none that packages leave there to keep it, or that cron skips.
fn files(place: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(place)?.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let paths = fs::read_dir(place)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>()?;
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| path.is_file() && !hidden(path));
    paths.sort();
    Ok(paths)
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
            line: without_secrets(line),
        })
        .collect()
}

/// Without the values of variables, and without what a command reads, which stands behind the first `%`. The command
/// itself is what ps(1) and the journal show.
fn without_secrets(line: &str) -> String {
    if let Some((name, _)) = line.split_once('=') {
        let name = name.trim_end();
        let variable = name.starts_with(['"', '\'']) || !name.contains(char::is_whitespace);
        if variable {
            return match TOLD.contains(&name) {
                true => line.to_owned(),
                false => format!("{name}=…"),
            };
        }
    }
    let reads = line.match_indices('%').map(|(at, _)| line.split_at(at).0);
    match reads.into_iter().find(|before| !before.ends_with('\\')) {
        Some(before) => format!("{before}%…"),
        None => line.to_owned(),
    }
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
        assert!(files(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn secrets_are_not_told() {
        for (line, shown) in [
            ("SHELL=/bin/sh", "SHELL=/bin/sh"),
            ("MAILTO = \"\"", "MAILTO = \"\""),
            ("TOKEN=secret", "TOKEN=…"),
            ("TOKEN \t= 'secret'", "TOKEN=…"),
            ("\"MY TOKEN\" = secret", "\"MY TOKEN\"=…"),
            ("'PATH' = secret", "'PATH'=…"),
            ("1 2 * * * A=b c", "1 2 * * * A=b c"),
            ("@daily root a --b=c", "@daily root a --b=c"),
            (
                "1 2 * * * mail -s x y%secret%more",
                "1 2 * * * mail -s x y%…",
            ),
            ("1 2 * * * date +\\%F", "1 2 * * * date +\\%F"),
            (
                "1 2 * * * date +\\%F | x%secret",
                "1 2 * * * date +\\%F | x%…",
            ),
        ] {
            assert_eq!(without_secrets(line), shown);
        }
    }
}
