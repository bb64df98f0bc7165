//! Reads the key `args` of a rule. Values that nothing can match are refused: a denial of them would deny nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::builtin::COMMANDS;
use remit_common::caps;
use remit_common::text::is_plain;

use crate::load::loading::Loading;
use crate::load::reader::{Fields, Report, Value, WithSpan, mistyped, string};
use crate::load::rules::Unmatched;
use crate::load::text::is_name;
use remit_policy::model::bounds::VALUES;
use remit_policy::model::command::{Command, ParamKind};
use remit_policy::model::glob::Glob;
use remit_policy::model::policy::{CHANGE, Named, RUN};
use remit_policy::model::rule::Patterns;
use remit_policy::model::scope::{Scope, UNIT, has_unit};
use remit_policy::quoted;

const WHAT: &str = "a list of strings, as [\"nginx.service\", \"php*.service\"]";

struct Entry<'a> {
    name: WithSpan<&'a str>,
    values: Vec<WithSpan<&'a str>>,
}

impl Loading<'_> {
    pub(crate) fn scope(
        &self,
        fields: &mut Fields<'_>,
        names: &[WithSpan<&str>],
        unmatched: Unmatched,
        report: &mut Report<'_>,
    ) -> Scope {
        let errors = report.errors();
        let entries = fields.entries("args", report);
        if entries.is_empty()
            && report.errors() == errors
            && let Some(span) = fields.span_of("args")
        {
            let help = "write args = { unit = [\"nginx.service\"] }, or delete it for a rule about every call";
            report.error_with_help(span, "'args' names no argument".into(), help);
        }
        if entries.len() > caps::NAMED_ARGS {
            let message = format!("a command has at most {} arguments", caps::NAMED_ARGS);
            let span = fields.span_of("args").unwrap_or_default();
            report.error_with_help(span, message, "name fewer arguments");
            return Scope::default();
        }
        let entries = entries.into_iter().filter_map(|(name, value)| {
            let values = values(&name, value, report);
            if !is_name(name.value) || name.value.contains('.') {
                let message = format!("invalid argument name {}", quoted(name.value));
                let help = "1 to 64 of a-z 0-9 _ -, a letter first";
                report.error_with_help(name.span, message, help);
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
        let scope = Scope::from(args);
        if !scope.is_any() {
            self.check_scope(&scope, &entries, names, unmatched, report);
        }
        scope
    }

    fn check_scope(
        &self,
        scope: &Scope,
        entries: &[Entry<'_>],
        names: &[WithSpan<&str>],
        unmatched: Unmatched,
        report: &mut Report<'_>,
    ) {
        let globs: Vec<Glob> = names.iter().map(|name| Glob::new(name.value)).collect();
        let is_named = |name: &str| globs.iter().any(|glob| glob.matches(name));
        let mut commands: Vec<&Arc<Command>> = Vec::new();
        for (_, defined) in self.commands.iter().filter(|(name, _)| is_named(name)) {
            match &defined.value {
                Some(command) => commands.push(command),
                None => return,
            }
        }
        let builtin_names = || COMMANDS.iter().map(|command| command.name);
        let patterns = match unmatched {
            Unmatched::Warns => Patterns::All,
            Unmatched::Refuses => Patterns::Denials,
        };
        let own = COMMANDS.iter().filter(|own| {
            let mut globs = globs.iter().filter(|glob| glob.matches(own.name));
            globs.any(|glob| patterns.reach_builtins(glob))
        });
        let builtins: Vec<Named<'_>> = own.map(Named::Builtin).collect();
        if commands.is_empty()
            && ![RUN, CHANGE]
                .into_iter()
                .chain(builtin_names())
                .any(is_named)
        {
            return;
        }
        let errors = report.errors();
        for entry in entries {
            check_name(entry, &commands, &builtins, report);
        }
        if report.errors() > errors {
            return;
        }
        let suited: Vec<&Arc<Command>> = commands
            .into_iter()
            .filter(|command| scope.suits(Named::Command(command)))
            .collect();
        let own: Vec<Named<'_>> = builtins
            .into_iter()
            .filter(|named| scope.suits(*named))
            .collect();
        if suited.is_empty() && own.is_empty() {
            let span = entries.first().map(|entry| entry.name.span.clone());
            let message = "no command of this rule has all of these arguments".into();
            let help = "write a rule for each command, with the arguments that it has";
            return report.error_with_help(span.unwrap_or_default(), message, help);
        }
        for (name, glob) in names.iter().zip(&globs) {
            let all = self.commands.keys().map(String::as_str);
            let known = all
                .chain(builtin_names())
                .chain([RUN, CHANGE])
                .any(|name| glob.matches(name));
            let is_own = own.iter().any(|named| glob.matches(named.name()));
            if !known || is_own || suited.iter().any(|command| glob.matches(&command.name)) {
                continue;
            }
            let message = format!(
                "{} has no such arguments, so this rule is not about it",
                quoted(name.value)
            );
            let help = "write a rule of its own for it";
            match unmatched {
                Unmatched::Warns => report.warning(name.span.clone(), message, Some(help)),
                Unmatched::Refuses => report.error_with_help(name.span.clone(), message, help),
            }
        }
        for entry in entries {
            check_values(entry, &suited, &own, report);
            warn_of_instances(entry, &suited, report);
        }
    }
}

fn values<'a>(
    name: &WithSpan<&str>,
    value: &'a Value<'a>,
    report: &mut Report<'_>,
) -> Vec<WithSpan<&'a str>> {
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
            Some(why) => {
                let help = "write the value, or a pattern with at most four '*'";
                report.error_with_help(text.span, format!("{} {why}", quoted(text.value)), help);
            }
        }
    }
    if list.is_empty() || found.len() > VALUES {
        let shown = quoted(name.value);
        let message = match found.len() {
            0 => format!("{shown} has no value, so this rule is about no call"),
            many => format!("{shown} has {many} values, the most is {VALUES}"),
        };
        let help = "write values or patterns: [\"nginx.service\", \"php*.service\"]";
        report.error_with_help(value.span(), message, help);
    }
    found
}

