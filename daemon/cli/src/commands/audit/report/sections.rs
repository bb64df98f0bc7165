//! Sections of lists: each entry leads to its records, the newest entry first. Pure.

use remit_common::calendar;

use super::cited::{Cited, Newest};
use super::html::{Attribute, Html, Tag};
use super::page::ReportPage;
use super::people::left_out;
use super::proof::{signature, signature_details};
use super::stories::{Stories, Story};

type Cell = fn(&ReportPage<'_>, &mut Html, &Cited);

/// A column: its heading, the class of its cells, and what writes one.
struct ListColumn(&'static str, &'static str, Cell);

const TIME: ListColumn = ListColumn("time", "time", |_, html, cited| html.text(&time(cited.ms)));
const EVENT: ListColumn = ListColumn("event", "word", |_, html, cited| html.foreign(&cited.event));
const USER: ListColumn = ListColumn("user", "user", |_, html, cited| html.foreign(&cited.user));
const VERDICT: ListColumn = ListColumn("verdict", "word", |_, html, cited| {
    html.foreign(&cited.verdict)
});
const COMMAND: ListColumn = ListColumn("what", "what", |_, html, cited| command(html, cited));
const SENTENCE: ListColumn = ListColumn("what", "what", |_, html, cited| {
    html.foreign(&cited.message)
});
const RECORD: ListColumn = ListColumn("record", "cites", |page, html, cited| {
    page.cite(html, cited)
});

pub fn changes(page: &ReportPage<'_>, html: &mut Html) {
    let caption = "Requests that change the host, with all their records: who asked, who approved, and how it ended.";
    stories(page, html, &page.contents.changes, caption);
}

pub fn looks(page: &ReportPage<'_>, html: &mut Html) {
    let caption = "Jobs whose commands change nothing, by their definition in the policy.";
    stories(page, html, &page.contents.looks, caption);
}

pub fn undone(page: &ReportPage<'_>, html: &mut Html) {
    const COLUMNS: &[ListColumn] = &[TIME, EVENT, VERDICT, SENTENCE, RECORD];
    let caption = "Undos of commits of files, and commits that were confirmed or not.";
    list(page, html, &page.contents.undos, COLUMNS, caption);
}

pub fn decisions(page: &ReportPage<'_>, html: &mut Html) {
    const APPROVER: ListColumn =
        ListColumn("by", "user", |_, html, cited| html.foreign(&cited.approver));
    const DECISION: ListColumn = ListColumn("decision", "word", |page, html, cited| {
        decision(page, html, cited)
    });
    const COLUMNS: &[ListColumn] = &[TIME, APPROVER, DECISION, USER, COMMAND, RECORD];
    let caption = "What persons decided about requests of others, and requests that lapsed without a decision. \
                   'user' is who asked.";
    list(page, html, &page.contents.decisions, COLUMNS, caption);
}

pub fn shown(page: &ReportPage<'_>, html: &mut Html) {
    const COLUMNS: &[ListColumn] = &[TIME, USER, SENTENCE, RECORD];
    let caption = "Requests with a plan or copies of files whose contents an administrator was shown. 'user' is the reader.";
    list(page, html, &page.contents.shown, COLUMNS, caption);
}

pub fn refused(page: &ReportPage<'_>, html: &mut Html) {
    const COLUMNS: &[ListColumn] = &[TIME, USER, VERDICT, COMMAND, RECORD];
    let caption = "Nothing of this ran. One record may count many refusals; totals count each.";
    list(page, html, &page.contents.refusals, COLUMNS, caption);
}

pub fn grants(page: &ReportPage<'_>, html: &mut Html) {
    let caption = "Approvals in advance: given, revoked, expired.";
    list(
        page,
        html,
        &page.contents.grants,
        &[TIME, EVENT, SENTENCE, RECORD],
        caption,
    );
}

pub fn policies(page: &ReportPage<'_>, html: &mut Html) {
    let caption = "Policies that came into force or were refused, and tests of the sandbox.";
    events(page, html, &page.contents.policies, caption);
}

pub fn locks(page: &ReportPage<'_>, html: &mut Html) {
    let caption = "Locks of remit by administrators, and users whom a breaker paused.";
    events(page, html, &page.contents.locks, caption);
}

pub fn files(page: &ReportPage<'_>, html: &mut Html) {
    let caption =
        "Files that users began to send for plans, and copies of the machine that were dropped.";
    events(page, html, &page.contents.files, caption);
}

pub fn daemon(page: &ReportPage<'_>, html: &mut Html) {
    let caption = "Starts and stops, and what went wrong with the daemon's own processes, tables and records.";
    events(page, html, &page.contents.daemon, caption);
}

/// Writes all records that the other sections name.
pub fn records(page: &ReportPage<'_>, html: &mut Html) {
    html.line(
        Tag::P,
        &[],
        "All records that this page names, by their position in the audit log. The command shows all fields of a record.",
    );
    table(
        html,
        "number, time, event, sentence and hash of each record",
        &["record", "time", "event", "sentence, hash and command"],
        |html| {
            for (cited, anchor) in page.cited() {
                html.element(Tag::Tr, &[Attribute::Id(*anchor)], |html| {
                    html.element(Tag::Th, &[Attribute::HeadOfRow], |html| {
                        let number = cited
                            .seq
                            .map_or_else(|| "?".to_owned(), |seq| seq.to_string());
                        html.text(&number);
                        if page.is_doubted(cited) {
                            html.line(Tag::Div, &[Attribute::Class("doubt")], "in doubt");
                        }
                    });
                    html.line(Tag::Td, &[Attribute::Class("time")], &time(cited.ms));
                    html.element(Tag::Td, &[Attribute::Class("word")], |html| {
                        html.foreign(&cited.event)
                    });
                    html.element(Tag::Td, &[Attribute::Class("what")], |html| {
                        html.foreign(&cited.message);
                        html.element(Tag::P, &[Attribute::Class("hash soft")], |html| {
                            html.foreign(&cited.hash)
                        });
                        signature_details(html, cited);
                        if let Some(seq) = cited.seq {
                            let command =
                                format!("remit audit show --json --seq {seq}{}", page.files);
                            html.element(Tag::P, &[], |html| html.line(Tag::Code, &[], &command));
                        }
                    });
                });
            }
        },
    );
}

fn stories(page: &ReportPage<'_>, html: &mut Html, stories: &Stories, caption: &str) {
    if stories.count == 0 {
        return none(html);
    }
    let listed = stories.count - stories.left_out();
    note(html, listed, stories.left_out());
    table(
        html,
        caption,
        &["begin", "user", "what", "outcome", "records"],
        |html| {
            for story in stories.newest_first() {
                html.element(Tag::Tr, &[], |html| row_of_story(page, html, story));
            }
        },
    );
}

fn row_of_story(page: &ReportPage<'_>, html: &mut Html, story: &Story) {
    let (Some(first), Some(last)) = (story.first(), story.last()) else {
        return;
    };
    html.line(Tag::Td, &[Attribute::Class("time")], &time(first.ms));
    html.element(Tag::Td, &[Attribute::Class("user")], |html| {
        html.foreign(&first.user)
    });
    html.element(Tag::Td, &[Attribute::Class("what")], |html| {
        let named = story.steps.iter().find(|step| !step.command.is_empty());
        command(html, named.map_or(first, |step| step));
        let started = story.steps.iter().find(|step| step.event == "intent");
        if let Some(started) = started.filter(|started| !started.rule.is_empty()) {
            remark(html, "allowed by: ", &started.rule);
        }
        if let Some(job) = first.job {
            let links = &page.undo_links;
            for (word, other) in [
                ("undone by ", links.undone_by(job)),
                ("undoes ", links.undoes(job)),
            ] {
                if let Some(other) = other {
                    remark(html, word, &other.short());
                }
            }
            html.element(Tag::P, &[], |html| {
                let show = format!("remit audit show {}{}", job.short(), page.files);
                html.line(Tag::Code, &[Attribute::Class("soft")], &show);
            });
        }
    });
    html.element(Tag::Td, &[Attribute::Class("word")], |html| {
        outcome(html, last)
    });
    html.element(Tag::Td, &[Attribute::Class("cites")], |html| {
        html.element(Tag::Ul, &[Attribute::Class("steps")], |html| {
            for step in &story.steps {
                html.element(Tag::Li, &[], |html| {
                    page.cite(html, step);
                    html.text(" ");
                    html.foreign(&step.event);
                    if !step.approver.is_empty() {
                        html.text(" by ");
                        html.foreign(&step.approver);
                    }
                    if !step.approvals.is_empty() {
                        html.text(", ");
                        html.foreign(&step.approvals);
                    }
                    signature(page, html, step);
                });
            }
            if story.more > 0 {
                html.line(Tag::Li, &[], &format!("and {} more", story.more));
            }
        });
    });
}

fn events(page: &ReportPage<'_>, html: &mut Html, newest: &Newest, caption: &str) {
    list(
        page,
        html,
        newest,
        &[TIME, EVENT, VERDICT, SENTENCE, RECORD],
        caption,
    );
}

fn list(
    page: &ReportPage<'_>,
    html: &mut Html,
    newest: &Newest,
    columns: &[ListColumn],
    caption: &str,
) {
    if newest.count == 0 {
        return none(html);
    }
    note(html, newest.cited.len() as u64, newest.left_out());
    let headings: Vec<&str> = columns
        .iter()
        .map(|ListColumn(heading, _, _)| *heading)
        .collect();
    table(html, caption, &headings, |html| {
        for cited in newest.cited.iter().rev() {
            html.element(Tag::Tr, &[], |html| {
                for ListColumn(_, class, cell) in columns {
                    html.element(Tag::Td, &[Attribute::Class(class)], |html| {
                        cell(page, html, cited)
                    });
                }
            });
        }
    });
}

fn none(html: &mut Html) {
    html.line(Tag::P, &[Attribute::Class("soft")], "None.");
}

fn note(html: &mut Html, listed: u64, more: u64) {
    let note = left_out(listed, more);
    if !note.is_empty() {
        html.line(Tag::P, &[], &note);
    }
}

fn table(html: &mut Html, caption: &str, headings: &[&str], rows: impl FnOnce(&mut Html)) {
    html.element(Tag::Div, &[Attribute::Class("wide")], |html| {
        html.element(Tag::Table, &[Attribute::Class("rows")], |html| {
            html.line(Tag::Caption, &[], caption);
            html.element(Tag::Thead, &[], |html| {
                html.element(Tag::Tr, &[], |html| {
                    for heading in headings {
                        html.line(Tag::Th, &[Attribute::HeadOfColumn], heading);
                    }
                });
            });
            html.element(Tag::Tbody, &[], rows);
        });
    });
}

/// Writes the command, and below it the reason, the cause, and what says which bytes it is about.
fn command(html: &mut Html, cited: &Cited) {
    match cited.command.as_str() {
        "" => html.foreign(&cited.message),
        command => html.element(Tag::Code, &[], |html| html.foreign(command)),
    }
    for (word, value) in [
        ("reason: ", &cited.reason),
        ("because: ", &cited.cause),
        ("changes: ", &cited.plan_changes),
        ("SHA-256 of the script: ", &cited.script_hash),
        ("digest: ", &cited.digest),
    ] {
        if !value.is_empty() {
            remark(html, word, value);
        }
    }
}

fn remark(html: &mut Html, word: &str, value: &str) {
    html.element(Tag::P, &[Attribute::Class("soft")], |html| {
        html.text(word);
        html.foreign(value);
    });
}

fn decision(page: &ReportPage<'_>, html: &mut Html, cited: &Cited) {
    html.foreign(&cited.event);
    if !cited.approvals.is_empty() {
        html.text(", ");
        html.foreign(&cited.approvals);
    }
    signature(page, html, cited);
}

fn outcome(html: &mut Html, last: &Cited) {
    let ran = matches!(last.event.as_str(), "end" | "interrupted");
    match last.event.as_str() {
        "intent" => html.text("started"),
        "asked" => html.text("waits"),
        "queued" => html.text("in the queue"),
        "approved" => html.text("approved"),
        _ => html.foreign(&last.verdict),
    }
    if ran && !last.exit.is_empty() {
        html.text(", ");
        html.foreign(&last.exit);
    }
}

/// Returns the text with a capital at its beginning.
pub fn begin(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    first.chain(rest).collect()
}

fn time(ms: Option<u64>) -> String {
    let without_zone = |ms| calendar::utc(ms).trim_end_matches(" UTC").to_owned();
    ms.map_or_else(|| "?".to_owned(), without_zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_no_zone() {
        assert_eq!(time(Some(1_795_163_148_042)), "2026-11-20 08:25:48");
        assert_eq!(time(None), "?");
    }
}
