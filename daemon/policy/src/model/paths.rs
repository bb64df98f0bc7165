//! Checks absolute paths as text. Nothing is looked up.

use remit_common::caps;

/// Returns why a path is not in its plain form: absolute, without `.`, `..`, empty parts, control characters; or `/`.
pub fn not_plain(path: &str) -> Option<&'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Some("is not an absolute path");
    };
    if path.len() >= caps::PATH {
        Some("is longer than a path can be")
    } else if path.chars().any(char::is_control) {
        Some("has a control character")
    } else if rest.is_empty() {
        None
    } else if rest.split('/').any(|part| part == "." || part == "..") {
        Some("has a part '.' or '..'")
    } else if rest.split('/').any(str::is_empty) {
        Some("has a doubled or final slash")
    } else {
        None
    }
}

/// Returns true for a path that looks like a pattern of a shell. It is taken as a name, because such names exist.
#[must_use]
pub fn looks_like_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// What to say about a path that [`looks_like_pattern`].
pub const NO_PATTERNS: &str = "paths have no patterns";
/// What to write instead of such a path.
pub const NO_PATTERNS_HELP: &str = "write each file, or the directory";

/// Splits off the hyphen before a path, which means that the file may be missing.
pub fn optional(path: &str) -> (&str, bool) {
    match path.strip_prefix('-') {
        Some(path) => (path, true),
        None => (path, false),
    }
}

/// The part of a plain `path` after the directory `under`, by whole parts. `None` outside.
pub fn beneath<'a>(path: &'a str, under: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(under.strip_suffix('/').unwrap_or(under))?;
    match rest.strip_prefix('/') {
        Some(rest) => Some(rest),
        None => rest.is_empty().then_some(rest),
    }
}

pub fn nested(one: &str, other: &str) -> bool {
    beneath(one, other).is_some() || beneath(other, one).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_plain_way_to_be_written() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/a b",
            "/...",
            "/a/.b",
            "/ä",
            "/-x",
            "/a..",
            "/\u{202e}",
        ] {
            assert_eq!(not_plain(path), None, "{path:?}");
        }
        for path in [
            "", "a", "./a", "//", "/a/", "/a//b", "/.", "/a/.", "/a/./b", "/..", "/a/..",
            "/a/../b", "/../a", "/a\0", "/a\nb", "/a\u{1b}", "/a\u{85}", "-/a", " /a", "~/a",
        ] {
            assert!(not_plain(path).is_some(), "{path:?}");
        }
        let long = |length: usize| format!("/{}", "a".repeat(length - 1));
        assert_eq!(not_plain(&long(caps::PATH - 1)), None);
        assert!(not_plain(&long(caps::PATH)).is_some());
    }

    #[test]
    fn beneath_goes_by_whole_parts() {
        let check =
            |path, under, expect| assert_eq!(beneath(path, under), expect, "{path} {under}");
        check("/srv/data/x", "/srv/data", Some("x"));
        check("/srv/data/x/y", "/srv/data", Some("x/y"));
        check("/srv/data", "/srv/data", Some(""));
        check("/srv/data_evil", "/srv/data", None);
        check("/srv/data_evil/x", "/srv/data", None);
        check("/srv", "/srv/data", None);
        check("/SRV/data/x", "/srv/data", None);
        check("/a/b", "/", Some("a/b"));
        check("/", "/", Some(""));
        assert!(nested("/a", "/a/b") && nested("/a/b", "/a") && nested("/a", "/a"));
        assert!(nested("/", "/a") && !nested("/a", "/ab") && !nested("/a/b", "/a/c"));
    }
}
