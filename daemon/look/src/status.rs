//! Formats `service.status`, `service.list` and `service.failed`, similar to systemctl but shorter. Pure.

use remit_wire::host::{FailedUnit, List, Units};
use remit_wire::service::{Condition, Process, UnitFacts, UnitLine, Usage};

use crate::text::{fact, size, span, table, time, time_text};

pub fn unit(unit: &UnitFacts, now: u64) -> String {
    if is_missing(unit) {
        return missing(unit);
    }
    let mut text = format!("{} - {}\n", unit.name, unit.description);
    fact(&mut text, "state", state(unit, now));
    if unit.load != "loaded" {
        let why = unit.load_error.as_deref().unwrap_or("no reason is known");
        fact(&mut text, "not loaded", format!("{} ({why})", unit.load));
    }
    if let Some(condition) = &unit.condition {
        fact(&mut text, "not started", unmet(condition, now));
    }
    if let Some(process) = &unit.process {
        of_process(&mut text, process, now);
    }
    fact(&mut text, "uses", uses(&unit.usage));
    fact(&mut text, "listens", unit.listen.join(", "));
    fact(&mut text, "connections", connections(unit));
    fact(&mut text, "mounted", unit.mounted.as_deref().unwrap_or(""));
    if let Some(next) = unit.next {
        fact(&mut text, "elapses next", time_text(next, now));
    }
    if let Some(last) = unit.last {
        fact(&mut text, "elapsed last", time_text(last, now));
    }
    fact(&mut text, "at boot", at_boot(unit));
    fact(&mut text, "file", unit.fragment.as_deref().unwrap_or(""));
    fact(&mut text, "drop-ins", unit.drop_ins.join(", "));
    if unit.needs_reload {
        let stale = "its files have changed since the manager read them (daemon-reload is due)";
        fact(&mut text, "stale", stale);
    }
    fact(&mut text, "started by", unit.triggered_by.join(", "));
    fact(&mut text, "starts", unit.triggers.join(", "));
    fact(&mut text, "documented in", unit.documentation.join(", "));
    text
}

/// Returns true if the unit does not exist. A unit that lost its file may still run.
pub fn is_missing(unit: &UnitFacts) -> bool {
    unit.load == "not-found" && unit.active == "inactive"
}

fn missing(unit: &UnitFacts) -> String {
    let mut text = format!("there is no unit '{}'\n", unit.name);
    if !unit.similar.is_empty() {
        text += &format!(
            "units in memory with a like name: {}\n",
            unit.similar.join(", ")
        );
    }
    text + "service.list pattern=PART finds units by a part of their name\n"
}

fn state(unit: &UnitFacts, now: u64) -> String {
    let mut text = format!("{} ({})", unit.active, unit.sub);
    if let Some(result) = unit.result.as_deref().filter(|result| *result != "success") {
        text += &format!(", result {result}");
    }
    if let Some(since) = unit.since {
        text += &format!(", since {}", time_text(since, now));
    }
    text
}

fn unmet(condition: &Condition, now: u64) -> String {
    let which = match condition.unmet.is_empty() {
        true => String::new(),
        false => format!(": {}", condition.unmet.join(", ")),
    };
    let when = time_text(condition.time, now);
    format!("a condition did not hold at {when}{which}")
}

fn of_process(text: &mut String, process: &Process, now: u64) {
    if process.pid > 0 {
        let since = process.started.map(|time| time_text(time, now));
        let since = since.map_or(String::new(), |since| format!(", since {since}"));
        fact(text, "main process", format!("{}{since}", process.pid));
    }
    if let Some(ended) = &process.ended {
        let how = match (ended.as_str(), process.status) {
            ("exited", Some(status)) => format!("exited with status {status}"),
            ("dumped", Some(signal)) => format!("dumped core by signal {signal}"),
            (_, Some(signal)) => format!("killed by signal {signal}"),
            (other, None) => other.to_owned(),
        };
        let when = process.exited.map(time);
        let when = when.map_or(String::new(), |when| format!(" at {when}"));
        let ran = process.started.zip(process.exited);
        let ran = ran.and_then(|(from, to)| to.checked_sub(from));
        let ran = ran.map_or(String::new(), |ran| format!(" after {}", span(ran)));
        fact(text, "last process", format!("{how}{when}{ran}"));
    }
    if let Some(restarts) = process.restarts.filter(|number| *number > 0) {
        fact(text, "restarts by itself", restarts.to_string());
    }
    fact(text, "says", process.says.as_deref().unwrap_or(""));
    fact(text, "command", process.command.as_deref().unwrap_or(""));
}

