//! Writes the little JSON that the root process produces. The root process parses no JSON.

/// Appends a JSON string. Callers have already removed control characters; they are escaped anyway.
pub fn string(text: &mut String, value: &str) {
    let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    text.push('"');
    // No early exit, so many bytes can be checked at once.
    if value.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        text.push_str(value);
    } else {
        value.chars().for_each(|c| escaped(text, c));
    }
    text.push('"');
}

fn escaped(text: &mut String, c: char) {
    match c {
        '"' | '\\' => {
            text.push('\\');
            text.push(c);
        }
        c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_json() {
        let mut text = String::new();
        string(&mut text, "a\"b\\c\n\u{9b}ü");
        assert_eq!(text, r#""a\"b\\c\u000a\u009bü""#);
    }
}
