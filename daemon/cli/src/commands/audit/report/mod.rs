//! `remit audit report`: one HTML file for auditors, with the verification at its top.

mod cited;
mod contents;
mod counts;
mod document;
mod html;
mod page;
mod people;
mod plot;
mod proof;
mod sections;
mod signature;
mod stories;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use remit_common::{calendar, text};
use serde_json::json;

use self::contents::Contents;
use self::html::START;
use self::page::ReportPage;
use super::filter::Span;
use super::signatures::{Signatures, SignaturesReport, read_signers};
use super::source::RecordSource;
use super::verify::{Of, Verification};
use crate::args::AuditReportArgs;
use crate::error::{Exit, Failure};
use crate::own_file::OwnFile;
use crate::render::output::{self, Context, Form};
use crate::render::{table, units};

/// Bytes of a path that the page or a line shows.
const PATH: usize = 1024;

/// Writes the page. The exit status is that of `remit audit verify`.
pub fn report(context: &Context, args: &AuditReportArgs) -> Result<Exit, Failure> {
    let is_stdout = args.output == Path::new("-");
    let file = OwnFile {
        path: &args.output,
        start: START,
        mode: 0o600,
        writer: "remit audit report",
        next: "name another file, or give --force",
        force: args.force,
    };
    if !is_stdout {
        file.check()?;
    }
    // Before the log is read, which may take minutes.
    let keys = args.signers.as_deref().map(read_signers).transpose()?;
    let source = RecordSource::of(context, &args.source_args)?;
    let of = Of {
        source: &source,
        state: &args.source_args.state,
        span: Span::of(&args.span),
        expect: &args.expect,
    };
    let now_ms = calendar::now_ms();
    let (verification, contents, signatures) = match &keys {
        None => {
            let (verification, contents): (_, Contents) = Verification::new(context, &of)?;
            (verification, contents, None)
        }
        Some(keys) => {
            let (verification, (contents, signatures)): (_, (Contents, Signatures)) =
                Verification::new(context, &of)?;
            (
                verification,
                contents,
                Some(signatures.check(keys, now_ms)?),
            )
        }
    };
    let signatures = signatures.as_ref();
    let exit = verification.exit(signatures);
    let files = files(&args.source_args.files);
    let page = ReportPage::new(&contents, &verification, signatures, now_ms, &files);
    let page = document::document(&page);
    if is_stdout {
        output::bytes(page.as_bytes())?;
        return Ok(exit);
    }
    file.write(&page)?;
    let name = text::line(args.output.as_os_str().as_bytes(), PATH);
    let records = verification.report().records;
    match context.form {
        Form::Json => output::json(&json!({
            "file": name,
            "whole": verification.is_whole(),
            "verdict": verification.verdict(),
            "records": records,
            "signatures": signatures.map(SignaturesReport::json),
        }))?,
        Form::Text => {
            let verdict = verification.verdict();
            let records = units::count(records, "record");
            let signatures = signatures.map(|one| table::fact("signatures", &one.summary()));
            let signatures = signatures.unwrap_or_default();
            output::text(&format!("{verdict}\n{signatures}{name}: {records}\n"))?;
        }
    }
    Ok(exit)
}

/// Returns the arguments that name the files, as a shell reads them. Standard input has no name: it becomes `FILE`.
fn files(paths: &[PathBuf]) -> String {
    let words = paths.iter().flat_map(|path| {
        let name = match path.as_os_str().as_bytes() {
            b"-" => b"FILE",
            name => name,
        };
        [b"--file".as_slice(), name]
    });
    let words: Vec<&[u8]> = words.collect();
    match words.is_empty() {
        true => String::new(),
        false => format!(" {}", text::command_line(&words, PATH)),
    }
}

#[cfg(test)]
mod tests;
