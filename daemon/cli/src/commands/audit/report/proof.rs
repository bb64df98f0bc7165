//! Lines about the signature of an approval: which key, what its rule asks for, and whether it is good. Pure.

use remit_common::signed::Signed;

use super::super::signatures::SignatureVerdict;
use super::cited::Cited;
use super::html::{Attribute, Html, Tag};
use super::page::ReportPage;
use super::signature::CitedSignature;

/// Writes the key of an approval, and whether its signature is good. Nothing for an approval that need not be signed.
pub fn signature(page: &ReportPage<'_>, html: &mut Html, cited: &Cited) {
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
pub fn signature_details(html: &mut Html, cited: &Cited) {
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
