//! The journal: does it keep the audit trail, and can the trail be read?

use std::path::Path;
use std::time::Duration;

use nix::unistd::geteuid;

use super::check::Check;
use super::files;
use crate::configuration::REMITD;
use crate::program::{Program, ProgramError};

/// Where a journal that outlives a restart lies.
const KEPT: &str = "/var/log/journal";
/// Where one lies that does not.
const LOST: &str = "/run/log/journal";

/// All checks, where the journal is the audit's sink. The daemon wrote a record of this checkup, if
/// it was `told` of it, since then (from 1970).
pub fn checks(told: Option<Duration>) -> Vec<Check> {
    let is_kept = Path::new(KEPT).is_dir();
    let mut checks = match configuration() {
        Ok(text) => vec![storage(&text, is_kept), level(&text)],
        Err(why) => vec![Check::skipped("storage", why)],
    };
    checks.push(files::room(Path::new(if is_kept { KEPT } else { LOST })));
    checks.push(readable(told));
    checks
}

/// journald's configuration with all its drop-ins, the later after the earlier.
fn configuration() -> Result<String, String> {
    let analyze = Program::find(&["/usr/bin/systemd-analyze", "/bin/systemd-analyze"]);
    let analyze = analyze.ok_or("there is no systemd-analyze to read its configuration")?;
    let text = analyze.ask(&["--no-pager", "cat-config", "systemd/journald.conf"]);
    let text = text.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The last value of a setting. An empty one is the default again.
fn setting<'a>(configuration: &'a str, name: &str) -> Option<&'a str> {
    let mut values = configuration.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    });
    values.next_back().filter(|value| !value.is_empty())
}

/// Whether records of what runs, which are of level info, are kept (journald.conf(5), MaxLevelStore=).
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

/// Whether records outlive a restart (journald.conf(5), Storage=).
fn storage(configuration: &str, is_kept: bool) -> Check {
    let name = "storage";
    let value = setting(configuration, "Storage").unwrap_or("auto");
    let keep = format!(
        "mkdir -p {KEPT}; systemd-tmpfiles --create --prefix {KEPT}; systemctl restart systemd-journald"
    );
    let set = "set Storage=persistent in /etc/systemd/journald.conf, then: systemctl restart systemd-journald";
    match (value, is_kept) {
        ("none", _) => Check::failure(
            name,
            "journald keeps nothing (Storage=none): there is no audit trail",
            set,
        ),
        ("volatile", _) => Check::warning(
            name,
            "records are gone after a reboot (Storage=volatile)",
            set,
        ),
        ("auto", false) => Check::warning(
            name,
            format!("records are gone after a reboot: there is no '{KEPT}'"),
            keep,
        ),
        (value, _) => Check::ok(name, format!("{value}, in {KEPT}")),
    }
}

/// Whether a record of the daemon can be found: that of this checkup, if it was `told`.
fn readable(told: Option<Duration>) -> Check {
    let name = "records";
    if !geteuid().is_root() {
        return Check::skipped(name, "only root can tell: sudo remit doctor");
    }
    let Some(journalctl) = Program::find(&["/usr/bin/journalctl", "/bin/journalctl"]) else {
        return Check::skipped(name, "there is no journalctl");
    };
    let query = ["-q", "--no-pager", "-n", "1", "-o", "cat", "_UID=0"];
    let found = match told {
        // It may still be on its way: it is waited for. To the microsecond, lest the record of a
        // checkup just before is taken for it.
        Some(time) => {
            let since = format!("--since=@{}.{:06}", time.as_secs(), time.subsec_micros());
            let more = ["--follow", &since, "REMIT_EVENT=walls"];
            journalctl.line(&[&query[..], &more].concat())
        }
        None => journalctl.ask(&[&query[..], &[&format!("_EXE={REMITD}")]].concat()),
    };
    let missing = match told {
        Some(_) => "the daemon has just written a record that the journal does not have",
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
    use super::super::check::Verdict;
    use super::*;

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
        let cases = [
            ("[Journal]\n#Storage=none\n", true, "ok"),
            ("[Journal]\n", false, "warning"),
            ("Storage=auto\n", false, "warning"),
            ("Storage=persistent\n", false, "ok"),
            ("Storage=volatile\n", true, "warning"),
            ("Storage=none\n", true, "failure"),
            ("Storage=none\nStorage = persistent\n", true, "ok"),
            ("Storage=none\nStorage=\n", true, "ok"),
        ];
        for (text, is_kept, expect) in cases {
            let kind = match storage(text, is_kept).verdict {
                Verdict::Ok(_) => "ok",
                Verdict::Skipped(_) => "skipped",
                Verdict::Warning(_) => "warning",
                Verdict::Failure(_) => "failure",
            };
            assert_eq!(kind, expect, "{text} {is_kept}");
        }
    }
}
