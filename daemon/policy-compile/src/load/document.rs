use remit_common::caps;
use remit_policy::Source;
use toml::Spanned;
use toml::de::DeTable;

use crate::load::diagnostic::Findings;
use crate::load::reader::{Fields, Report};

pub(crate) struct Document<'a> {
    name: &'a str,
    text: &'a str,
    lines: Vec<usize>,
    table: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Returns `None` and a finding if it is not TOML.
    pub(crate) fn parse(source: &'a Source, findings: &mut Findings) -> Option<Self> {
        let name = source.name.as_str();
        let text = text(source, findings)?;
        let lines = Report::lines(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Some(Self {
                name,
                text,
                lines,
                table,
            });
        }
        // The rest of a file that does not parse would only mislead.
        let mut report = Report::new(name, text, &lines, findings);
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let message = error.message().replace('`', "'");
            let help = way_out(&message, text.get(span.start..).unwrap_or_default());
            report.error_with_help(span, message, help);
        }
        None
    }

    pub(crate) fn open<'s>(&'s self, findings: &'s mut Findings) -> (Fields<'s>, Report<'s>) {
        let fields = Fields::new("a policy file", 0..0, self.table.get_ref());
        let report = Report::new(self.name, self.text, &self.lines, findings);
        (fields, report)
    }
}

fn text<'a>(source: &'a Source, findings: &mut Findings) -> Option<&'a str> {
    let refusal = if source.text.len() > caps::POLICY_FILE {
        format!(
            "the file has {} bytes, over {}",
            source.text.len(),
            caps::POLICY_FILE
        )
    } else if source.text.starts_with(b"\xef\xbb\xbf") {
        "the file begins with a byte order mark; save it as plain UTF-8".into()
    } else if let Some(at) = source.text.iter().position(|byte| *byte == 0) {
        format!("the file has a NUL at byte {at}, so it is not text")
    } else {
        match std::str::from_utf8(&source.text) {
            Ok(text) => return Some(text),
            Err(error) => {
                let good = source.text.get(..error.valid_up_to()).unwrap_or_default();
                let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
                format!("the file is not UTF-8 at byte {} (line {line})", good.len())
            }
        }
    };
    findings.refuse_file(&source.name, refusal);
    None
}

/// Returns what to write instead of text that is not TOML.
fn way_out(message: &str, found: &str) -> &'static str {
    if message.contains("escape") {
        "write single quotes, where a backslash is literal: pattern = '\\d+'"
    } else if message.contains("duplicate") {
        "delete one of them; each rule or command begins with its own [[grant]], [[deny]] or [[command]] line"
    } else if found.starts_with(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
        "write straight quotes: \" or '"
    } else if message.contains("quoted") || message.contains("string") {
        "write text in double quotes, as name = \"nginx.test\""
    } else {
        "write KEY = VALUE on each line: text in quotes, lists as [\"a\", \"b\"], tables as { key = \"value\" }"
    }
}
