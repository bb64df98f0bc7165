//! Reads the tables `args.NAME` of a command: its parameters and their types.

use std::ops::Range;
use std::sync::OnceLock;

use remit_common::caps;
use remit_policy::model::bounds::VALUES;
use remit_policy::model::command::{Param, ParamKind, PassAs, PathIs};
use remit_policy::model::paths::not_plain;
use remit_policy::model::pattern::{PLAIN, Pattern};
use remit_policy::quoted;

use crate::load::loading::{NamedType, Types};
use crate::load::reader::{Fields, Need, Report, Value, WithSpan, mistyped};
use crate::load::regex;
use crate::load::text::{NAME, is_name, summary, warn_of_pattern};

/// As [`PLAIN`], but a hyphen may begin it.
const PLAIN_OR_OPTION: &str = "[A-Za-z0-9_-][A-Za-z0-9._:@/+-]*";
pub(crate) const OWN_TYPES: [&str; 9] = [
    "string", "int", "enum", "bool", "unit", "user", "package", "path", "secret",
];
const TEXT: usize = 256;

/// Reads `args` in the order of the names. The position of each is that of its name.
pub(crate) fn params(
    fields: &mut Fields<'_>,
    types: &Types,
    report: &mut Report<'_>,
) -> Vec<WithSpan<Param>> {
    let mut found = Vec::new();
    for (name, value) in fields.entries("args", report) {
        if !is_name(name.value) || name.value.contains('.') {
            let message = format!("invalid argument name {}", quoted(name.value));
            report.error_with_help(
                name.span.clone(),
                message,
                "1 to 64 of a-z 0-9 _ -, a letter first",
            );
        }
        let span = name.span.clone();
        let value = if let Some(table) = value.get_ref().as_table() {
            let what = format!("args.{}", shown(name.value));
            param(&name, Fields::new(what, span.clone(), table), types, report)
        } else {
            mistyped(name.value, "a table", value, report);
            broken(name.value)
        };
        found.push(WithSpan { value, span });
        if found.len() > caps::NAMED_ARGS {
            let message = format!("a command has at most {} arguments", caps::NAMED_ARGS);
            let help = "define several commands, or 'repeat' one argument";
            report.error_with_help(name.span, message, help);
            break;
        }
    }
    regex::check_work(&found, report);
    found
}

fn shown(name: &str) -> String {
    quoted(name).trim_matches('\'').to_owned()
}

/// Replaces an argument that cannot be read, so that its placeholders are no further errors. No command keeps one.
fn broken(name: &str) -> Param {
    Param {
        name: name.to_owned(),
        kind: ParamKind::Unit { instances: true },
        summary: String::new(),
        optional: true,
        default: None,
        most: 1,
    }
}

fn param(
    name: &WithSpan<&str>,
    mut fields: Fields<'_>,
    types: &Types,
    report: &mut Report<'_>,
) -> Param {
    let (kind, of_type) = match kind(&mut fields, types, report) {
        Some(NamedType { kind, summary }) => (Some(kind), summary),
        None => (None, String::new()),
    };
    let own = summary(fields.string("summary", report), report);
    let summary = if own.is_empty() { of_type } else { own };
    let optional = fields.boolean("optional", report);
    let most = fields.integer("repeat", (1, caps::NAMED_ARGS as i64), report);
    let default = fields.get("default");
    fields.finish(report);
    let Some(kind) = kind else {
        return broken(name.value);
    };
    let flag = matches!(kind, ParamKind::Flag(_));
    let single = flag || matches!(kind, ParamKind::Secret { .. });
    if single && most.is_some_and(|most| most > 1) {
        let message = format!("{} cannot be given more than once", quoted(name.value));
        report.error_with_help(name.span.clone(), message, "delete 'repeat'");
    }
    if default.is_some() && optional && !flag {
        let message = format!(
            "{} has a default, so it is never without a value",
            quoted(name.value)
        );
        report.error_with_help(name.span.clone(), message, "delete 'optional' or 'default'");
    }
    let default = default.and_then(|value| self::default(&kind, value, report));
    Param {
        name: name.value.to_owned(),
        kind,
        summary,
        optional: optional || (flag && default.is_none()),
        default,
        most: most.and_then(|most| most.try_into().ok()).unwrap_or(1),
    }
}

