//! Writes JSON without any character that could control a terminal.

use std::fmt::Write;

use remit_common::text;
use serde::Serialize;

/// Serializes `value` to one line. Characters that are not plain become `\u` escapes, so nothing is lost.
pub fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if text::is_plain(c) {
            line.push(c);
            continue;
        }
        // Outside strings JSON has only plain characters, so this one is inside a string.
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(line, "\\u{unit:04x}");
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_read_back() {
        let hostile = "a\n\t\x1b[2J\u{9b}\u{7f}\u{202e}\u{e0041}\u{feff}z\u{fc}";
        let line = line(&hostile).unwrap();
        assert!(
            line.chars().all(|c| text::is_plain(c) && c != '\n'),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(line(&"gr\u{fc}n").unwrap(), "\"gr\u{fc}n\"");
    }
}
