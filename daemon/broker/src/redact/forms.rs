//! Lists the encodings in which a program is likely to write a secret. Pure. The forms are: raw, and each longer
//! line separately; escaped for JSON, C, XML and single quotes of shells; percent-encoded; hexadecimal; base64 at
//! any offset. A program that wants to hide its output always can, so there are no other forms.

use std::collections::BTreeSet;
use std::fmt::Write;

const LINE: usize = 8;
/// Maximum bytes of all forms, to keep the search cheap. Above it, secrets are searched only in raw form.
const MOST: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    pub bytes: Vec<u8>,
    /// The characters on both sides can contain bits of the secret (base64).
    pub spills: bool,
}

impl Form {
    /// Adds one byte to `length` if the adjacent character can contain bits of the secret.
    pub fn with_spill(&self, length: usize) -> usize {
        length + usize::from(self.spills && length > 0)
    }
}

pub fn of<T: AsRef<[u8]>>(secrets: &[T]) -> Vec<Form> {
    let mut forms = BTreeSet::new();
    let plain = |bytes: &[u8]| Form {
        bytes: bytes.to_vec(),
        spills: false,
    };
    for secret in secrets.iter().map(AsRef::as_ref) {
        let lines = secret.split(|byte| *byte == b'\n');
        let lines = lines.map(<[u8]>::trim_ascii_end);
        forms.insert(plain(secret));
        forms.insert(plain(core(secret)));
        forms.extend(lines.filter(|line| line.len() >= LINE).map(plain));
    }
    let mut size: usize = forms.iter().map(|form| form.bytes.len()).sum();
    for form in secrets
        .iter()
        .flat_map(|secret| encoded(core(secret.as_ref())))
    {
        let more = form.bytes.len();
        if size.saturating_add(more) <= MOST && forms.insert(form) {
            size += more;
        }
    }
    forms.retain(|form| !form.bytes.is_empty());
    let mut forms: Vec<Form> = forms.into_iter().collect();
    // Of duplicates, the one that spills sorts last and is kept.
    forms.reverse();
    forms.dedup_by(|other, kept| other.bytes == kept.bytes);
    forms
}

/// Trims the line end of the last line, which a program may omit.
fn core(secret: &[u8]) -> &[u8] {
    match secret.trim_ascii_end() {
        b"" => secret,
        core => core,
    }
}

fn encoded(secret: &[u8]) -> Vec<Form> {
    let mut forms: Vec<Form> = texts(secret)
        .into_iter()
        .map(|text| Form {
            bytes: text.into_bytes(),
            spills: false,
        })
        .collect();
    for last in [b"+/", b"-_"] {
        forms.extend((0..3).map(|before| Form {
            bytes: base64(secret, before, last),
            spills: true,
        }));
    }
    forms
}

fn texts(secret: &[u8]) -> Vec<String> {
    let hex = |upper: bool| {
        let digits = secret.iter().map(|byte| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        });
        digits.collect()
    };
    let mut all = vec![
        hex(false),
        hex(true),
        percent(secret, false),
        percent(secret, true),
        percent(secret, true).replace("%20", "+"),
    ];
    if let Ok(text) = std::str::from_utf8(secret) {
        all.extend([
            escaped(text, "\"\\", false),
            escaped(text, "\"\\", true),
            escaped(text, "\"\\/", false),
            escaped(text, "'\\", false),
            escaped(text, "'\"\\", false),
            text.replace('\'', "'\\''"),
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;"),
        ]);
    }
    all
}

/// Puts a backslash before each of `special`, names control characters; if `ascii`, others become `\uXXXX`.
fn escaped(text: &str, special: &str, ascii: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if special.contains(c) => out.extend(['\\', c]),
            c if c.is_ascii_control() || (ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn percent(secret: &[u8], upper: bool) -> String {
    let mut out = String::new();
    for byte in secret {
        let _ = match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(b) => write!(out, "{}", *b as char),
            b if upper => write!(out, "%{b:02X}"),
            b => write!(out, "%{b:02x}"),
        };
    }
    out
}

/// Returns the digits that depend only on the secret. `before` (0 to 2) bytes precede it in its group of three.
fn base64(secret: &[u8], before: usize, last: &[u8; 2]) -> Vec<u8> {
    let digit = |six: u8| match six {
        0..=25 => b'A' + six,
        26..=51 => b'a' + six - 26,
        52..=61 => b'0' + six - 52,
        62 => last[0],
        _ => last[1],
    };
    let bytes: Vec<u8> = std::iter::repeat_n(0, before)
        .chain(secret.iter().copied())
        .collect();
    let mut digits = Vec::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        // Only whole digits: the last one also depends on the bytes after the secret.
        let whole = three.len() * 8 / 6;
        let shifts = [18, 12, 6, 0].into_iter().take(whole);
        digits.extend(shifts.map(|shift| digit((bits >> shift & 63) as u8)));
    }
    digits.split_off((before * 8).div_ceil(6).min(digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(secret: &str, form: &str) -> bool {
        let forms = of(&[secret.as_bytes()]);
        forms.iter().any(|one| one.bytes == form.as_bytes())
    }

    #[test]
    fn what_a_program_would_write_is_looked_for() {
        for (secret, form) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2", "68756e74657232"),
            ("h\u{fc}nter", "68C3BC6E746572"),
            ("a\"b\\c\n\td", "a\\\"b\\\\c\\n\\td"),
            ("p\u{fc}ss", "p\\u00fcss"),
            ("p\u{1f600}ss", "p\\ud83d\\ude00ss"),
            ("it's", "it'\\''s"),
            ("it's", "it\\'s"),
            ("a<b>&\"", "a&lt;b&gt;&amp;&quot;"),
            ("a b/c&d", "a%20b%2Fc%26d"),
            ("a b/c&d", "a%20b%2fc%26d"),
            ("a b/c&d", "a+b%2Fc%26d"),
            ("first line\nsecond line\nx", "second line"),
            // By `echo -n hunter2 | base64`, also with one and two bytes before it.
            ("hunter2", "aHVudGVyM"),
            ("hunter2", "h1bnRlcj"),
            ("hunter2", "odW50ZXIy"),
        ] {
            assert!(has(secret, form), "{secret:?} {form:?}");
        }
        assert!(
            !has("first line\nx", "x"),
            "too short to be searched for by itself"
        );
    }

    #[test]
    fn what_is_looked_for_is_bounded() {
        let secrets: Vec<_> = (0..64_u8).map(|n| vec![n | 0x80; 4096]).collect();
        let size: usize = of(&secrets).iter().map(|form| form.bytes.len()).sum();
        assert_eq!(size, 64 * 4096, "as they are");
        let size: usize = of(&secrets[..2]).iter().map(|form| form.bytes.len()).sum();
        assert!(size <= MOST && size > 2 * 4096);
    }
}