fn default(kind: &ParamKind, value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    if matches!(kind, ParamKind::Secret { .. }) {
        let message = "a secret has no default: this file would hold it".into();
        report.error_with_help(value.span(), message, "delete 'default'");
        return None;
    }
    let Some(text) = scalar(value) else {
        mistyped(
            "default",
            "a string, an integer or a boolean",
            value,
            report,
        );
        return None;
    };
    if let Some(why) = kind.refuses(&text) {
        let help = "write a default that the type allows, or delete it";
        report.error_with_help(value.span(), format!("the default {why}"), help);
        return None;
    }
    Some(text)
}

pub(crate) fn scalar(value: &Value<'_>) -> Option<String> {
    let value = value.get_ref();
    if let Some(number) = value.as_integer() {
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
        return Some(number.to_string());
    }
    let boolean = value.as_bool().map(|value| value.to_string());
    boolean.or_else(|| value.as_str().map(str::to_owned))
}

fn kind(fields: &mut Fields<'_>, types: &Types, report: &mut Report<'_>) -> Option<NamedType> {
    let named = fields.required("type", report)?;
    match types.get(named.value) {
        Some(defined) => defined.value.clone(),
        None => Some(NamedType {
            kind: own_kind(&named, fields, types, report)?,
            summary: String::new(),
        }),
    }
}

pub(crate) fn own_kind(
    named: &WithSpan<&str>,
    fields: &mut Fields<'_>,
    types: &Types,
    report: &mut Report<'_>,
) -> Option<ParamKind> {
    match named.value {
        "string" => text(fields, report),
        "int" => int(fields, &named.span, report),
        "enum" => values(fields, report),
        "bool" => flag(fields, report),
        "unit" => Some(ParamKind::Unit {
            instances: fields.boolean("instances", report),
        }),
        "user" => Some(ParamKind::User),
        "package" => Some(ParamKind::Package),
        "path" => path(fields, report),
        "secret" => {
            let bounds = (caps::SECRET_LEAST as i64, caps::NAMED_VALUE as i64);
            let most = fields.integer("max", bounds, report);
            Some(ParamKind::Secret {
                max: size(most).unwrap_or(caps::NAMED_VALUE),
            })
        }
        other => {
            let message = format!("there is no type {}", quoted(other));
            let named_types = types.keys().map(String::as_str);
            let meant = || report.similar(other, OWN_TYPES.into_iter().chain(named_types));
            let meant = usual_name(other).or_else(meant);
            let meant = meant.map_or(String::new(), |meant| format!("did you mean '{meant}'? "));
            let help = format!(
                "{meant}types: {}, or a [type.NAME] of a policy file",
                OWN_TYPES.join(" ")
            );
            report.error_with_help(named.span.clone(), message, &help);
            // Its own keys are unknown, and would only be further errors.
            for key in [
                "pattern", "max", "dash", "min", "values", "flag", "under", "is", "pass",
            ] {
                fields.get(key);
            }
            None
        }
    }
}

/// Returns remit's type for a name that other languages have for it.
fn usual_name(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "integer" | "number" | "uint" | "i64" => "int",
        "str" | "text" | "regex" => "string",
        "boolean" | "flag" | "switch" => "bool",
        "file" | "directory" | "dir" | "filename" => "path",
        "choice" | "oneof" | "list" => "enum",
        "service" => "unit",
        "password" | "token" => "secret",
        "account" | "username" => "user",
        _ => return None,
    })
}

fn size(number: Option<i64>) -> Option<usize> {
    number.and_then(|number| number.try_into().ok())
}

