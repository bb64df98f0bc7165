//! JSON without a single character that could steer a terminal.

use std::fmt::Write;

use remit_common::text;
use serde::Serialize;

/// `value` on one line. Characters that are not plain stand as `\u` escapes, so
/// nothing is lost and nothing acts.
///
/// # Errors
/// When the value cannot be JSON.
pub fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if text::is_plain(c) {
            line.push(c);
            continue;
        }
        // Outside of strings JSON has plain characters only, so this is inside one.
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
