//! Commands for which the distribution has no program, or none with structured or short output. JSON lines, or a table.

mod capabilities;
mod certificates;
mod containers;
mod cron;
mod deleted;
mod files;
mod inspect;
mod logins;
mod open_files;
mod plan;
mod private;
mod probes;
mod processes;

mod timers {
    //! `units.timer_results`: each timer with what came of its unit, by two questions of systemctl(1) to the service manager.

    use std::collections::BTreeMap;
    use std::process::{Command, ExitCode, Stdio};

    use serde::Serialize;

    use crate::text::lines;

    const SYSTEMCTL: &str = "/usr/bin/systemctl";
    const MOST: usize = 1000;

    type Facts<'a> = BTreeMap<&'a str, &'a str>;

    #[derive(Debug, PartialEq, Eq, Serialize)]
    struct Timer {
        timer: String,
        unit: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_start: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_end: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        /// `success`, or the reason of a failure: `exit-code`, `timeout`, `oom-kill`.
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_status: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_start: Option<String>,
    }

    pub fn list() -> Result<ExitCode, String> {
        let timers = shown(
            "Id,Unit,LastTriggerUSec,NextElapseUSecRealtime",
            &["*.timer"],
        )?;
        let timers: Vec<Facts<'_>> = blocks(&timers).take(MOST).collect();
        let mut names: Vec<&str> = timers
            .iter()
            .filter_map(|timer| timer.get("Unit").copied())
            .filter(|name| !name.is_empty() && !name.starts_with('-'))
            .collect();
        names.sort_unstable();
        names.dedup();
        let units = match names.is_empty() {
            true => String::new(),
            false => shown(
                "Id,ActiveState,Result,ExecMainStatus,ExecMainExitTimestamp",
                &names,
            )?,
        };
        let units: BTreeMap<&str, Facts<'_>> = blocks(&units)
            .filter_map(|unit| Some((*unit.get("Id")?, unit)))
            .collect();
        lines(timers.iter().map(|timer| joined(timer, &units)))
    }

    fn shown(properties: &str, units: &[&str]) -> Result<String, String> {
        let output = Command::new(SYSTEMCTL)
            .args(["--no-pager", "--all", "--timestamp=utc", "show"])
            .arg(format!("--property={properties}"))
            .arg("--")
            .args(units)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot start {SYSTEMCTL}: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err("the service manager cannot be asked".to_owned()),
        }
    }

    /// Splits what `systemctl show` printed of several units. The manager escapes line feeds in values.
    fn blocks(text: &str) -> impl Iterator<Item = Facts<'_>> {
        text.split("\n\n")
            .map(|block| {
                block
                    .lines()
                    .filter_map(|line| line.split_once('='))
                    .collect()
            })
            .filter(|facts: &Facts<'_>| facts.contains_key("Id"))
    }

    fn joined(timer: &Facts<'_>, units: &BTreeMap<&str, Facts<'_>>) -> Timer {
        let value = |facts: Option<&Facts<'_>>, name: &str| {
            let value = facts.and_then(|facts| facts.get(name).copied());
            value
                .filter(|value| !value.is_empty() && *value != "n/a")
                .map(str::to_owned)
        };
        let unit = timer.get("Unit").copied().unwrap_or_default();
        let of_unit = units.get(unit);
        let last_end = value(of_unit, "ExecMainExitTimestamp");
        // Until it has run once, the manager says success and 0.
        let has_run = last_end.is_some();
        Timer {
            timer: timer.get("Id").copied().unwrap_or_default().to_owned(),
            unit: unit.to_owned(),
            last_start: value(Some(timer), "LastTriggerUSec"),
            state: value(of_unit, "ActiveState"),
            result: value(of_unit, "Result").filter(|_| has_run),
            exit_status: value(of_unit, "ExecMainStatus").filter(|_| has_run),
            next_start: value(Some(timer), "NextElapseUSecRealtime"),
            last_end,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn timer_has_the_result_of_its_unit() {
            let timers = "Id=a.timer\nUnit=a.service\nLastTriggerUSec=Tue 2026-11-24 04:30:00 UTC\nNextElapseUSecRealtime=\n\nId=b.timer\nUnit=b.service\nLastTriggerUSec=n/a\n";
            let units = "Id=a.service\nActiveState=failed\nResult=exit-code\nExecMainStatus=3\nExecMainExitTimestamp=Tue 2026-11-24 04:30:01 UTC\n\nId=b.service\nActiveState=inactive\nResult=success\nExecMainStatus=0\nExecMainExitTimestamp=\n";
            let units: BTreeMap<&str, Facts<'_>> = blocks(units)
                .map(|unit| (*unit.get("Id").unwrap(), unit))
                .collect();
            let found: Vec<Timer> = blocks(timers).map(|timer| joined(&timer, &units)).collect();
            assert_eq!(found.len(), 2);
            assert_eq!(found[0].result.as_deref(), Some("exit-code"));
            assert_eq!(found[0].exit_status.as_deref(), Some("3"));
            assert_eq!(found[0].next_start, None);
            assert_eq!((&found[1].last_start, &found[1].result), (&None, &None));
        }
    }
}

