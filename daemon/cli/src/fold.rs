//! Facts about something that nobody vouches for, on a screen of 80 columns.
//!
//! Each line of such a page has a mark in one column, and no text of somebody else reaches that
//! column or what stands before it: `|` where a value begins, `+` where it goes on, `:` before words
//! of remit about it. So nothing in a value, however long, passes for a line of ours. Pure.

use std::iter;

use remit_common::text;

use crate::human;

/// Columns of the screen.
const COLUMNS: usize = 80;
/// Columns of a fact's name.
const NAME: usize = 11;
/// Columns of its value: before the name stand two spaces, around the mark one each. A SHA-256 fits.
const WIDTH: usize = COLUMNS - NAME - 5;
/// Of more of the same character in a row, so many are shown.
const SAME: usize = 16;

/// Facts, each with its name.
#[derive(Debug, Default)]
pub struct Page(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Begin,
    On,
    Ours,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    mark: Mark,
    text: String,
}

impl Page {
    /// Exactly this text: folded where a line is full and after each newline.
    pub fn value(&mut self, name: &str, text: &str) {
        self.rows(name, value(text));
    }

    /// A sentence: folded between words.
    pub fn sentence(&mut self, name: &str, text: &str) {
        self.rows(name, sentence(text, Mark::Begin));
    }

    /// Words of remit.
    pub fn ours(&mut self, name: &str, text: &str) {
        self.rows(name, sentence(text, Mark::Ours));
    }

    /// A line of its own. Only for words of remit.
    pub fn line(&mut self, text: &str) {
        self.0 += text;
        self.0.push('\n');
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.0
    }

    fn rows(&mut self, name: &str, rows: Vec<Row>) {
        for (name, row) in iter::once(name).chain(iter::repeat("")).zip(rows) {
            let mark = match row.mark {
                Mark::Begin => '|',
                Mark::On => '+',
                Mark::Ours => ':',
            };
            self.line(format!("  {name:<NAME$} {mark} {}", row.text).trim_end());
        }
    }
}

/// The begin of a text in so many columns at most, and `…` where there is more.
pub fn cut(text: &str, width: usize) -> String {
    let pieces: Vec<String> = text.chars().map(piece).collect();
    let whole = pieces.concat();
    if columns(&whole) <= width {
        return whole;
    }
    let mut left = width.saturating_sub(columns("…"));
    let fits = |piece: &&String| {
        let rest = left.checked_sub(columns(piece));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let mut cut: String = pieces.iter().take_while(fits).map(String::as_str).collect();
    cut.push('…');
    cut
}

/// The same, filled up with spaces.
pub fn cell(text: &str, width: usize) -> String {
    let mut cell = cut(text, width);
    let missing = width.saturating_sub(columns(&cell));
    cell.extend(iter::repeat_n(' ', missing));
    cell
}

fn value(text: &str) -> Vec<Row> {
    if text.is_empty() {
        return sentence("empty", Mark::Ours);
    }
    let mut rows = Rows::default();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let more = rest.clone().take_while(|other| *other == c).count();
        let piece = piece(c);
        // What is left out is more than a line.
        let shown = match more {
            0..=WIDTH => 0,
            _ => SAME - 1,
        };
        for _ in 0..=shown {
            rows.push(&piece);
        }
        if c == '\n' {
            rows.end();
        }
        if shown > 0 {
            let left_out = more - shown;
            rows.ours(&format!(
                "and {left_out} more of the same, {}",
                c.escape_unicode()
            ));
            rest.by_ref().take(more).for_each(drop);
        }
    }
    let spaces = |count: usize, place: &str| {
        (count > 0).then(|| format!("{} at its {place}", human::count(count as u64, "space")))
    };
    let begin = spaces(text.len() - text.trim_start_matches(' ').len(), "begin");
    let end = spaces(text.len() - text.trim_end_matches(' ').len(), "end");
    for words in begin.into_iter().chain(end) {
        rows.ours(&words);
    }
    rows.end();
    rows.done
}

