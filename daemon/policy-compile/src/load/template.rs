//! Reads the template of a command: `argv` becomes parts, each placeholder the position of one value.

use std::ops::Range;

use remit_common::caps;

use crate::load::reader::{Fields, Report, Value, WithSpan, mistyped, string};
use remit_policy::call::bind::param_position;
use remit_policy::model::bounds::{ELEMENT, ELEMENTS};
use remit_policy::model::command::{Param, ParamKind, Part, Word};
use remit_policy::model::paths::{not_plain, optional};
use remit_policy::quoted;

const WHAT: &str = "a list of words and of lists of words";

/// Reads `argv`. The first part is an absolute path, [maybe with a hyphen before it](optional). Empty: there is none.
pub(crate) fn argv(
    fields: &mut Fields<'_>,
    params: &[WithSpan<Param>],
    report: &mut Report<'_>,
) -> Vec<WithSpan<Part>> {
    let Some(list) = fields.list("argv", WHAT, report) else {
        return Vec::new();
    };
    if list.len() > ELEMENTS {
        let span = fields.span_of("argv").unwrap_or_default();
        let message = format!("'argv' has {} elements, over {ELEMENTS}", list.len());
        report.error_with_help(span, message, "write a script, and name that");
        return Vec::new();
    }
    let mut parts = Vec::new();
    for (at, item) in list.iter().enumerate() {
        let part = if let Some(text) = string(item) {
            word(&text, params, report).map(Part::Word)
        } else if let Some(words) = item.get_ref().as_array() {
            group(item, words.iter(), params, report).map(Part::Group)
        } else {
            mistyped("argv", WHAT, item, report);
            None
        };
        if at == 0 {
            program(item, part.as_ref(), report);
        }
        parts.extend(part.map(|value| WithSpan {
            value,
            span: item.span(),
        }));
    }
    if list.is_empty() {
        let span = fields.span_of("argv").unwrap_or_default();
        let help = "write argv = [\"/usr/sbin/nginx\", \"-t\"]";
        report.error_with_help(
            span,
            "'argv' is empty: it needs at least a program".into(),
            help,
        );
    }
    parts
}

/// Requires the program as a whole path: no caller and no search path chooses it.
fn program(item: &Value<'_>, part: Option<&Part>, report: &mut Report<'_>) {
    const HELP: &str = "the first element is the program's absolute path, without placeholders";
    let why = match part {
        None => return,
        Some(Part::Word(Word::Literal(path))) => match optional(path).0 {
            "/" => "is not a file",
            path => match not_plain(path) {
                None => return,
                Some(why) => why,
            },
        },
        Some(_) => "cannot be chosen by a caller",
    };
    report.error_with_help(item.span(), format!("the program {why}"), HELP);
}

fn group<'a>(
    item: &Value<'_>,
    words: impl Iterator<Item = &'a Value<'a>>,
    params: &[WithSpan<Param>],
    report: &mut Report<'_>,
) -> Option<Vec<Word>> {
    let errors = report.errors();
    let mut found = Vec::new();
    for value in words {
        match string(value) {
            Some(text) => found.extend(word(&text, params, report)),
            None => mistyped("argv", WHAT, value, report),
        }
    }
    if report.errors() > errors {
        return None;
    }
    let mut positions: Vec<usize> = found.iter().filter_map(param_position).collect();
    positions.dedup();
    if positions.len() != 1 {
        let message = "a list within 'argv' is about exactly one argument".into();
        let help = "write [\"--option\", \"{x}\"]: it is left out without a value, and repeated for each value; write \
                    fixed words outside of it";
        report.error_with_help(item.span(), message, help);
        return None;
    }
    if found.len() > ELEMENTS {
        let message = format!("a list within 'argv' has at most {ELEMENTS} elements");
        report.error_with_help(item.span(), message, "write fewer fixed words");
        return None;
    }
    Some(found)
}

fn word(
    text: &WithSpan<&str>,
    params: &[WithSpan<Param>],
    report: &mut Report<'_>,
) -> Option<Word> {
    let span = text.span.clone();
    if text.value.len() > ELEMENT || text.value.contains('\0') {
        let message = format!("an element has at most {ELEMENT} bytes and no NUL");
        report.error_with_help(
            span,
            message,
            "write a shorter text, or a file that the program reads",
        );
        return None;
    }
    match parse(text.value) {
        Ok(Parsed::Literal(text)) => Some(Word::Literal(text)),
        Ok(Parsed::Value { before, name }) => {
            let at = find(name, params, span.clone(), report)?;
            if before.is_empty() {
                return Some(Word::Value(at));
            }
            if let [b'-', letter, b'='] = before.as_bytes()
                && letter.is_ascii_alphanumeric()
            {
                let letter = char::from(*letter);
                let message = format!(
                    "most programs read \"-{letter}=VALUE\" as option -{letter} with the value \"=VALUE\""
                );
                let help = format!(
                    "write [\"-{letter}\", \"{{{name}}}\"], or the long option \"--option={{{name}}}\""
                );
                report.warning(span.clone(), message, Some(&help));
            }
            let flag = params
                .get(at)
                .is_some_and(|param| matches!(param.value.kind, ParamKind::Flag(_)));
            if flag {
                let message = format!("'{{{name}}}' is a bool, which is a whole element: its flag");
                let help = format!(
                    "write \"{{{name}}}\" and args.{name} = {{ type = \"bool\", flag = \"--option\" }}"
                );
                report.error_with_help(span, message, &help);
                return None;
            }
            Some(Word::Attached(before, at))
        }
        Err(Misplaced { why, instead }) => {
            let help = instead.unwrap_or_else(|| {
                "write a placeholder as a whole element \"{x}\" or as \"--option={x}\", and braces as {{ and }}".into()
            });
            report.error_with_help(span, why, &help);
            None
        }
    }
}

