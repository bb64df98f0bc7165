//! Reads tables of a TOML file by their keys, and reports mistakes with their positions. Knows no key's meaning.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use crate::load::suggestion::Value;
use crate::load::suggestion::{Findings, example, excerpt, instead};
use remit_policy::{Diagnostic, Severity, quoted};
use remit_words::spelling::similar;

#[derive(Clone)]
pub(crate) struct WithSpan<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    /// The start of each line but the first.
    lines: &'a [usize],
    pub(super) findings: &'a mut Findings,
}

impl<'a> Report<'a> {
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

    pub(crate) fn lines(text: &str) -> Vec<usize> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        newlines.map(|(at, _)| at + 1).collect()
    }

    pub(crate) fn errors(&self) -> usize {
        self.findings.errors()
    }

    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    pub(crate) fn location(&self, at: usize) -> String {
        format!("{}:{}", self.file, self.line(at))
    }

    pub(crate) fn error(&mut self, span: Range<usize>, message: String) {
        self.push(Severity::Error, span, message, None);
    }

    pub(crate) fn error_with_help(&mut self, span: Range<usize>, message: String, help: &str) {
        self.push(Severity::Error, span, message, Some(help));
    }

    /// Reports a user or a group that the user database does not know.
    pub(crate) fn missing_account(&mut self, span: Range<usize>, message: String, help: &str) {
        let (file, text) = (self.file, self.text);
        self.findings.push_missing_account(file, || {
            Diagnostic::at(Severity::Error, file, excerpt(text, span), message).help(help)
        });
    }

    /// Returns the known word that `word` may be meant to be. `None` if the finding is not shown.
    pub(crate) fn similar<'k>(
        &self,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Option<&'k str> {
        (!self.findings.is_full())
            .then(|| similar(word, known).into_iter().next())
            .flatten()
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
            let found = Diagnostic::at(severity, file, excerpt(text, span), message);
            match help {
                Some(help) => found.help(help),
                None => found,
            }
        });
    }

    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at) + 1
    }
}

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
    old: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// `what` names the table in messages. `header` is underlined if something is missing.
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
            old: Vec::new(),
        }
    }

    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.known.push(key);
        self.table.get(key)
    }

    pub(crate) fn lacks(&self, key: &str, report: &mut Report<'_>) {
        let message = format!("{} lacks the key '{key}'", self.what);
        match example(key) {
            Some(line) => {
                report.error_with_help(self.header.clone(), message, &format!("write {line}"));
            }
            None => report.error(self.header.clone(), message),
        }
    }

    pub(crate) fn string(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<WithSpan<&'a str>> {
        let value = self.get(key)?;
        let found = string(value);
        if found.is_none() {
            mistyped(key, "a string", value, report);
        }
        found
    }

    /// Reads a key of older files. It is known, but not among the valid keys that messages list.
    pub(crate) fn old_string(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<WithSpan<&'a str>> {
        let found = self.string(key, report);
        self.known.retain(|known| *known != key);
        self.old.push(key);
        found
    }

    pub(crate) fn required(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Option<WithSpan<&'a str>> {
        if !self.table.contains_key(key) {
            self.lacks(key, report);
        }
        self.string(key, report)
    }

    pub(crate) fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> bool {
        let Some(value) = self.get(key) else {
            return false;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            mistyped(key, "true or false", value, report);
            false
        })
    }

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
            let help = match most {
                i64::MAX => "write a whole number of 64 bits".to_owned(),
                most => format!("write {key} = {most}, or a number below it"),
            };
            report.error_with_help(value.span(), message, &help);
        }
        within
    }

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

    /// Returns the entries of a table within this one, in the order of the keys. Empty if it is missing.
    pub(crate) fn entries(
        &mut self,
        key: &'static str,
        report: &mut Report<'_>,
    ) -> Vec<(WithSpan<&'a str>, &'a Value<'a>)> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            mistyped(key, "a table", value, report);
            return Vec::new();
        };
        entries(table)
    }

    /// Returns a list of strings. Empty if the key is missing or mistyped: an empty list means none.
    pub(crate) fn strings(
        &mut self,
        key: &'static str,
        need: Need,
        report: &mut Report<'_>,
    ) -> Vec<WithSpan<&'a str>> {
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
            report.error_with_help(
                value.span(),
                message,
                &format!("write {what}, with two brackets on each side"),
            );
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

    pub(crate) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    pub(crate) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        let mut keys = self.table.keys();
        keys.find(|known| known.get_ref().as_ref() == key)
            .map(Spanned::span)
    }

    pub(crate) fn header(&self) -> Range<usize> {
        self.header.clone()
    }

    pub(crate) fn finish(self, report: &mut Report<'_>) {
        let keys = self.known.join(" ");
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref().as_ref();
            if !self.known.contains(&name) && !self.old.contains(&name) {
                let message = format!("unknown key {} in {}", quoted(name), self.what);
                let meant = report.similar(name, self.known.iter().copied());
                let meant =
                    meant.map_or(String::new(), |meant| format!("did you mean '{meant}'? "));
                report.error_with_help(key.span(), message, &format!("{meant}valid keys: {keys}"));
            }
        }
    }
}

pub(crate) fn entries<'a>(table: &'a DeTable<'a>) -> Vec<(WithSpan<&'a str>, &'a Value<'a>)> {
    let with_span = |key: &'a Spanned<Cow<'a, str>>| WithSpan {
        value: key.get_ref().as_ref(),
        span: key.span(),
    };
    let mut found: Vec<_> = table
        .iter()
        .map(|(key, value)| (with_span(key), value))
        .collect();
    found.sort_by_key(|(key, _)| key.value);
    found
}

pub(crate) fn string<'a>(value: &'a Value<'a>) -> Option<WithSpan<&'a str>> {
    value.get_ref().as_str().map(|text| WithSpan {
        value: text,
        span: value.span(),
    })
}

pub(crate) fn mistyped(key: &str, expected: &str, value: &Value<'_>, report: &mut Report<'_>) {
    let message = format!("'{key}' must be {expected}, not {}", a(value.get_ref()));
    match instead(key, expected, value) {
        Some(help) => report.error_with_help(value.span(), message, &format!("write {help}")),
        None => report.error(value.span(), message),
    }
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
