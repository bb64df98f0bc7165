//! The little JSON that the root process writes itself. It reads none.

/// A JSON string. Control characters are gone already; they are escaped all the same.
pub fn string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
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
