//! Compiles regular expressions for the warden, and bounds their time: its loop waits until values are matched.

use std::cmp::Reverse;

use regex_automata::nfa::thompson::{self, NFA, State, Transition, WhichCaptures};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use remit_common::caps;
use remit_policy::model::command::{Param, ParamKind};
use remit_policy::model::pattern::{
    Assertion, Automaton, ByteRange, MOST_COMPILED, MOST_TEXT, MOST_WORK, Step,
};
use remit_policy::{Pattern, quoted};

use crate::load::reader::{Report, WithSpan};

const MOST_NESTED: u32 = 32;

/// Compiles the syntax of the crate `regex` without Unicode. The error is a part of a sentence.
pub(crate) fn pattern(text: &str) -> Result<Pattern, String> {
    if text.len() > MOST_TEXT {
        return Err(format!("it has {} bytes, over {MOST_TEXT}", text.len()));
    }
    if turns_unicode_on(text) {
        return Err("it is matched over bytes: the flag 'u' is not known".into());
    }
    let nfa = nfa(text)?;
    let steps = nfa.states().iter().map(step).collect::<Option<Vec<_>>>();
    Pattern::try_from(Automaton {
        text: text.to_owned(),
        start: number(nfa.start_anchored()),
        steps: steps.ok_or("it needs tables of Unicode")?,
    })
}

fn nfa(text: &str) -> Result<NFA, String> {
    let syntax = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(MOST_NESTED);
    let parsed = syntax::parse_with(text, &syntax).map_err(|error| reason(&error.to_string()))?;
    let config = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::Implicit)
        .nfa_size_limit(Some(MOST_COMPILED));
    NFA::compiler()
        .configure(config)
        .build_from_hir(&parsed)
        .map_err(|_| format!("it needs more than {MOST_COMPILED} bytes once compiled"))
}

/// Translates a state. Returns `None` for one that a pattern without Unicode cannot have.
fn step(state: &State) -> Option<Step> {
    Some(match state {
        State::ByteRange { trans } => Step::Byte(range(trans)),
        State::Sparse(sparse) => Step::OneOf(sparse.transitions.iter().map(range).collect()),
        State::Dense(dense) => {
            let of_byte = |byte| Some((byte, dense.matches_byte(byte)?));
            let transitions = (u8::MIN..=u8::MAX).filter_map(of_byte);
            let range = |(byte, next)| ByteRange {
                first: byte,
                last: byte,
                next: number(next),
            };
            Step::OneOf(transitions.map(range).collect())
        }
        State::Look { look, next } => Step::At(assertion(*look)?, number(*next)),
        State::Union { alternates } => {
            Step::Split(alternates.iter().copied().map(number).collect())
        }
        State::BinaryUnion { alt1, alt2 } => Step::Split(vec![number(*alt1), number(*alt2)]),
        State::Capture { next, .. } => Step::Split(vec![number(*next)]),
        State::Fail => Step::Split(Vec::new()),
        State::Match { .. } => Step::Match,
    })
}

fn range(transition: &Transition) -> ByteRange {
    ByteRange {
        first: transition.start,
        last: transition.end,
        next: number(transition.next),
    }
}

fn number(state: StateID) -> u32 {
    state.as_u32()
}

