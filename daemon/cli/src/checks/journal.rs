//! Checks that the journal keeps the audit log and that the log can be read.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::unistd::geteuid;
use remit_common::admin::Checkup;

use super::files;
use super::report::Check;
use crate::client::admin_socket::REMITD;
use crate::external_program::{Program, ProgramError};

const KEPT: &str = "/var/log/journal";
const LOST: &str = "/run/log/journal";

/// What journald does, which its configuration may not say before it is restarted.
#[derive(Clone, Copy, Debug)]
enum StorageState {
    InEffect,
    NotInEffect,
    NoDirectory,
}

impl StorageState {
    fn from_directories(kept: &Path, lost: &Path, machine: &str) -> Self {
        let file = |dir: &Path| dir.join(machine).join("system.journal").try_exists();
        match kept.is_dir() {
            false => Self::NoDirectory,
            // Without the right to look, nothing is known that would be a warning.
            true if file(kept).unwrap_or(true) && !file(lost).unwrap_or(false) => Self::InEffect,
            true => Self::NotInEffect,
        }
    }
}

/// Checks the audit log. `asked_at`: when the self-test was requested, since 1970. The daemon wrote a record of it.
pub fn checks(checkup: Option<&Checkup>, asked_at: Duration) -> Vec<Check> {
    let Some(checkup) = checkup else {
        let mut checks = vec![Check::skipped("audit trail", "the daemon did not answer")];
        checks.extend(journald(None));
        return checks;
    };
    let mut checks = vec![audit(checkup)];
    if checkup.audit.starts_with("journald") {
        checks.extend(journald(Some(asked_at)));
    }
    checks
}

fn audit(checkup: &Checkup) -> Check {
    match &checkup.audit_error {
        None => Check::ok("audit trail", &checkup.audit),
        Some(why) => Check::failure(
            "audit trail",
            format!(
                "{} does not accept records, so nothing runs: {why}",
                checkup.audit
            ),
            match checkup.audit.starts_with("journald") {
                true => "systemctl restart systemd-journald",
                false => "df -h /var/lib/remit",
            },
        ),
    }
}

/// What journald does without space: it takes records from its socket, so the daemon knows nothing of it.
const DROPS: &str = "jobs run, and journald drops their records";

/// Checks journald, if it is the audit log's sink. `None` if the daemon did not report.
fn journald(asked_at: Option<Duration>) -> Vec<Check> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let kept = StorageState::from_directories(Path::new(KEPT), Path::new(LOST), machine.trim());
    let mut checks = match configuration() {
        Ok(text) => vec![storage(&text, kept), level(&text)],
        Err(why) => vec![Check::skipped("storage", why)],
    };
    let dir = match kept {
        StorageState::InEffect => KEPT,
        StorageState::NotInEffect | StorageState::NoDirectory => LOST,
    };
    checks.push(files::free_space(Path::new(dir), DROPS));
    checks.push(readable(asked_at));
    checks
}

/// Returns journald's configuration with all drop-ins, in order of precedence: the last value wins.
fn configuration() -> Result<String, String> {
    let analyze = Program::find(&["/usr/bin/systemd-analyze", "/bin/systemd-analyze"]);
    let analyze = analyze.ok_or("there is no systemd-analyze to read its configuration")?;
    let text = analyze.ask(&["--no-pager", "cat-config", "systemd/journald.conf"]);
    let text = text.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn setting<'a>(configuration: &'a str, name: &str) -> Option<&'a str> {
    let mut values = configuration.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    });
    values.next_back().filter(|value| !value.is_empty())
}

/// Checks that records of jobs, which have level info, are kept (journald.conf(5), MaxLevelStore=).
fn level(configuration: &str) -> Check {
    let name = "level";
    let value = setting(configuration, "MaxLevelStore").unwrap_or("debug");
    match value {
        "info" | "6" | "debug" | "7" => Check::ok(name, value),
        other => Check::failure(
            name,
            format!("journald keeps no record of what runs (MaxLevelStore={other})"),
            "set MaxLevelStore=info in /etc/systemd/journald.conf, then: systemctl restart systemd-journald",
        ),
    }
}

/// Checks that records survive a reboot (journald.conf(5), Storage=).
fn storage(configuration: &str, kept: StorageState) -> Check {
    let name = "storage";
    let value = setting(configuration, "Storage").unwrap_or("auto");
    let keep = format!(
        "mkdir -p {KEPT}; systemd-tmpfiles --create --prefix {KEPT}; systemctl restart systemd-journald"
    );
    let set = "set Storage=persistent in /etc/systemd/journald.conf, then: systemctl restart systemd-journald";
    match (value, kept) {
        ("none", _) => Check::failure(
            name,
            "journald keeps nothing (Storage=none): there is no audit log",
            set,
        ),
        ("volatile", _) => {
            Check::warning(name, "records are lost at a reboot (Storage=volatile)", set)
        }
        ("auto", StorageState::NoDirectory) => Check::warning(
            name,
            format!("records are lost at a reboot: there is no '{KEPT}'"),
            keep,
        ),
        (value, StorageState::InEffect) => Check::ok(name, format!("{value}, in {KEPT}")),
        (value, StorageState::NotInEffect | StorageState::NoDirectory) => Check::warning(
            name,
            format!(
                "records are lost at a reboot: Storage={value} is not in effect, and journald does not write to '{KEPT}'"
            ),
            "systemctl restart systemd-journald; journalctl --flush",
        ),
    }
}