fn check_name(
    entry: &Entry<'_>,
    commands: &[&Arc<Command>],
    builtins: &[Named<'_>],
    report: &mut Report<'_>,
) {
    let name = entry.name.value;
    let params = commands.iter().flat_map(|command| &command.params);
    let kinds: Vec<&ParamKind> = params
        .filter(|param| param.name == name)
        .map(|param| &param.kind)
        .collect();
    let is_known = |named: &Named<'_>| match named {
        Named::Builtin(builtin) => has_unit(builtin, name),
        Named::Command(_) => false,
    };
    if kinds.is_empty() && !builtins.iter().any(is_known) {
        let message = format!("no command of this rule has an argument {}", quoted(name));
        let known = || commands.iter().flat_map(|command| &command.params);
        let own = if builtins.is_empty() {
            None
        } else {
            Some(UNIT)
        };
        let known = || known().map(|param| param.name.as_str()).chain(own);
        let help = match report.similar(name, known()) {
            Some(meant) => format!("did you mean '{meant}'?"),
            None => {
                "write an argument of the [[command]]; of remit's own commands rules know only 'unit', and a grant those \
                 that it names whole: \"logs\", \"service.status\""
                    .into()
            }
        };
        report.error_with_help(entry.name.span.clone(), message, &help);
    } else if kinds
        .iter()
        .any(|kind| matches!(kind, ParamKind::Secret { .. }))
    {
        let message = format!("{} is a secret, which no rule looks at", quoted(name));
        report.error_with_help(
            entry.name.span.clone(),
            message,
            "write another argument, or delete it",
        );
    }
}

/// Returns true for a unit that the argument would take if it were not an instance of a template.
fn is_refused_instance(kind: &ParamKind, value: &str) -> bool {
    let taken = ParamKind::Unit { instances: true };
    matches!(kind, ParamKind::Unit { instances: false })
        && kind.refuses(value).is_some()
        && taken.refuses(value).is_none()
}

/// Warns of an instance that a command's argument does not take (any more): a grant or denial of it has no effect.
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
            command.id.file, command.id.line
        );
        report.warning(value.span.clone(), message, Some(&help));
    }
}

/// Returns why no value of this type matches a pattern, of those types whose values are known.
fn matches_none(kind: &ParamKind, glob: &Glob) -> Option<String> {
    let is_neither = |values: [&str; 2]| !values.iter().any(|value| glob.matches(value));
    match kind {
        ParamKind::Enum(values) => {
            let none = !values.iter().any(|value| glob.matches(value));
            none.then(|| format!("is one of: {}", values.join(", ")))
        }
        ParamKind::Flag(_) => is_neither(["true", "false"]).then(|| "is true or false".into()),
        ParamKind::Path { under, .. } => {
            let top = format!("{}/", under.trim_end_matches('/'));
            let prefix = glob.prefix();
            let reaches = top.starts_with(prefix) || prefix.starts_with(&top);
            (!reaches).then(|| format!("is beneath {under}"))
        }
        _ => None,
    }
}

fn check_values(
    entry: &Entry<'_>,
    suited: &[&Arc<Command>],
    own: &[Named<'_>],
    report: &mut Report<'_>,
) {
    for value in &entry.values {
        let glob = Glob::new(value.value);
        let refused = suited.iter().map(|command| {
            let params = command.params.iter();
            let mut params = params.filter(|param| param.name == entry.name.value);
            let param = params.next()?;
            if glob.literal().is_none() {
                return matches_none(&param.kind, &glob);
            }
            if is_refused_instance(&param.kind, value.value) {
                return None;
            }
            let protected = || {
                let why = command.protects(param, value.value)?;
                Some(format!("is protected: {why}"))
            };
            param.kind.refuses(value.value).or_else(protected)
        });
        let whole = || {
            glob.literal()?;
            ParamKind::Unit { instances: true }.refuses(value.value)
        };
        let refused = refused.chain(own.iter().map(|_| whole()));
        let all: Option<Vec<String>> = refused.collect();
        if let Some(why) = all.and_then(|all| all.into_iter().next()) {
            let (shown, name) = (quoted(value.value), entry.name.value);
            report.error_with_help(
                value.span.clone(),
                format!("'{name}' is never {shown}: it {why}"),
                "write a value that the argument's type allows",
            );
        }
    }
}
