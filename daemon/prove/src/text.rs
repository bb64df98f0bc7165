//! The report for a person.

use remit_common::text;

use crate::compare::{Comparison, GonePath, NewPath};
use crate::report::{Path, Report, SubjectReport};

/// Bytes of one line.
const LINE: usize = 2000;
/// Unknown parts that are listed without `-v`.
const UNKNOWN: usize = 10;

/// Everything is escaped once more: the report comes from a process that read what strangers wrote.
pub fn text(report: &Report, verbose: bool) -> String {
    let mut lines = Vec::new();
    if report.subjects.is_empty() {
        lines.push("there is no agent on this machine: name a user, or %group".to_owned());
    }
    for subject in &report.subjects {
        of_subject(subject, verbose, &mut lines);
    }
    let unknown = report.unknown.len().saturating_add(report.more_unknown);
    if unknown > 0 {
        let parts = if unknown == 1 { "part" } else { "parts" };
        lines.push(format!("not looked at: {unknown} {parts} of the machine"));
        let most = if verbose { usize::MAX } else { UNKNOWN };
        let shown = report.unknown.iter().take(most);
        lines.extend(shown.clone().map(|(path, why)| format!("  {path}: {why}")));
        let more = unknown.saturating_sub(shown.count());
        if more > 0 {
            lines.push(format!("  … and {more} more"));
        }
    }
    lines.extend(report.limits.iter().map(|limit| format!("note: {limit}")));
    if verbose {
        let figures = &report.figures;
        lines.push(format!(
            "{} files, {} facts, {} clauses, {} ms, {} MiB",
            figures.files,
            figures.facts,
            figures.clauses,
            figures.milliseconds,
            figures.kibibytes >> 10
        ));
    }
    escaped(&lines)
}

fn escaped(lines: &[String]) -> String {
    let lines = lines
        .iter()
        .map(|line| text::line(line.as_bytes(), LINE) + "\n");
    lines.collect()
}

/// What is new, gone or not comparable since an earlier look. Escaped as `text`.
pub fn comparison(found: &Comparison, verbose: bool) -> String {
    let mut lines = Vec::new();
    for NewPath {
        account,
        is_known_goal,
        path,
    } in &found.new
    {
        lines.push(match is_known_goal {
            true => format!("new: {account} reaches {} by other steps:", path.goal),
            false => format!("new: {account} reaches {}:", path.goal),
        });
        of_path(path, verbose, &mut lines);
    }
    for GonePath { account, path } in &found.gone {
        lines.push(format!("gone: {account} reached {}:", path.goal));
        for (number, (rule, fact)) in (1_usize..).zip(&path.steps) {
            lines.push(format!("  {number}. {fact} [{rule}]"));
        }
    }
    if !found.uncompared.is_empty() {
        let count = found.uncompared.len();
        lines.push(format!(
            "looked at then and not now: {count}, a path there is not seen"
        ));
        let most = if verbose { usize::MAX } else { UNKNOWN };
        let shown = found.uncompared.iter().take(most);
        lines.extend(shown.clone().map(|(what, why)| format!("  {what}: {why}")));
        let more = count.saturating_sub(shown.count());
        if more > 0 {
            lines.push(format!("  … and {more} more"));
        }
    }
    if found.new.is_empty() {
        lines.push("no new path found".to_owned());
    }
    escaped(&lines)
}

fn of_subject(subject: &SubjectReport, verbose: bool, lines: &mut Vec<String>) {
    let SubjectReport {
        name,
        groups,
        reaches,
        accounts,
    } = subject;
    let groups = match groups.is_empty() {
        true => String::new(),
        false => format!(" (groups {})", groups.join(", ")),
    };
    if reaches.is_empty() {
        lines.push(format!("{name}{groups}: no path found"));
    }
    for path in reaches {
        lines.push(format!("{name}{groups} reaches {}:", path.goal));
        of_path(path, verbose, lines);
    }
    if !accounts.is_empty() && !accounts.iter().any(|name| name == "root") {
        lines.push(format!("  it can act as: {}", accounts.join(", ")));
    }
}

fn of_path(path: &Path, verbose: bool, lines: &mut Vec<String>) {
    for (number, step) in (1_usize..).zip(&path.steps) {
        lines.push(format!("  {number}. {} [{}]", step.fact, step.rule));
        if verbose {
            lines.push(format!("     {}: {}", step.sentence, step.source));
        }
    }
    lines.push(match path.closed_by.is_empty() {
        true => "  no single change closes it: there are other ways".to_owned(),
        false => format!("  closed by: {}", path.closed_by.join("; or ")),
    });
}
