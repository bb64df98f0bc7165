//! Reads tables of a TOML file by their keys, and reports every mistake with
//! its place. Knows types and spans, not what the keys mean.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::load::diagnostic::{Diagnostic, Findings, Pass, Severity, quoted};

/// A part of a file with its place.
#[derive(Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A value of any type, not looked at yet.
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// Reports findings about one file.
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line but the first begins.
    lines: &'a [usize],
    findings: &'a mut Findings,
}

impl<'a> Report<'a> {
    /// `lines` are those of `text`, from [`Report::lines`].
    pub(crate) fn new(
        file: &'a str,
        text: &'a str,
        lines: &'a [usize],
        findings: &'a mut Findings,
    ) -> Self {
        Self {
            file,
            text,
            lines,
            findings,
        }
    }

    /// Where each line but the first begins.
    pub(crate) fn lines(text: &str) -> Vec<usize> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        newlines.map(|(at, _)| at + 1).collect()
    }

    /// How many errors there are so far, in all files.
    pub(crate) fn errors(&self) -> usize {
        self.findings.errors()
    }

    /// Whether what only proves is to be looked at.
    pub(crate) fn proves(&self) -> bool {
        self.findings.pass() == Pass::First
    }

    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    /// Where a byte stands, as other files refer to it.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.file, self.line(at))
    }

    pub(crate) fn error(&mut self, span: Range<usize>, message: String) {
        self.push(Severity::Error, span, message, None);
    }

    pub(crate) fn error_with_help(&mut self, span: Range<usize>, message: String, help: &str) {
        self.push(Severity::Error, span, message, Some(help));
    }

    pub(crate) fn warning(&mut self, span: Range<usize>, message: String, help: Option<&str>) {
        self.push(Severity::Warning, span, message, help);
    }

    fn push(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        message: String,
        help: Option<&str>,
    ) {
        let (file, text) = (self.file, self.text);
        self.findings.push(severity, file, || {
            let found = Diagnostic::at(severity, file, text, span, message);
            match help {
                Some(help) => found.help(help),
                None => found,
            }
        });
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at) + 1
    }
}

/// Whether a key may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Optional,
    Required,
}

