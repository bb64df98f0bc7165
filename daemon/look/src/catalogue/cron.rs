//! `schedule.cron`: the jobs of cron and their times.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use serde::Serialize;

use crate::text::{Unseen, lines_but};

const TABLES: [&str; 3] = ["/etc/crontab", "/etc/anacrontab", "/etc/cron.d"];
const SCRIPTS: [(&str, &str); 5] = [
    ("hourly", "/etc/cron.hourly"),
    ("daily", "/etc/cron.daily"),
    ("weekly", "/etc/cron.weekly"),
    ("monthly", "/etc/cron.monthly"),
    ("yearly", "/etc/cron.yearly"),
];
/// Variables that control how a job runs. The values of other variables are often secrets.
const SHOWN_VARIABLES: [&str; 13] = [
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
const MOST: u64 = 1 << 20;

#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
enum Job {
    /// A line of a table without possible secrets, including lines that set variables.
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
    let (mut jobs, mut unseen) = (Vec::new(), Unseen::default());
    let mut files_at = |location: &str| {
        files(Path::new(location)).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                unseen.add(Path::new(location));
            }
            Vec::new()
        })
    };
    let tables: Vec<PathBuf> = TABLES
        .into_iter()
        .chain(remit_common::cron::SPOOLS)
        .flat_map(&mut files_at)
        .collect();
    for (every, location) in SCRIPTS {
        jobs.extend(files_at(location).into_iter().map(|script| Job::Script {
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
            Ok(Some(bytes)) => jobs.extend(table_lines(&table.to_string_lossy(), &bytes)),
            Ok(None) | Err(_) => unseen.add(&table),
        }
    }
    lines_but(jobs, &unseen)
}

/// Returns the file itself, or the files in the directory. Skips placeholders of packages and files that cron ignores.
fn files(location: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(location)?.is_file() {
        return Ok(vec![location.to_owned()]);
    }
    let paths = fs::read_dir(location)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>()?;
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| path.is_file() && !hidden(path));
    paths.sort();
    Ok(paths)
}

fn table_lines(table: &str, bytes: &[u8]) -> Vec<Job> {
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

/// Removes values of variables, and a command's input after the first `%`. ps(1) shows the command itself anyway.
fn without_secrets(line: &str) -> String {
    if let Some((name, _)) = line.split_once('=') {
        let name = name.trim_end();
        let variable = name.starts_with(['"', '\'']) || !name.contains(char::is_whitespace);
        if variable {
            return match SHOWN_VARIABLES.contains(&name) {
                true => line.to_owned(),
                false => format!("{name}=…"),
            };
        }
    }
    // cron takes the character after a backslash as it is, a second backslash too.
    let is_escaped = |before: &str| {
        let backslashes = before.len() - before.trim_end_matches('\\').len();
        !backslashes.is_multiple_of(2)
    };
    let mut reads = line.match_indices('%').map(|(at, _)| line.split_at(at).0);
    match reads.find(|before| !is_escaped(before)) {
        Some(before) => format!("{before}%…"),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_left_out() {
        let text = b"# a comment\n\nSHELL=/bin/sh\n  17 * * * * root cd / && run-parts /etc/cron.hourly\n\t# more\n";
        let found = serde_json::to_value(table_lines("/etc/crontab", text)).unwrap();
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
    fn secrets_are_hidden() {
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
            (r"1 2 * * * a \\%secret", r"1 2 * * * a \\%…"),
            (r"1 2 * * * a \\\%b", r"1 2 * * * a \\\%b"),
            (
                "1 2 * * * date +\\%F | x%secret",
                "1 2 * * * date +\\%F | x%…",
            ),
        ] {
            assert_eq!(without_secrets(line), shown);
        }
    }
}
