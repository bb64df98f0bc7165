//! Shows a plan to its requester: what becomes of each path, risks, diffs, the line to type next, and how its checks ended.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_common::text;
use remit_edit::{COUNTED, Tabs, ViewText as _, kinds, packages, sort_worst_first};
use remit_page::PlanView;
use remit_plan::{BUNDLE_BYTES, Bundle, Context, View};
use remit_wire::outcome::{JobReport, State};
use serde_json::{Value, json};

use crate::render::job_end::Ended;
use crate::render::units::{self, Colour, name};
use crate::render::untrusted_columns::Page;

/// Bytes of the diffs of all paths together, and of one path at least.
const DIFFS: usize = 64 << 10;
const DIFF: usize = 2 << 10;
/// Paths that are listed: of more, those with risks and then those that the plan shows are first.
const LISTED: usize = 200;
/// Bytes of a check's call.
const CALL: usize = 512;

/// Adds the summary of a plan with packages: the first of them are whole, the paths are cut. Returns false if it has none.
pub fn packed(page: &mut Page, plan: &PlanView) -> bool {
    if plan.packages.is_empty() {
        return false;
    }
    page.brief(Colour::Plain, "changes", &plan.paths);
    let lines = plan.packages.iter();
    lines.for_each(|line| page.sentence("packages", line));
    true
}

/// Adds the whole text of what [`packed`] cuts.
pub fn packed_names(page: &mut Page, plan: Option<&PlanView>) {
    if let Some(plan) = plan.filter(|plan| !plan.packages.is_empty()) {
        page.value("changes", &plan.names);
    }
}

/// Of one path, if it is named: then its diff is whole.
pub fn page(job: JobId, bundle: &Bundle, only: Option<&Path>) -> Page {
    let mut page = Page::default();
    let mut left = match only {
        Some(_) => 8 * BUNDLE_BYTES,
        None => DIFFS,
    };
    let mut is_cut = false;
    let is_wanted = |view: &View<'_>| {
        only.is_none_or(|path| path.as_os_str().as_bytes() == view.entry.path.as_bytes())
    };
    let mut views: Vec<View<'_>> = bundle.views().filter(is_wanted).collect();
    let more = views.len().saturating_sub(LISTED);
    if more > 0 {
        sort_worst_first(&mut views, bundle.plan().pack().is_some());
        views.truncate(LISTED);
    }
    let context = Context::new(bundle.views());
    for view in views {
        let diff = match only {
            Some(_) => view.diff(left.max(DIFF), Tabs::Shown),
            None => view.brief(left.max(DIFF), Tabs::Shown),
        };
        left = left.saturating_sub(diff.len());
        page.line(&format!("{}: {}", view.entry.path, view.what()));
        for risk in context.risks(&view) {
            page.coloured(Colour::Yellow, &format!("  RISK: {risk}"));
        }
        is_cut |= view.is_cut(diff.lines());
        for line in diff.lines() {
            page.coloured(colour(line), line);
        }
    }
    let plan = bundle.plan();
    let count = units::count(plan.entries().len(), "path");
    let id = name(job);
    page.line("");
    if let Some(packages) = packages(bundle.views()) {
        page.line(&packages.to_string());
    }
    if more > 0 {
        let more = units::count(more, "more path");
        page.line(&format!(
            "{more}; one of them: remit plan show {id} PATH; all: remit --json plan show {id}"
        ));
    }
    page.line(&format!(
        "plan {id} of {count}, digest {}",
        hex(&plan.digest())
    ));
    if plan.entries().len() > COUNTED {
        page.line(&format!("in all: {}", kinds(plan)));
    }
    if is_cut && only.is_none() {
        page.line(&format!("a diff in full: remit plan show {id} PATH"));
    }
    page.line("a rule has to cover its paths: 'remit access' lists those of plan.commit");
    page.line(&format!(
        "nothing has changed; to ask for exactly this: remit change --plan {id} -m WHY"
    ));
    page
}

pub fn entries(page: &mut Page, plan: &PlanView) {
    for entry in &plan.entries {
        page.value("path", &entry.path);
        page.own_text("", &entry.what);
        let names = std::iter::once("diff").chain(std::iter::repeat(""));
        for (name, line) in names.zip(&entry.diff) {
            page.diff(colour(line), name, line);
        }
    }
    if let Some(left_out) = &plan.left_out {
        page.value("path", left_out);
    }
}

pub fn colour(line: &str) -> Colour {
    match line.chars().next() {
        Some('+') => Colour::Green,
        Some('-') => Colour::Red,
        Some('@' | '[' | '\\') => Colour::Dim,
        _ => Colour::Plain,
    }
}

pub fn check(call: &str, how: &str) -> Page {
    let mut page = Page::default();
    page.line("");
    page.line(&format!(
        "check {}: {how}",
        text::line(call.as_bytes(), CALL)
    ));
    page
}

/// How a check ended, and what it wrote. Its lines are indented, so none of them can look like the end of another check.
pub fn ended_check(call: &str, report: &JobReport) -> Page {
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    let how = match exit.filter(|_| report.state == State::Exited) {
        Some(exit) => format!("exit {exit}"),
        None => Ended::from(report).word().to_owned(),
    };
    let id = name(report.job);
    let mut page = check(call, &format!("{how} (job {id})"));
    for (stream, captured) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        let output = captured.with_gap(|_| format!("remit job {id} --{stream}"));
        for line in output.text.lines() {
            page.line(&format!("  {line}"));
        }
    }
    page
}

/// `checks`: how each ended, if any ran.
pub fn json(job: JobId, bundle: &Bundle, checks: Vec<Value>) -> Value {
    let plan = bundle.plan();
    let context = Context::new(bundle.views());
    let entries: Vec<Value> = bundle
        .views()
        .map(|view| {
            let risks: Vec<String> = context
                .risks(&view)
                .iter()
                .map(ToString::to_string)
                .collect();
            json!({
                "path": view.entry.path.to_string(),
                "what": view.what(),
                "risks": risks,
                "diff": view.brief(DIFFS, Tabs::Shown),
            })
        })
        .collect();
    let mut shown = json!({
        "plan_id": job.to_string(),
        "digest": hex(&plan.digest()),
        "commit_id": plan.commit_id(),
        "entries": entries,
    });
    let packages = packages(bundle.views()).map(|packages| {
        json!({
            "installed": packages.installed,
            "changed": packages.changed,
            "removed": packages.removed,
        })
    });
    let checks = (!checks.is_empty()).then_some(Value::Array(checks));
    if let Value::Object(shown) = &mut shown {
        let optional = [("packages", packages), ("checks", checks)].into_iter();
        shown.extend(optional.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    shown
}