/// One table. Every key that is asked for is known; [`Fields::finish`] refuses the others.
pub(crate) struct Fields<'a> {
    what: Cow<'static, str>,
    header: Range<usize>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// `what` names the table in messages; `header` is the place to underline
    /// when something is missing.
    pub(crate) fn new(
        what: impl Into<Cow<'static, str>>,
        header: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> Self {
        Self {
            what: what.into(),
            header,
            table,
            known: Vec::new(),
        }
    }

    /// Whatever stands at a key.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// Reports a key that must be there.
    pub(crate) fn lacks(&self, key: &str, report: &mut Report<'_>) {
        let message = format!("{} lacks the key '{key}'", self.what);
        report.error(self.header.clone(), message);
    }

    /// A string, if the key is there.
    pub(crate) fn string(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Placed<&'a str>> {
        let value = self.get(key)?;
        let found = string(value);
        if found.is_none() {
            mistyped(key, "a string", value, report);
        }
        found
    }

    /// A string that must be there.
    pub(crate) fn required(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Placed<&'a str>> {
        if !self.table.contains_key(key) {
            self.lacks(key, report);
        }
        self.string(key, report)
    }

    /// A boolean; `false` when the key is missing.
    pub(crate) fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> bool {
        let Some(value) = self.get(key) else {
            return false;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            mistyped(key, "true or false", value, report);
            false
        })
    }

    /// A list of whatever, which must be there.
    pub(crate) fn list(
        &mut self,
        key: &'static str,
        what: &str,
        report: &mut Report<'_>,
    ) -> Option<&'a [Value<'a>]> {
        let Some(value) = self.get(key) else {
            self.lacks(key, report);
            return None;
        };
        let Some(list) = value.get_ref().as_array() else {
            mistyped(key, what, value, report);
            return None;
        };
        Some(list)
    }

    /// An integer from `least` to `most`, if the key is there.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        (least, most): (i64, i64),
        report: &mut Report<'_>,
    ) -> Option<i64> {
        let value = self.get(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            mistyped(key, "an integer", value, report);
            return None;
        };
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
        let within = number.filter(|number| (least..=most).contains(number));
        if within.is_none() {
            let message = format!("'{key}' is a number from {least} to {most}");
            report.error(value.span(), message);
        }
        within
    }

    /// A table within this one, if the key is there.
    pub(crate) fn table(
        &mut self,
        key: &'static str,
        what: &'static str,
        report: &mut Report<'_>,
    ) -> Option<Fields<'a>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            mistyped(key, "a table", value, report);
            return None;
        };
        Some(Fields::new(what, value.span(), table))
    }

    /// What stands in a table within this one, key by key in their order; nothing when it is missing.
    pub(crate) fn entries(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Vec<(Placed<&'a str>, &'a Value<'a>)> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            mistyped(key, "a table", value, report);
            return Vec::new();
        };
        entries(table)
    }

    /// A list of strings. Empty when the key is missing or mistyped: an empty list means none.
    pub(crate) fn strings(
        &mut self,
        key: &'static str,
        need: Need,
        report: &mut Report<'_>,
    ) -> Vec<Placed<&'a str>> {
        let Some(value) = self.get(key) else {
            if need == Need::Required {
                self.lacks(key, report);
            }
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            mistyped(key, "a list of strings", value, report);
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in list.iter() {
            match string(item) {
                Some(text) => found.push(text),
                None => mistyped(key, "a list of strings", item, report),
            }
        }
        found
    }

    /// The tables under `[[key]]`.
    pub(crate) fn tables(
        &mut self,
        key: &'static str,
        what: &'static str,
        report: &mut Report<'_>,
    ) -> Vec<Fields<'a>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            let message = format!("'{key}' is {}, not a list of tables", a(value.get_ref()));
            report.error_with_help(value.span(), message, &format!("write {what}"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in list.iter() {
            match item.get_ref().as_table() {
                Some(table) => found.push(Fields::new(what, item.span(), table)),
                None => mistyped(key, "a list of tables", item, report),
            }
        }
        found
    }

    /// The place of what stands at a key.
    pub(crate) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// The place of the table's header.
    pub(crate) fn header(&self) -> Range<usize> {
        self.header.clone()
    }

    /// Refuses every key that nobody asked for.
    pub(crate) fn finish(self, report: &mut Report<'_>) {
        let help = format!("its keys are: {}", self.known.join(" "));
        for (key, _) in self.table.iter() {
            if !self.known.contains(&key.get_ref().as_ref()) {
                let message = format!(
                    "{} has no key {}",
                    self.what,
                    quoted(key.get_ref().as_ref() as &str)
                );
                report.error_with_help(key.span(), message, &help);
            }
        }
    }
}

/// The keys and values of a table, in the order of the keys.
pub(crate) fn entries<'a>(table: &'a DeTable<'a>) -> Vec<(Placed<&'a str>, &'a Value<'a>)> {
    let placed = |key: &'a Spanned<Cow<'a, str>>| Placed {
        value: key.get_ref().as_ref(),
        span: key.span(),
    };
    let mut found: Vec<_> = table
        .iter()
        .map(|(key, value)| (placed(key), value))
        .collect();
    // Whatever order the parser keeps.
    found.sort_by_key(|(key, _)| key.value);
    found
}

/// A string with its place; `None` if it is something else.
pub(crate) fn string<'a>(value: &'a Value<'a>) -> Option<Placed<&'a str>> {
    value.get_ref().as_str().map(|text| Placed {
        value: text,
        span: value.span(),
    })
}

/// Reports a value of the wrong type.
pub(crate) fn mistyped(key: &str, expected: &str, value: &Value<'_>, report: &mut Report<'_>) {
    let message = format!("'{key}' is {expected}, but here is {}", a(value.get_ref()));
    report.error(value.span(), message);
}

fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
