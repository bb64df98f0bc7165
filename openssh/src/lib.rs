//! Lines and patterns of OpenSSH's configuration files: ssh_config(5), sshd_config(5). Pure.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Splits a line into words: quotes group, `=` may follow the keyword, `#` starts a comment.
pub fn words(line: &str) -> Vec<String> {
    let line = line.trim();
    // As strdelim() of OpenSSH: the keyword ends at white space or one '='.
    let end = line.find(|c: char| c.is_ascii_whitespace() || c == '=');
    let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
    if keyword.is_empty() || keyword.starts_with('#') {
        return Vec::new();
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let mut found = vec![keyword.trim_matches('"').to_owned()];
    let (mut word, mut quoted, mut open) = (String::new(), None, false);
    let mut rest = rest.chars().peekable();
    while let Some(c) = rest.next() {
        // As argv_split() of OpenSSH: a backslash before any other character is one itself.
        let is_escaped =
            |next: &char| "\"'\\".contains(*next) || (*next == ' ' && quoted.is_none());
        if c == '\\'
            && let Some(next) = rest.next_if(is_escaped)
        {
            word.push(next);
            continue;
        }
        match (c, quoted) {
            (c, Some(quote)) if c == quote => quoted = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (quoted, open) = (Some(c), true),
            ('#', None) if word.is_empty() && !open => break,
            (c, None) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, None) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        found.push(word);
    }
    found
}

/// A pattern without a wildcard is a name.
pub fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

/// Matches a name with `*` and `?`. Time is at most the product of both lengths.
pub fn matches(pattern: &str, name: &str) -> bool {
    fits(pattern.as_bytes(), name.as_bytes(), character)
}

/// Returns how many bytes at the start of the pattern match the byte: one or none.
fn character(pattern: &[u8], byte: u8) -> Option<usize> {
    let first = pattern.first()?;
    (*first == b'?' || *first == byte).then_some(1)
}

/// `character` returns how many bytes at the start of a pattern match a byte of the name.
fn fits(pattern: &[u8], name: &[u8], character: fn(&[u8], u8) -> Option<usize>) -> bool {
    let (mut at, mut of) = (0, 0);
    // Where to continue if the part after the last star does not match.
    let mut again: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(of) {
        let rest = pattern.get(at..).unwrap_or_default();
        if rest.starts_with(b"*") {
            again = Some((at + 1, of));
            at += 1;
        } else if let Some(length) = character(rest, *byte) {
            (at, of) = (at + length, of + 1);
        } else if let Some((star, from)) = again {
            again = Some((star, from + 1));
            (at, of) = (star, from + 1);
        } else {
            return false;
        }
    }
    let rest = pattern.get(at..).unwrap_or_default();
    rest.iter().all(|c| *c == b'*')
}

/// Returns the paths that a pattern of `Include` names, sorted as by glob(3). `list` returns the paths in a directory;
/// `most` bounds the paths of each step: the first ones stay.
pub fn expand(pattern: &Path, most: usize, list: impl Fn(&Path) -> Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let pattern = part.as_os_str().as_bytes();
        if !pattern.iter().any(|c| b"*?[\\".contains(c)) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let is_named = |path: &PathBuf| {
            let name = path.file_name().map(OsStrExt::as_bytes);
            name.is_some_and(|name| is_file_name(pattern, name))
        };
        let entries = found.iter().flat_map(|dir| list(dir));
        let mut next: Vec<PathBuf> = entries.filter(is_named).collect();
        next.sort();
        next.truncate(most);
        found = next;
    }
    found
}

fn is_file_name(pattern: &[u8], name: &[u8]) -> bool {
    // What has a class as '[[:digit:]]', or quotes, matches any name: too many files are read rather than too few.
    let is_odd = pattern.contains(&b'\\') || pattern.windows(2).any(|two| two == b"[:");
    // As in a shell, only a dot matches a leading dot.
    name.starts_with(b".") == pattern.starts_with(b".")
        && (is_odd || fits(pattern, name, character_of_file))
}

/// As [`character`], and with sets: `[a-z_]`, `[!0-9]`.
fn character_of_file(pattern: &[u8], byte: u8) -> Option<usize> {
    let Some((length, is_without, members)) = set(pattern) else {
        return character(pattern, byte);
    };
    (is_member(members, byte) != is_without).then_some(length)
}

