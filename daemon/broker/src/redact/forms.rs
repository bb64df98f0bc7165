//! Lists the encodings in which a program is likely to write a secret, and finds them in linear time. Pure. The forms:
//! raw, each longer line; escaped for JSON, C, XML and shells' single quotes; percent-encoded; hexadecimal; base64 at
//! any offset. A program that wants to hide its output always can, so there are no other forms.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::{contiguous, noncontiguous};
use aho_corasick::{Anchored, PatternID};

use super::join;

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

/// Maximum size of all forms, in bytes, for the faster automaton, which needs more memory.
const FAST: usize = 4 << 10;

pub struct Finder {
    machine: Machine,
    /// For each form, combined with the forms that end at the same position.
    edges: Vec<Edges>,
}

enum Machine {
    Fast(contiguous::NFA),
    Plain(noncontiguous::NFA),
}

#[derive(Clone, Copy, Debug)]
struct Edges {
    length: usize,
    spills_before: bool,
    spills_after: bool,
}

impl Finder {
    /// Returns `None` and logs an error if the automaton cannot be built.
    pub fn new(forms: &[Form]) -> Option<Self> {
        let made = noncontiguous::NFA::new(forms.iter().map(|form| &form.bytes));
        let size: usize = forms.iter().map(|form| form.bytes.len()).sum();
        let machine = made.and_then(|plain| match size {
            0..=FAST => contiguous::Builder::new()
                .build_from_noncontiguous(&plain)
                .map(Machine::Fast),
            _ => Ok(Machine::Plain(plain)),
        });
        let Ok(machine) = machine else {
            tracing::error!("cannot search for secrets, so nothing is shown");
            return None;
        };
        let edges = |form: &Form| Edges {
            length: form.bytes.len(),
            spills_before: form.spills,
            spills_after: match &machine {
                Machine::Fast(machine) => ends_in_spill(machine, forms, &form.bytes),
                Machine::Plain(machine) => ends_in_spill(machine, forms, &form.bytes),
            },
        };
        let edges = forms.iter().map(edges).collect();
        Some(Self { machine, edges })
    }

    pub fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut add = |end: usize, longest: PatternID| {
            let Some(edges) = self.edges.get(longest.as_usize()) else {
                return;
            };
            let is_digit = |at: &usize| {
                let digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
                bytes.get(*at).is_some_and(digit)
            };
            let start = end - edges.length;
            let before = start.checked_sub(1).filter(is_digit);
            let start = before.filter(|_| edges.spills_before).unwrap_or(start);
            let after = edges.spills_after && is_digit(&end);
            join(&mut found, start..end + usize::from(after));
        };
        let walked = match &self.machine {
            Machine::Fast(machine) => walk(machine, bytes, &mut add),
            Machine::Plain(machine) => walk(machine, bytes, &mut add),
        };
        match walked {
            Some(()) => found,
            // Never happens. If it does, the whole text is redacted.
            None => vec![Range {
                start: 0,
                end: bytes.len(),
            }],
        }
    }
}

/// Reports each position where forms end, with the longest of them. There can be many.
fn walk<A: Automaton>(
    machine: &A,
    bytes: &[u8],
    mut found: impl FnMut(usize, PatternID),
) -> Option<()> {
    let mut state = machine.start_state(Anchored::No).ok()?;
    for (at, byte) in bytes.iter().enumerate() {
        state = machine.next_state(Anchored::No, state, *byte);
        if machine.is_match(state) {
            // Pattern 0 is the longest: the whole path of a state comes before its suffixes.
            found(at + 1, machine.match_pattern(state, 0));
        }
    }
    Some(())
}

fn ends_in_spill<A: Automaton>(machine: &A, forms: &[Form], bytes: &[u8]) -> bool {
    let Ok(start) = machine.start_state(Anchored::No) else {
        return true;
    };
    let next = |state, byte: &u8| machine.next_state(Anchored::No, state, *byte);
    let end = bytes.iter().fold(start, next);
    let mut all = (0..machine.match_len(end)).map(|at| machine.match_pattern(end, at));
    machine.is_match(end)
        && all.any(|form| forms.get(form.as_usize()).is_none_or(|form| form.spills))
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
