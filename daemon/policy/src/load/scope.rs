//! The key `args` of a rule: which values of named arguments it is about. What could match nothing is
//! refused: a denial of it would deny nothing, and a grant nobody would understand.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::builtin;
use remit_common::caps;
use remit_common::text::is_plain;

use crate::load::diagnostic::quoted;
use crate::load::loading::Loading;
use crate::load::reader::{Fields, Placed, Report, Value, mistyped, string};
use crate::load::rules::Unmatched;
use crate::load::text::is_name;
use crate::model::command::{Command, Kind};
use crate::model::glob::Glob;
use crate::model::names::RUN;
use crate::model::scope::Scope;

/// Values of one argument.
const VALUES: usize = 256;
/// What is written at an argument.
const WHAT: &str = "a list of strings, as [\"nginx.service\", \"php*.service\"]";

/// One argument, read.
struct Entry<'a> {
    name: Placed<&'a str>,
    values: Vec<Placed<&'a str>>,
}

impl Loading<'_> {
    /// Reads `args` of a rule about these names.
    pub(crate) fn scope(
        &self,
        fields: &mut Fields<'_>,
        names: &[Placed<&str>],
        unmatched: Unmatched,
        report: &mut Report<'_>,
    ) -> Scope {
        let errors = report.errors();
        let entries = fields.entries("args", report);
        if entries.is_empty()
            && report.errors() == errors
            && let Some(span) = fields.span_of("args")
        {
            let help = "leave it out for a rule about every call";
            report.error_with_help(span, "'args' names no argument".into(), help);
        }
        if entries.len() > caps::NAMED_ARGS {
            let message = format!("a command has at most {} arguments", caps::NAMED_ARGS);
            report.error(fields.span_of("args").unwrap_or_default(), message);
            return Scope::default();
        }
        let entries = entries.into_iter().filter_map(|(name, value)| {
            let values = values(&name, value, report);
            if !is_name(name.value) || name.value.contains('.') {
                let message = format!("{} cannot name an argument", quoted(name.value));
                report.error(name.span, message);
                return None;
            }
            Some(Entry { name, values })
        });
        let entries: Vec<Entry<'_>> = entries.collect();
        let args: BTreeMap<String, Vec<Glob>> = entries
            .iter()
            .map(|entry| {
                let globs = entry.values.iter().map(|value| Glob::new(value.value));
                (entry.name.value.to_owned(), globs.collect())
            })
            .collect();
        let scope = Scope::new(args);
        if report.proves() && !scope.is_any() {
            self.check_scope(&scope, &entries, names, unmatched, report);
        }
        scope
    }

    fn check_scope(
        &self,
        scope: &Scope,
        entries: &[Entry<'_>],
        names: &[Placed<&str>],
        unmatched: Unmatched,
        report: &mut Report<'_>,
    ) {
        let globs: Vec<Glob> = names.iter().map(|name| Glob::new(name.value)).collect();
        let is_named = |name: &str| globs.iter().any(|glob| glob.matches(name));
        let mut commands: Vec<&Arc<Command>> = Vec::new();
        for (_, defined) in self.commands.iter().filter(|(name, _)| is_named(name)) {
            match &defined.value {
                Some(command) => commands.push(command),
                // What is wrong with it is told there.
                None => return,
            }
        }
        let ours = || builtin::COMMANDS.iter().map(|command| command.name);
        if commands.is_empty() && ![RUN].into_iter().chain(ours()).any(is_named) {
            return;
        }
        let errors = report.errors();
        for entry in entries {
            check_name(entry, &commands, report);
        }
        if report.errors() > errors {
            return;
        }
        let suited: Vec<&Arc<Command>> = commands
            .into_iter()
            .filter(|command| scope.suits(command))
            .collect();
        if suited.is_empty() {
            let span = entries.first().map(|entry| entry.name.span.clone());
            let message = "no command of this rule has all of these arguments".into();
            return report.error(span.unwrap_or_default(), message);
        }
        for (name, glob) in names.iter().zip(&globs) {
            let all = self.commands.keys().map(String::as_str);
            let known = all
                .chain(ours())
                .chain([RUN])
                .any(|name| glob.matches(name));
            if !known || suited.iter().any(|command| glob.matches(&command.name)) {
                continue;
            }
            let message = format!(
                "{} has no such arguments, so this rule is not about it",
                quoted(name.value)
            );
            match unmatched {
                Unmatched::Warns => report.warning(name.span.clone(), message, None),
                Unmatched::Refuses => report.error(name.span.clone(), message),
            }
        }
        for entry in entries {
            check_values(entry, &suited, report);
            warn_of_instances(entry, &suited, report);
        }
    }
}

