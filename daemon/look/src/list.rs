//! Formats `service.list` and `service.failed`. Pure.

use remit_wire::host::{FailedUnit, List, Units};
use remit_wire::service::UnitLine;

use crate::text::table;
use crate::times::time_text;

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
