//! Commands for which the distribution has no program, or none with structured or short output. JSON lines, or a table.

mod capabilities;
mod certificates;
mod containers;
mod covered;
mod cron;
mod deleted;
mod file_systems;
mod files;
mod inode;
mod inspect;
mod logins;
mod obstacles;
mod open_files;
mod plan;
mod plan_path;
mod private;
mod probes;
mod processes;

mod timers {
    //! `units.timer_results`: each timer with what came of its unit, by two questions of systemctl(1) to the service manager.

    use std::collections::BTreeMap;
    use std::process::{Command, ExitCode, Stdio};
    use std::time::Duration;

    use nix::time::{ClockId, clock_gettime};
    use remit_common::calendar;
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
            "Id,Unit,LastTriggerUSec,NextElapseUSecRealtime,NextElapseUSecMonotonic",
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
        let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
        let real = read(ClockId::CLOCK_REALTIME);
        let boot = real.saturating_sub(read(ClockId::CLOCK_MONOTONIC));
        lines(timers.iter().map(|timer| joined(timer, &units, boot)))
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

    /// Returns the earlier of a timer's calendar time and its time since boot. `boot` is the real time when the monotonic
    /// clock was 0.
    fn next_start(timer: &Facts<'_>, boot: Duration) -> Option<String> {
        let value = |name: &str| timer.get(name).copied();
        let calendar = value("NextElapseUSecRealtime").map(str::to_owned);
        let since_boot = value("NextElapseUSecMonotonic").and_then(span);
        let since_boot = since_boot.and_then(|span| timestamp(boot.saturating_add(span)));
        let both = calendar.into_iter().chain(since_boot);
        let known = both.filter(|time| !time.is_empty() && time != "n/a");
        let without_weekday = |time: &String| time.split_once(' ').map(|(_, time)| time.to_owned());
        known.min_by_key(without_weekday)
    }

    /// Parses a time span as systemctl(1) prints it: `2d 3h 7.5s`. `None` for `infinity` and 0.
    fn span(text: &str) -> Option<Duration> {
        let mut seconds = 0.0;
        for part in text.split_whitespace() {
            let (number, unit) = part.split_at(part.find(char::is_alphabetic)?);
            let unit = match unit {
                "y" => 31_557_600.0,
                "month" => 2_629_800.0,
                "w" => 604_800.0,
                "d" => 86_400.0,
                "h" => 3_600.0,
                "min" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
                _ => return None,
            };
            seconds += number.parse::<f64>().ok()? * unit;
        }
        let span = Duration::try_from_secs_f64(seconds).ok()?;
        Some(span).filter(|span| !span.is_zero())
    }

    /// Formats a real time as `systemctl --timestamp=utc` does.
    fn timestamp(time: Duration) -> Option<String> {
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        let weekday = usize::try_from(time.as_secs() / 86_400 % 7).ok()?;
        let milliseconds = u64::try_from(time.as_millis()).ok()?;
        Some(format!(
            "{} {}",
            WEEKDAYS.get(weekday)?,
            calendar::utc(milliseconds)
        ))
    }

