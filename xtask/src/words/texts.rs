//! Scans scripts, man pages, documents, settings and paths for banned words.

use std::path::Path;

use super::table::WordTable;
use super::{TextKind, WordHit};
use crate::error::ReportError;
use crate::repository::Repository;

pub fn hits(repository: &Repository, table: &WordTable) -> Result<Vec<WordHit>, ReportError> {
    let mut hits = Vec::new();
    for file in repository.files() {
        if table.skips(file) {
            continue;
        }
        table.scan(file, TextKind::Path, 0, file, &mut hits);
        if !may_be_text(file) {
            continue;
        }
        if let Some(text) = repository.text(file)?
            && let Some(kind) = kind(file, &text)
        {
            scan_text(table, file, kind, &text, &mut hits);
        }
    }
    Ok(hits)
}

fn scan_text(table: &WordTable, file: &str, kind: TextKind, text: &str, hits: &mut Vec<WordHit>) {
    for (number, line) in (1..).zip(text.lines()) {
        if kind == TextKind::Page {
            table.scan(file, kind, number, &without_roff(line), hits);
        } else {
            table.scan(file, kind, number, line, hits);
        }
    }
}

/// Returns false for Rust, which has a parser of its own, and for generated files.
fn may_be_text(file: &str) -> bool {
    let ending = Path::new(file)
        .extension()
        .and_then(|ending| ending.to_str());
    !matches!(ending, Some("rs" | "lock" | "json"))
}

/// Returns the kind of a text by its path and first line. `None`: nobody reads it as prose.
fn kind(file: &str, text: &str) -> Option<TextKind> {
    let path = Path::new(file);
    if text.starts_with("#!") || path.file_name().is_some_and(|name| name == "Makefile") {
        return Some(TextKind::Script);
    }
    match path.extension()?.to_str()? {
        "md" => Some(TextKind::Document),
        "sh" | "py" | "mjs" => Some(TextKind::Script),
        "toml" | "conf" | "service" | "socket" | "slice" | "catalog" | "preset" | "sysusers"
        | "tmpfiles" => Some(TextKind::Setting),
        section if section.len() == 1 && section.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(TextKind::Page)
        }
        _ => None,
    }
}

/// Removes roff's escapes, whose letters would otherwise join the words.
fn without_roff(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('f') => drop(letters.next()),
            Some('-') => text.push('-'),
            _ => text.push(' '),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_known_by_name_or_first_line() {
        for (file, text, expected) in [
            ("a/run", "#!/bin/bash\n", Some(TextKind::Script)),
            ("a/postinst", "#!/bin/sh\n", Some(TextKind::Script)),
            ("Makefile", "", Some(TextKind::Script)),
            ("man/a.8", "", Some(TextKind::Page)),
            ("a.md", "", Some(TextKind::Document)),
            ("a.toml", "", Some(TextKind::Setting)),
            ("a.txt", "", None),
            ("LICENSE", "", None),
        ] {
            assert_eq!(kind(file, text), expected, "{file}");
        }
    }

    #[test]
    fn roff_escapes_leave_whole_words() {
        assert_eq!(without_roff("\\fBroom\\fR\\-less \\(bu"), "room-less  bu");
    }

    #[test]
    fn rust_and_lock_files_are_left_out() {
        assert!(may_be_text("a/run"));
        assert!(!may_be_text("a.rs") && !may_be_text("Cargo.lock"));
    }
}