mod unit_io;
mod unix_sockets;

use std::process::ExitCode;

use remit_common::inspect::LOOK;

/// Answers if the first word is a command of this module. Fails if the words are wrong or the data is not available.
pub fn show(words: &[String]) -> Option<Result<ExitCode, String>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // A command that does not expect a right would read files by it.
    if let Some(right) = inspect::right()
        && words.first().is_none_or(|first| !right.is_for(LOOK, first))
    {
        return Some(Err(right.only_for()));
    }
    Some(match words[..] {
        ["deleted-files", count] => deleted::list(count),
        ["open-files", ref words @ ..] => open_files::open(words),
        ["unit-io", seconds, count] => unit_io::io(seconds, count),
        ["certificates", directory, count] => certificates::list(directory, count),
        ["certificate", file] => certificates::show(file),
        ["unix-sockets"] => unix_sockets::list(),
        ["largest-files", directory, count] => files::largest(directory, count),
        ["largest-directories", directory, count] => files::directories(directory, count),
        ["recent-files", directory, minutes, count] => files::recent(directory, minutes, count),
        ["timers"] => timers::list(),
        ["cron"] => cron::list(),
        ["logins", count] => logins::accepted(count),
        ["failed-logins", count] => logins::failed(count),
        ["processes-by-memory", count] => processes::by_memory(count),
        ["processes-by-cpu", count] => processes::by_cpu(count),
        ["stuck-processes", count] => processes::stuck(count),
        ["list-directory", directory, count] => private::list(directory, count),
        ["explain-disk", directory, count] => private::explain(directory, count),
        ["private-file", file, bytes] => private::file(file, bytes),
        ["plan"] => plan::show(plan::Visibility::Content),
        ["plan-private"] => plan::show(plan::Visibility::Names),
        ["probe-tcp", address, port, seconds] => probes::tcp(address, port, seconds),
        ["probe-tls", address, port, name, starttls, seconds] => {
            probes::tls::show(address, port, name, starttls, seconds)
        }
        ["probe-http", ref words @ ..] => {
            probes::http::Page::from_words(words).and_then(probes::http::show)
        }
        ["status-page", ref words @ ..] => {
            probes::http::Page::from_words(words).and_then(probes::http::status_page)
        }
        ["redis-info", address, port, seconds] => {
            probes::services::redis_info(address, port, seconds)
        }
        ["lookup", name] => probes::lookup::show(name),
        ["sql", client, database, sql] => probes::services::query(client, database, sql),
        ["haproxy-status"] => probes::services::haproxy_status(),
        ["containers", ref words @ ..] => containers::show(words),
        _ => return None,
    })
}
