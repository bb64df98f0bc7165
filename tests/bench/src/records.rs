//! Reads what one audit record costs on the warden's thread. remitd's test `cost_of_a_record` measures it with the
//! real audit log. `make bench` runs that test first.

use std::path::Path;

use serde::Serialize;

use crate::Failure;
use crate::section::Section;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub sink: String,
    pub sync: String,
    /// `look` or `change`.
    pub kind: String,
    /// The record is on disk before anything runs.
    pub fdatasync: bool,
    /// Microseconds.
    pub p50: f64,
    pub p95: f64,
}

pub fn read(path: &Path) -> Result<Vec<Cost>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read '{}': {e}", path.display()))?;
    let costs: Vec<Cost> = text.lines().filter_map(parse).collect();
    if costs.is_empty() {
        return Err(format!("'{}' tells the cost of no record", path.display()).into());
    }
    Ok(costs)
}

/// Parses `sink sync record fdatasync median p95`.
fn parse(line: &str) -> Option<Cost> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [sink, sync, kind, fdatasync, p50, p95] = words.as_slice() else {
        return None;
    };
    Some(Cost {
        sink: (*sink).into(),
        sync: (*sync).into(),
        kind: (*kind).into(),
        fdatasync: *fdatasync == "yes",
        p50: p50.parse().ok()?,
        p95: p95.parse().ok()?,
    })
}

pub fn of_a_look(costs: &[Cost], sink: &str, sync: &str) -> Option<f64> {
    // A look is only synced if every record is.
    let synced = sink == "file" && sync == "always";
    let mut right = costs
        .iter()
        .filter(|cost| cost.sink == sink && cost.kind == "look" && cost.fdatasync == synced);
    right.next().map(|cost| cost.p50)
}

pub fn section(costs: &[Cost]) -> Section {
    let columns = ["a record on the warden's thread", "p50 µs", "p95 µs"];
    let mut section = Section::new("Records", &columns);
    for cost in costs {
        let disk = if cost.fdatasync { ", fdatasync" } else { "" };
        section.row(
            format!(
                "sink {}, sync {}, a {}{disk}",
                cost.sink, cost.sync, cost.kind
            ),
            [format!("{:.1}", cost.p50), format!("{:.1}", cost.p95)],
        );
    }
    section.note(
        "Made, chained and written by the real audit log, one after another, before the daemon starts.",
    );
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measurement_is_understood() {
        let text = "cost of a record on the warden's thread, in µs\n\
                    sink       sync      record    fdatasync    median      p95\n\
                    file       changes   look      no             12.5     20.0\n\
                    file       changes   change    yes          900.0    1000.0\n\
                    journald   not measured (REMIT_BENCH_JOURNALD=1, on a throw-away machine)\n";
        let costs: Vec<Cost> = text.lines().filter_map(parse).collect();
        assert_eq!(costs.len(), 2);
        assert_eq!(of_a_look(&costs, "file", "changes"), Some(12.5));
        assert_eq!(of_a_look(&costs, "file", "always"), None);
        assert_eq!(of_a_look(&costs, "journald", "changes"), None);
    }
}