fn values<'a>(
    name: &Placed<&str>,
    value: &'a Value<'a>,
    report: &mut Report<'_>,
) -> Vec<Placed<&'a str>> {
    let Some(list) = value.get_ref().as_array() else {
        mistyped(name.value, WHAT, value, report);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in list.iter() {
        let Some(text) = string(item) else {
            mistyped(name.value, WHAT, item, report);
            continue;
        };
        let stars = text.value.bytes().filter(|byte| *byte == b'*').count();
        let why = if text.value.is_empty() {
            Some("is empty".to_owned())
        } else if text.value.len() > caps::NAMED_VALUE {
            Some(format!("has over {} bytes", caps::NAMED_VALUE))
        } else if !text.value.chars().all(is_plain) {
            Some("has control or invisible characters".to_owned())
        } else if stars > Glob::STARS {
            Some(format!(
                "has {stars} '*', and a pattern at most {}",
                Glob::STARS
            ))
        } else {
            None
        };
        match why {
            None => found.push(text),
            Some(why) => report.error(text.span, format!("{} {why}", quoted(text.value))),
        }
    }
    if list.is_empty() || found.len() > VALUES {
        let shown = quoted(name.value);
        let message = match found.len() {
            0 => format!("{shown} has no value, so this rule is about no call"),
            many => format!("{shown} has {many} values, the most is {VALUES}"),
        };
        report.error(value.span(), message);
    }
    found
}

fn check_name(entry: &Entry<'_>, commands: &[&Arc<Command>], report: &mut Report<'_>) {
    let name = entry.name.value;
    let params = commands.iter().flat_map(|command| &command.params);
    let kinds: Vec<&Kind> = params
        .filter(|param| param.name == name)
        .map(|param| &param.kind)
        .collect();
    if kinds.is_empty() {
        let message = format!("no command of this rule has an argument {}", quoted(name));
        let help =
            "rules know the arguments of a [[command]], not those of 'run' and of remit's own";
        report.error_with_help(entry.name.span.clone(), message, help);
    } else if kinds.iter().any(|kind| matches!(kind, Kind::Secret { .. })) {
        let message = format!("{} is a secret, which no rule looks at", quoted(name));
        report.error(entry.name.span.clone(), message);
    }
}

/// Whether it is a unit that the argument would take, were it no instance of a template.
fn is_refused_instance(kind: &Kind, value: &str) -> bool {
    let taken = Kind::Unit { instances: true };
    matches!(kind, Kind::Unit { instances: false })
        && kind.refuses(value).is_some()
        && taken.refuses(value).is_none()
}

/// A rule may name an instance that the argument of its command does not take (any more): it matches nothing,
/// which refuses what a grant was for, and what a denial was for.
fn warn_of_instances(entry: &Entry<'_>, suited: &[&Arc<Command>], report: &mut Report<'_>) {
    for value in &entry.values {
        let refusing = suited.iter().find(|command| {
            let params = command.params.iter();
            let mut params = params.filter(|param| param.name == entry.name.value);
            params.any(|param| is_refused_instance(&param.kind, value.value))
        });
        let Some(command) = refusing else { continue };
        let (shown, argument) = (quoted(value.value), entry.name.value);
        let message = format!(
            "'{argument}' of {} is never {shown}: it takes no instance of a template",
            command.name
        );
        let help = format!(
            "args.{argument} = {{ type = \"unit\", instances = true }} in the definition of the command ({}:{}) \
             takes instances; of a package's file, in a copy in /etc/remit/policy.d",
            command.id.file(),
            command.id.line()
        );
        report.warning(value.span.clone(), message, Some(&help));
    }
}

/// A value without `*` is one that the argument can have.
fn check_values(entry: &Entry<'_>, suited: &[&Arc<Command>], report: &mut Report<'_>) {
    for value in &entry.values {
        if Glob::new(value.value).literal().is_none() {
            continue;
        }
        let refused = suited.iter().map(|command| {
            let params = command.params.iter();
            let mut params = params.filter(|param| param.name == entry.name.value);
            let param = params.next()?;
            if is_refused_instance(&param.kind, value.value) {
                return None;
            }
            let protected = || {
                let why = command.protects(param, value.value)?;
                Some(format!("is protected: {why}"))
            };
            param.kind.refuses(value.value).or_else(protected)
        });
        // What one of them takes is no slip.
        let all: Option<Vec<String>> = refused.collect();
        if let Some(why) = all.and_then(|all| all.into_iter().next()) {
            let (shown, name) = (quoted(value.value), entry.name.value);
            report.error(
                value.span.clone(),
                format!("'{name}' is never {shown}: it {why}"),
            );
        }
    }
}
