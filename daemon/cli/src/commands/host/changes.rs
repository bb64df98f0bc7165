//! `remit host --since` and `--snapshots`: what changed on this machine, and what it can be compared with.

use remit_common::calendar;
use remit_common::names::JobId;
use remit_wire::host::{HostChange, HostChanges, Since, SnapshotMark};
use remit_wire::{Reply, Request};

use crate::args::HostSince;
use crate::client::admin_socket;
use crate::client::user_socket::Daemon;
use crate::commands::job::own_id;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table::{self, Table};
use crate::render::units;

pub fn since(context: &Context, since: HostSince) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let since = match since {
        HostSince::Boot => Since::Boot,
        HostSince::Time(time) => Since::Time(time.unix_ms(calendar::now_ms())),
        // Root also sees what the jobs of others changed.
        HostSince::Job(id) => Since::Job(match admin_socket::may_ask(context) {
            true => admin_socket::any_job(context, id, false)?.job,
            false => own_id(&mut daemon, &id)?,
        }),
    };
    let Reply::HostChanges(changes) = daemon.call(Request::HostChanges(since))? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&changes)?,
        Form::Text => output::text(&context.width.fold(&show(&changes)))?,
    }
    Ok(Exit::OK)
}

pub fn snapshots(context: &Context) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let Reply::Snapshots(marks) = daemon.call(Request::Snapshots)? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&marks)?,
        Form::Text => {
            let mut table = Table::new(["TIME", "REASON", "?BOOT"]);
            for mark in &marks {
                let boot = if mark.of_earlier_boot { "earlier" } else { "" };
                table.row([&units::time(mark.time), &mark.reason, boot]);
            }
            output::text(&table.render(context.width))?;
        }
    }
    Ok(Exit::OK)
}

fn show(changes: &HostChanges) -> String {
    let mark = |mark: &SnapshotMark| format!("{} ({})", units::time(mark.time), mark.reason);
    let total = match changes.total {
        0 => "nothing changed".to_owned(),
        total => units::count(total, "change"),
    };
    let mut lines = format!(
        "{total} from {} to {}\n",
        mark(&changes.from),
        mark(&changes.to)
    );
    for section in &changes.sections {
        lines += &format!("\n{}\n", section.section);
        for change in &section.changes.items {
            lines += &line(change);
        }
        lines += &table::more(section.changes.more);
    }
    if !changes.gaps.is_empty() {
        lines += "\nnot known\n";
        let gaps = changes.gaps.iter();
        lines += &table::facts(gaps.map(|gap| (gap.fact.as_str(), gap.why.as_str())));
    }
    lines
}

/// Formats `+ name: value`, `- name: value`, or `~ name: old -> new`, and the jobs of that time.
fn line(change: &HostChange) -> String {
    let name = table::line(&change.name);
    let what = match (&change.before, &change.after) {
        (None, Some(after)) => format!("+ {name}: {after}"),
        (Some(before), None) => format!("- {name}: {before}"),
        (Some(before), Some(after)) => format!("~ {name}: {before} -> {after}"),
        (None, None) => name,
    };
    let by: Vec<String> = change.by.iter().map(|by| short(by)).collect();
    let by = match by.first() {
        None => "outside remit".to_owned(),
        // It ran at that time; another process can have changed it.
        Some(first) if first.starts_with("job ") => format!("during {}", by.join(", ")),
        Some(_) => by.join(", "),
    };
    format!("  {}  [{by}]\n", table::line(&what))
}

/// Shortens an id as the other verbs do; they accept its first 8 digits. Anything else is words.
fn short(by: &str) -> String {
    match by.parse::<JobId>() {
        Ok(job) => format!("job {}", job.short()),
        Err(_) => by.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use remit_wire::host::{List, SectionChanges};

    use super::*;

    #[test]
    fn each_change_is_a_line_with_its_cause() {
        let change = |before: Option<&str>, after: Option<&str>, by: &[&str]| HostChange {
            name: "/etc/a\x1b".to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            by: by.iter().map(|&by| by.to_owned()).collect(),
        };
        let job = "0123456789abcdef0123456789abcdef";
        let items = vec![
            change(None, Some("x"), &[]),
            change(Some("x"), None, &[job]),
            change(Some("x"), Some("y"), &[job, "job of another user"]),
        ];
        let changes = HostChanges {
            total: 4,
            sections: vec![SectionChanges {
                section: "files".to_owned(),
                changes: List { items, more: 1 },
            }],
            ..HostChanges::default()
        };
        let text = show(&changes);
        let (_, lines) = text.split_once("files\n").unwrap();
        let expect = r"  + /etc/a\x1b: x  [outside remit]
  - /etc/a\x1b: x  [during job 01234567]
  ~ /etc/a\x1b: x -> y  [during job 01234567, job of another user]
  … and 1 more
";
        assert_eq!(lines, expect);
        assert!(
            text.starts_with("4 changes from 1970-01-01 00:00:00 UTC"),
            "{text}"
        );
        assert!(show(&HostChanges::default()).starts_with("nothing changed from"));
    }
}
