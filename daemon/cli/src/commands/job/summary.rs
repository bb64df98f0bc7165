//! Shows everything known of a job except its output.

use remit_wire::outcome::{Captured, Ending, JobReport, State};

use crate::client::queue_position;
use crate::error;
use crate::render::job_end::{self, Ended, refused};
use crate::render::{table, units};

pub fn summary(report: &JobReport) -> String {
    let mut lines = format!("job {}\n", report.job);
    let mut fact = |name: &str, value: &str| lines += &table::fact(name, value);
    fact("command", &report.command);
    fact("state", &state(report));
    if let Some(asked) = &report.approval {
        fact("asked", &job_end::approvers(asked));
        fact("until", &job_end::approval_end(asked));
        fact("they type", &asked.line);
        fact("digest", &asked.digest);
    }
    let at = |ms: u64| units::time(ms / 1000);
    match has_started(report) {
        true => fact("started", &at(report.started_ms)),
        false => fact("asked for", &at(report.started_ms)),
    }
    if report.waited_ms > 0 {
        fact("waited", &units::duration(report.waited_ms));
    }
    if let Some(ending) = &report.ending {
        if is_measured(report, ending) {
            fact(
                "ended",
                &at(report.started_ms.saturating_add(ending.runtime_ms)),
            );
            fact("ran for", &units::duration(ending.runtime_ms));
            fact("cpu time", &units::duration(ending.cpu_usec / 1000));
            fact("peak memory", &units::bytes(ending.memory_peak));
        }
        fact(
            "processes",
            Ended::from(report).doubt().unwrap_or("all gone, verified"),
        );
    }
    if let Some(next) = report
        .ending
        .as_ref()
        .and_then(|ending| ending.next.as_ref())
    {
        fact("next", &error::typed(next));
    }
    fact("stdout", &size(&report.stdout));
    fact("stderr", &size(&report.stderr));
    if let Some(enforced) = &report.enforced {
        fact("profile", &enforced.profile);
        fact("uid", &enforced.uid.to_string());
        fact("layers", &enforced.layers.join(", "));
        fact("limits", &enforced.limits.join(", "));
    }
    for denial in &report.denials {
        for (at, line) in refused(denial).iter().enumerate() {
            fact(if at == 0 { "denial" } else { "" }, line);
        }
    }
    for note in &report.notes {
        fact("note", note);
    }
    lines
}

/// Returns true if `started_ms` is the start time.
fn has_started(report: &JobReport) -> bool {
    match &report.ending {
        // After a daemon crash, confinement of the job is unknown.
        Some(ending) => report.state == State::Interrupted || is_measured(report, ending),
        None => !report.state.is_waiting(),
    }
}

/// Returns true if the run was measured. A job may have ended in the queue, or the daemon may have crashed first.
fn is_measured(report: &JobReport, ending: &Ending) -> bool {
    let confined = report.enforced.is_some() && report.state != State::Interrupted;
    confined || ending.runtime_ms > 0
}

fn state(report: &JobReport) -> String {
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    let name = Ended::from(report).word();
    match (Ended::from(report).sentence(), exit, report.queue_position) {
        (Some(sentence), _, _) => format!("{name} ({sentence})"),
        (None, Some(exit), _) => format!("{name} with status {exit}"),
        (None, None, Some(queue_position)) => {
            format!("{name}, {}", queue_position::shown(queue_position))
        }
        (None, None, None) => name.to_owned(),
    }
}

fn size(captured: &Captured) -> String {
    format!(
        "{}, {}",
        units::count(captured.total, "byte"),
        units::count(captured.lines, "line")
    )
}