/// Returns the length of the set at the start of a pattern, if it is one without its members, and the members. For OpenSSH
/// only `!` means without.
fn set(pattern: &[u8]) -> Option<(usize, bool, &[u8])> {
    let inner = pattern.strip_prefix(b"[")?;
    let without = inner.strip_prefix(b"!");
    let members = without.unwrap_or(inner);
    // A bracket that comes first is a member.
    let count = 1 + members.get(1..)?.iter().position(|c| *c == b']')?;
    let before = pattern.len() - members.len();
    Some((before + count + 1, without.is_some(), members.get(..count)?))
}

fn is_member(mut members: &[u8], byte: u8) -> bool {
    while let [low, rest @ ..] = members {
        let (high, rest) = match rest {
            [b'-', high, rest @ ..] => (high, rest),
            rest => (low, rest),
        };
        if (*low..=*high).contains(&byte) {
            return true;
        }
        members = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_ssh() {
        for (line, expect) in [
            (r"Include conf\ d/* x", &["Include", "conf d/*", "x"][..]),
            (r"Include 'conf\ d'", &["Include", r"conf\ d"]),
            (r#"Host "a\"b" \'c \\d"#, &["Host", "a\"b", "'c", r"\d"]),
            (r"Host \a b\", &["Host", r"\a", r"b\"]),
        ] {
            assert_eq!(words(line), expect, "{line}");
        }
    }

    #[test]
    fn wildcards_are_those_of_ssh() {
        for (pattern, name, expect) in [
            ("web*", "web1", true),
            ("web*", "web", true),
            ("web?", "web", false),
            ("web?", "web12", false),
            ("*.example.org", "a.b.example.org", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("w*1*2", "web1-2", true),
            ("w*1*2", "web2-1", false),
            ("Web1", "web1", false),
            ("LANG", "LANGUAGE", false),
            ("LC_*", "LD_PRELOAD", false),
            ("L*", "LD_PRELOAD", true),
            ("?NV", "ENV", true),
            ("*_PRE*", "LD_PRELOAD", true),
            ("**x**", "LD_PRELOAD", false),
            ("a*b*c*d*e*f", "ENV", false),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        let many = "*a".repeat(200);
        assert!(!matches(&many, &"a".repeat(199)) && matches(&many, &"a".repeat(200)));
    }

    #[test]
    fn included_files_are_those_of_glob() {
        let list = |dir: &Path| match dir.to_str() {
            Some("/d") => ["10-a", "_b", ".c", "[d", "]e", "x-f"]
                .map(|name| dir.join(name))
                .into(),
            Some("/") => vec!["/e".into(), "/d".into()],
            _ => Vec::new(),
        };
        let cases: [(&str, &[&str]); 17] = [
            ("/d/x", &["/d/x"]),
            ("/?/*0-a", &["/d/10-a"]),
            ("/*/x", &["/d/x", "/e/x"]),
            ("/d/[0-9]*", &["/d/10-a"]),
            ("/d/[0-9][1-9]*", &[]),
            ("/d/[!0-9_]*", &["/d/[d", "/d/]e", "/d/x-f"]),
            ("/d/[^0-9x]*", &["/d/10-a", "/d/x-f"]),
            (
                r"/d/[\]x]*",
                &["/d/10-a", "/d/[d", "/d/]e", "/d/_b", "/d/x-f"],
            ),
            ("/d/[]x]*", &["/d/]e", "/d/x-f"]),
            ("/d/[!]x_]*", &["/d/10-a", "/d/[d"]),
            ("/d/x[-]f", &["/d/x-f"]),
            ("/d/x[a-]f", &["/d/x-f"]),
            ("/d/[d", &["/d/[d"]),
            ("/d/[z-a]*", &[]),
            ("/d/.*", &["/d/.c"]),
            ("/d/[.]c", &[]),
            (
                "/d/[[:digit:]]*",
                &["/d/10-a", "/d/[d", "/d/]e", "/d/_b", "/d/x-f"],
            ),
        ];
        for (pattern, expect) in cases {
            let expect: Vec<PathBuf> = expect.iter().map(PathBuf::from).collect();
            assert_eq!(expand(Path::new(pattern), 9, list), expect, "{pattern}");
        }
        let first = ["/d/10-a", "/d/[d"].map(PathBuf::from);
        assert_eq!(expand(Path::new("/d/*"), 2, list), first);
    }
}
