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
/// Maximum bytes of all encoded forms, to keep the search cheap. Beyond it, the longest secrets are searched in raw form and
/// in the likeliest of the others.
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
    let mut size: usize = 0;
    let mut cores: Vec<&[u8]> = secrets.iter().map(|secret| core(secret.as_ref())).collect();
    // A key of several kilobytes does not use up what a password needs.
    cores.sort_by_key(|core| core.len());
    for core in cores {
        // No encoding is shorter than what it encodes, but for the digits at the edges of base64.
        if size.saturating_add(core.len()) > MOST {
            break;
        }
        for form in encoded(core) {
            let more = form.bytes.len();
            if size.saturating_add(more) <= MOST && forms.insert(form) {
                size += more;
            }
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

/// The likeliest first.
fn encoded(secret: &[u8]) -> Vec<Form> {
    let base64 = |last| {
        (0..3).map(move |before| Form {
            bytes: base64(secret, before, last),
            spills: true,
        })
    };
    let texts = texts(secret).into_iter().map(|text| Form {
        bytes: text.into_bytes(),
        spills: false,
    });
    base64(b"+/").chain(texts).chain(base64(b"-_")).collect()
}

fn texts(secret: &[u8]) -> Vec<String> {
    let hex = |upper: bool| {
        let digits = secret.iter().map(|byte| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        });
        digits.collect()
    };
    let mut all = Vec::new();
    let text = std::str::from_utf8(secret);
    if let Ok(text) = text {
        all.extend([escaped(text, "\"\\", false), escaped(text, "\"\\", true)]);
    }
    all.extend(KEPT.map(|kept| percent(secret, kept, true)));
    all.extend([hex(false), hex(true)]);
    if let Ok(text) = text {
        all.extend(of_programs(text));
    }
    all.extend(KEPT_IN_QUERIES.map(|kept| percent(secret, kept, true).replace("%20", "+")));
    all.extend(KEPT.map(|kept| percent(secret, kept, false)));
    all
}

/// Returns what is escaped for JSON by some libraries alone, for C, shells and XML.
fn of_programs(text: &str) -> Vec<String> {
    let mut all = vec![
        escaped(text, "'\\", false),
        escaped(text, "'\"\\", false),
        text.replace('\'', "'\\''"),
        // Python's shlex.quote.
        text.replace('\'', "'\"'\"'"),
        // Go's encoding/json, then PHP's json_encode.
        escaped(text, "\"\\", false)
            .replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e"),
        escaped(text, "\"\\/", false),
        escaped(text, "\"\\/", true),
    ];
    let of_xml = text.replace('&', "&amp;");
    let of_xml = of_xml.replace('<', "&lt;").replace('>', "&gt;");
    let quotes = XML_QUOTES.into_iter();
    all.extend(quotes.map(|[double, single]| of_xml.replace('"', double).replace('\'', single)));
    all
}

/// Bytes that percent-encoding keeps, but for letters and digits: RFC 3986; Python's `quote`; JavaScript's
/// `encodeURIComponent` and `encodeURI`.
const KEPT: [&[u8]; 4] = [b"-._~", b"-._~/", b"-._~!'()*", b"-._~!'()*;,/?:@&=+$#"];
/// Likewise with `+` for a space: RFC 3986; JavaScript's `URLSearchParams` and Java's `URLEncoder`; PHP's `urlencode`.
const KEPT_IN_QUERIES: [&[u8]; 3] = [b"-._~", b"-._*", b"-._"];
/// How quotes are written in XML and HTML: as they are, as in an attribute, by Python, and by Go.
const XML_QUOTES: [[&str; 2]; 6] = [
    ["\"", "'"],
    ["&quot;", "'"],
    ["&quot;", "&apos;"],
    ["&quot;", "&#39;"],
    ["&quot;", "&#x27;"],
    ["&#34;", "&#39;"],
];

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

fn percent(secret: &[u8], kept: &[u8], upper: bool) -> String {
    let mut out = String::new();
    for byte in secret {
        let _ = match byte {
            b if b.is_ascii_alphanumeric() || kept.contains(b) => write!(out, "{}", *b as char),
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
            // Python's urllib.parse.quote, JavaScript's encodeURIComponent and URLSearchParams, PHP's urlencode.
            ("a b/c&d", "a%20b/c%26d"),
            ("a b/(c)!&", "a%20b%2F(c)!%26"),
            ("a b/~c*", "a+b%2F%7Ec*"),
            ("a b/~c*", "a+b%2F%7Ec%2A"),
            ("https://a/?b=c d", "https://a/?b=c%20d"),
            // Go's encoding/json, PHP's json_encode.
            ("a<b>&\"", "a\\u003cb\\u003e\\u0026\\\""),
            ("p\u{fc}/", "p\\u00fc\\/"),
            // Python's shlex.quote, xml.sax.saxutils.escape and html.escape, Go's html.EscapeString.
            ("it's", "it'\"'\"'s"),
            ("a<b>&\"'", "a&lt;b&gt;&amp;\"'"),
            ("a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#x27;"),
            ("a<b>&\"'", "a&lt;b&gt;&amp;&#34;&#39;"),
            ("a<b>&\"'", "a&lt;b&gt;&amp;&quot;&apos;"),
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

    fn size(forms: &[Form]) -> usize {
        forms.iter().map(|form| form.bytes.len()).sum()
    }

    #[test]
    fn what_is_looked_for_is_bounded() {
        let secrets: Vec<_> = (0..64_u8).map(|n| vec![n | 0x80; 4096]).collect();
        let all = size(&of(&secrets));
        assert!(all > 64 * 4096 && all <= 64 * 4096 + MOST, "{all}");
        let all = size(&of(&[vec![0x80_u8; MOST + 1]]));
        assert_eq!(all, MOST + 1, "as it is");
    }

    #[test]
    fn short_secret_has_its_forms_beside_long_ones() {
        let text = |length: usize| format!("{length} &").repeat(length)[..length].to_owned();
        let many: Vec<String> = (8..400).rev().map(text).collect();
        for mut secrets in [vec![text(MOST + 1)], many] {
            secrets.push("pass word".to_owned());
            let forms = of(&secrets);
            for form in [
                "pass%20word",
                "7061737320776f7264",
                "cGFzcyB3b3Jk",
                "pass+word",
            ] {
                assert!(
                    forms.iter().any(|one| one.bytes == form.as_bytes()),
                    "{form}"
                );
            }
            let raw: usize = secrets.iter().map(String::len).sum();
            assert!(size(&forms) <= 2 * raw + MOST);
        }
    }

    proptest::proptest! {
        /// As serde_json writes it, whatever it contains but for control characters.
        #[test]
        fn json_string_is_a_form(secret in "[ -~\n\r\tÄ-öЖ-я😀]{4,40}") {
            let secret = secret.trim_ascii_end();
            proptest::prop_assume!(!secret.is_empty());
            let json = serde_json::to_string(secret).unwrap();
            proptest::prop_assert!(has(secret, &json[1..json.len() - 1]), "{}", json);
        }
    }
}
