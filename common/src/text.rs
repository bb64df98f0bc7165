//! Job output as safe text. Invalid UTF-8 and characters that control a terminal or hide text are escaped.

use std::fmt::{Display, Write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub text: String,
    /// Something was escaped. Only the raw bytes are exact.
    pub escaped: bool,
}

/// Returns true for safe characters. Unsafe: control characters except newline and tab, invisible and bidi marks,
/// noncharacters.
#[must_use]
pub fn is_plain(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => false,
        '\u{061c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => false,
        // Invisible characters can hide bytes. Variation selectors 15 and 16 only select a style.
        '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => false,
        '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}' | '\u{fe00}'..='\u{fe0d}' => false,
        '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' => false,
        '\u{13430}'..='\u{1343f}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => false,
        // Noncharacters. Text with one is bytes to journalctl (utf8_is_printable of systemd), which only they and control
        // characters are.
        '\u{fdd0}'..='\u{fdef}' => false,
        other => !other.is_control() && u32::from(other) & 0xfffe != 0xfffe,
    }
}

/// Returns `bytes` as text. Unsafe characters become escapes such as `\u{202e}`, invalid UTF-8 such as `\xff`.
#[must_use]
pub fn show(bytes: &[u8]) -> Shown {
    if let Some(text) = ascii(bytes, |byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Shown {
            text: text.to_owned(),
            escaped: false,
        };
    }
    let mut shown = Shown {
        text: String::with_capacity(bytes.len()),
        escaped: false,
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_plain(c) {
                shown.text.push(c);
                continue;
            }
            shown.escaped = true;
            let _ = match u8::try_from(c) {
                Ok(byte) if byte.is_ascii() => write!(shown.text, "\\x{byte:02x}"),
                Ok(_) | Err(_) => write!(shown.text, "{}", c.escape_unicode()),
            };
        }
        for byte in chunk.invalid() {
            shown.escaped = true;
            let _ = write!(shown.text, "\\x{byte:02x}");
        }
    }
    shown
}

/// Returns the text if every byte is one of `these` ASCII bytes: the common case, without a check per character.
fn ascii(bytes: &[u8], these: impl Fn(u8) -> bool) -> Option<&str> {
    // Without an early exit the loop can be vectorized.
    let all = bytes.iter().fold(true, |all, byte| all & these(*byte));
    std::str::from_utf8(bytes).ok().filter(|_| all)
}

/// Returns one line: as [`show`], with newline and tab escaped. Truncates at a character to `cap` bytes and adds `…`.
#[must_use]
pub fn line(bytes: &[u8], cap: usize) -> String {
    if bytes.len() <= cap
        && let Some(text) = ascii(bytes, |byte| matches!(byte, b' '..=b'~'))
    {
        return text.to_owned();
    }
    // An escape is never shorter than its byte, so more input cannot fit within the bound.
    let start = bytes.get(..cap.saturating_add(1)).unwrap_or(bytes);
    let mut text = show(start).text.replace('\n', "\\n").replace('\t', "\\t");
    if text.len() > cap || start.len() < bytes.len() {
        text.truncate(text.floor_char_boundary(cap));
        text.push('…');
    }
    text
}

/// Returns an argv on one line with shell quoting, truncated to `cap` bytes.
#[must_use]
pub fn command_line<T: AsRef<[u8]>>(argv: &[T], cap: usize) -> String {
    let bytes: usize = argv.iter().map(|arg| arg.as_ref().len() + 3).sum();
    let mut all = Vec::with_capacity(bytes.min(cap.saturating_add(3)));
    for arg in argv {
        let arg = arg.as_ref();
        if !all.is_empty() {
            all.push(b' ');
        }
        let safe = |b: &u8| b.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(b);
        if !arg.is_empty() && arg.iter().all(safe) {
            all.extend_from_slice(arg);
        } else {
            all.push(b'\'');
            for byte in arg {
                match byte {
                    b'\'' => all.extend_from_slice(b"'\\''"),
                    other => all.push(*other),
                }
            }
            all.push(b'\'');
        }
        if all.len() > cap {
            break;
        }
    }
    line(&all, cap)
}

