//! What the sections of the page share: the records, their anchors, and which are in doubt. Pure.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use remit_audit_verify::Kind;

use super::super::signatures::{SignatureVerdict, SignaturesReport};
use super::super::undo_links::UndoLinks;
use super::super::verify::Verification;
use super::cited::{Cited, Newest};
use super::contents::Contents;
use super::html::{Attribute, Html, PageAnchor, Tag};
use super::plot;

pub struct ReportPage<'a> {
    pub contents: &'a Contents,
    pub verification: &'a Verification,
    /// The time of making, in milliseconds since 1970.
    pub now_ms: u64,
    /// Arguments of `remit audit` that name the files.
    pub files: &'a str,
    /// `None`: the signatures were not checked.
    pub signatures: Option<&'a SignaturesReport>,
    signature_verdicts: BTreeMap<u64, SignatureVerdict<'a>>,
    cited: BTreeMap<u64, (Rc<Cited>, PageAnchor)>,
    /// Of commits and undos that the page lists.
    pub undo_links: UndoLinks,
}

impl<'a> ReportPage<'a> {
    pub fn new(
        contents: &'a Contents,
        verification: &'a Verification,
        signatures: Option<&'a SignaturesReport>,
        now_ms: u64,
        files: &'a str,
    ) -> Self {
        let mut of_number: HashMap<u64, u32> = HashMap::new();
        let mut anchored = |(position, cited): (u64, Rc<Cited>)| {
            let seq = cited.seq.unwrap_or(0);
            let next = of_number.entry(seq).or_default();
            let before = *next;
            *next += 1;
            (position, (cited, PageAnchor::Record { seq, before }))
        };
        let cited = all(contents).into_iter().map(&mut anchored).collect();
        Self {
            contents,
            verification,
            signatures,
            signature_verdicts: signatures
                .map(SignaturesReport::verdicts)
                .unwrap_or_default(),
            now_ms,
            files,
            cited,
            undo_links: undo_links(contents),
        }
    }

    pub fn cited(&self) -> impl Iterator<Item = &(Rc<Cited>, PageAnchor)> {
        self.cited.values()
    }

    /// Returns the result of the check of this approval's signature. `None`: it was not checked.
    pub fn signature(&self, cited: &Cited) -> Option<SignatureVerdict<'a>> {
        self.signature_verdicts.get(&cited.seq?).copied()
    }

    /// Returns true if a finding is about this record: what it says may not be what the daemon wrote.
    pub fn is_doubted(&self, cited: &Cited) -> bool {
        let findings = &self.verification.report().findings;
        findings.iter().any(|finding| {
            let range = finding.seq..=finding.last.max(finding.seq);
            finding.kind != Kind::Gap && cited.seq.is_none_or(|seq| range.contains(&seq))
        })
    }

    /// Writes the number of a record, which leads to the record.
    pub fn cite(&self, html: &mut Html, cited: &Cited) {
        let number = cited
            .seq
            .map_or_else(|| "?".to_owned(), |seq| seq.to_string());
        match self.cited.get(&cited.position) {
            Some((_, anchor)) => html.line(Tag::A, &[Attribute::To(*anchor)], &number),
            None => html.text(&number),
        }
        if self.is_doubted(cited) {
            html.text(" ");
            html.line(Tag::Span, &[Attribute::Class("doubt")], "in doubt");
        }
    }
}

fn undo_links(contents: &Contents) -> UndoLinks {
    let steps = contents
        .changes
        .newest_first()
        .flat_map(|story| &story.steps);
    let steps =
        steps.filter_map(|cited| Some((cited.position, cited.job?, cited.commit.as_ref()?)));
    UndoLinks::of_steps(steps.collect())
}

/// Returns all records that some section lists, by their position.
fn all(contents: &Contents) -> BTreeMap<u64, Rc<Cited>> {
    let lists: [&Newest; 9] = [
        &contents.decisions,
        &contents.shown,
        &contents.refusals,
        &contents.undos,
        &contents.grants,
        &contents.policies,
        &contents.locks,
        &contents.files,
        &contents.daemon,
    ];
    let listed = lists.into_iter().flat_map(|list| &list.cited);
    let stories = [&contents.changes, &contents.looks];
    let in_stories = stories
        .into_iter()
        .flat_map(|stories| stories.newest_first())
        .flat_map(|story| &story.steps);
    let all = listed.chain(in_stories);
    all.map(|cited| (cited.position, Rc::clone(cited)))
        .collect()
}

/// Returns the days of the plots. `None` if no record has a time.
pub fn grid(contents: &Contents) -> Option<plot::Grid> {
    plot::Grid::new(&contents.days)
}
