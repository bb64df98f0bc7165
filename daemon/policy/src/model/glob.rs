//! Matches names with `*`, as rules use them.

use std::fmt;

use remit_common::caps;
use serde::{Deserialize, Serialize};

/// A name, or a pattern of names: `*` matches any text, even empty; every other character only itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Glob(String);

impl Glob {
    /// Maximum number of `*` in a pattern, because a load tries each pattern on each name.
    pub const STARS: usize = 4;

    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Parses a pattern that a user typed. Returns `None` if no name could match it, or it has too many stars.
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte)
        };
        let stars = text.bytes().filter(|byte| *byte == b'*').count();
        let can_name = (1..=caps::NAME).contains(&text.len())
            && text.bytes().all(is_allowed)
            && stars <= Self::STARS;
        can_name.then(|| Self::new(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn literal(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    pub fn prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    fn suffix(&self) -> &str {
        self.0.rsplit('*').next().unwrap_or_default()
    }

    /// Returns true if there is a name that both match. Text that a star covers can have all of the other's middle.
    pub fn meets(&self, other: &Self) -> bool {
        if self.literal().is_some() || other.literal().is_some() {
            return self.matches(&other.0) || other.matches(&self.0);
        }
        let [(first, last), (starts, stops)] =
            [self, other].map(|glob| (glob.prefix(), glob.suffix()));
        (first.starts_with(starts) || starts.starts_with(first))
            && (last.ends_with(stops) || stops.ends_with(last))
    }

    /// Returns true if it matches the whole name. The time is at most proportional to both: taking each piece between
    /// stars at its first match is as good as any later one.
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == name;
        };
        let Some(mut left) = name.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for piece in middle.split('*') {
            let Some((_, after)) = left.split_once(piece) else {
                return false;
            };
            left = after;
        }
        left.ends_with(last)
    }

    /// Returns true if it matches and no star covers text with this sign.
    pub fn matches_within(&self, name: &str, sign: char) -> bool {
        let (mut globs, mut parts) = (self.0.split(sign), name.split(sign));
        loop {
            match (globs.next(), parts.next()) {
                (Some(glob), Some(part)) if Self::new(glob).matches(part) => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_star_matches_any_text() {
        let check = |glob: &str, yes: &[&str], no: &[&str]| {
            let glob = Glob::new(glob);
            for name in yes {
                assert!(glob.matches(name), "{glob} {name:?}");
                assert!(name.starts_with(glob.prefix()));
            }
            for name in no {
                assert!(!glob.matches(name), "{glob} {name:?}");
            }
        };
        check("run", &["run"], &["", "runs", "Run", "ru", "xrun"]);
        check("*", &["", "run", "a.b", "*"], &[]);
        check(
            "nginx.*",
            &["nginx.", "nginx.test", "nginx.a.b"],
            &["nginx", "xnginx.test"],
        );
        check(
            "*.reload",
            &[".reload", "a.reload", "a.reload.reload"],
            &["reload", "a.reload2"],
        );
        check(
            "a*b*c",
            &["abc", "a--b--c", "abbcc"],
            &["ab", "acb", "abcd"],
        );
        check("a**c", &["ac", "abc"], &["a", "c"]);
        check("aba*aba", &["abaaba", "aba-aba"], &["aba", "ababa"]);
        check("*ab*ab*", &["abab", "xabyabz"], &["ab", "aba"]);
        check("", &[""], &["a"]);
        check("a?[b]", &["a?[b]"], &["axb"]);
    }

    #[test]
    fn globs_meet_if_a_name_matches_both() {
        for (one, other, expect) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "ab", true),
            ("a*", "b", false),
            ("nginx*.service", "nginx.service", true),
            ("nginx*.service", "php*.service", false),
            ("a*", "*b", true),
            ("ab*", "a*c", true),
            ("*b", "*ab", true),
            ("*b", "*c", false),
            ("a*x*b", "a*y*b", true),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            let [one, other] = [one, other].map(Glob::new);
            assert_eq!(one.meets(&other), expect, "{one} {other}");
            assert_eq!(other.meets(&one), expect, "{other} {one}");
        }
    }

    #[test]
    fn a_star_can_be_kept_from_a_sign() {
        for (glob, name, expect) in [
            ("podman*", "podman.service", true),
            ("podman*", "podman-kube@x.service", false),
            ("podman*@*", "podman-kube@x.service", true),
            ("a@b*", "a@bc", true),
            ("a@b*", "a@b@c", false),
            ("*", "a@b", false),
            ("a@b", "a@b", true),
            ("*@", "@", true),
            ("*", "", true),
        ] {
            assert_eq!(
                Glob::new(glob).matches_within(name, '@'),
                expect,
                "{glob} {name}"
            );
        }
    }

    #[test]
    fn matching_takes_no_exponential_time() {
        let glob = Glob::new("a*".repeat(60) + "b");
        assert!(!glob.matches(&"a".repeat(4096)));
    }

    #[test]
    fn what_is_typed_can_name_a_command() {
        for text in ["run", "nginx.*", "*", "a*b*c*d*e", "x-1_2"] {
            assert_eq!(Glob::parse(text), Some(Glob::new(text)), "{text}");
        }
        let long = "a".repeat(caps::NAME + 1);
        for text in ["", "Run", "a b", "a?", "ä", "a*b*c*d*e*", "a\n", &long] {
            assert_eq!(Glob::parse(text), None, "{text:?}");
        }
        assert!(Glob::parse(&long[1..]).is_some());
    }

    #[test]
    fn only_a_name_without_stars_is_literal() {
        assert_eq!(Glob::new("run").literal(), Some("run"));
        assert_eq!(Glob::new("ru*").literal(), None);
    }
}
