//! The screen of `remit top` as lines. Pure: the size alone bounds the work, however long lists and texts are. Texts of
//! others pass through `untrusted_columns`, so no control character and no bidirectional mark reaches the terminal.

mod list;

use remit_common::admin::Status;

use self::list::list;
use super::state::{LEAST, Pane, TopState};
use crate::commands::status;
use crate::render::units::{self, Colour};
use crate::render::untrusted_columns::{columns, cut};

/// From this width on, lists have all their columns.
const WIDE: usize = 76;
/// From this number of rows on, all lists are on the screen at once.
const STACKED: usize = 18;
/// Of a lock, pauses and commits to confirm.
const NOTICES: usize = 3;
const MESSAGE_ROWS: usize = 3;
const PROMPT_ROWS: usize = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    #[default]
    Plain,
    Bold,
    /// The selected row and the question.
    Reversed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub colour: Colour,
    pub weight: Weight,
    pub text: String,
}

impl Line {
    fn new(text: String) -> Self {
        Self {
            colour: Colour::Plain,
            weight: Weight::Plain,
            text,
        }
    }

    fn coloured(self, colour: Colour) -> Self {
        Self { colour, ..self }
    }

    fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }
}

/// Returns exactly as many lines as the screen has rows.
pub fn lines(state: &TopState) -> Vec<Line> {
    let (width, rows) = (state.size.columns.into(), state.size.rows.into());
    let mut lines = match (state.is_too_small(), &state.page) {
        (true, _) => too_small(state),
        (false, Some(_)) => page(state),
        (false, None) => lists(state),
    };
    if !state.is_too_small() {
        let footer = footer(state);
        lines.resize(rows - footer.len().min(rows), Line::new(String::new()));
        lines.extend(footer);
    }
    lines.resize(rows, Line::new(String::new()));
    debug_assert!(lines.iter().all(|line| columns(&line.text) <= width));
    lines
}

/// Returns the rows that a page has.
pub fn page_height(state: &TopState) -> usize {
    usize::from(state.size.rows).saturating_sub(1 + footer(state).len())
}

fn too_small(state: &TopState) -> Vec<Line> {
    let text = format!(
        "too small: at least {} x {}; q quits",
        LEAST.columns, LEAST.rows
    );
    let width = usize::from(state.size.columns).max(1);
    folded(&text, width).into_iter().map(Line::new).collect()
}

fn page(state: &TopState) -> Vec<Line> {
    let Some(page) = &state.page else {
        return Vec::new();
    };
    let width = state.size.columns.into();
    let rest = match (page.below(), page.unseen()) {
        (0, 0) => "all was shown".to_owned(),
        (0, unseen) => format!("{} above not shown", units::count(unseen, "line")),
        (below, _) => format!("{} below", units::count(below, "line")),
    };
    let title = rule(&format!("{}: {rest}", page.title), '=', width);
    let rows = page
        .visible()
        .iter()
        .map(|row| Line::new(row.text.clone()).coloured(row.colour));
    std::iter::once(title.weighing(Weight::Bold))
        .chain(rows)
        .collect()
}

fn lists(state: &TopState) -> Vec<Line> {
    let (width, rows) = (
        usize::from(state.size.columns),
        usize::from(state.size.rows),
    );
    let mut lines = header(state, width);
    let left = rows.saturating_sub(lines.len() + footer(state).len());
    if left < STACKED {
        lines.extend(list(state, state.pane, width, left));
        return lines;
    }
    let [waiting, jobs, refused] = heights(state, left);
    for (pane, height) in Pane::ALL.into_iter().zip([waiting, jobs, refused]) {
        lines.extend(list(state, pane, width, height));
    }
    lines
}

/// Divides the rows: the refusals are few, and the other lists get what they need, or half each.
fn heights(state: &TopState, rows: usize) -> [usize; 3] {
    let refused = 2 + state.refusals().len().clamp(1, 5);
    let rest = rows.saturating_sub(refused);
    let more = |omitted: u32| usize::from(omitted > 0);
    let waiting = 3 + (2 * state.pending.len()).max(1) + more(state.pending_omitted);
    let jobs = 3 + state.jobs.len().max(1) + more(state.jobs_omitted);
    let half = rest / 2;
    let waiting = match (waiting <= half, jobs <= half) {
        (true, _) => waiting,
        (false, true) => waiting.min(rest - jobs),
        (false, false) => half,
    };
    [waiting, rest - waiting, refused]
}

