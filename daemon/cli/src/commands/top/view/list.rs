//! One list: its title, headings and entries.

use remit_common::admin::{AnyJob, PendingView, RecentRefusal};

use super::{Line, WIDE, Weight, rule};
use crate::client::user_socket;
use crate::commands::top::state::{Pane, TopState};
use crate::render::units::{self, Colour};
use crate::render::untrusted_columns::{cell, columns, cut};

pub fn list(state: &TopState, pane: Pane, width: usize, height: usize) -> Vec<Line> {
    let is_focused = pane == state.pane;
    let (title, heading) = match pane {
        Pane::Waiting => ("Waiting for approval", waiting_heading(width)),
        Pane::Jobs => ("Jobs that run or are queued", job_heading(width)),
        Pane::Refused => ("Refused last", String::new()),
    };
    let (count, omitted) = match pane {
        Pane::Waiting => (state.pending.len(), state.pending_omitted),
        Pane::Jobs => (state.jobs.len(), state.jobs_omitted),
        Pane::Refused => (state.refusals().len(), 0),
    };
    let title = rule(
        &format!("{title}: {count}"),
        if is_focused { '=' } else { '-' },
        width,
    );
    let mut lines = vec![match is_focused {
        true => title.weighing(Weight::Bold),
        false => title,
    }];
    if !heading.is_empty() {
        lines.push(Line::new(heading).coloured(Colour::Dim));
    }
    if count == 0 {
        lines.push(Line::new("  none".to_owned()));
    }
    let more = (omitted > 0).then(|| {
        let more = format!("  and {omitted} more that the daemon left out");
        Line::new(cut(&more, width))
    });
    let rows = height.saturating_sub(lines.len() + usize::from(more.is_some()));
    let each = if pane == Pane::Waiting { 2 } else { 1 };
    let fits = (rows / each).max(1);
    let selected = state.selected(pane);
    let first = (selected + 1).saturating_sub(fits);
    for index in first..count.min(first + fits) {
        let is_selected = is_focused && index == selected;
        lines.extend(entry(state, pane, index, is_selected, width));
    }
    lines.extend(more);
    lines.truncate(height);
    lines.resize(height, Line::new(String::new()));
    lines
}

fn entry(state: &TopState, pane: Pane, index: usize, is_selected: bool, width: usize) -> Vec<Line> {
    let lines = match pane {
        Pane::Waiting => state
            .pending
            .get(index)
            .map(|one| waiting(state, one, width)),
        Pane::Jobs => state
            .jobs
            .get(index)
            .map(|one| vec![job(state, index, one, width)]),
        Pane::Refused => state
            .refusals()
            .get(index)
            .map(|one| vec![refusal(one, width)]),
    };
    let mut lines = lines.unwrap_or_default();
    if let Some(first) = lines.first_mut().filter(|_| is_selected) {
        first.text.replace_range(..1, ">");
        first.weight = Weight::Reversed;
    }
    lines
}

fn waiting_heading(width: usize) -> String {
    match width >= WIDE {
        true => format!(
            "  {:9}  {:5}  {:12}  {:>11}  {:8}  COMMAND",
            "REQUEST", "YOURS", "USER", "LEFT", "APPROVED"
        ),
        false => format!("  {:9} {:>11} COMMAND", "REQUEST", "LEFT"),
    }
}

/// Formats a request in two rows. The second has the requester's untrusted reason after a mark, as in `remit pending`.
fn waiting(state: &TopState, request: &PendingView, width: usize) -> Vec<Line> {
    let name = units::name(request.job);
    let left = units::duration(state.left_ms(request) / 1000 * 1000);
    let yours = if request.yours { "yes" } else { "no" };
    let count = request.approved_by.len();
    let approved = format!("{count} of {}", count + usize::from(request.missing));
    let (first, second) = match width >= WIDE {
        true => (
            format!(
                "  {name:<9}  {yours:<5}  {}  {left:>11}  {approved:<8}  ",
                cell(&request.user, 12)
            ),
            match request.approved_by.as_slice() {
                [] => format!("  {:9}  ", ""),
                by => format!("  {:9}  approved by {} ", "", cut(&by.join(", "), 24)),
            },
        ),
        false => (
            format!("  {name:<9} {left:>11} "),
            format!("  {} {approved} {yours:<3} ", cut(&request.user, 12)),
        ),
    };
    let colour = match (request.yours, state.left_ms(request)) {
        (_, ..60_000) => Colour::Red,
        (true, _) => Colour::Yellow,
        (false, _) => Colour::Plain,
    };
    let reason = match request.reason.as_str() {
        "" => ": no reason was given".to_owned(),
        reason => format!(
            "| {}",
            cut(reason, width.saturating_sub(columns(&second) + 2))
        ),
    };
    vec![
        Line::new(with(first, &request.command, width)).coloured(colour),
        Line::new(cut(&(second + &reason), width)),
    ]
}

fn job_heading(width: usize) -> String {
    match width >= WIDE {
        true => format!(
            "  {:9}  {:12}  {:16}  {:>11}  COMMAND",
            "JOB", "USER", "STATE", "RUNTIME"
        ),
        false => format!("  {:9} {:>11} COMMAND", "JOB", "RUNTIME"),
    }
}

fn job(state: &TopState, index: usize, job: &AnyJob, width: usize) -> Line {
    let name = units::name(job.job);
    let position = state.queue_position(index).map(user_socket::queue_position);
    let runtime = match job.state.is_waiting() {
        true => String::new(),
        false => units::duration(job.runtime_ms),
    };
    let word = match &position {
        Some(position) => format!("queued, {position}"),
        None => job.state.as_str().to_owned(),
    };
    let line = match width >= WIDE {
        true => format!(
            "  {name:<9}  {}  {}  {runtime:>11}  ",
            cell(&job.user, 12),
            cell(&word, 16)
        ),
        false => {
            let how_long = match job.state.is_waiting() {
                true => position.unwrap_or_else(|| "queued".to_owned()),
                false => runtime,
            };
            format!("  {name:<9} {how_long:>11} ")
        }
    };
    let colour = match job.state.is_waiting() {
        true => Colour::Dim,
        false => Colour::Plain,
    };
    Line::new(with(line, &job.command, width)).coloured(colour)
}

fn refusal(refusal: &RecentRefusal, width: usize) -> Line {
    let time = units::time(refusal.at_ms / 1000);
    // `2026-11-20 08:25:48 UTC`
    let clock = time.get(11..19).unwrap_or(&time);
    let user = refusal.user.as_deref().unwrap_or("somebody");
    let begin = match width >= WIDE {
        true => format!("  {time}  {}  ", cell(user, 12)),
        false => format!("  {clock} {} ", cut(user, 8)),
    };
    let code = refusal.code.as_str();
    Line::new(with(
        begin,
        &format!("{} ({code})", bounded(&refusal.message)),
        width,
    ))
}

/// Appends a text of others, in the columns that are left.
fn with(mut begin: String, text: &str, width: usize) -> String {
    begin += &cut(text, width.saturating_sub(columns(&begin)));
    begin
}

/// No screen has a line of more characters.
fn bounded(text: &str) -> String {
    text.chars().take(1000).collect()
}
