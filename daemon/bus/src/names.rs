//! Valid names and signatures (D-Bus Specification, "Valid Names" and "Type System"). No IO.

/// Bytes of an interface, member, bus name or signature.
const LONGEST: usize = 255;
/// Arrays, and structs, within each other.
const DEPTH: usize = 32;

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_element(text: &str, is_permitted: fn(u8) -> bool, may_begin_with_digit: bool) -> bool {
    let starts = text
        .bytes()
        .next()
        .is_some_and(|first| may_begin_with_digit || !first.is_ascii_digit());
    starts && text.bytes().all(is_permitted)
}

fn is_dotted(text: &str, is_permitted: fn(u8) -> bool, may_begin_with_digit: bool) -> bool {
    let is_element = |one| is_element(one, is_permitted, may_begin_with_digit);
    text.len() <= LONGEST && text.contains('.') && text.split('.').all(is_element)
}

#[must_use]
pub fn is_path(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else {
        return false;
    };
    rest.is_empty() || rest.split('/').all(|one| is_element(one, is_word, true))
}

#[must_use]
pub fn is_interface(text: &str) -> bool {
    is_dotted(text, is_word, false)
}

#[must_use]
pub fn is_member(text: &str) -> bool {
    text.len() <= LONGEST && is_element(text, is_word, false)
}

#[must_use]
pub fn is_bus_name(text: &str) -> bool {
    let is_permitted = |byte| is_word(byte) || byte == b'-';
    match text.strip_prefix(':') {
        Some(unique) => text.len() <= LONGEST && is_dotted(unique, is_permitted, true),
        None => is_dotted(text, is_permitted, false),
    }
}

/// Returns true for complete types one after the other. Descriptors (`h`) are not permitted.
#[must_use]
pub fn is_signature(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match complete_type(rest, 0, 0) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    text.len() <= LONGEST
}

/// Returns what is after the first complete type. The recursion is bounded by both depths.
fn complete_type(text: &[u8], arrays: usize, structs: usize) -> Option<&[u8]> {
    match text {
        [
            b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd',
            rest @ ..,
        ]
        | [b's' | b'o' | b'g' | b'v', rest @ ..] => Some(rest),
        [b'a', b'{', key, rest @ ..] if arrays < DEPTH && structs < DEPTH => {
            let is_basic = b"ybnqiuxtdsog".contains(key);
            let value = complete_type(rest, arrays + 1, structs + 1).filter(|_| is_basic)?;
            value.strip_prefix(b"}")
        }
        [b'a', rest @ ..] if arrays < DEPTH => complete_type(rest, arrays + 1, structs),
        [b'(', rest @ ..] if structs < DEPTH => {
            let mut rest = complete_type(rest, arrays, structs + 1)?;
            loop {
                match rest {
                    [b')', after @ ..] => return Some(after),
                    _ => rest = complete_type(rest, arrays, structs + 1)?,
                }
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_specification() {
        let long = format!("a.{}", "b".repeat(254));
        type Check = fn(&str) -> bool;
        let table: [(Check, &[&str], &[&str]); 4] = [
            (
                is_path,
                &["/", "/a", "/org/_3a/b"],
                &["", "a", "//", "/a/", "/a//b", "/a.b", "/a-b"],
            ),
            (
                is_interface,
                &["a.b", "org.x_1.Y"],
                &["", "a", "a.", ".a", "a..b", "a.1b", "a.b-c", &long],
            ),
            (is_member, &["Get", "_1"], &["", "1a", "a.b", "a-b", "ä"]),
            (
                is_bus_name,
                &["org.a-b.c", ":1.42", ":a.1"],
                &["", "org", ":1", "a.1", ":", ":.", "a.b c", &long],
            ),
        ];
        for (check, valid, invalid) in table {
            for text in valid {
                assert!(check(text), "{text}");
            }
            for text in invalid {
                assert!(!check(text), "{text}");
            }
        }
    }

    #[test]
    fn signatures_follow_the_specification() {
        let (deep, deeper) = ("a".repeat(32) + "s", "a".repeat(33) + "s");
        for text in ["", "s", "ssb", "a{sv}", "a(sasb)", "aa{s(iu)}", "v", &deep] {
            assert!(is_signature(text), "{text}");
        }
        let opened = "(".repeat(255);
        for text in [
            "a", "()", "(", "(s", ")", "{sv}", "a{vs}", "a{s}", "a{sss}", "h", "ah", "z", "e",
            &deeper, &opened,
        ] {
            assert!(!is_signature(text), "{text}");
        }
        assert!(is_signature(&"s".repeat(255)) && !is_signature(&"s".repeat(256)));
    }
}
