//! The tables `args.NAME` of a command: its parameters and their types.

use std::ops::Range;
use std::sync::OnceLock;

use remit_common::caps;

use crate::load::diagnostic::quoted;
use crate::load::paths::not_plain;
use crate::load::reader::{Fields, Need, Placed, Report, Value, mistyped};
use crate::load::text::{NAME, is_name, summary};
use crate::model::command::{Kind, Param, Pass, PathIs};
use crate::model::pattern::Pattern;

/// What a string is unless a pattern is given: nothing that any program gives a meaning of its own within a word
/// (spaces and wildcards among them), nor by its first sign: `@` reads a file, `+` is an editor's command, `.` and
/// `/` begin a path.
pub(crate) const PLAIN: &str = "[A-Za-z0-9_][A-Za-z0-9._:@/+-]*";
/// The same where a hyphen may begin it.
const PLAIN_OR_OPTION: &str = "[A-Za-z0-9_-][A-Za-z0-9._:@/+-]*";
/// Values of an enum.
const VALUES: usize = 256;
/// Bytes of a string unless said.
const TEXT: usize = 256;

/// Reads `args`, in the order of the names; the place of each is that of its name.
pub(crate) fn params(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Vec<Placed<Param>> {
    let mut found = Vec::new();
    for (name, value) in fields.entries("args", report) {
        if !is_name(name.value) || name.value.contains('.') {
            let message = format!("{} cannot name an argument", quoted(name.value));
            report.error_with_help(
                name.span.clone(),
                message,
                "1 to 64 of a-z 0-9 _ -, a letter first",
            );
        }
        let span = name.span.clone();
        let value = if let Some(table) = value.get_ref().as_table() {
            let what = format!("args.{}", shown(name.value));
            param(&name, Fields::new(what, span.clone(), table), report)
        } else {
            mistyped(name.value, "a table", value, report);
            broken(name.value)
        };
        found.push(Placed { value, span });
        if found.len() > caps::NAMED_ARGS {
            let message = format!("a command has at most {} arguments", caps::NAMED_ARGS);
            report.error(name.span, message);
            break;
        }
    }
    found
}

fn shown(name: &str) -> String {
    quoted(name).trim_matches('\'').to_owned()
}

/// What stands for an argument that cannot be read, so that its places are not the next mistakes. No
/// command that has one comes into being.
fn broken(name: &str) -> Param {
    Param {
        name: name.to_owned(),
        kind: Kind::Unit { instances: true },
        summary: String::new(),
        optional: true,
        default: None,
        most: 1,
    }
}

fn param(name: &Placed<&str>, mut fields: Fields<'_>, report: &mut Report<'_>) -> Param {
    let kind = kind(&mut fields, report);
    let summary = summary(fields.string("summary", report), report);
    let optional = fields.boolean("optional", report);
    let most = fields.integer("repeat", (1, caps::NAMED_ARGS as i64), report);
    let default = fields.get("default");
    fields.finish(report);
    let Some(kind) = kind else {
        return broken(name.value);
    };
    let flag = matches!(kind, Kind::Flag(_));
    let single = flag || matches!(kind, Kind::Secret { .. });
    if single && most.is_some_and(|most| most > 1) {
        let message = format!("{} cannot be given more than once", quoted(name.value));
        report.error(name.span.clone(), message);
    }
    if default.is_some() && optional && !flag {
        let message = format!(
            "{} has a default, so it is never without a value",
            quoted(name.value)
        );
        report.error_with_help(
            name.span.clone(),
            message,
            "take 'optional' or 'default' out",
        );
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

fn default(kind: &Kind, value: &Value<'_>, report: &mut Report<'_>) -> Option<String> {
    if matches!(kind, Kind::Secret { .. }) {
        report.error(
            value.span(),
            "a secret has no default: it would stand in this file".into(),
        );
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
        report.error(value.span(), format!("the default {why}"));
        return None;
    }
    Some(text)
}

/// A value as a caller would send it: a string as it is, numbers and booleans as they are written.
pub(crate) fn scalar(value: &Value<'_>) -> Option<String> {
    let value = value.get_ref();
    if let Some(number) = value.as_integer() {
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
        return Some(number.to_string());
    }
    let boolean = value.as_bool().map(|value| value.to_string());
    boolean.or_else(|| value.as_str().map(str::to_owned))
}

fn kind(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Kind> {
    const TYPES: &str = "string int enum bool unit user package path secret";
    let named = fields.required("type", report)?;
    match named.value {
        "string" => text(fields, report),
        "int" => int(fields, &named.span, report),
        "enum" => values(fields, report),
        "bool" => flag(fields, report),
        "unit" => Some(Kind::Unit {
            instances: fields.boolean("instances", report),
        }),
        "user" => Some(Kind::User),
        "package" => Some(Kind::Package),
        "path" => path(fields, report),
        "secret" => {
            let bounds = (caps::SECRET_LEAST as i64, caps::NAMED_VALUE as i64);
            let most = fields.integer("max", bounds, report);
            Some(Kind::Secret {
                max: size(most).unwrap_or(caps::NAMED_VALUE),
            })
        }
        other => {
            let message = format!("there is no type {}", quoted(other));
            report.error_with_help(named.span, message, &format!("the types are: {TYPES}"));
            // Its own keys are unknown, and that would only be the next mistake.
            for key in [
                "pattern", "max", "dash", "min", "values", "flag", "under", "is", "pass",
            ] {
                fields.get(key);
            }
            None
        }
    }
}

fn size(number: Option<i64>) -> Option<usize> {
    number.and_then(|number| number.try_into().ok())
}

fn text(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Kind> {
    let pattern = fields.string("pattern", report);
    let max = fields.integer("max", (1, caps::NAMED_VALUE as i64), report);
    let dash = fields.boolean("dash", report);
    let span = pattern.as_ref().map(|pattern| pattern.span.clone());
    let compiled = match pattern {
        Some(pattern) => Pattern::new(pattern.value),
        // What may begin with a hyphen is an option, if its pattern does not say otherwise.
        None if dash => Pattern::new(PLAIN_OR_OPTION),
        None => plain(),
    };
    match compiled {
        Ok(pattern) => Some(Kind::Text {
            pattern,
            max: size(max).unwrap_or(TEXT),
            dash,
        }),
        Err(why) => {
            let message = format!("the pattern cannot be used: {why}");
            report.error(span.unwrap_or_default(), message);
            None
        }
    }
}

/// [`PLAIN`], compiled once: most strings of a policy share it.
fn plain() -> Result<Pattern, String> {
    static COMPILED: OnceLock<Result<Pattern, String>> = OnceLock::new();
    COMPILED.get_or_init(|| Pattern::new(PLAIN)).clone()
}

fn int(fields: &mut Fields<'_>, place: &Range<usize>, report: &mut Report<'_>) -> Option<Kind> {
    let any = (i64::MIN, i64::MAX);
    let min = fields.integer("min", any, report).unwrap_or(0);
    let max = fields
        .integer("max", any, report)
        .unwrap_or(i32::MAX.into());
    if min > max {
        report.error(place.clone(), format!("no number is from {min} to {max}"));
        return None;
    }
    Some(Kind::Int { min, max })
}

fn values(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Kind> {
    let listed = fields.strings("values", Need::Required, report);
    let mut values: Vec<String> = Vec::new();
    if let (true, Some(span)) = (listed.len() > VALUES, fields.span_of("values")) {
        let message = format!(
            "an enum has at most {VALUES} values, here are {}",
            listed.len()
        );
        report.error(span, message);
        return None;
    }
    for value in &listed {
        let bad = value.value.is_empty() || value.value.contains('\0');
        if bad || value.value.len() > caps::NAMED_VALUE {
            let message = format!("{} can be no value", quoted(value.value));
            report.error(value.span.clone(), message);
        } else if values.iter().any(|earlier| earlier == value.value) {
            let message = format!("{} stands here twice", quoted(value.value));
            report.error(value.span.clone(), message);
        } else {
            values.push(value.value.to_owned());
        }
    }
    if let (true, Some(span)) = (listed.is_empty(), fields.span_of("values")) {
        report.error(span, "an enum needs at least one value".into());
    }
    (!values.is_empty()).then_some(Kind::Enum(values))
}

fn flag(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Kind> {
    let word = fields.required("flag", report)?;
    if word.value.is_empty() || word.value.contains('\0') {
        report.error(word.span, "a flag is a word, as \"--verbose\"".into());
        return None;
    }
    Some(Kind::Flag(word.value.to_owned()))
}

fn path(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Kind> {
    let under = fields.required("under", report);
    let is = choice(
        fields.string("is", report),
        &[
            ("file", PathIs::File),
            ("directory", PathIs::Directory),
            ("either", PathIs::Either),
        ],
        report,
    );
    let pass = choice(
        fields.string("pass", report),
        &[("path", Pass::Path), ("descriptor", Pass::Descriptor)],
        report,
    );
    let under = under?;
    if let Some(why) = not_plain(under.value) {
        report.error(under.span, format!("{} {why}", quoted(under.value)));
        return None;
    }
    Some(Kind::Path {
        under: under.value.to_owned(),
        is: is.unwrap_or(PathIs::File),
        pass: pass.unwrap_or(Pass::Path),
    })
}

/// Bytes that the patterns given for these take once compiled.
pub(crate) fn compiled(params: &[Param]) -> usize {
    let size = |param: &Param| match &param.kind {
        Kind::Text { pattern, .. } if pattern.as_str() != PLAIN => pattern.size(),
        _ => 0,
    };
    params.iter().map(size).sum()
}

/// One of a few words, if there is one.
pub(crate) fn choice<T: Copy>(
    given: Option<Placed<&str>>,
    words: &[(&str, T)],
    report: &mut Report<'_>,
) -> Option<T> {
    let given = given?;
    let found = words.iter().find(|(word, _)| *word == given.value);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("{} is none of: {}", quoted(given.value), known.join(" "));
        report.error(given.span, message);
    }
    found.map(|(_, value)| *value)
}

/// Bytes of an argument's name: as of any other.
const _: () = assert!(NAME <= caps::NAME);