/// Formats `memory 3.2 MiB (peak 5.0 MiB, at most 512.0 MiB), tasks 3 (at most 4915), CPU 1.200 s`.
fn uses(usage: &Usage) -> String {
    let mut parts = Vec::new();
    if let Some(memory) = usage.memory {
        let peak = usage.memory_peak.map(|peak| format!("peak {}", size(peak)));
        let most = usage
            .memory_max
            .map(|most| format!("at most {}", size(most)));
        parts.push(format!("memory {}{}", size(memory), brackets(peak, most)));
    }
    if let Some(tasks) = usage.tasks {
        let most = usage.tasks_max.map(|most| format!("at most {most}"));
        parts.push(format!("tasks {tasks}{}", brackets(None, most)));
    }
    if let Some(cpu) = usage.cpu_usec {
        parts.push(format!(
            "CPU {}.{:03} s",
            cpu / 1_000_000,
            cpu % 1_000_000 / 1000
        ));
    }
    parts.join(", ")
}

fn brackets(one: Option<String>, other: Option<String>) -> String {
    let all: Vec<String> = one.into_iter().chain(other).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!(" ({})", all.join(", ")),
    }
}

fn connections(unit: &UnitFacts) -> String {
    match (unit.connections, unit.accepted) {
        (Some(open), Some(taken)) => format!("{open} open, {taken} taken"),
        (Some(open), None) => format!("{open} open"),
        (None, _) => String::new(),
    }
}

fn at_boot(unit: &UnitFacts) -> &str {
    match unit.file_state.as_deref() {
        Some("static") => "static: only when something else needs it",
        Some(other) => other,
        None => "",
    }
}

pub fn units(units: &List<UnitLine>) -> String {
    if units.items.is_empty() {
        return "no unit in memory matches; one that is neither active nor needed by another \
                is not in memory: service.status shows it by its name\n"
            .into();
    }
    let rows: Vec<[String; 3]> = units.items.iter().map(row).collect();
    let mut text = table(["UNIT", "STATE", "DESCRIPTION"], &rows);
    if units.more > 0 {
        text += &format!("{} more: narrow it down by state or pattern\n", units.more);
    }
    text
}

/// Formats `active running`, with the load state first if it is not `loaded`.
fn row(unit: &UnitLine) -> [String; 3] {
    let load = match unit.load.as_str() {
        "loaded" => String::new(),
        other => format!("{other} "),
    };
    let state = format!("{load}{} {}", unit.active, unit.sub);
    [unit.name.clone(), state, unit.description.clone()]
}

pub fn failed(units: &Units, now: u64) -> String {
    let mut text = match &units.system {
        Some(system) => format!("system: {system}\n"),
        None => String::new(),
    };
    if units.failed.items.is_empty() {
        text += "no unit has failed\n";
    }
    for unit in &units.failed.items {
        text += &one(unit, now);
    }
    if units.failed.more > 0 {
        text += &format!("{} more failed units\n", units.failed.more);
    }
    if !units.restarting.items.is_empty() {
        let names = units.restarting.items.join(", ");
        text += &format!("waiting to be started again after a failure: {names}\n");
    }
    if let Some(unit) = units.failed.items.first() {
        text += &format!("more of each: service.status unit={}\n", unit.name);
    }
    text
}

