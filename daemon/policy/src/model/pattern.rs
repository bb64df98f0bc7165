//! Matches argument values with regular expressions: over bytes, without Unicode classes, as a whole, in linear time.

use std::fmt;
use std::sync::Arc;

use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

const MOST_TEXT: usize = 1024;
/// Maximum number of bytes of a compiled pattern. It bounds the time for each byte of a value.
const MOST_COMPILED: usize = 64 << 10;
const MOST_NESTED: u32 = 32;

/// A compiled regular expression. Two are equal if their texts are.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    engine: Arc<PikeVM>,
}

impl Pattern {
    /// Compiles the syntax of the crate `regex` without Unicode. The error is a part of a sentence.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > MOST_TEXT {
            return Err(format!("it has {} bytes, over {MOST_TEXT}", text.len()));
        }
        if turns_unicode_on(text) {
            return Err("it is matched over bytes: the flag 'u' is not known".into());
        }
        let syntax = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .nest_limit(MOST_NESTED);
        let parsed =
            syntax::parse_with(text, &syntax).map_err(|error| reason(&error.to_string()))?;
        let config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::Implicit)
            .nfa_size_limit(Some(MOST_COMPILED));
        // All matches, so that an anchored search reports the longest one.
        let engine = NFA::compiler()
            .configure(config)
            .build_from_hir(&parsed)
            .and_then(|nfa| {
                PikeVM::builder()
                    .configure(PikeVM::config().match_kind(MatchKind::All))
                    .build_from_nfa(nfa)
            })
            .map_err(|_| format!("it needs more than {MOST_COMPILED} bytes once compiled"))?;
        Ok(Self {
            text: text.to_owned(),
            engine: Arc::new(engine),
        })
    }

    pub fn matches(&self, value: &[u8]) -> bool {
        let input = Input::new(value).anchored(Anchored::Yes);
        let longest = self.engine.find(&mut self.engine.create_cache(), input);
        longest.is_some_and(|found| found.end() == value.len())
    }

    pub(crate) fn size(&self) -> usize {
        self.engine.get_nfa().memory_usage()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Returns true if a group sets the flag `u`. Its meaning depends on tables that a build may lack.
fn turns_unicode_on(text: &str) -> bool {
    text.split("(?").skip(1).any(|group| {
        let is_flag = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'-';
        group.bytes().take_while(is_flag).any(|flag| flag == b'u')
    })
}

/// Returns the last line of the parser's error: the others draw the pattern.
fn reason(error: &str) -> String {
    let last = error.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_whole_value_bytewise() {
        let check = |pattern: &str, value: &[u8], expect: bool| {
            let found = Pattern::new(pattern).unwrap().matches(value);
            assert_eq!(found, expect, "{pattern:?} {value:?}");
        };
        check("a|b", b"a", true);
        check("a|b", b"b", true);
        check("a|b", b"xb", false);
        check("a|b", b"ab", false);
        check("a|ab", b"ab", true);
        check("a*?", b"aaa", true);
        check("a", b"a\nz", false);
        check("a", b"a\n", false);
        check("a$", b"a\n", false);
        check("(?m)^a$", b"a\nz", false);
        check("(?m)^a$", b"z\na", false);
        check("(?s).", b"\n", true);
        check(".", b"\n", false);
        check("", b"", true);
        check("", b"a", false);
        check("[^a]", b"\xff", true);
        check("e\u{301}", "é".as_bytes(), false);
        check(r"\d", "٥".as_bytes(), false);
        check(r"\w", "é".as_bytes(), false);
        check("(?i)K", "\u{212a}".as_bytes(), false);
    }

    #[test]
    fn bad_or_large_pattern_is_refused() {
        let check = |pattern: &str, part: &str| {
            let why = Pattern::new(pattern).unwrap_err();
            assert!(
                why.contains(part) && !why.contains('\n'),
                "{pattern:?}: {why}"
            );
        };
        check("a)|(?:b", "unopened");
        check("(", "unclosed");
        check("[z-a]", "range");
        check("*", "repetition");
        check(r"(a)\1", "backreferences");
        check("(?=a)", "look-around");
        check(r"\pL", "Unicode");
        check("(?u)a", "flag 'u'");
        check("a(?i-su:b)", "flag 'u'");
        check(&"a".repeat(MOST_TEXT + 1), "over 1024");
        check("((a{100}){100}){100}", "once compiled");
        check("[a-z]{5000}", "once compiled");
        check(&"(".repeat(500), "unclosed");
        check(&format!("{}a{}", "(".repeat(300), ")".repeat(300)), "nest");
    }

    #[test]
    fn time_is_linear_in_the_value() {
        // V12. A backtracking engine would take exponential time. Best of a few runs: the machine may be busy.
        let pattern = Pattern::new("(a+)+$").unwrap();
        let most = vec![b'a'; 100 << 10];
        let other = [most.as_slice(), b"b"].concat();
        #[allow(
            clippy::disallowed_types,
            reason = "the test takes time, the crate does not"
        )]
        let took = (0..5).map(|_| {
            let start = std::time::Instant::now();
            assert!(pattern.matches(&most) && !pattern.matches(&other));
            start.elapsed()
        });
        let best = took.min().unwrap();
        assert!(best.as_millis() < 50, "{best:?}");
    }
}
