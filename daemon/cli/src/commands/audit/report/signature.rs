//! What the page says of the signature of an approval: which key, what it proves, and whether it was checked. Pure.

use remit_common::signed::Signed;
use remit_common::text;

use super::super::record::AuditRecord;
use super::super::signatures::SignatureVerdict;
use super::cited::Cited;
use super::html::{Attribute, Html, Tag};
use super::page::ReportPage;

/// Maximum bytes of a value.
const VALUE: usize = 160;

/// The fields of an approval that is signed, or should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CitedSignature {
    /// What its rule asks for.
    demand: Option<Signed>,
    /// `None`: the record has no signature.
    by: Option<SigningKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SigningKey {
    fingerprint: String,
    /// Number and hash of the request's record, which the signed text names.
    record: String,
    /// What a security key reported.
    report: String,
    risk: String,
}

impl CitedSignature {
    pub fn of(record: &AuditRecord) -> Option<Self> {
        if record.own("EVENT") != Some("approved") {
            return None;
        }
        let own = |name| text::line(record.own(name).unwrap_or_default().as_bytes(), VALUE);
        let report = match record.own("SIGNED_FLAGS") {
            Some(_) => format!(
                "flags {}, counter {}",
                own("SIGNED_FLAGS"),
                own("SIGNED_COUNTER")
            ),
            None => String::new(),
        };
        let by = record.own("SIGNATURE").map(|_| SigningKey {
            fingerprint: own("SIGNED_BY"),
            record: own("SIGNED_RECORD"),
            report,
            risk: own("SIGNED_RISK"),
        });
        let demand = record.signed();
        (by.is_some() || demand.is_some()).then_some(Self { demand, by })
    }

    pub fn is_there(&self) -> bool {
        self.by.is_some()
    }
}

/// Writes the key of an approval, and whether its signature is good. Nothing for an approval that need not be signed.
pub fn line(page: &ReportPage<'_>, html: &mut Html, cited: &Cited) {
    let Some(CitedSignature { demand, by }) = &cited.signature else {
        return;
    };
    match by {
        Some(key) => {
            html.text(", signed by ");
            html.foreign(&key.fingerprint);
        }
        None => {
            let asked = demand.map_or("a signature", Signed::asked);
            let text = format!("no signature, and its rule asks for {asked}");
            html.text(", ");
            html.line(Tag::Span, &[Attribute::Class("doubt")], &text);
        }
    }
    match page.signature(cited) {
        None if by.is_none() => {}
        None => html.text(", not checked"),
        Some(SignatureVerdict::Good { note: None }) => html.text(", checked: good"),
        Some(SignatureVerdict::Good { note: Some(note) }) => {
            html.text(", checked: ");
            html.foreign(note);
        }
        Some(SignatureVerdict::Bad { why }) => {
            html.text(", checked: ");
            html.element(Tag::Span, &[Attribute::Class("doubt")], |html| {
                html.foreign(why);
            });
        }
    }
}

/// Writes all that the record says of the signature.
pub fn details(html: &mut Html, cited: &Cited) {
    let Some(CitedSignature {
        demand,
        by: Some(key),
    }) = &cited.signature
    else {
        return;
    };
    html.element(Tag::P, &[Attribute::Class("hash soft")], |html| {
        html.text("signed by ");
        html.foreign(&key.fingerprint);
        html.text("; the rule asks for ");
        html.text(demand.map_or("no signature", Signed::asked));
        let more = [
            ("; over record ", &key.record),
            ("; the key reports ", &key.report),
            ("; ", &key.risk),
        ];
        for (word, value) in more {
            if !value.is_empty() {
                html.text(word);
                html.foreign(value);
            }
        }
    });
}
