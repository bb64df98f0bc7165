//! The document: the verification, totals, a list of the sections, and the sections. Pure.

use remit_common::calendar;

use super::contents::{Contents, RecordHost};
use super::counts::Deed;
use super::html::{Attribute, Html, PageAnchor, Tag};
use super::page::ReportPage;
use super::{people, sections};
use crate::render::units;

/// Findings about signatures that the page lists.
const FINDINGS: usize = 50;

/// A section: its position, its heading, how many it is about, and what writes it.
pub struct ReportSection {
    name: &'static str,
    heading: &'static str,
    count: fn(&Contents) -> u64,
    write: fn(&ReportPage<'_>, &mut Html),
}

const PARTS: [ReportSection; 14] = [
    ReportSection {
        name: "days",
        heading: "By day",
        count: |_| 0,
        write: people::days,
    },
    ReportSection {
        name: "agents",
        heading: "By user",
        count: people::agent_count,
        write: people::agents,
    },
    ReportSection {
        name: "changes",
        heading: "Changes that were asked for",
        count: |c| c.changes.count,
        write: sections::changes,
    },
    ReportSection {
        name: "undone",
        heading: "Undone and confirmed",
        count: |c| c.undos.count,
        write: sections::undone,
    },
    ReportSection {
        name: "decisions",
        heading: "Approvals and denials",
        count: |c| c.decisions.count,
        write: sections::decisions,
    },
    ReportSection {
        name: "shown",
        heading: "Contents of files that were shown",
        count: |c| c.shown.count,
        write: sections::shown,
    },
    ReportSection {
        name: "refused",
        heading: "Refused",
        count: |c| c.totals.get(Deed::Refused),
        write: sections::refused,
    },
    ReportSection {
        name: "ran",
        heading: "Ran without changing anything",
        count: |c| c.looks.count,
        write: sections::looks,
    },
    ReportSection {
        name: "grants",
        heading: "Grants for a time",
        count: |c| c.grants.count,
        write: sections::grants,
    },
    ReportSection {
        name: "policy",
        heading: "Policy and sandbox",
        count: |c| c.policies.count,
        write: sections::policies,
    },
    ReportSection {
        name: "locks",
        heading: "Locks and pauses",
        count: |c| c.locks.count,
        write: sections::locks,
    },
    ReportSection {
        name: "files",
        heading: "Files that were sent, and copies",
        count: |c| c.files.count,
        write: sections::files,
    },
    ReportSection {
        name: "daemon",
        heading: "The daemon and the audit log",
        count: |c| c.daemon.count,
        write: sections::daemon,
    },
    ReportSection {
        name: "records",
        heading: "Records",
        count: |_| 0,
        write: sections::records,
    },
];

pub fn document(page: &ReportPage<'_>) -> String {
    Html::document("remit: audit report", |html| {
        html.element(Tag::Header, &[], |html| head(page, html));
        html.element(Tag::Main, &[], |html| {
            verdict(page, html);
            people::totals(page, html);
            list_of_parts(page, html);
            PARTS.iter().for_each(|one| part(page, html, one));
        });
        html.element(Tag::Footer, &[], foot);
    })
}

fn head(page: &ReportPage<'_>, html: &mut Html) {
    html.line(Tag::H1, &[], "Audit report");
    let class = [Attribute::Class("soft")];
    html.element(Tag::P, &class, |html| {
        html.text(concat!("remit ", env!("CARGO_PKG_VERSION")));
        match &page.contents.host {
            RecordHost::Unknown => {}
            RecordHost::One(host) => {
                html.text(" on ");
                html.foreign(host);
            }
            RecordHost::Several => html.text(" on several hosts, by the names in the journal"),
        }
        html.text(&format!(
            ", made {}. All times are UTC.",
            calendar::utc(page.now_ms)
        ));
    });
}

fn verdict(page: &ReportPage<'_>, html: &mut Html) {
    let class = match page.verification.is_whole() {
        true => "verdict whole",
        false => "verdict broken",
    };
    html.element(Tag::P, &[Attribute::Class(class)], |html| {
        html.line(
            Tag::Strong,
            &[],
            &sections::begin(&page.verification.verdict()),
        );
        let report = page.verification.report();
        html.text(match (page.verification.is_whole(), report.findings.is_empty()) {
            (true, _) if !report.notes.is_empty() => {
                ": from the first record that was read to the last, none was changed, and none is missing but for what \
                 the notes say."
            }
            (true, _) => ": from the first record that was read to the last, none is missing and none was changed.",
            (false, true) => ", so nothing is proven.",
            (false, false) => ". Below is what the records say; those in doubt are marked.",
        });
    });
    html.element(Tag::Dl, &[], |html| {
        for (name, value) in page.verification.facts() {
            html.line(Tag::Dt, &[], name);
            match name {
                "keep this" => html.line(Tag::Dd, &[Attribute::Class("hash")], &value),
                _ => html.element(Tag::Dd, &[], |html| html.foreign(&value)),
            }
        }
    });
    signatures(page, html);
    if page.verification.report().more_findings > 0 {
        let text = "There are more findings than are listed, so a record that is not marked may be in doubt, too.";
        html.line(Tag::P, &[Attribute::Class("doubt")], text);
    }
    if page.contents.unreadable > 0 {
        let text = format!(
            "Lines that are no records, and are in no section: {}.",
            page.contents.unreadable
        );
        html.line(Tag::P, &[], &text);
    }
}

/// Writes whether the signatures of approvers were checked, and which are not good.
fn signatures(page: &ReportPage<'_>, html: &mut Html) {
    let Some(report) = page.signatures else {
        if page.contents.signed > 0 {
            let signed = units::count(page.contents.signed, "signature");
            let text = format!(
                "This report has not checked {signed} of approvers: '--signers FILE' checks them."
            );
            html.line(Tag::P, &[], &text);
        }
        return;
    };
    let class = match report.is_good() {
        true => "soft",
        false => "doubt",
    };
    let text = format!(
        "Signatures of approvers, checked by the keys of a file: {}.",
        report.summary()
    );
    html.line(Tag::P, &[Attribute::Class(class)], &text);
    // The newest approvals alone are listed below; an old one can be the bad one.
    let findings = report.findings();
    if findings.is_empty() {
        return;
    }
    html.element(Tag::Ul, &[], |html| {
        for finding in findings.iter().take(FINDINGS) {
            html.element(Tag::Li, &[], |html| html.foreign(finding));
        }
    });
    if findings.len() > FINDINGS {
        let more = format!(
            "and {} more; 'remit audit verify --signers' lists all",
            findings.len() - FINDINGS
        );
        html.line(Tag::P, &[], &more);
    }
}

fn list_of_parts(page: &ReportPage<'_>, html: &mut Html) {
    html.element(
        Tag::Nav,
        &[Attribute::Id(PageAnchor::Section("contents"))],
        |html| {
            html.element(Tag::Ul, &[], |html| {
                for part in &PARTS {
                    html.element(Tag::Li, &[], |html| {
                        let to = Attribute::To(PageAnchor::Section(part.name));
                        html.line(Tag::A, &[to], part.heading);
                        let count = match part.name {
                            "records" => page.cited().count() as u64,
                            "days" => page.contents.days.days.len() as u64,
                            _ => (part.count)(page.contents),
                        };
                        html.line(Tag::Span, &[Attribute::Class("soft")], &count.to_string());
                    });
                }
            });
        },
    );
}

fn part(page: &ReportPage<'_>, html: &mut Html, part: &ReportSection) {
    html.element(
        Tag::Section,
        &[Attribute::Id(PageAnchor::Section(part.name))],
        |html| {
            html.line(Tag::H2, &[], part.heading);
            (part.write)(page, html);
        },
    );
}

fn foot(html: &mut Html) {
    html.text(
        "Made by 'remit audit report'. The page has no script and loads nothing. A record's hash covers all of its \
         fields and the hash of the record before; remit-audit(7) describes both. Names of clients, reasons and \
         commands are words of others.",
    );
}