fn sentence(text: &str, first: Mark) -> Vec<Row> {
    let mut rows = Rows {
        next: Some(first),
        ..Rows::default()
    };
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let pieces: Vec<String> = word.chars().map(piece).collect();
        let width: usize = pieces.iter().map(|piece| columns(piece)).sum();
        if !rows.row.is_empty() {
            match rows.width + 1 + width > WIDTH {
                true => rows.end(),
                false => rows.push(" "),
            }
        }
        pieces.iter().for_each(|piece| rows.push(piece));
    }
    rows.end();
    rows.done
}

#[derive(Default)]
struct Rows {
    done: Vec<Row>,
    row: String,
    width: usize,
    /// The mark of the next line; `None`: as at the begin of a value.
    next: Option<Mark>,
}

impl Rows {
    fn push(&mut self, piece: &str) {
        let width = columns(piece);
        if self.width + width > WIDTH {
            self.end();
        }
        self.row += piece;
        self.width += width;
    }

    fn end(&mut self) {
        if self.row.is_empty() {
            return;
        }
        let mark = self.next.unwrap_or(Mark::Begin);
        // Words of ours are ours to their last line.
        self.next = Some(match mark {
            Mark::Ours => Mark::Ours,
            Mark::Begin | Mark::On => Mark::On,
        });
        let text = std::mem::take(&mut self.row);
        self.width = 0;
        self.done.push(Row { mark, text });
    }

    /// Words of ours between two lines of the value.
    fn ours(&mut self, words: &str) {
        self.end();
        self.done.extend(sentence(words, Mark::Ours));
    }
}

/// A character as it is shown: what steers, hides, or lies above another is an escape, and so is every
/// space that is not the usual one.
fn piece(c: char) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{300}'..='\u{36f}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}' => c.escape_unicode().to_string(),
        c if c != ' ' && c.is_whitespace() => c.escape_unicode().to_string(),
        c => text::show(c.encode_utf8(&mut [0; 4]).as_bytes()).text,
    }
}

