//! The template of a command: `argv` becomes parts, each placeholder the place of one value.

use std::ops::Range;

use remit_common::caps;

use crate::call::bind::place;
use crate::load::diagnostic::quoted;
use crate::load::paths::{not_plain, optional};
use crate::load::reader::{Fields, Placed, Report, Value, mistyped, string};
use crate::model::command::{Kind, Param, Part, Word};

/// What `argv` is.
const WHAT: &str = "a list of words and of lists of words";
/// Elements of a template.
const MOST: usize = 256;
/// Bytes of one.
const WORD: usize = 4096;

/// Reads `argv`. The first part is a literal absolute path, [maybe with a hyphen before it](optional); empty when there is none.
pub(crate) fn argv(
    fields: &mut Fields<'_>,
    params: &[Placed<Param>],
    report: &mut Report<'_>,
) -> Vec<Placed<Part>> {
    let Some(list) = fields.list("argv", WHAT, report) else {
        return Vec::new();
    };
    if list.len() > MOST {
        let span = fields.span_of("argv").unwrap_or_default();
        report.error(
            span,
            format!("'argv' has {} elements, over {MOST}", list.len()),
        );
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
        parts.extend(part.map(|value| Placed {
            value,
            span: item.span(),
        }));
    }
    if list.is_empty() {
        let span = fields.span_of("argv").unwrap_or_default();
        report.error(span, "'argv' is empty: it needs at least a program".into());
    }
    parts
}

/// What is executed is written here whole: no caller and no search path chooses it.
fn program(item: &Value<'_>, part: Option<&Part>, report: &mut Report<'_>) {
    const HELP: &str = "the first element is the program's absolute path, without placeholders";
    let why = match part {
        None => return,
        Some(Part::Word(Word::Literal(path))) => match optional(path).0 {
            "/" => "is no program",
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
    params: &[Placed<Param>],
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
    let mut places: Vec<usize> = found.iter().filter_map(place).collect();
    places.dedup();
    if places.len() != 1 {
        let message = "a list within 'argv' is about exactly one argument".into();
        let help = "it is left out without a value, and repeated for each value; words that are \
                    always there stand outside";
        report.error_with_help(item.span(), message, help);
        return None;
    }
    (found.len() <= MOST).then_some(found)
}

fn word(text: &Placed<&str>, params: &[Placed<Param>], report: &mut Report<'_>) -> Option<Word> {
    let span = text.span.clone();
    if text.value.len() > WORD || text.value.contains('\0') {
        let message = format!("an element has at most {WORD} bytes and no NUL");
        report.error(span, message);
        return None;
    }
    match parse(text.value) {
        Ok(Parsed::Literal(text)) => Some(Word::Literal(text)),
        Ok(Parsed::Value { before, name }) => {
            let at = find(name, params, span.clone(), report)?;
            if before.is_empty() {
                return Some(Word::Value(at));
            }
            let flag = params
                .get(at)
                .is_some_and(|param| matches!(param.value.kind, Kind::Flag(_)));
            if flag {
                let message = format!("'{{{name}}}' is a bool, which is a whole element: its flag");
                report.error(span, message);
                return None;
            }
            Some(Word::Attached(before, at))
        }
        Err(why) => {
            let help = "a placeholder is a whole element \"{x}\", or ends one as in \"--option={x}\"; \
                        braces are written {{ and }}";
            report.error_with_help(span, why, help);
            None
        }
    }
}

/// The place of a parameter by its name.
pub(crate) fn find(
    name: &str,
    params: &[Placed<Param>],
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
        match known.is_empty() {
            true => {
                report.error_with_help(span, message, "describe it as args.NAME = { type = … }")
            }
            false => {
                report.error_with_help(span, message, &format!("there is: {}", known.join(" ")));
            }
        }
    }
    found
}

/// One element, read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    Literal(String),
    Value { before: String, name: &'a str },
}

/// Reads one element, from left to right and once.
pub(crate) fn parse(text: &str) -> Result<Parsed<'_>, String> {
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
                return Err("a brace stands alone".into());
            };
            if name.contains('{') || name.is_empty() {
                return Err(format!(
                    "{} is no placeholder",
                    quoted(format!("{{{name}}}"))
                ));
            }
            if !after.is_empty() {
                return Err(format!("something stands behind '{{{}}}'", clean(name)));
            }
            let option = before.starts_with('-') && before.ends_with('=');
            if !before.is_empty() && !option {
                return Err(format!(
                    "what stands before '{{{}}}' is no option",
                    clean(name)
                ));
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

/// One element as [`parse`] reads it.
pub(crate) fn print(word: &Word, params: &[Param]) -> String {
    let escaped = |text: &str| text.replace('{', "{{").replace('}', "}}");
    let name = |at: &usize| params.get(*at).map_or("", |param| param.name.as_str());
    match word {
        Word::Literal(text) => escaped(text),
        Word::Value(at) => format!("{{{}}}", name(at)),
        Word::Attached(before, at) => format!("{}{{{}}}", escaped(before), name(at)),
    }
}

/// All words of parts, in their order.
pub(crate) fn words(part: &Part) -> &[Word] {
    match part {
        Part::Word(word) => std::slice::from_ref(word),
        Part::Group(words) => words,
    }
}

/// The bound on an argv holds for the template, too: [`caps::ARGV_COUNT`].
const _: () = assert!(MOST <= caps::ARGV_COUNT && WORD < caps::ARGV_ELEMENT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_text_or_ends_in_one_value() {
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
