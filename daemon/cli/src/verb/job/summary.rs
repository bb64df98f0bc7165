//! A job on a screen.

use remit_common::outcome::{Captured, Ending, JobReport, State};

use crate::ending::{Ended, refused};
use crate::{approval, failure, human, places, table};

/// What is known of a job, but its output.
pub fn summary(report: &JobReport) -> String {
    let mut lines = format!("job {}\n", report.job);
    let mut fact = |name: &str, value: &str| lines += &table::fact(name, value);
    fact("command", &report.command);
    fact("state", &state(report));
    if let Some(asked) = &report.approval {
        fact("asked", &approval::by(asked));
        fact("until", &approval::until(asked));
        fact("they type", &asked.line);
        fact("digest", &asked.digest);
    }
    let at = |ms: u64| human::time(ms / 1000);
    match has_begun(report) {
        true => fact("started", &at(report.started_ms)),
        false => fact("asked for", &at(report.started_ms)),
    }
    if report.waited_ms > 0 {
        fact("waited", &human::duration(report.waited_ms));
    }
    if let Some(ending) = &report.ending {
        if is_measured(report, ending) {
            fact(
                "ended",
                &at(report.started_ms.saturating_add(ending.runtime_ms)),
            );
            fact("ran for", &human::duration(ending.runtime_ms));
            fact("cpu time", &human::duration(ending.cpu_usec / 1000));
            fact("peak memory", &human::bytes(ending.memory_peak));
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
        fact("next", &failure::typed(next));
    }
    fact("stdout", &size(&report.stdout));
    fact("stderr", &size(&report.stderr));
    if let Some(enforced) = &report.enforced {
        fact("profile", &enforced.profile);
        fact("uid", &enforced.uid.to_string());
        fact("walls", &enforced.walls.join(", "));
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

/// Whether `started_ms` is when it started.
fn has_begun(report: &JobReport) -> bool {
    match &report.ending {
        // What the daemon died over is not known to have been confined, though it may have been.
        Some(ending) => report.state == State::Interrupted || is_measured(report, ending),
        None => !report.state.is_waiting(),
    }
}

/// Whether anybody saw it run and end: it may have ended in the queue, or the daemon died before it.
fn is_measured(report: &JobReport, ending: &Ending) -> bool {
    let confined = report.enforced.is_some() && report.state != State::Interrupted;
    confined || ending.runtime_ms > 0
}

fn state(report: &JobReport) -> String {
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    let name = Ended::from(report).word();
    match (Ended::from(report).sentence(), exit, report.place) {
        (Some(sentence), _, _) => format!("{name} ({sentence})"),
        (None, Some(exit), _) => format!("{name} with status {exit}"),
        (None, None, Some(place)) => format!("{name}, {}", places::shown(place)),
        (None, None, None) => name.to_owned(),
    }
}

fn size(captured: &Captured) -> String {
    format!(
        "{}, {}",
        human::count(captured.total, "byte"),
        human::count(captured.lines, "line")
    )
}