pub(crate) fn find(
    name: &str,
    params: &[WithSpan<Param>],
    span: Range<usize>,
    report: &mut Report<'_>,
) -> Option<usize> {
    let found = params.iter().position(|param| param.value.name == name);
    if found.is_none() {
        let known: Vec<&str> = params
            .iter()
            .map(|param| param.value.name.as_str())
            .collect();
        let message = format!("there is no argument {}", quoted(name));
        let help = match report.similar(name, known.iter().copied()) {
            Some(meant) => format!("did you mean '{{{meant}}}'?"),
            None => format!("declare it: args.{} = {{ type = \"string\" }}", clean(name)),
        };
        report.error_with_help(span, message, &help);
    }
    found
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misplaced {
    why: String,
    instead: Option<String>,
}

impl Misplaced {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            instead: None,
        }
    }

    /// `before` is text without meaning to remit, such as the first part of a path.
    fn after(before: &str, name: &str) -> Self {
        let why = format!("'{{{name}}}' must be a whole element; only an option may precede it");
        let instead = match before.strip_suffix('/') {
            Some(under) if under.is_empty() || not_plain(under).is_none() => {
                let under = if under.is_empty() { "/" } else { under };
                format!(
                    "write \"{{{name}}}\", and args.{name} = {{ type = \"path\", under = \"{under}\" }}"
                )
            }
            _ if before.starts_with('-') && !before.trim_matches('-').is_empty() => {
                let long = if before.starts_with("--") {
                    before
                } else {
                    "--option"
                };
                let (before, long) = (clean(before), clean(long));
                format!(
                    "write two elements: [\"{before}\", \"{{{name}}}\"], or the long option \"{long}={{{name}}}\""
                )
            }
            _ => format!("write \"{{{name}}}\", or \"--option={{{name}}}\""),
        };
        Self {
            why,
            instead: Some(instead),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    Literal(String),
    Value { before: String, name: &'a str },
}

/// Parses one element, from left to right and once.
pub(crate) fn parse(text: &str) -> Result<Parsed<'_>, Misplaced> {
    let mut before = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (plain, brace) = rest.split_at(at);
        before.push_str(plain);
        if let Some(after) = brace.strip_prefix("{{") {
            before.push('{');
            rest = after;
        } else if let Some(after) = brace.strip_prefix("}}") {
            before.push('}');
            rest = after;
        } else {
            let inner = brace
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = inner else {
                return Err(Misplaced::new("a single brace, without its other half"));
            };
            if name.contains('{') || name.is_empty() {
                let shown = quoted(format!("{{{name}}}"));
                return Err(Misplaced::new(format!("{shown} is not a placeholder")));
            }
            if !after.is_empty() {
                let name = clean(name);
                return Err(Misplaced::new(format!(
                    "'{{{name}}}' must end its element, and text follows it"
                )));
            }
            let option = before.starts_with('-') && before.ends_with('=');
            if !before.is_empty() && !option {
                return Err(Misplaced::after(&before, &clean(name)));
            }
            return Ok(Parsed::Value { before, name });
        }
    }
    before.push_str(rest);
    Ok(Parsed::Literal(before))
}

fn clean(name: &str) -> String {
    remit_common::text::line(name.as_bytes(), 64)
}

pub(crate) fn print(word: &Word, params: &[Param]) -> String {
    let escaped = |text: &str| text.replace('{', "{{").replace('}', "}}");
    let name = |at: &usize| params.get(*at).map_or("", |param| param.name.as_str());
    match word {
        Word::Literal(text) => escaped(text),
        Word::Value(at) => format!("{{{}}}", name(at)),
        Word::Attached(before, at) => format!("{}{{{}}}", escaped(before), name(at)),
    }
}

/// The limit of an argv applies to the template, too: [`caps::ARGV_COUNT`].
const _: () = assert!(ELEMENTS <= caps::ARGV_COUNT && ELEMENT < caps::ARGV_ELEMENT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_is_text_or_ends_in_value() {
        let literal = |text: &str| Ok(Parsed::Literal(text.to_owned()));
        let value = |before: &str, name| {
            let before = before.to_owned();
            Ok(Parsed::Value { before, name })
        };
        let check = |text, expect| assert_eq!(parse(text), expect, "{text}");
        check("", literal(""));
        check("-t", literal("-t"));
        check("a{{b}}c", literal("a{b}c"));
        check("{{}}", literal("{}"));
        check("${{HOME}}", literal("${HOME}"));
        check("%s", literal("%s"));
        check("{x}", value("", "x"));
        check("--user={user}", value("--user=", "user"));
        check("-o={x}", value("-o=", "x"));
        check("--a={{={x}", value("--a={=", "x"));
        for text in [
            "{",
            "}",
            "{x",
            "x}",
            "{}",
            "{{x}",
            "{x}}",
            "{{{x}}}",
            "{{{x}",
            "a{x}",
            "{x}a",
            "-{x}",
            "--a{x}",
            "a={x}",
            "{x}{y}",
            "--a={x}{y}",
            "--a={x}=",
            "{{x}}{x}",
            "{a{b}}",
            "${HOME}",
            "={x}",
        ] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
    }
}