fn one(unit: &FailedUnit, now: u64) -> String {
    let FailedUnit {
        name,
        description,
        result,
        status,
        since,
        why,
    } = unit;
    let mut text = format!("{name} - {description}\n  failed");
    if let Some(since) = since {
        text += &format!(" since {}", time_text(*since, now));
    }
    if let Some(result) = result {
        text += &format!(", result {result}");
    }
    if let Some(status) = status {
        text += &format!(", status {status}");
    }
    if let Some(why) = why {
        text += &format!(", more is not known: {why}");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(facts: &UnitFacts, expect: &str) {
        assert_eq!(unit(facts, 10_000), expect);
    }

    #[test]
    fn a_failed_service_says_why() {
        let facts = UnitFacts {
            name: "a.service".into(),
            description: "About a".into(),
            load: "loaded".into(),
            active: "failed".into(),
            sub: "failed".into(),
            file_state: Some("enabled".into()),
            fragment: Some("/etc/systemd/system/a.service".into()),
            drop_ins: vec!["/etc/systemd/system/a.service.d/x.conf".into()],
            since: Some(9_940),
            result: Some("exit-code".into()),
            process: Some(Process {
                command: Some("/bin/a -x".into()),
                ended: Some("exited".into()),
                status: Some(3),
                started: Some(9_900),
                exited: Some(9_940),
                restarts: Some(5),
                ..Process::default()
            }),
            ..UnitFacts::default()
        };
        check(
            &facts,
            "a.service - About a\n  \
             state: failed (failed), result exit-code, since 1970-01-01 02:45:40 (1 min ago)\n  \
             last process: exited with status 3 at 1970-01-01 02:45:40 after 40 s\n  \
             restarts by itself: 5\n  \
             command: /bin/a -x\n  \
             at boot: enabled\n  \
             file: /etc/systemd/system/a.service\n  \
             drop-ins: /etc/systemd/system/a.service.d/x.conf\n",
        );
    }

    #[test]
    fn a_running_one_says_what_it_uses() {
        let facts = UnitFacts {
            name: "a.service".into(),
            description: "About a".into(),
            load: "loaded".into(),
            active: "active".into(),
            sub: "running".into(),
            needs_reload: true,
            triggered_by: vec!["a.socket".into()],
            result: Some("success".into()),
            process: Some(Process {
                pid: 12,
                says: Some("ready".into()),
                ..Process::default()
            }),
            usage: Usage {
                memory: Some(3_400_000),
                memory_max: Some(512 << 20),
                tasks: Some(3),
                cpu_usec: Some(1_234_567),
                ..Usage::default()
            },
            ..UnitFacts::default()
        };
        check(
            &facts,
            "a.service - About a\n  \
             state: active (running)\n  \
             main process: 12\n  \
             says: ready\n  \
             uses: memory 3.2 MiB (at most 512.0 MiB), tasks 3, CPU 1.234 s\n  \
             stale: its files have changed since the manager read them (daemon-reload is due)\n  \
             started by: a.socket\n",
        );
    }

    #[test]
    fn other_unit_kinds_have_own_facts() {
        let facts = UnitFacts {
            name: "a.socket".into(),
            description: "About a".into(),
            load: "bad-setting".into(),
            load_error: Some("no ListenStream=".into()),
            active: "inactive".into(),
            sub: "dead".into(),
            condition: Some(Condition {
                time: 9_999,
                unmet: vec!["ConditionPathExists=/x".into()],
            }),
            listen: vec!["Stream /run/a".into(), "Stream 127.0.0.1:80".into()],
            connections: Some(1),
            accepted: Some(7),
            next: Some(10_060),
            last: Some(9_940),
            mounted: Some("/dev/x".into()),
            file_state: Some("static".into()),
            ..UnitFacts::default()
        };
        check(
            &facts,
            "a.socket - About a\n  \
             state: inactive (dead)\n  \
             not loaded: bad-setting (no ListenStream=)\n  \
             not started: a condition did not hold at 1970-01-01 02:46:39 (1 s ago): ConditionPathExists=/x\n  \
             listens: Stream /run/a, Stream 127.0.0.1:80\n  \
             connections: 1 open, 7 taken\n  \
             mounted: /dev/x\n  \
             elapses next: 1970-01-01 02:47:40 (in 1 min)\n  \
             elapsed last: 1970-01-01 02:45:40 (1 min ago)\n  \
             at boot: static: only when something else needs it\n",
        );
    }

    #[test]
    fn absent_unit_is_shown_with_similar_ones() {
        let facts = UnitFacts {
            name: "sshd.service".into(),
            load: "not-found".into(),
            active: "inactive".into(),
            similar: vec!["ssh.service".into()],
            ..UnitFacts::default()
        };
        check(
            &facts,
            "there is no unit 'sshd.service'\nunits in memory with a like name: ssh.service\n\
             service.list pattern=PART finds units by a part of their name\n",
        );
    }

    fn line(name: &str, load: &str, active: &str, sub: &str) -> UnitLine {
        UnitLine {
            name: name.into(),
            description: format!("About {name}"),
            load: load.into(),
            active: active.into(),
            sub: sub.into(),
        }
    }

    #[test]
    fn list_has_unit_lines_and_omitted_count() {
        let lines = vec![
            line("a.service", "loaded", "active", "running"),
            line("b.service", "not-found", "inactive", "dead"),
            line("c.service", "loaded", "failed", "failed"),
        ];
        let shown = units(&List::cut(lines, 2));
        let expect = "UNIT       STATE                    DESCRIPTION\n\
                      a.service  active running           About a.service\n\
                      b.service  not-found inactive dead  About b.service\n\
                      1 more: narrow it down by state or pattern\n";
        assert_eq!(shown, expect);
        assert!(units(&List::default()).contains("service.status"));
    }

    #[test]
    fn failures_say_when_and_how() {
        let unit = |name: &str, since: Option<u64>| FailedUnit {
            name: name.into(),
            description: "About".into(),
            result: since.map(|_| "exit-code".into()),
            status: Some(3),
            since,
            why: since.is_none().then(|| "it did not tell".into()),
        };
        let facts = Units {
            failed: List::cut(vec![unit("a.service", Some(60)), unit("b.mount", None)], 2),
            restarting: List::cut(vec!["loop.service".into()], 9),
            system: Some("degraded".into()),
            counts: Vec::new(),
            jobs: None,
        };
        let expect = "system: degraded\n\
            a.service - About\n  failed since 1970-01-01 00:01:00 (2 min ago), result exit-code, status 3\n\
            b.mount - About\n  failed, status 3, more is not known: it did not tell\n\
            waiting to be started again after a failure: loop.service\n\
            more of each: service.status unit=a.service\n";
        assert_eq!(failed(&facts, 180), expect);
        let none = Units {
            failed: List::default(),
            restarting: List::default(),
            system: None,
            counts: Vec::new(),
            jobs: None,
        };
        assert_eq!(failed(&none, 0), "no unit has failed\n");
    }
}
