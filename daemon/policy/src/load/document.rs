//! One policy file as text and as TOML: what no parser may see, and what does not parse.

use remit_common::caps;
use toml::Spanned;
use toml::de::DeTable;

use crate::load::Source;
use crate::load::diagnostic::Findings;
use crate::load::reader::{Fields, Report};

/// A file that is TOML.
pub(crate) struct Document<'a> {
    name: &'a str,
    text: &'a str,
    lines: Vec<usize>,
    table: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// `None` when it is none; then that is found.
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
        // What is left of a file that does not parse would only mislead.
        let mut report = Report::new(name, text, &lines, findings);
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            report.error(span, error.message().replace('`', "'"));
        }
        None
    }

    /// Its tables, and where findings about them go.
    pub(crate) fn open<'s>(&'s self, findings: &'s mut Findings) -> (Fields<'s>, Report<'s>) {
        let fields = Fields::new("a policy file", 0..0, self.table.get_ref());
        let report = Report::new(self.name, self.text, &self.lines, findings);
        (fields, report)
    }
}

/// The text of a file that a TOML parser may see.
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
