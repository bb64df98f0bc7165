//! Classifies the lines of a Rust file as code, comment or blank, and finds the texts that people read and the attributes
//! that make code test-only. Comments are the text that no token covers. Doc comments are tokens, but their source text is
//! not `#`.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Literal, Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Meta, Token};

use crate::words::TextKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    Blank,
    Comment,
    Code,
}

/// Receives identifiers, comments and strings with their line, counted from 1.
pub type TextSink<'a> = dyn FnMut(TextKind, usize, &str) + 'a;

#[derive(Debug)]
pub struct FileLines {
    pub kinds: Vec<LineKind>,
    /// Number of test functions, with those in macro calls.
    pub tests: usize,
}

pub fn classify(text: &str, tokens: TokenStream, sink: &mut TextSink) -> FileLines {
    let lines: Vec<&str> = text.lines().collect();
    let mut scan = Scan {
        code_end: vec![None; lines.len()],
        lines: &lines,
        tests: 0,
        sink,
    };
    scan.stream(tokens);
    let Scan {
        code_end, tests, ..
    } = scan;
    let mut kinds = Vec::with_capacity(lines.len());
    for ((number, line), end) in (1..).zip(&lines).zip(code_end) {
        let comment = end.map_or(*line, |column| from_column(line, column)).trim();
        // A line inside a string has no comment, even if it looks like one: its end is covered.
        if !comment.is_empty() && (end.is_none() || comment.starts_with('/')) {
            sink(TextKind::Comment, number, comment);
        }
        kinds.push(if line.trim().is_empty() {
            LineKind::Blank
        } else if end.is_some() {
            LineKind::Code
        } else {
            LineKind::Comment
        });
    }
    FileLines { kinds, tests }
}

struct Scan<'a, 'b> {
    lines: &'a [&'a str],
    /// For each line the column, in characters, after its last token.
    code_end: Vec<Option<usize>>,
    tests: usize,
    sink: &'a mut TextSink<'b>,
}

impl Scan<'_, '_> {
    fn stream(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter();
        let mut after_pound = false;
        while let Some(token) = tokens.next() {
            let is_attribute = after_pound;
            after_pound = false;
            match token {
                TokenTree::Group(group) => {
                    if is_attribute && group.delimiter() == Delimiter::Bracket {
                        self.tests += usize::from(is_test_attribute(group.stream()));
                    }
                    if group.delimiter() != Delimiter::None {
                        self.cover_short(group.span_open(), 1);
                        self.cover_short(group.span_close(), 1);
                    }
                    self.stream(group.stream());
                }
                TokenTree::Ident(ident) => {
                    let name = ident.to_string();
                    let line = self.cover_short(ident.span(), name.chars().count());
                    (self.sink)(TextKind::Name, line, &name);
                }
                TokenTree::Punct(punct) => {
                    if punct.as_char() != '#' || self.is_pound(punct.span()) {
                        self.cover_short(punct.span(), 1);
                        after_pound = punct.as_char() == '#';
                        continue;
                    }
                    // A doc comment: '#', '!' of an inner one, and a group. None of them covers code.
                    if matches!(tokens.next(), Some(TokenTree::Punct(_))) {
                        tokens.next();
                    }
                }
                TokenTree::Literal(literal) => self.literal(&literal),
            }
        }
    }

    fn literal(&mut self, literal: &Literal) {
        let (start, end) = (literal.span().start(), literal.span().end());
        for line in start.line..end.line {
            self.cover(line, usize::MAX);
        }
        self.cover(end.line, end.column);
        let text = literal.to_string();
        if text.ends_with(['"', '#']) {
            for (number, line) in (start.line..).zip(text.lines()) {
                // An escape sequence ends a word.
                let line = line.replace("\\n", "  ").replace("\\t", "  ");
                (self.sink)(TextKind::String, number, &line);
            }
        }
    }

    fn is_pound(&self, span: Span) -> bool {
        let start = span.start();
        let line = self.lines.get(start.line - 1).copied().unwrap_or_default();
        from_column(line, start.column).starts_with('#')
    }

    /// Covers a token of `length` characters on one line, and returns the line. Asking only for the start is quicker
    /// than for start and end.
    fn cover_short(&mut self, span: Span, length: usize) -> usize {
        let start = span.start();
        self.cover(start.line, start.column + length);
        start.line
    }

    fn cover(&mut self, line: usize, end: usize) {
        if let Some(known) = self.code_end.get_mut(line - 1) {
            *known = Some(known.map_or(end, |known| known.max(end)));
        }
    }
}

fn from_column(line: &str, column: usize) -> &str {
    let at = line.char_indices().nth(column);
    at.and_then(|(at, _)| line.get(at..)).unwrap_or_default()
}

