//! Reads tables of a TOML file by their keys, and reports every mistake with
//! its place. Knows types and spans, not what the keys mean.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Findings, Severity, quoted};

/// A part of a file with its place.
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// Reports findings about one file.
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line but the first begins.
    lines: Vec<usize>,
    findings: &'a mut Findings,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str, findings: &'a mut Findings) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = newlines.map(|(at, _)| at + 1).collect();
        Self {
            file,
            text,
            lines,
            findings,
        }
    }

    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
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
    what: &'static str,
    header: Range<usize>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// `what` names the table in messages; `header` is the place to underline
    /// when something is missing.
    pub(crate) fn new(what: &'static str, header: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Self {
            what,
            header,
            table,
            known: Vec::new(),
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
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

    /// A key that can have one value so far, if it is there at all.
    pub(crate) fn only(
        &mut self,
        key: &'static str,
        value: &str,
        why: &str,
        report: &mut Report<'_>,
    ) {
        if let Some(found) = self.get(key)
            && found.get_ref().as_str() != Some(value)
        {
            let message = format!("'{key}' can only be '{value}': {why}");
            report.error(found.span(), message);
        }
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
                let message = format!("{} lacks the key '{key}'", self.what);
                report.error(self.header.clone(), message);
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

fn string<'a>(value: &'a Spanned<DeValue<'a>>) -> Option<Placed<&'a str>> {
    value.get_ref().as_str().map(|text| Placed {
        value: text,
        span: value.span(),
    })
}

fn mistyped(key: &str, expected: &str, value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) {
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