fn assertion(look: Look) -> Option<Assertion> {
    Some(match look {
        Look::Start => Assertion::Start,
        Look::End => Assertion::End,
        Look::StartLF => Assertion::LineStart,
        Look::EndLF => Assertion::LineEnd,
        Look::StartCRLF => Assertion::CrlfStart,
        Look::EndCRLF => Assertion::CrlfEnd,
        Look::WordAscii => Assertion::WordBoundary,
        Look::WordAsciiNegate => Assertion::NoWordBoundary,
        Look::WordStartAscii => Assertion::WordStart,
        Look::WordEndAscii => Assertion::WordEnd,
        Look::WordStartHalfAscii => Assertion::WordStartHalf,
        Look::WordEndHalfAscii => Assertion::WordEndHalf,
        Look::WordUnicode
        | Look::WordUnicodeNegate
        | Look::WordStartUnicode
        | Look::WordEndUnicode
        | Look::WordStartHalfUnicode
        | Look::WordEndHalfUnicode => return None,
    })
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

/// Maximum work of all values of a call: above 64 values of 4096 bytes with the default pattern.
const CALL_WORK: usize = 8 * MOST_WORK;

/// Refuses arguments whose values could need more than their share.
pub(crate) fn check_work(params: &[WithSpan<Param>], report: &mut Report<'_>) {
    let mut values = Vec::new();
    for WithSpan { value: param, span } in params {
        let ParamKind::Text { pattern, max, .. } = &param.kind else {
            continue;
        };
        match pattern.work(*max) {
            Ok(work) => values.extend(std::iter::repeat_n((work, span), param.most)),
            Err(fits) => {
                let of = quoted(&param.name);
                let message =
                    format!("a value of {of} with {max} bytes takes too long to match its pattern");
                let help = format!("write max = {fits}, or a pattern with smaller repetitions");
                report.error_with_help(span.clone(), message, &help);
            }
        }
    }
    values.sort_by_key(|(work, _)| Reverse(*work));
    values.truncate(caps::NAMED_ARGS);
    let all: usize = values.iter().map(|(work, _)| work).sum();
    if let Some((_, span)) = values.first().filter(|_| all > CALL_WORK) {
        let message = "the values of one call take too long to match their patterns".to_owned();
        let help = "write a smaller 'max' or 'repeat', or a pattern with smaller repetitions";
        report.error_with_help((*span).clone(), message, help);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use regex_automata::nfa::thompson::pikevm::PikeVM;
    use regex_automata::{Anchored, Input, MatchKind};

    use super::*;

    const PIECES: [&str; 24] = [
        "^",
        "$",
        "\\b",
        "\\B",
        "(?m)^",
        "(?m)$",
        "(?R)$",
        "(?mR)^",
        "(?mR)$",
        "\\b{start}",
        "\\b{end}",
        "\\b{start-half}",
        "\\b{end-half}",
        "a",
        "b",
        "_",
        "\n",
        "\r",
        ".",
        "\\w",
        "[^a]",
        "(?s).",
        "(a|b_)",
        "(a|)",
    ];
    const REPEATED: [&str; 6] = ["", "*", "?", "+", "*?", "{0,2}"];

    proptest! {
        /// The engine of the crate that compiles the automaton answers the same.
        #[test]
        fn automaton_answers_as_the_reference(
            pieces in vec((select(&PIECES[..]), select(&REPEATED[..])), 0..6),
            values in vec("[ab_ \n\r]{0,6}", 1..20),
        ) {
            let piece = |(piece, repeated): &(&str, &str)| format!("({piece}){repeated}");
            let text: String = pieces.iter().map(piece).collect();
            let compiled = pattern(&text).unwrap();
            let engine = PikeVM::builder()
                .configure(PikeVM::config().match_kind(MatchKind::All))
                .build_from_nfa(nfa(&text).unwrap())
                .unwrap();
            for value in values {
                let input = Input::new(value.as_bytes()).anchored(Anchored::Yes);
                let longest = engine.find(&mut engine.create_cache(), input);
                let expect = longest.is_some_and(|found| found.end() == value.len());
                prop_assert_eq!(compiled.matches(value.as_bytes()), expect, "{:?} {:?}", text, value);
            }
        }
    }

    #[test]
    fn pattern_matches_whole_value_bytewise() {
        let check = |text: &str, value: &[u8], expect: bool| {
            let found = pattern(text).unwrap().matches(value);
            assert_eq!(found, expect, "{text:?} {value:?}");
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
        let check = |text: &str, part: &str| {
            let why = pattern(text).unwrap_err();
            assert!(why.contains(part) && !why.contains('\n'), "{text:?}: {why}");
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
        // V12. A backtracking engine would take exponential time: it would never end.
        let pattern = pattern("(a+)+$").unwrap();
        let most = vec![b'a'; 4096];
        let other = [most.as_slice(), b"b"].concat();
        assert!(pattern.matches(&most) && !pattern.matches(&other));
    }
}