fn header(state: &TopState, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(why) = &state.lost {
        let text = cut(
            &format!("NO ANSWER, trying again; all below is old: {why}"),
            width,
        );
        let line = Line::new(text).coloured(Colour::Red);
        lines.push(line.weighing(Weight::Reversed));
    }
    let Some(status) = &state.status else {
        lines.push(Line::new(cut("asking the daemon ...", width)));
        return lines;
    };
    let health = status::health(status);
    let colour = match health.as_str() {
        "good" => Colour::Green,
        _ => Colour::Red,
    };
    let first = format!("remitd {}: {health}", status.release);
    let first = Line::new(cut(&first, width)).coloured(colour);
    lines.push(first.weighing(Weight::Bold));
    lines.push(Line::new(cut(&counts(status), width)));
    let notices = notices(status);
    let more = notices.len().saturating_sub(NOTICES);
    for notice in notices.iter().take(NOTICES) {
        lines.push(Line::new(cut(notice, width)).coloured(Colour::Yellow));
    }
    if more > 0 {
        lines.push(Line::new(cut(
            &format!("and {more} more: remit status"),
            width,
        )));
    }
    lines
}

fn counts(status: &Status) -> String {
    let audit = match &status.audit_error {
        None => status.audit.clone(),
        Some(error) => format!("{} FAILS: {error}", status.audit),
    };
    let stuck = match status.stuck {
        0 => String::new(),
        stuck => format!(", {stuck} stuck"),
    };
    format!(
        "jobs {} of {}{stuck}, queued {}, waiting {}, grants {}; audit {audit}",
        status.jobs, status.max_jobs, status.queued, status.pending, status.grants
    )
}

fn notices(status: &Status) -> Vec<String> {
    let locked = status.locked.is_some();
    let locked = locked.then(|| format!("locked {}", status::locked(status)));
    let paused = status.paused.iter().map(|line| format!("paused {line}"));
    let unconfirmed = status.unconfirmed.iter();
    let unconfirmed = unconfirmed.map(|one| format!("{}: {}", one.what, one.command));
    locked
        .into_iter()
        .chain(paused)
        .chain(unconfirmed)
        .collect()
}

fn rule(title: &str, sign: char, width: usize) -> Line {
    let title = cut(title, width.saturating_sub(8));
    let mut text = format!("{sign}{sign} {title} ");
    let missing = width.saturating_sub(columns(&text));
    text.extend(std::iter::repeat_n(sign, missing));
    Line::new(text)
}

fn footer(state: &TopState) -> Vec<Line> {
    let width = usize::from(state.size.columns).max(1);
    let mut lines = Vec::new();
    let message = state.message.as_deref().or(state.busy);
    if let Some(message) = message {
        // The mark is on each row: a text of others in it imitates no question.
        let width = width.saturating_sub(2).max(1);
        let shown = cut(message, width * MESSAGE_ROWS);
        let rows = folded(&shown, width).into_iter().take(MESSAGE_ROWS);
        lines.extend(rows.map(|row| Line::new(format!("! {row}")).weighing(Weight::Bold)));
    }
    match &state.prompt {
        Some(prompt) => {
            // What is typed may be anything, too.
            let typed = cut(&prompt.typed, 10_000);
            let rows = folded(&format!("{}{typed}_", prompt.text()), width);
            let first = rows.len().saturating_sub(PROMPT_ROWS);
            let rows = rows.into_iter().skip(first);
            lines.extend(rows.map(|row| Line::new(row).weighing(Weight::Reversed)));
        }
        None => lines.push(Line::new(cut(keys(state, width), width)).coloured(Colour::Dim)),
    }
    lines
}

fn keys(state: &TopState, width: usize) -> &'static str {
    match (&state.page, width >= WIDE) {
        (Some(page), _) if page.approvable.is_none() => "space more  Esc back  q quit",
        (Some(_), true) => "space, arrows: more   a approve   d deny   Esc back   q quit",
        (Some(_), false) => "space more a approve d deny Esc back",
        (None, true) => {
            "Tab next list   arrows select   Enter show   a approve   d deny   s stop   q quit"
                .trim_ascii_end()
        }
        (None, false) => "Tab Enter a approve d deny s stop q quit",
    }
}

/// Breaks an escaped text into rows of this width, between words if one is near.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = String::new();
    for c in text.chars() {
        row.push(c);
        if columns(&row) <= width {
            continue;
        }
        let at = row.rfind(' ').map_or(row.len(), |at| at + 1);
        let at = match at > row.len() / 2 && at < row.len() {
            true => at,
            false => row.len() - c.len_utf8(),
        };
        let rest = row.split_off(at);
        rows.push(std::mem::replace(&mut row, rest));
    }
    rows.push(row);
    rows
}
