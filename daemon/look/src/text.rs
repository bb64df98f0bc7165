//! Formats facts, tables and lines of one JSON object each, and parses numbers.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde::Serialize;

pub fn fact(to: &mut String, name: &str, value: impl AsRef<str>) {
    let value = value.as_ref();
    if !value.is_empty() {
        *to += &format!("  {name}: {value}\n");
    }
}

/// Pads each column to its widest cell, except the last column.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut add = |row: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    };
    add(head);
    for row in rows {
        add(row.each_ref().map(String::as_str));
    }
    text
}

pub fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("'{word}' is no number that fits"))
}

pub fn lines<T: Serialize>(all: impl IntoIterator<Item = T>) -> Result<ExitCode, String> {
    let mut out = BufWriter::new(io::stdout().lock());
    for one in all {
        let written = serde_json::to_writer(&mut out, &one)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"));
        written.map_err(cannot_write)?;
    }
    out.flush().map_err(cannot_write)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the items, and warns if `unseen` paths could not be read: the answer may be incomplete.
pub fn lines_but<T: Serialize>(
    all: impl IntoIterator<Item = T>,
    unseen: u64,
) -> Result<ExitCode, String> {
    lines(all)?;
    if unseen > 0 {
        eprintln!("remit-look: {unseen} directories or files may not be looked at");
    }
    Ok(ExitCode::SUCCESS)
}

pub fn cannot_write(error: io::Error) -> String {
    format!("cannot write standard output: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let rows = [["a", "\u{fc}"], ["long", ""]].map(|row| row.map(str::to_owned));
        let expect = "NAME  X\na     \u{fc}\nlong\n";
        assert_eq!(table(["NAME", "X"], &rows), expect);
    }
}