/// Returns true if `attributes` exclude an item from every build except tests.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .filter_map(|attribute| attribute.parse_args::<Meta>().ok())
        .any(|condition| requires_test(&condition))
}

fn requires_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
            let Ok(parts) = list.parse_args_with(parser) else {
                return false;
            };
            if list.path.is_ident("all") {
                parts.iter().any(requires_test)
            } else {
                list.path.is_ident("any") && parts.iter().all(requires_test)
            }
        }
        Meta::NameValue(_) => false,
    }
}

pub fn lines(syntax: &impl Spanned) -> RangeInclusive<usize> {
    let span = syntax.span();
    span.start().line..=span.end().line
}

/// Returns true if the path of an attribute ends in `test`: `#[test]`, `#[tokio::test]`.
pub fn is_test_attribute(attribute: TokenStream) -> bool {
    let mut is_test = false;
    for token in attribute {
        match token {
            TokenTree::Ident(ident) => is_test = ident == "test",
            TokenTree::Punct(punct) if punct.as_char() == ':' => {}
            _ => break,
        }
    }
    is_test
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> (String, Vec<(TextKind, usize, String)>) {
        let mut found = Vec::new();
        let tokens = text.parse().expect("tokens");
        let mut sink = |context, line, text: &str| found.push((context, line, text.to_owned()));
        let found_lines = classify(text, tokens, &mut sink);
        let letters = found_lines.kinds.iter().map(|kind| match kind {
            LineKind::Blank => 'b',
            LineKind::Comment => 'c',
            LineKind::Code => 'x',
        });
        (letters.collect(), found)
    }

    fn texts(text: &str, wanted: TextKind) -> Vec<(usize, String)> {
        let (_, found) = scan(text);
        found
            .into_iter()
            .filter(|(context, ..)| *context == wanted)
            .map(|(_, line, text)| (line, text))
            .collect()
    }

    #[test]
    fn lines_are_classified() {
        let text = "//! a\n\n/// b\n// c\nfn f() {} // d\n/* e\n\n f */\nstruct A; /* g\nh */\n";
        assert_eq!(scan(text).0, "cbccxcbcxc");
    }

    #[test]
    fn attributes_and_strings_are_code() {
        let text = "#![a]\n#[doc = \"b\"]\nconst C: &str = \"\n// no comment\n\n\";\n";
        assert_eq!(scan(text).0, "xxxxbx");
        assert_eq!(texts(text, TextKind::Comment), []);
    }

    #[test]
    fn comments_after_code_are_read() {
        let text = "fn f() {} // äb\n/// ö\nconst Ä: u8 = 1; // c\n";
        let expected = [(1, "// äb"), (2, "/// ö"), (3, "// c")];
        assert_eq!(
            texts(text, TextKind::Comment),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn strings_are_read_by_line() {
        let found = texts(
            "const A: [&str; 2] = [r#\"a\nb\"#, \"c\\nd\"]; const C: char = '\"';",
            TextKind::String,
        );
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 2]);
        assert!(found.iter().any(|(_, text)| text == "\"c  d\""));
    }

    #[test]
    fn tests_are_counted_in_code_and_macro_calls() {
        let count =
            |text: &str| classify(text, text.parse().expect("tokens"), &mut |_, _, _| {}).tests;
        assert_eq!(count("#![x] #[test] fn a() {} m! { #[test] fn b() {} }"), 2);
        assert_eq!(count("#[x] #[tokio::test] async fn a() {}"), 1);
        assert_eq!(
            count("/// #[test]\nfn a() {} #[cfg(test)] mod b {} [test]"),
            0
        );
    }

    fn attributes(text: &str) -> Vec<Attribute> {
        syn::parse_str::<syn::ItemFn>(&format!("{text} fn f() {{}}"))
            .expect("a function")
            .attrs
    }

    #[test]
    fn cfg_test_is_found_in_conditions() {
        for text in [
            "#[cfg(test)]",
            "#[cfg(all(unix, test))]",
            "#[cfg(any(test, all(test)))]",
        ] {
            assert!(is_test_only(&attributes(text)), "{text}");
        }
        for text in [
            "",
            "#[cfg(not(test))]",
            "#[cfg(any(test, unix))]",
            "#[cfg(feature = \"test\")]",
            "#[test]",
        ] {
            assert!(!is_test_only(&attributes(text)), "{text}");
        }
    }

    #[test]
    fn test_attribute_is_known_by_end_of_path() {
        let is_test = |text: &str| is_test_attribute(text.parse().expect("tokens"));
        assert!(is_test("test") && is_test("tokio::test(flavor = \"x\")"));
        assert!(!is_test("tested") && !is_test("cfg(test)") && !is_test("test::case"));
    }
}
