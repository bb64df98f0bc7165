//! Reads the tables `[[deny]]`.

use crate::load::accounts::{Unknown, grantees};
use crate::load::loading::Loading;
use crate::load::reader::{Fields, Need, Report, WithSpan};
use crate::load::rules::Unmatched;
use remit_policy::model::rule::DenyRule;

impl Loading<'_> {
    pub(crate) fn deny(&mut self, mut fields: Fields<'_>, report: &mut Report<'_>) {
        let id = self.id(&mut fields, report);
        let to = listed("to", &mut fields, report);
        let to = grantees(
            &to,
            Unknown::Refuses,
            self.machine,
            &mut self.resolved,
            report,
        );
        let denied = listed("deny", &mut fields, report);
        let deny = self.globs(&denied, Unmatched::Refuses, report);
        let scope = self.scope(&mut fields, &denied, Unmatched::Refuses, report);
        fields.finish(report);
        self.denies.push(DenyRule {
            id,
            to,
            deny,
            scope,
        });
    }
}

/// Reads a list of a denial. An empty one is an error: it would deny nothing.
fn listed<'a>(
    key: &'static str,
    fields: &mut Fields<'a>,
    report: &mut Report<'_>,
) -> Vec<WithSpan<&'a str>> {
    let errors = report.errors();
    let list = fields.strings(key, Need::Required, report);
    let span = fields.span_of(key);
    if let Some(span) = span.filter(|_| list.is_empty() && report.errors() == errors) {
        let message = format!("'{key}' is empty, so this denial would deny nothing");
        report.error_with_help(
            span,
            message,
            "write what is meant, or delete this [[deny]]",
        );
    }
    list
}