    fn joined(timer: &Facts<'_>, units: &BTreeMap<&str, Facts<'_>>, boot: Duration) -> Timer {
        let value = |facts: Option<&Facts<'_>>, name: &str| {
            let value = facts.and_then(|facts| facts.get(name).copied());
            value
                .filter(|value| !value.is_empty() && *value != "n/a")
                .map(str::to_owned)
        };
        let unit = timer.get("Unit").copied().unwrap_or_default();
        let of_unit = units.get(unit);
        let last_end = value(of_unit, "ExecMainExitTimestamp");
        // Until its main process has run, the manager says 0, and success if nothing failed before.
        let has_run = last_end.is_some();
        Timer {
            timer: timer.get("Id").copied().unwrap_or_default().to_owned(),
            unit: unit.to_owned(),
            last_start: value(Some(timer), "LastTriggerUSec"),
            state: value(of_unit, "ActiveState"),
            result: value(of_unit, "Result").filter(|result| has_run || result != "success"),
            exit_status: value(of_unit, "ExecMainStatus").filter(|_| has_run),
            next_start: next_start(timer, boot),
            last_end,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn timer_has_the_result_of_its_unit() {
            let timers = "Id=a.timer\nUnit=a.service\nLastTriggerUSec=Tue 2026-11-24 04:30:00 UTC\nNextElapseUSecRealtime=\n\nId=b.timer\nUnit=b.service\nLastTriggerUSec=n/a\n\nId=c.timer\nUnit=c.service\n";
            let units = "Id=a.service\nActiveState=failed\nResult=exit-code\nExecMainStatus=3\nExecMainExitTimestamp=Tue 2026-11-24 04:30:01 UTC\n\nId=b.service\nActiveState=inactive\nResult=success\nExecMainStatus=0\nExecMainExitTimestamp=\n\nId=c.service\nActiveState=failed\nResult=resources\nExecMainStatus=0\nExecMainExitTimestamp=\n";
            let units: BTreeMap<&str, Facts<'_>> = blocks(units)
                .map(|unit| (*unit.get("Id").unwrap(), unit))
                .collect();
            let found: Vec<Timer> = blocks(timers)
                .map(|timer| joined(&timer, &units, Duration::ZERO))
                .collect();
            assert_eq!(found.len(), 3);
            assert_eq!(found[0].result.as_deref(), Some("exit-code"));
            assert_eq!(found[0].exit_status.as_deref(), Some("3"));
            assert_eq!(found[0].next_start, None);
            assert_eq!((&found[1].last_start, &found[1].result), (&None, &None));
            // It failed before its main process ran.
            assert_eq!(found[2].result.as_deref(), Some("resources"));
            assert_eq!(found[2].exit_status, None);
        }

        #[test]
        fn next_start_is_the_earlier_of_both_clocks() {
            // 2026-11-20 08:25:48 UTC.
            let boot = Duration::from_secs(1_795_163_148);
            let (early, late) = ("Fri 2026-11-20 09:00:00 UTC", "Wed 2026-11-25 09:00:00 UTC");
            for (calendar, since_boot, expect) in [
                ("", "1d 2min 3.5s", Some("Sat 2026-11-21 08:27:51 UTC")),
                ("", "1month 2w 1us", Some("Sun 2027-01-03 18:55:48 UTC")),
                (early, "1d 2min 3.5s", Some(early)),
                (late, "1d 2min 3.5s", Some("Sat 2026-11-21 08:27:51 UTC")),
                (late, "infinity", Some(late)),
                (late, "0", Some(late)),
                ("n/a", "", None),
                ("", "3 fortnights", None),
            ] {
                let timer = Facts::from([
                    ("NextElapseUSecRealtime", calendar),
                    ("NextElapseUSecMonotonic", since_boot),
                ]);
                let found = next_start(&timer, boot);
                assert_eq!(found.as_deref(), expect, "{calendar} {since_boot}");
            }
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
        ["disk-usage"] => file_systems::usage(),
        ["disk-inodes"] => file_systems::inodes(),
        ["timers"] => timers::list(),
        ["cron"] => cron::list(),
        ["logins", count] => logins::accepted(count),
        ["failed-logins", count] => logins::failed(count),
        ["processes-by-memory", count] => processes::by_memory(count),
        ["processes-by-cpu", count] => processes::by_cpu(count),
        ["stuck-processes", count] => processes::stuck(count),
        ["processes-named", name] => processes::named(name),
        ["list-directory", directory, count] => private::list(directory, count),
        ["explain-disk", directory, count] => private::explain(directory, count),
        ["private-file", file, bytes] => private::file(file, bytes),
        ["plan"] => plan::show(plan_path::Visibility::Content),
        ["plan-private"] => plan::show(plan_path::Visibility::Names),
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
        ["name-servers"] => probes::lookup::settings(),
        ["sql", client, database, sql] => probes::services::query(client, database, sql),
        ["haproxy-status"] => probes::services::haproxy_status(),
        ["containers", ref words @ ..] => containers::show(words),
        _ => return None,
    })
}