/// How many columns a text takes at most: no character takes more than two.
fn columns(text: &str) -> usize {
    let width = |c: char| if c.is_ascii() { 1 } else { 2 };
    text.chars().map(width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fill: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::default();
        fill(&mut page);
        page.into_text()
    }

    /// Every line has a mark in its column, and fits.
    fn is_sound(page: &str) -> bool {
        page.lines().all(|line| {
            let mark = line.chars().nth(NAME + 3);
            let name = line.chars().take(NAME + 3).all(|c| c.is_ascii());
            name && mark.is_some_and(|mark| "|+:".contains(mark)) && columns(line) <= COLUMNS
        })
    }

    #[test]
    fn a_short_value_is_a_line() {
        let page = shown(|page| {
            page.value("cwd", "/var/www");
            page.value("", "a  b");
            page.value("empty", "");
        });
        assert_eq!(
            page,
            "  cwd         | /var/www\n              | a  b\n  empty       : empty\n"
        );
    }

    #[test]
    fn a_long_value_is_folded_with_a_mark() {
        let text: String = ('a'..='z').cycle().take(WIDTH + 3).collect();
        let page = shown(|page| page.value("argv[0]", &text));
        let (head, tail) = text.split_at(WIDTH);
        assert_eq!(
            page,
            format!("  argv[0]     | {head}\n              + {tail}\n")
        );
        let wide = "\u{6f22}\u{5b57}".repeat(20);
        let page = shown(|page| page.value("x", &wide));
        assert!(page.lines().count() == 2 && is_sound(&page), "{page}");
    }

    #[test]
    fn each_line_of_a_script_has_its_own() {
        let page = shown(|page| page.value("stdin", "set -e\n\tls\n"));
        assert_eq!(
            page,
            "  stdin       | set -e\\n\n              + \\tls\\n\n"
        );
    }

    #[test]
    fn many_of_the_same_are_counted() {
        let spaces = format!("a{}b", " ".repeat(4096));
        let page = shown(|page| page.value("x", &spaces));
        assert_eq!(
            page,
            "  x           | a\n              : and 4080 more of the same, \\u{20}\n              + b\n"
        );
        let lines = "\n".repeat(1000);
        let page = shown(|page| page.value("x", &lines));
        assert!(page.lines().count() < 20 && is_sound(&page), "{page}");
        assert!(page.contains("and 984 more of the same, \\u{a}"), "{page}");
    }

    #[test]
    fn spaces_that_nobody_sees_are_told() {
        let page = shown(|page| page.value("x", " rm  "));
        assert_eq!(
            page,
            "  x           |  rm\n              : 1 space at its begin\n              : 2 spaces at its end\n"
        );
    }

    #[test]
    fn a_sentence_is_folded_between_words() {
        let text = "word ".repeat(20);
        let page = shown(|page| page.sentence("risk", &text));
        assert_eq!(page.lines().count(), 2, "{page}");
        assert!(page.lines().all(|line| line.ends_with("word")), "{page}");
        let page = shown(|page| page.ours("x", &"y".repeat(WIDTH * 2)));
        assert!(
            is_sound(&page) && page.matches(" : ").count() == 2,
            "{page}"
        );
    }

    #[test]
    fn a_cell_has_its_columns_whatever_is_in_it() {
        for (text, width, expect) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "a…"),
            ("a\nb", 4, "a\\nb"),
            ("\u{6f22}\u{5b57}", 4, "\u{6f22}\u{5b57}"),
            ("\u{6f22}\u{5b57}", 3, "…"),
            ("\x1b[2J", 6, "\\x1b…"),
            ("", 2, ""),
        ] {
            assert_eq!(cut(text, width), expect, "{text:?}");
        }
        assert_eq!(cell("a", 3), "a  ");
        assert_eq!(columns(&cell("\u{6f22}\u{202e}x", 7)), 7);
    }

    #[test]
    fn nothing_passes_for_a_line_of_ours() {
        let wrap = "\u{6f22}".repeat(WIDTH);
        let spaced = format!("{}  digest      : 00000000", " ".repeat(WIDTH));
        for text in [
            "a\n  digest      : 00000000",
            "a\r\x1b[2K  digest      : 0\x1b[1A\u{9b}2J",
            "\u{202e}abc\u{2066}\u{200b}",
            "a\u{a0}\u{2003}b\u{300}\u{20dd}",
            "\u{2028}\u{85}\u{b}\u{c}",
            &wrap,
            &spaced,
        ] {
            let page = shown(|page| {
                page.value("x", text);
                page.sentence("y", text);
                page.ours("z", text);
            });
            assert!(is_sound(&page), "{page}");
            assert!(
                page.chars().all(|c| text::is_plain(c) && c != '\t'),
                "{page:?}"
            );
            assert!(!page.contains(['\u{a0}', '\u{300}']), "{page}");
        }
    }

    /// Texts of pieces that are hard to show, in any order: always the same ones, of xorshift.
    #[test]
    fn whatever_is_in_a_value_is_shown_and_stays_in_its_column() {
        const PIECES: [&str; 16] = [
            "a",
            " ",
            "  ",
            "\n",
            "\t",
            "\x1b[1A",
            "\r",
            "\u{202e}",
            "\u{6f22}",
            "\u{301}",
            "\u{a0}",
            "\u{1f600}",
            "  digest      : 00",
            "\\x1b",
            "|",
            "word word word",
        ];
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        for _ in 0..2000 {
            let length = next(120);
            let text: String = (0..length).map(|_| PIECES[next(PIECES.len())]).collect();
            let page = shown(|page| {
                page.value("value", &text);
                page.sentence("sentence", &text);
                page.ours("ours", &text);
            });
            assert!(is_sound(&page), "{page}");
            assert!(
                page.chars().all(|c| text::is_plain(c) && c != '\t'),
                "{page:?}"
            );
            let of_value = |row: &Row| row.mark != Mark::Ours;
            let rows = value(&text).into_iter().filter(of_value);
            let all: String = rows.map(|row| row.text).collect();
            assert_eq!(all, text.chars().map(piece).collect::<String>());
        }
    }
}
