//! Sections of numbers: in all, by day, by user, by approver. Pure.

use remit_common::calendar;

use super::contents::{Contents, DAY_MS};
use super::counts::{AgentName, AgentTotals, Deed, DeedCounts};
use super::html::{Attribute, Html, Tag};
use super::page::{ReportPage, grid};
use super::plot;

const NUMBER: &[Attribute<'_>] = &[Attribute::Class("number")];

/// Columns of tables of days and users.
const COLUMNS: [(&str, Deed); 9] = [
    ("ran, no change", Deed::Looked),
    ("asked", Deed::Asked),
    ("approved", Deed::Approved),
    ("denied", Deed::Denied),
    ("lapsed", Deed::Lapsed),
    ("changed", Deed::Changed),
    ("undone", Deed::Undone),
    ("ended badly", Deed::Failed),
    ("refused", Deed::Refused),
];

pub fn totals(page: &ReportPage<'_>, html: &mut Html) {
    const TOTALS: [(&str, Deed); 10] = [
        ("ran without change", Deed::Looked),
        ("asked to change", Deed::Asked),
        ("approvals", Deed::Approved),
        ("denials", Deed::Denied),
        ("lapsed or void", Deed::Lapsed),
        ("changes started", Deed::Changed),
        ("of these, undos", Deed::Undone),
        ("ended badly", Deed::Failed),
        ("refused", Deed::Refused),
        ("grants given", Deed::Granted),
    ];
    html.element(Tag::Dl, &[Attribute::Class("numbers")], |html| {
        for (word, deed) in TOTALS {
            html.element(Tag::Div, &[], |html| {
                html.line(Tag::Dt, &[], word);
                html.line(Tag::Dd, &[], &page.contents.totals.get(deed).to_string());
            });
        }
    });
}

pub fn days(page: &ReportPage<'_>, html: &mut Html) {
    let days = &page.contents.days;
    let Some(grid) = grid(page.contents) else {
        html.line(Tag::P, &[], "No record has a time.");
        return;
    };
    plot::plot(html, grid, days);
    let beyond = plot::beyond(grid, days);
    if !beyond.is_empty() {
        html.line(Tag::P, &[], &beyond);
    }
    html.element(Tag::Details, &[], |html| {
        html.line(Tag::Summary, &[], "Numbers of each day");
        table(
            html,
            "Jobs, requests and decisions of each day (UTC), the newest first.",
            "day",
            |html| {
                for (day, counts) in days.days.iter().rev() {
                    row(html, counts, |html| html.text(&calendar::day(*day)));
                }
                for (name, counts) in [("earlier", &days.before), ("without a time", &days.untimed)]
                {
                    if *counts != DeedCounts::default() {
                        row(html, counts, |html| html.text(name));
                    }
                }
            },
        );
    });
}

pub fn agent_count(contents: &Contents) -> u64 {
    contents.agents.named.len() as u64 + u64::from(contents.agents.others.is_some())
}

pub fn agents(page: &ReportPage<'_>, html: &mut Html) {
    let agents = &page.contents.agents;
    if agents.named.is_empty() {
        html.line(Tag::P, &[], "Nobody asked for anything.");
    } else {
        agents_table(page, html);
    }
    let approvers = &page.contents.approvers;
    if approvers.named.is_empty() {
        return;
    }
    html.line(Tag::H3, &[], "Approvers");
    wide(html, |html| {
        html.line(
            Tag::Caption,
            &[],
            "Who approved and denied. An approval of several, as '1 of 2', counts as one.",
        );
        heads(
            html,
            &[
                "user",
                "approvals",
                "denials",
                "grants given",
                "grants revoked",
            ],
        );
        html.element(Tag::Tbody, &[], |html| {
            let others = approvers.others.iter().map(|counts| (None, counts));
            let named = approvers
                .named
                .iter()
                .map(|(name, counts)| (Some(name), counts));
            for (name, counts) in named.chain(others) {
                html.element(Tag::Tr, &[], |html| {
                    html.element(Tag::Th, &[Attribute::HeadOfRow], |html| {
                        user_cell(html, name)
                    });
                    for deed in [Deed::Approved, Deed::Denied, Deed::Granted, Deed::Revoked] {
                        html.line(Tag::Td, NUMBER, &counts.get(deed).to_string());
                    }
                });
            }
        });
    });
}

fn agents_table(page: &ReportPage<'_>, html: &mut Html) {
    let agents = &page.contents.agents;
    let grid = grid(page.contents);
    wide(html, |html| {
        html.line(
            Tag::Caption,
            &[],
            "What each user asked for. The small plots have the days and colors of the plot above, each with a scale of its own.",
        );
        let mut names = vec!["user", "by day"];
        names.extend(COLUMNS.map(|(name, _)| name));
        names.extend(["first", "last"]);
        heads(html, &names);
        html.element(Tag::Tbody, &[], |html| {
            let mut all: Vec<(Option<&AgentName>, &AgentTotals)> = agents
                .named
                .iter()
                .map(|(name, agent)| (Some(name), agent))
                .collect();
            all.extend(agents.others.iter().map(|agent| (None, agent)));
            for (name, agent) in all {
                html.element(Tag::Tr, &[], |html| {
                    html.element(Tag::Th, &[Attribute::HeadOfRow], |html| {
                        user_cell(html, name)
                    });
                    html.element(Tag::Td, &[], |html| {
                        if let Some(grid) = grid {
                            plot::spark(html, grid, &agent.days);
                        }
                    });
                    numbers(html, &agent.counts);
                    let (first, last) = agent
                        .times
                        .map_or((None, None), |(a, b)| (Some(a), Some(b)));
                    for ms in [first, last] {
                        html.line(Tag::Td, &[Attribute::Class("time")], &day(ms));
                    }
                });
            }
        });
    });
}

fn user_cell(html: &mut Html, name: Option<&AgentName>) {
    match name {
        Some((name, uid)) => {
            html.foreign(match name.as_str() {
                "" => "?",
                name => name,
            });
            if !uid.is_empty() {
                html.element(Tag::Span, &[Attribute::Class("soft")], |html| {
                    html.text(" (uid ");
                    html.foreign(uid);
                    html.text(")");
                });
            }
        }
        None => html.text("all others"),
    }
}

fn table(html: &mut Html, caption: &str, first: &str, rows: impl FnOnce(&mut Html)) {
    wide(html, |html| {
        html.line(Tag::Caption, &[], caption);
        let mut names = vec![first];
        names.extend(COLUMNS.map(|(name, _)| name));
        heads(html, &names);
        html.element(Tag::Tbody, &[], rows);
    });
}

fn wide(html: &mut Html, inside: impl FnOnce(&mut Html)) {
    html.element(Tag::Div, &[Attribute::Class("wide")], |html| {
        html.element(Tag::Table, &[], inside);
    });
}

fn heads(html: &mut Html, names: &[&str]) {
    html.element(Tag::Thead, &[], |html| {
        html.element(Tag::Tr, &[], |html| {
            for name in names {
                let class = match *name {
                    "user" | "day" | "by day" | "first" | "last" => "word",
                    _ => "number",
                };
                let attributes = [Attribute::HeadOfColumn, Attribute::Class(class)];
                html.line(Tag::Th, &attributes, name);
            }
        });
    });
}

fn row(html: &mut Html, counts: &DeedCounts, head: impl FnOnce(&mut Html)) {
    html.element(Tag::Tr, &[], |html| {
        html.element(Tag::Th, &[Attribute::HeadOfRow], head);
        numbers(html, counts);
    });
}

fn numbers(html: &mut Html, counts: &DeedCounts) {
    for (_, deed) in COLUMNS {
        html.line(Tag::Td, NUMBER, &counts.get(deed).to_string());
    }
}

fn day(ms: Option<u64>) -> String {
    ms.map_or_else(|| "?".to_owned(), |ms| calendar::day(ms / DAY_MS))
}

/// Returns how many entries of a list the page leaves out, in a sentence.
pub fn left_out(listed: u64, left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        _ => format!(
            "The newest {listed} are listed; {} left out. Totals count all.",
            match left_out {
                1 => "1 older entry is".to_owned(),
                _ => format!("{left_out} older entries are"),
            }
        ),
    }
}