fn text(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<ParamKind> {
    let pattern = fields.string("pattern", report);
    let max = fields.integer("max", (1, caps::NAMED_VALUE as i64), report);
    let dash = fields.boolean("dash", report);
    let span = pattern.as_ref().map(|pattern| pattern.span.clone());
    let compiled = match pattern {
        Some(pattern) => regex::pattern(pattern.value),
        // A value that may begin with a hyphen is an option, unless its pattern says otherwise.
        None if dash => regex::pattern(PLAIN_OR_OPTION),
        None => plain(),
    };
    match compiled {
        Ok(pattern) => Some(ParamKind::Text {
            pattern,
            max: size(max).unwrap_or(TEXT),
            dash,
        }),
        Err(why) => {
            let message = format!("invalid pattern: {why}");
            let help = "write a regular expression for the whole value, without look-around and back-references, \
                        in single quotes: '[a-z]+\\.conf'";
            report.error_with_help(span.unwrap_or_default(), message, help);
            None
        }
    }
}

/// [`PLAIN`], compiled once: most strings of a policy share it.
fn plain() -> Result<Pattern, String> {
    static COMPILED: OnceLock<Result<Pattern, String>> = OnceLock::new();
    COMPILED.get_or_init(|| regex::pattern(PLAIN)).clone()
}

fn int(fields: &mut Fields<'_>, span: &Range<usize>, report: &mut Report<'_>) -> Option<ParamKind> {
    let any = (i64::MIN, i64::MAX);
    let min = fields.integer("min", any, report).unwrap_or(0);
    let max = fields
        .integer("max", any, report)
        .unwrap_or(i32::MAX.into());
    if min > max {
        let message = format!("no number is from {min} to {max}");
        report.error_with_help(
            span.clone(),
            message,
            "write min = 1, max = 100: the smaller one first",
        );
        return None;
    }
    Some(ParamKind::Int { min, max })
}

fn values(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<ParamKind> {
    let listed = fields.strings("values", Need::Required, report);
    let mut values: Vec<String> = Vec::new();
    if let (true, Some(span)) = (listed.len() > VALUES, fields.span_of("values")) {
        let message = format!(
            "an enum has at most {VALUES} values, here are {}",
            listed.len()
        );
        let help = "write type = \"string\" with a pattern";
        report.error_with_help(span, message, help);
        return None;
    }
    for value in &listed {
        let bad = value.value.is_empty() || value.value.contains('\0');
        if bad || value.value.len() > caps::NAMED_VALUE {
            let message = format!("{} cannot be a value", quoted(value.value));
            let help = format!("write 1 to {} bytes without NUL", caps::NAMED_VALUE);
            report.error_with_help(value.span.clone(), message, &help);
        } else if values.iter().any(|earlier| earlier == value.value) {
            let message = format!("{} is listed twice", quoted(value.value));
            report.error_with_help(value.span.clone(), message, "delete one of them");
        } else {
            values.push(value.value.to_owned());
        }
    }
    if let (true, Some(span)) = (listed.is_empty(), fields.span_of("values")) {
        let help = "write values = [\"start\", \"stop\"]";
        report.error_with_help(span, "an enum needs at least one value".into(), help);
    }
    (!values.is_empty()).then_some(ParamKind::Enum(values))
}

fn flag(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<ParamKind> {
    let word = fields.required("flag", report)?;
    if word.value.is_empty() || word.value.contains('\0') {
        let message = "a flag cannot be empty or have a NUL".into();
        report.error_with_help(word.span, message, "write flag = \"--verbose\"");
        return None;
    }
    Some(ParamKind::Flag(word.value.to_owned()))
}

fn path(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<ParamKind> {
    let under = fields.required("under", report);
    let is = choice(
        "is",
        fields.string("is", report),
        &[
            ("file", PathIs::File),
            ("directory", PathIs::Directory),
            ("either", PathIs::Either),
        ],
        report,
    );
    let pass = choice(
        "pass",
        fields.string("pass", report),
        &[("path", PassAs::Path), ("descriptor", PassAs::Descriptor)],
        report,
    );
    let under = under?;
    warn_of_pattern(&under, report);
    if let Some(why) = not_plain(under.value) {
        let help = "write the directory's absolute path, as under = \"/srv\"";
        report.error_with_help(under.span, format!("{} {why}", quoted(under.value)), help);
        return None;
    }
    Some(ParamKind::Path {
        under: under.value.to_owned(),
        is: is.unwrap_or(PathIs::File),
        pass: pass.unwrap_or(PassAs::Path),
    })
}

pub(crate) fn compiled(params: &[Param]) -> usize {
    let size = |param: &Param| match &param.kind {
        ParamKind::Text { pattern, .. } if pattern.as_str() != PLAIN => pattern.size(),
        _ => 0,
    };
    params.iter().map(size).sum()
}

pub(crate) fn choice<T: Copy>(
    key: &str,
    field: Option<WithSpan<&str>>,
    words: &[(&str, T)],
    report: &mut Report<'_>,
) -> Option<T> {
    let field = field?;
    let found = words.iter().find(|(word, _)| *word == field.value);
    if found.is_none() {
        let known = || words.iter().map(|(word, _)| *word);
        let quotes: Vec<String> = known().map(|word| format!("\"{word}\"")).collect();
        let shown = match quotes.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => quotes.concat(),
        };
        let message = format!("'{key}' must be {shown}, not {}", quoted(field.value));
        let meant = report.similar(field.value, known());
        let line = |word: &str| format!("{key} = \"{word}\"");
        let lines = || known().map(line).collect::<Vec<_>>().join(" or ");
        let help = meant.map_or_else(lines, line);
        report.error_with_help(field.span, message, &format!("write {help}"));
    }
    found.map(|(_, value)| *value)
}

const _: () = assert!(NAME <= caps::NAME);
