//! Finds file names that an argument may hold. Programs parse arguments in their own ways: `--file=NAME`, `if=NAME`,
//! `-fNAME`, `@NAME`, `A:B`, code with names in it. Each part that could be a name is treated as one. It is relative to the
//! working directory if it does not begin with `/`. Text of the definition and of the requester is read in the same way.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};

const MOST: usize = 32;

#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    pub path: CString,
    /// Has a slash and no separator, so it is most likely a path.
    pub is_path: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    pub all: Vec<Name>,
    pub has_more: bool,
}

impl Names {
    pub fn of(word: &CStr, cwd: &CStr) -> Self {
        let word = word.to_bytes();
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for part in parts(word) {
            if part.is_empty() || is_stream(part) || !seen.insert(part) {
                continue;
            }
            if all.len() == MOST {
                return Self {
                    all,
                    has_more: true,
                };
            }
            if let Ok(path) = CString::new(absolute(part, cwd)) {
                let is_path = part.contains(&b'/') && !part.iter().copied().any(separates);
                all.push(Name { path, is_path });
            }
        }
        Self {
            all,
            has_more: false,
        }
    }
}

fn absolute(name: &[u8], cwd: &CStr) -> Vec<u8> {
    match name.first() {
        Some(b'/') => name.to_vec(),
        _ => [cwd.to_bytes(), b"/", name].concat(),
    }
}

/// The job's own streams. Standard input is shown and bound separately.
fn is_stream(name: &[u8]) -> bool {
    [&b"/dev/stdin"[..], b"/dev/stdout", b"/dev/stderr"].contains(&name)
}

/// The whole argument, and from each possible start the part up to the next separator and up to the end.
fn parts(word: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = (0..word.len()).filter(move |at| begins(word, *at));
    std::iter::once(word).chain(starts.flat_map(|at| {
        let rest = word.get(at..).unwrap_or_default();
        let end = rest.iter().copied().position(separates);
        [
            rest.get(..end.unwrap_or(rest.len())).unwrap_or_default(),
            rest,
        ]
    }))
}

/// A name can begin in front, after a separator, after a short option's letter, or at an option's first slash.
fn begins(word: &[u8], at: usize) -> bool {
    let before = word.get(..at).unwrap_or_default();
    let is_option = word.first() == Some(&b'-');
    let is_short = is_option && word.get(1) != Some(&b'-');
    match before.last() {
        None => true,
        Some(last) if separates(*last) => true,
        Some(_) if is_short && at == 2 => true,
        Some(_) => is_option && word.get(at) == Some(&b'/') && !before.contains(&b'/'),
    }
}

/// Characters that programs, shells and lists put around names.
fn separates(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || b"/._-+~%".contains(&byte) || byte >= 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(word: &str) -> Vec<String> {
        let names = Names::of(&CString::new(word).unwrap(), c"/w");
        let text = |name: Name| name.path.into_string().unwrap();
        names.all.into_iter().map(text).collect()
    }

    #[test]
    fn q01_every_word_form_yields_its_name() {
        for (word, name) in [
            ("/p", "/p"),
            ("p", "/w/p"),
            ("../p", "/w/../p"),
            ("--file=/p", "/p"),
            ("--file=p", "/w/p"),
            ("if=/p", "/p"),
            ("-f/p", "/p"),
            ("-fp", "/w/p"),
            ("-xvf/p", "/p"),
            ("-f", "/w/-f"),
            ("@/p", "/p"),
            ("-d@/p", "/p"),
            ("a:/p:b", "/p"),
            ("a:/p:b", "/w/b"),
            ("a,p,b", "/w/p"),
            ("file:///p", "///p"),
            ("/p=1", "/p=1"),
            ("x=/p=1", "/p=1"),
            ("cat '/p q';", "/p"),
            ("cat a/p;", "/w/a/p"),
        ] {
            let found = of(word);
            assert!(found.contains(&name.to_owned()), "{word}: {found:?}");
        }
        assert!(of("/dev/stdin").is_empty());
        assert!(of("").is_empty());
    }

    #[test]
    fn names_of_word_are_bounded_with_more_flag() {
        let names = |count: usize| {
            let word: String = (0..count).map(|at| format!("p{at} ")).collect();
            Names::of(&CString::new(word).unwrap(), c"/w")
        };
        assert!(!names(4).has_more);
        let many = names(400);
        assert_eq!((many.all.len(), many.has_more), (MOST, true));
        let slashes = Names::of(c"if=/a/b", c"/w").all;
        let paths = slashes.iter().filter(|name| name.is_path);
        assert_eq!(paths.count(), 1);
    }
}