/// Returns the first of a list and the number of the others: `a, b and 3 more`.
#[must_use]
pub fn first_of<T: Display>(all: impl IntoIterator<Item = T>, most: usize) -> String {
    let mut all = all.into_iter();
    let first: Vec<String> = all.by_ref().take(most).map(|one| one.to_string()).collect();
    match all.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Returns a number of bytes: whole MiB in these.
#[must_use]
pub fn size(bytes: u64) -> String {
    match (bytes >> 20, bytes % (1 << 20)) {
        (mebi @ 1.., 0) => format!("{mebi} MiB"),
        (_, _) if bytes == 1 => "1 byte".into(),
        _ => format!("{bytes} bytes"),
    }
}

/// Returns each reason once, in order, after the names that have it: `read, strict: REASON`.
#[must_use]
pub fn by_reason<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, why) in all {
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name),
            None => reasons.push((why, vec![name])),
        }
    }
    let lines = reasons.iter();
    lines
        .map(|(why, names)| format!("{}: {why}", names.join(", ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_named() {
        for (count, expect) in [(0, ""), (1, "a"), (2, "a, a"), (4, "a, a and 2 more")] {
            assert_eq!(first_of(vec!["a"; count], 2), expect);
        }
    }

    #[test]
    fn size_is_exact() {
        for (bytes, expect) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1 << 20, "1 MiB"),
            ((1 << 20) + 1, "1048577 bytes"),
        ] {
            assert_eq!(size(bytes), expect);
        }
    }

    #[test]
    fn a_reason_that_several_have_is_there_once() {
        let all = [("read", "no"), ("strict", "old"), ("host", "no")];
        assert_eq!(by_reason(all), ["read, host: no", "strict: old"]);
        assert!(by_reason([]).is_empty());
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let cases: [(&[u8], &str, bool); 13] = [
            (b"plain\n\ttext", "plain\n\ttext", false),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n", false),
            (b"\x1b[31m", "\\x1b[31m", true),
            (b"a\rb", "a\\x0db", true),
            (b"\xff\xfe", "\\xff\\xfe", true),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m", true),
            ("\u{202e}abc".as_bytes(), "\\u{202e}abc", true),
            (b"\x7f\x00", "\\x7f\\x00", true),
            ("a\u{e0141}".as_bytes(), "a\\u{e0141}", true),
            ("a\u{fe00}\u{ad}".as_bytes(), "a\\u{fe00}\\u{ad}", true),
            ("\u{2764}\u{fe0f}".as_bytes(), "\u{2764}\u{fe0f}", false),
            ("\u{fdef}\u{ffff}".as_bytes(), "\\u{fdef}\\u{ffff}", true),
            ("\u{fdcf}\u{fffd}".as_bytes(), "\u{fdcf}\u{fffd}", false),
        ];
        for (bytes, text, escaped) in cases {
            let shown = show(bytes);
            assert_eq!((shown.text.as_str(), shown.escaped), (text, escaped));
        }
    }

    #[test]
    fn what_is_plain_is_text_to_journalctl() {
        // unichar_is_valid() and unichar_is_control() of systemd. A char is no surrogate.
        let is_bytes = |c: char| {
            let is_control =
                (c < ' ' && !matches!(c, '\t' | '\n')) || ('\u{7f}'..='\u{9f}').contains(&c);
            is_control || ('\u{fdd0}'..='\u{fdef}').contains(&c) || c as u32 & 0xfffe == 0xfffe
        };
        let mut bytes = ('\0'..=char::MAX).filter(|c| is_bytes(*c));
        assert_eq!(bytes.find(|c| is_plain(*c)), None);
    }

    #[test]
    fn a_line_is_one_line_within_its_cap() {
        assert_eq!(line(b"a\nb\tc", 100), "a\\nb\\tc");
        assert_eq!(line(b"abcdef", 3), "abc…");
        assert_eq!(line("\u{fc}\u{fc}".as_bytes(), 3), "\u{fc}…");
        assert_eq!(line(b"abc", 3), "abc");
    }

    #[test]
    fn a_command_line_shows_where_arguments_end() {
        let argv: [&[u8]; 4] = [b"ls", b"-l", b"a b", b"it's"];
        assert_eq!(command_line(&argv, 100), r"ls -l 'a b' 'it'\''s'");
        assert_eq!(command_line(&[b"".as_slice()], 100), "''");
        assert_eq!(
            command_line(&[vec![b'x'; 50]], 10),
            format!("{}…", "x".repeat(10))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_show_plain(bytes: Vec<u8>) {
            assert!(show(&bytes).text.chars().all(is_plain));
            let line = line(&bytes, 40);
            assert!(!line.contains('\n') && line.len() <= 43);
        }
    }
}
