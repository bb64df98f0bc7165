//! Patterns of grants that match commands which change the host, in rules that do not say that this is meant.
//!
//! Such a pattern does not stand for these commands: a file that comes later, of a package or of the site,
//! would be granted to somebody by its name alone. It is reported with the line to write.

use std::ops::Range;
use std::sync::Arc;

use remit_common::wire::Effect;

use crate::load::diagnostic::quoted;
use crate::load::loading::Loading;
use crate::load::reader::{Placed, Report};
use crate::model::command::Command;
use crate::model::glob::Glob;
use crate::model::rule::{GrantRule, RuleId};

/// Names that one message lists; it counts the others.
const NAMES: usize = 4;

/// A pattern that would stand for commands which change the host, if its rule said so.
pub(crate) struct Unsaid {
    rule: RuleId,
    span: Range<usize>,
    pattern: String,
    /// The commands, by name.
    names: Vec<String>,
    /// Whether the rule asks for an approval.
    asks: bool,
}

impl Loading<'_> {
    /// Looks at the entries of `allow` in a rule that is read; of one that says `effect = "read"`, an entry
    /// may not be the name of a command that changes the host.
    pub(crate) fn check_patterns(
        &mut self,
        rule: &GrantRule,
        allowed: &[Placed<&str>],
        report: &mut Report<'_>,
    ) {
        if rule.effect == Some(Effect::Change) || !report.proves() {
            return;
        }
        for entry in allowed {
            let glob = Glob::new(entry.value);
            let all = self.commands.values();
            let changing = all
                .filter_map(|defined| defined.value.as_ref())
                .filter(|one| {
                    let changes = one.effect == Effect::Change;
                    changes && glob.matches(&one.name) && suits(rule, one)
                });
            let names: Vec<String> = changing.map(|one| one.name.clone()).collect();
            let Some(first) = names.first() else { continue };
            match (rule.effect, glob.literal()) {
                (Some(_), Some(_)) => {
                    let message =
                        format!("'{first}' changes the host, and this rule says effect = \"read\"");
                    let help = "take 'effect' out, or the name: a rule of its own can allow it";
                    report.error_with_help(entry.span.clone(), message, help);
                }
                (None, None) => self.unsaid.push(Unsaid {
                    rule: rule.id.clone(),
                    span: entry.span.clone(),
                    pattern: entry.value.to_owned(),
                    names,
                    asks: rule.approval.is_some(),
                }),
                _ => {}
            }
        }
    }

    /// Reports those of one file, when all rules are known: an error where the command would be had without
    /// the approval that this rule asked for when its pattern still stood for it.
    pub(crate) fn report_unsaid(&self, report: &mut Report<'_>) {
        let file = report.file();
        let here = self.unsaid.iter();
        for unsaid in here.filter(|unsaid| unsaid.rule.file() == file) {
            let pattern = quoted(&unsaid.pattern);
            let mut eased = unsaid.names.iter().filter_map(|name| {
                let mut others = self.grants.iter().filter(|rule| rule.id != unsaid.rule);
                let other = others.find(|rule| rule.allows(name, Effect::Change))?;
                Some((name, &other.id))
            });
            if let Some((name, other)) = eased.next().filter(|_| unsaid.asks) {
                let message = format!(
                    "{pattern} does not ask for an approval of {name}, which changes the host and which \
                     rule {other} allows"
                );
                let help = "effect = \"change\" in this [[grant]] has its patterns ask for such commands, \
                            too; where that is not meant, say effect = \"read\"";
                report.error_with_help(unsaid.span.clone(), message, help);
                continue;
            }
            let shown: Vec<&str> = unsaid
                .names
                .iter()
                .map(String::as_str)
                .take(NAMES)
                .collect();
            let more = unsaid.names.len().saturating_sub(NAMES);
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let shown = shown.join(", ");
            let message =
                format!("{pattern} does not allow {shown}{more}: a pattern allows no change");
            let help = "write such a name whole, or effect = \"change\" in this [[grant]] for all that its \
                        patterns match; effect = \"read\" says that commands that look are meant";
            report.warning(unsaid.span.clone(), message, Some(help));
        }
    }
}

fn suits(rule: &GrantRule, command: &Arc<Command>) -> bool {
    rule.scope.is_any() || rule.scope.suits(command)
}
