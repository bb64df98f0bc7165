//! `schedule.cron`: the jobs of cron and their times.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use remit_common::cron::{SCRIPTS, SPOOLS};
use remit_words::cron::{DEBIAN, is_hierarchical, name_ignored};
use serde::Serialize;

use crate::text::{Unseen, lines_but};

const TABLES: [&str; 3] = ["/etc/crontab", "/etc/anacrontab", "/etc/cron.d"];
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
        #[serde(skip_serializing_if = "Option::is_none")]
        ignored: Option<&'static str>,
    },
    Script {
        every: &'static str,
        script: String,
        /// The target of a link, if the sandbox does not show it.
        #[serde(skip_serializing_if = "Option::is_none")]
        link_to: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ignored: Option<&'static str>,
    },
}

pub fn list() -> Result<ExitCode, String> {
    let is_debian = Path::new(DEBIAN).exists();
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
        .chain(SPOOLS)
        .flat_map(&mut files_at)
        .collect();
    for location in SCRIPTS {
        jobs.extend(files_at(location).into_iter().map(|script| Job::Script {
            every: location.trim_start_matches("/etc/cron."),
            ignored: script_ignored(&script, is_debian),
            link_to: unseen_target(&script),
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
            Ok(Some(bytes)) => {
                let ignored = table_ignored(&table, is_debian);
                jobs.extend(table_lines(&table.to_string_lossy(), &bytes, ignored));
            }
            Ok(None) | Err(_) => unseen.add(&table),
        }
    }
    lines_but(jobs, &unseen)
}

/// Returns the file itself, or the files in the directory, with links to what is not seen. Skips placeholders of packages and
/// files that cron ignores.
fn files(location: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(location)?.is_file() {
        return Ok(vec![location.to_owned()]);
    }
    let paths = fs::read_dir(location)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>()?;
    let hidden = |path: &PathBuf| name(path).starts_with(b".");
    paths.retain(|path| (path.is_file() || unseen_target(path).is_some()) && !hidden(path));
    paths.sort();
    Ok(paths)
}

fn unseen_target(path: &Path) -> Option<String> {
    let is_seen = fs::metadata(path).is_ok();
    let target = fs::read_link(path).ok().filter(|_| !is_seen)?;
    Some(target.to_string_lossy().into_owned())
}

/// Says why run-parts(8) does not run a script.
fn script_ignored(script: &Path, is_debian: bool) -> Option<&'static str> {
    if let Some(why) = name_ignored(name(script), is_debian) {
        return Some(why);
    }
    let is_executable = |of: fs::Metadata| of.permissions().mode() & 0o111 != 0;
    let is_ignored = fs::metadata(script).is_ok_and(|of| !is_executable(of));
    is_ignored.then_some("it is not executable")
}

/// Says why cron(8) does not read a table: Debian's has rules for the names in `/etc/cron.d`.
fn table_ignored(table: &Path, is_debian: bool) -> Option<&'static str> {
    let is_named = table.parent() == Some(Path::new("/etc/cron.d"));
    let ignored = is_named.then(|| name_ignored(name(table), is_debian))?;
    ignored.map(|why| match is_hierarchical(name(table)) {
        true => "its name has a dot: only 'cron -l' reads it",
        false => why,
    })
}

fn name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

fn table_lines(table: &str, bytes: &[u8], ignored: Option<&'static str>) -> Vec<Job> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| Job::Line {
            table: table.to_owned(),
            line: without_secrets(line),
            ignored,
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
        let found = serde_json::to_value(table_lines("/etc/crontab", text, None)).unwrap();
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
    fn what_cron_ignores_is_marked() {
        let base = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-cron-XXXXXX")).unwrap();
        let script = |name: &str, mode: u32| {
            let path = base.join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let not_executable = Some("it is not executable");
        let dot = Some("its name has a dot");
        for (name, mode, plain, debian) in [
            ("0-Logs_x", 0o755, None, None),
            ("of-root", 0o700, None, None),
            ("copied", 0o644, not_executable, not_executable),
            ("backup.sh", 0o755, None, dot),
            ("both.sh", 0o644, not_executable, dot),
        ] {
            let path = script(name, mode);
            assert_eq!(script_ignored(&path, false), plain, "{name}");
            assert_eq!(script_ignored(&path, true), debian, "{name}");
        }
        let other = script_ignored(&script("saved~", 0o755), true).unwrap();
        assert!(other.starts_with("its name has another character"));
        std::os::unix::fs::symlink("copied", base.join("link")).unwrap();
        assert_eq!(script_ignored(&base.join("link"), true), not_executable);
        assert_eq!(unseen_target(&base.join("link")), None);
        let unseen = base.join("unseen");
        std::os::unix::fs::symlink("/nonexistent/cron/browser", &unseen).unwrap();
        std::os::unix::fs::symlink("/dev/null", base.join("masked")).unwrap();
        let target = Some("/nonexistent/cron/browser".to_owned());
        assert_eq!(unseen_target(&unseen), target);
        let found = files(&base).unwrap();
        assert!(found.contains(&unseen) && !found.contains(&base.join("masked")));
        fs::remove_dir_all(&base).unwrap();

        let of_table = Some("its name has a dot: only 'cron -l' reads it");
        for (table, is_debian, ignored) in [
            ("/etc/cron.d/shop.example", true, dot),
            ("/etc/cron.d/example.org-job", true, of_table),
            ("/etc/cron.d/Example.org-job", true, dot),
            ("/etc/cron.d/x.dpkg-old", true, dot),
            ("/etc/cron.d/shop.example", false, None),
            ("/etc/cron.d/shop-example", true, None),
            ("/var/spool/cron/crontabs/a.b", true, None),
            ("/etc/crontab", true, None),
        ] {
            assert_eq!(table_ignored(Path::new(table), is_debian), ignored);
        }
        let lines = table_lines("/etc/cron.d/a.b", b"A=1\n", of_table);
        let found = serde_json::to_value(lines).unwrap();
        assert_eq!(
            found,
            serde_json::json!([
                { "table": "/etc/cron.d/a.b", "line": "A=…", "ignored": "its name has a dot: only 'cron -l' reads it" },
            ])
        );
        let script = Job::Script {
            every: "daily",
            script: "/etc/cron.daily/a".into(),
            link_to: target,
            ignored: not_executable,
        };
        assert_eq!(
            serde_json::to_value(script).unwrap(),
            serde_json::json!({ "every": "daily", "script": "/etc/cron.daily/a", "link_to": "/nonexistent/cron/browser", "ignored": "it is not executable" })
        );
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
