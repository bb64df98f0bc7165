//! The keys of policy files and what they mean: one file's tables become rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::builtin::COMMANDS;
use toml::de::DeTable;

use crate::accounts::{Resolved, Unknown, grantees};
use crate::diagnostic::quoted;
use crate::glob::Glob;
use crate::machine::Machine;
use crate::names::RUN;
use crate::profile::Profile;
use crate::reader::{Fields, Need, Placed, Report};
use crate::rule::{DenyRule, GrantRule, RuleId};
use crate::variables::never_permitted;

/// What the files read so far add up to.
pub(crate) struct Loading<'a> {
    machine: &'a dyn Machine,
    pub(crate) resolved: Resolved,
    pub(crate) grants: Vec<GrantRule>,
    pub(crate) denies: Vec<DenyRule>,
    /// Names given to rules, and where.
    taken: BTreeMap<String, String>,
}

impl<'a> Loading<'a> {
    pub(crate) fn new(machine: &'a dyn Machine) -> Self {
        Self {
            machine,
            resolved: Resolved::default(),
            grants: Vec::new(),
            denies: Vec::new(),
            taken: BTreeMap::new(),
        }
    }

    /// Adds the rules of one file.
    pub(crate) fn file(&mut self, report: &mut Report<'_>) {
        let (document, errors) = DeTable::parse_recoverable(report.text());
        if !errors.is_empty() {
            // What is left of a file that does not parse would only mislead.
            for error in errors {
                let end = report.text().len();
                let span = error.span().unwrap_or(end..end);
                report.error(span, error.message().replace('`', "'"));
            }
            return;
        }
        let mut top = Fields::new("a policy file", 0..0, document.get_ref());
        for fields in top.tables("grant", "[[grant]]", report) {
            self.grant(fields, report);
        }
        for fields in top.tables("deny", "[[deny]]", report) {
            self.deny(fields, report);
        }
        top.finish(report);
    }

    fn grant(&mut self, mut fields: Fields<'_>, report: &mut Report<'_>) {
        let id = self.id(&mut fields, report);
        let to = fields.strings("to", Need::Required, report);
        let to = grantees(
            &to,
            Unknown::Warns,
            self.machine,
            &mut self.resolved,
            report,
        );
        let allow = globs(
            &fields.strings("allow", Need::Required, report),
            "allow",
            report,
        );
        let profile = profile(fields.string("profile", report), report);
        let env = variables(&fields.strings("env", Need::Optional, report), report);
        fields.only(
            "approval",
            "none",
            "this release knows no other approval",
            report,
        );
        fields.finish(report);
        self.grants.push(GrantRule {
            id,
            to,
            allow,
            profile,
            env,
            approval: None,
            unconfined: false,
        });
    }

    fn deny(&mut self, mut fields: Fields<'_>, report: &mut Report<'_>) {
        let id = self.id(&mut fields, report);
        let to = fields.strings("to", Need::Required, report);
        let to = grantees(
            &to,
            Unknown::Refuses,
            self.machine,
            &mut self.resolved,
            report,
        );
        let deny = globs(
            &fields.strings("deny", Need::Required, report),
            "deny",
            report,
        );
        fields.finish(report);
        self.denies.push(DenyRule { id, to, deny });
    }

    /// The rule's identity. A name belongs to one rule only: it stands in the audit.
    fn id(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) -> RuleId {
        let line = report.line(fields.header().start);
        let file = report.file().to_owned();
        let name = fields.string("name", report).and_then(|name| {
            if !is_rule_name(name.value) {
                let message = format!("{} cannot name a rule", quoted(name.value));
                let help = "1 to 64 of a-z 0-9 . _ -, the first a letter or digit";
                report.error_with_help(name.span, message, help);
                return None;
            }
            let place = format!("{file}:{line}");
            if let Some(first) = self.taken.insert(name.value.to_owned(), place) {
                let message = format!("the name '{}' is taken by {first}", name.value);
                report.error(name.span, message);
            }
            Some(name.value.to_owned())
        });
        RuleId { file, line, name }
    }
}

fn is_rule_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

fn globs(list: &[Placed<&str>], key: &str, report: &mut Report<'_>) -> Vec<Glob> {
    let builtins = COMMANDS.iter().map(|builtin| builtin.name);
    let names: Vec<&str> = [RUN].into_iter().chain(builtins).collect();
    let mut found = Vec::new();
    for item in list {
        let glob = Glob::new(item.value);
        if names.iter().any(|name| glob.matches(name)) {
            found.push(glob);
        } else {
            let message = format!(
                "{} is nothing that '{key}' can name (it can name: {})",
                quoted(item.value),
                RUN
            );
            report.error(item.span.clone(), message);
        }
    }
    found
}

fn profile(named: Option<Placed<&str>>, report: &mut Report<'_>) -> Arc<Profile> {
    let read = Profile::read();
    if let Some(named) = named.filter(|named| named.value != read.name) {
        let message = format!(
            "there is no profile {} (there is: {})",
            quoted(named.value),
            read.name
        );
        report.error(named.span, message);
    }
    Arc::new(read)
}

fn variables(list: &[Placed<&str>], report: &mut Report<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in list {
        match never_permitted(item.value) {
            None => {
                found.insert(item.value.to_owned());
            }
            Some(why) => {
                let message = format!("no caller may set {}: {why}", quoted(item.value));
                report.error(item.span.clone(), message);
            }
        }
    }
    found
}