/// Checks that a record of the daemon can be read: if `asked_at` is given, the record of that self-test.
fn readable(asked_at: Option<Duration>) -> Check {
    let name = "records";
    if !geteuid().is_root() {
        return Check::skipped(name, "only root can check this: sudo remit doctor");
    }
    let Some(journalctl) = Program::find(&["/usr/bin/journalctl", "/bin/journalctl"]) else {
        return Check::skipped(name, "there is no journalctl");
    };
    let query = ["-q", "--no-pager", "-n", "1", "-o", "cat", "_UID=0"];
    let found = match asked_at {
        // `--follow` waits for a record that is not written yet. Microseconds exclude an earlier self-test.
        Some(time) => {
            let since = format!("--since=@{}.{:06}", time.as_secs(), time.subsec_micros());
            let more = ["--follow", &since, "REMIT_EVENT=walls"];
            journalctl.line(&[&query[..], &more].concat())
        }
        None => journalctl.ask(&[&query[..], &[&format!("_EXE={REMITD}")]].concat()),
    };
    let missing = match asked_at {
        Some(_) => "the daemon has just written a record, but it is not in the journal",
        None => "the journal has no record of the daemon",
    };
    let look = "systemctl status systemd-journald";
    match found {
        Ok(text) if text.trim_ascii().is_empty() => Check::warning(name, missing, look),
        Err(ProgramError::Late(_)) => Check::warning(name, missing, look),
        Ok(_) => Check::ok(name, "found"),
        Err(error) => Check::warning(name, format!("the journal cannot be read: {error}"), look),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::daemon::tests::checkup;
    use crate::checks::report::Verdict;

    #[test]
    fn records_of_what_runs_are_kept() {
        for (text, expect) in [
            ("#MaxLevelStore=err\n", true),
            ("MaxLevelStore=6\n", true),
            ("MaxLevelStore=info\nMaxLevelStore=notice\n", false),
            ("MaxLevelStore=err\n", false),
        ] {
            let is_ok = matches!(level(text).verdict, Verdict::Ok(_));
            assert_eq!(is_ok, expect, "{text}");
        }
    }

    #[test]
    fn the_last_storage_counts() {
        use StorageState::{InEffect, NoDirectory, NotInEffect};
        let cases = [
            ("[Journal]\n#Storage=none\n", InEffect, "ok"),
            ("[Journal]\n", NoDirectory, "warning"),
            ("Storage=auto\n", NoDirectory, "warning"),
            ("Storage=auto\n", NotInEffect, "warning"),
            ("Storage=persistent\n", InEffect, "ok"),
            ("Storage=persistent\n", NoDirectory, "warning"),
            ("Storage=persistent\n", NotInEffect, "warning"),
            ("Storage=volatile\n", InEffect, "warning"),
            ("Storage=none\n", InEffect, "failure"),
            ("Storage=none\nStorage = persistent\n", InEffect, "ok"),
            ("Storage=none\nStorage=\n", InEffect, "ok"),
        ];
        for (text, kept, expect) in cases {
            let kind = match storage(text, kept).verdict {
                Verdict::Ok(_) => "ok",
                Verdict::Skipped(_) => "skipped",
                Verdict::Warning(_) => "warning",
                Verdict::Failure(_) => "failure",
            };
            assert_eq!(kind, expect, "{text} {kept:?}");
        }
    }

    #[test]
    fn storage_is_judged_by_the_files_of_journald() {
        let dir = std::env::temp_dir().join(format!("remit-journal-{}", std::process::id()));
        let (var, run) = (dir.join("var"), dir.join("run"));
        let kept = || format!("{:?}", StorageState::from_directories(&var, &run, "0ab1"));
        assert_eq!(kept(), "NoDirectory");
        fs::create_dir_all(&var).unwrap();
        assert_eq!(kept(), "NotInEffect");
        for of in [&var, &run] {
            fs::create_dir_all(of.join("0ab1")).unwrap();
        }
        fs::write(var.join("0ab1/system.journal"), "").unwrap();
        assert_eq!(kept(), "InEffect");
        fs::write(run.join("0ab1/system.journal"), "").unwrap();
        assert_eq!(kept(), "NotInEffect", "what it writes now is there");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn unwritable_audit_log_is_a_failure() {
        let mut full = checkup();
        assert!(matches!(audit(&full).verdict, Verdict::Ok(_)));
        full.audit_error = Some("no space".into());
        assert!(matches!(audit(&full).verdict, Verdict::Failure(_)));
    }
}
